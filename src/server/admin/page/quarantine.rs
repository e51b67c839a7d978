//! What the quarantine keeps of a job: its rejected downloads with what the host answered, and an answer of the provider that
//! could not be used. Its page lists them; they are sent as files that no browser displays.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::job::JobId;
use crate::library::evidence::{KeptAnswer, QuarantinedFile, kept_answer, quarantined_files};
use crate::server::admin::page::format::{self, DisplayTime};
use crate::server::admin::page::frame::Frame;
use crate::server::admin::page::media::open;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::store::details::JobDetails;

/// A kept file as the page shows it.
pub(super) struct QuarantinedRow {
    pub address: String,
    pub file_name: String,
    pub size: String,
    /// The host of a download; empty: the provider.
    pub host: String,
    pub at: DisplayTime,
    pub why: String,
    /// What the host answered, by name.
    pub facts: Vec<(String, String)>,
    /// What the provider answered.
    pub answer: Option<String>,
}

/// Those of a job: the newest download first, then the answer. The folder may be large, so that downloads are looked for only
/// if the job `has_downloads` in it.
pub(super) async fn load(
    admin: &AdminState,
    details: &JobDetails,
    has_downloads: bool,
    frame: &Frame,
) -> Result<Vec<QuarantinedRow>, Problem> {
    let address = |file_name: &str| {
        let name: String = url::form_urlencoded::byte_serialize(file_name.as_bytes()).collect();
        // In a path, a plus is a plus.
        format!("/quarantine/{}/{}", details.job.id(), name.replace('+', "%20"))
    };
    let download = |file: QuarantinedFile| QuarantinedRow {
        address: address(&file.file_name),
        size: format::bytes(file.bytes),
        at: DisplayTime::new(frame.m, file.at, frame.now),
        host: file.url_host,
        why: file.why,
        facts: file.headers.into_iter().chain([("SHA-256".to_owned(), file.sha256)]).collect(),
        answer: None,
        file_name: file.file_name,
    };
    let answered = |file: KeptAnswer| QuarantinedRow {
        address: address(&file.file_name),
        size: format::bytes(file.bytes),
        at: DisplayTime::new(frame.m, file.at, frame.now),
        host: String::new(),
        why: frame.m.batches.unusable.to_owned(),
        facts: Vec::new(),
        answer: Some(file.answer),
        file_name: file.file_name,
    };
    let (downloads, answer) = listed(admin, details, has_downloads).await?;
    Ok(downloads.into_iter().map(download).chain(answer.map(answered)).collect())
}

async fn listed(
    admin: &AdminState,
    details: &JobDetails,
    has_downloads: bool,
) -> Result<(Vec<QuarantinedFile>, Option<KeptAnswer>), Problem> {
    let folder = admin.server.settings.quarantine_dir();
    let (job, name) = (details.job.id(), details.job.identity().name.clone());
    let read = move || {
        let downloads = if has_downloads { quarantined_files(&folder, job, &name) } else { Vec::new() };
        (downloads, kept_answer(&folder, job))
    };
    web::block(read).await.map_err(|_| Problem::busy("the daemon is stopping"))
}

/// `GET /quarantine/{job}/{name}`: a file that the page of the job lists.
pub(super) async fn get_quarantined(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let (job, name) = path.into_inner();
    let job = JobId::parse(&job).ok_or_else(Problem::unknown_address)?;
    let details = admin.server.store.details(job).await?;
    let (downloads, answer) = listed(&admin, &details, true).await?;
    let mut names = downloads.into_iter().map(|file| file.file_name).chain(answer.map(|file| file.file_name));
    let name = names.find(|listed| *listed == name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "this job has no such file in quarantine; older ones are removed")
    })?;
    let opened = open(&admin, admin.server.settings.quarantine_dir(), name.into()).await?;
    let mut response = opened.respond_as_attachment(&request);
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}
