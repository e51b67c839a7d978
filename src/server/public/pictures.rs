//! `GET /media/{token}/{name}`: local pictures of unfinished jobs, for the provider. A picture is found by its content in
//! the database, never by a path from the address.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_files::NamedFile;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Tick};
use crate::fs::FsError;
use crate::job::JobId;
use crate::jobfile::pictures::PictureContent;
use crate::pictures::PictureFolder;
use crate::pictures::address;
use crate::server::answer_limit::hold;
use crate::server::public::{PublicServer, RETRY_AFTER_SECONDS, Rejection, reject};

/// Most pictures that are sent at the same time: slow readers must leave connections for callbacks.
const MAX_ANSWERS: usize = 64;
/// Most requests for the pictures of one job in a minute.
const MAX_REQUESTS: u32 = 300;
const RATE_PERIOD: Duration = Duration::from_secs(60);
/// Most jobs whose requests are counted.
const MAX_COUNTED: usize = 10_000;
/// No cache keeps a picture, no browser takes it for anything else, and no search engine lists it.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "private, no-store"),
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; sandbox"),
    ("referrer-policy", "no-referrer"),
    ("x-robots-tag", "noindex"),
];

/// Serves the pictures of a folder.
pub(super) struct PictureAnswers {
    folder: PictureFolder,
    permits: Arc<Semaphore>,
    requests: RequestCounts,
}

impl PictureAnswers {
    pub fn new(folder: PictureFolder, clock: Clock) -> Self {
        let requests = RequestCounts { clock, by_job: Mutex::default() };
        Self { folder, permits: Arc::new(Semaphore::new(MAX_ANSWERS)), requests }
    }

    /// Answers a request below [`address::PATH_PREFIX`]. A wrong token, another method, an ended job and a picture that the
    /// job does not name look the same from outside.
    pub async fn answer(&self, request: &HttpRequest, server: &PublicServer) -> HttpResponse {
        match self.find(request, server).await {
            Ok(response) => response,
            Err(rejection) => {
                tracing::debug!("{} /media/{{token}}/{{name}} rejected: {rejection:?}", request.method());
                reject(rejection)
            }
        }
    }

    async fn find(&self, request: &HttpRequest, server: &PublicServer) -> Result<HttpResponse, Rejection> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().query().is_some() {
            return Err(Rejection::NotFound);
        }
        // Before anything is read: a forged address must cost nothing.
        let found = address::verify(request.uri().path(), &server.secrets.read());
        let (job, content) = found.ok_or(Rejection::NotFound)?;
        if !self.requests.count(job) {
            return Ok(too_many_requests());
        }
        if job.to_string() == address::PROBE_JOB && content == address::probe_content() {
            return Ok(with_headers(HttpResponse::Ok().body(address::PROBE), &content));
        }
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Rejection::Unavailable)?;
        let is_served = server.store.is_served(job, content.clone()).await.map_err(|error| {
            tracing::warn!(%job, "a picture of job {job} is not sent: {error}");
            Rejection::Unavailable
        })?;
        if !is_served {
            return Err(Rejection::NotFound);
        }
        let (folder, name) = (self.folder.clone(), content.clone());
        let opened = server.clock.run_blocking(move || folder.open(&name)).await;
        let file = opened.map_err(|_| Rejection::Unavailable)?.map_err(|error| {
            tracing::warn!(%job, "a picture of job {job} cannot be sent: {error}");
            if matches!(error, FsError::NotFound(_)) { Rejection::NotFound } else { Rejection::Unavailable }
        })?;
        let file = NamedFile::from_file(file, Path::new(&content.file_name()))
            .map_err(|_| Rejection::Unavailable)?;
        let answer = file.use_etag(false).use_last_modified(false).disable_content_disposition();
        let response = answer.into_response(request).map_body(|_, body| hold(permit, body));
        Ok(with_headers(response, &content))
    }
}

fn with_headers(mut response: HttpResponse, content: &PictureContent) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.picture_type.media_type()));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn too_many_requests() -> HttpResponse {
    HttpResponse::build(StatusCode::TOO_MANY_REQUESTS)
        .insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS))
        .force_close()
        .content_type("text/plain; charset=utf-8")
        .body("too many requests")
}

/// How often the pictures of each job were asked for.
struct RequestCounts {
    clock: Clock,
    by_job: Mutex<BTreeMap<JobId, (Tick, u32)>>,
}

impl RequestCounts {
    /// Counts a request; false if there are too many.
    fn count(&self, job: JobId) -> bool {
        let now = self.clock.tick();
        let mut by_job = self.by_job.lock();
        if by_job.len() >= MAX_COUNTED {
            by_job.retain(|_, (since, _)| now.since(*since) < RATE_PERIOD);
        }
        let (since, count) = by_job.entry(job).or_insert((now, 0));
        if now.since(*since) >= RATE_PERIOD {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REQUESTS
    }
}
