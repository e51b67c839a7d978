//! `POST /api/v1/jobs`: accepts a job file with the checks of the inbox, and answers at once.

use std::io::Cursor;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::api::list::CreatedJobs;
use crate::api::problem::ProblemDetails;
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::jobfile::{self, Form, Limits, LineError, MAX_PROBLEMS, read_document, read_lines};
use crate::secret::sha256_hex;
use crate::server::admin::query::Query;
use crate::server::admin::{Admin, answer, media_type};
use crate::server::body::{BodyLimit, declared_length, read_body};
use crate::server::problem::Problem;
use crate::store::intake::{Drafts, Intake, Source};

/// What the jobs of a file without a name are called.
const NAMELESS: &str = "job";
/// So many of the new jobs are shown in the answer; `count` says how many there are.
const SHOWN: usize = 500;

/// A job file as it is handed over.
#[derive(Clone, Debug)]
struct Handed {
    name: Option<String>,
    form: Form,
    limits: Limits,
}

/// `POST /api/v1/jobs`: accepts a job file as a whole, or rejects it.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Submit a job file; it is accepted as a whole or rejected. The provider bills every job",
    params(
        ("name" = Option<String>, Query, description = "The file name without its folder; jobs are named after it")
    ),
    request_body(description = "A job file (schema/job-file.schema.json): one object or an array; one object per line as application/x-ndjson", content((Object = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 201, description = "The jobs are committed", body = CreatedJobs),
        (status = "4XX", description = "The request is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "The daemon failed to answer", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn submit_jobs(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let handed = Handed::declared(&request, &admin)?;
    // Held until the jobs are committed.
    let _alone = match handed.is_long(&request) {
        true => Some(admin.long_file.acquire().await),
        false => None,
    };
    let limit = handed.limit(&admin);
    let bytes = Bytes::from(read_body(&request, &mut body, limit, &admin.door.clock).await?);
    let (intake, drafts) = web::block(move || handed.read(bytes)).await.map_err(|_| broken())??;
    let name = intake.file_name.clone().unwrap_or_else(|| "a job file without a name".to_owned());
    let taken = admin.door.store.take_in(intake, drafts, admin.door.clock.now()).await?;
    failpoints::hit(FailPoint::ApiTaken);
    let count = taken.jobs.len();
    tracing::info!(
        "accepted {name} through the admin door: {count} job{}",
        if count == 1 { "" } else { "s" }
    );
    Ok(created(&admin, &taken.jobs).await)
}

/// The jobs are committed: whatever happens now, the answer says so.
async fn created(admin: &Admin, jobs: &[JobId]) -> HttpResponse {
    let mut shown = Vec::new();
    for job in jobs.iter().take(SHOWN) {
        match admin.door.store.look(*job).await {
            Ok(sight) => shown.push(sight),
            Err(error) => {
                tracing::warn!("new jobs could not be shown: {error}");
                break;
            }
        }
    }
    let views = shown.iter().map(|details| details.view(&admin.door.library_dir)).collect();
    answer(StatusCode::CREATED, &CreatedJobs { jobs: views, count: jobs.len() })
}

fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug: reading the job file panicked")
}

impl Handed {
    fn declared(request: &HttpRequest, admin: &Admin) -> Result<Self, Problem> {
        let query = Query::read(request, &["name"])?;
        let name = query.one("name")?.filter(|name| !name.is_empty()).map(str::to_owned);
        if let Some(name) = &name {
            let is_one = !name.contains(['/', '\0']) && name.len() <= 255;
            is_one
                .then_some(())
                .ok_or_else(|| Problem::bad_request("`name` must be a file name without its folder"))?;
        }
        let form = match media_type(request.headers()).as_deref() {
            Some("application/x-ndjson") => Form::Lines,
            _ => Form::Document,
        };
        Ok(Self { name, form, limits: admin.door.file_limits.clone() })
    }

    fn limit(&self, admin: &Admin) -> BodyLimit {
        match self.form {
            Form::Document => BodyLimit { bytes: self.limits.max_bytes, time: admin.limits.document_time },
            Form::Lines => BodyLimit { bytes: self.limits.max_stream_bytes, time: admin.limits.lines_time },
        }
    }

    /// Whether it is, or may be, longer than any document.
    fn is_long(&self, request: &HttpRequest) -> bool {
        self.form == Form::Lines
            && declared_length(request).is_none_or(|length| length > self.limits.max_bytes)
    }

    /// Checks all of it. Blocks.
    fn read(self, bytes: Bytes) -> Result<(Intake, Drafts), Problem> {
        if self.name.as_deref().is_some_and(jobfile::conflict_copy) {
            let message =
                "a copy made by a sync tool in a conflict is never bought; if it is wanted, rename it";
            return Err(Problem::job_file(&[whole(message)]));
        }
        let stem = self.name.as_deref().map_or(NAMELESS, jobfile::stem).to_owned();
        let intake = Intake {
            source: Source::Api,
            file_name: self.name,
            sha256: sha256_hex(&bytes),
            bytes: bytes.len() as u64,
        };
        let drafts: Drafts = match self.form {
            Form::Document => {
                let drafts = read_document(&bytes, &stem, &self.limits);
                Box::new(drafts.map_err(|refusal| Problem::job_file(&refusal.problems))?.into_iter().map(Ok))
            }
            Form::Lines => {
                check_lines(&bytes, &stem, &self.limits)?;
                // Read once more while it is written: its drafts together are longer than the file.
                let lines = read_lines(Cursor::new(bytes), &stem, &self.limits);
                Box::new(lines.map(|line| line.map_err(|error| error.to_string())))
            }
        };
        Ok((intake, drafts))
    }
}

fn check_lines(bytes: &[u8], stem: &str, limits: &Limits) -> Result<(), Problem> {
    let mut problems = Vec::new();
    for line in read_lines(bytes, stem, limits) {
        match line {
            Ok(_) => {}
            Err(LineError::Refused(refusal)) => problems.extend(refusal.problems),
            Err(LineError::Unreadable(error)) => problems.push(whole(&error.to_string())),
        }
    }
    // One more: the last says how many were left out.
    problems.truncate(MAX_PROBLEMS + 1);
    if problems.is_empty() { Ok(()) } else { Err(Problem::job_file(&problems)) }
}

fn whole(message: &str) -> jobfile::Problem {
    jobfile::Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 }
}
