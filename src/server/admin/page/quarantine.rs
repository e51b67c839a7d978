//! The downloads of a job that were rejected: listed on its page with what the host answered, and sent as files that no
//! browser displays.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::job::JobId;
use crate::library::evidence::{QuarantinedFile, quarantined_files};
use crate::server::admin::page::format::{self, DisplayTime};
use crate::server::admin::page::frame::Frame;
use crate::server::admin::page::media::open;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::store::details::JobDetails;

/// A rejected download as the page shows it.
pub(super) struct QuarantinedRow {
    pub address: String,
    pub file: QuarantinedFile,
    pub size: String,
    pub at: DisplayTime,
}

/// Those of a job, the newest first.
pub(super) async fn load(
    admin: &AdminState,
    details: &JobDetails,
    frame: &Frame,
) -> Result<Vec<QuarantinedRow>, Problem> {
    let row = |file: QuarantinedFile| {
        let name: String = url::form_urlencoded::byte_serialize(file.file_name.as_bytes()).collect();
        QuarantinedRow {
            // In a path, a plus is a plus.
            address: format!("/quarantine/{}/{}", details.job.id(), name.replace('+', "%20")),
            size: format::bytes(file.bytes),
            at: DisplayTime::new(frame.m, file.at, frame.now),
            file,
        }
    };
    Ok(listed(admin, details).await?.into_iter().map(row).collect())
}

async fn listed(admin: &AdminState, details: &JobDetails) -> Result<Vec<QuarantinedFile>, Problem> {
    let folder = admin.server.settings.quarantine_dir();
    let (job, name) = (details.job.id(), details.job.identity().name.clone());
    let files = web::block(move || quarantined_files(&folder, job, &name)).await;
    files.map_err(|_| Problem::busy("the daemon is stopping"))
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
    let mut files = listed(&admin, &details).await?.into_iter();
    let file = files.find(|file| file.file_name == name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "this job has no such file in quarantine; older ones are removed")
    })?;
    let opened = open(&admin, admin.server.settings.quarantine_dir(), file.file_name.into()).await?;
    let mut response = opened.respond_as_attachment(&request);
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}
