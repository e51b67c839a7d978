//! `POST /api/v1/estimate`: what a job file would cost, with the checks of the inbox. Nothing is accepted.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::api::estimate::{EstimateView, FileEstimate};
use crate::pricing::total::EstimateTotal;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses, job_file_problem};
use crate::server::admin::state::AdminState;
use crate::server::admin::upload::{Upload, panicked};
use crate::server::body::read_body;

/// Most jobs of a request for which the provider is asked.
const MAX_QUOTED: usize = 40;
/// How long an answer waits for quotes.
const QUOTE_PATIENCE: Duration = Duration::from_secs(2);

/// `POST /api/v1/estimate`.
#[utoipa::path(
    post,
    path = "/api/v1/estimate",
    tag = "jobs",
    summary = "Check a job file and estimate what it would cost. Nothing is submitted",
    params(
        ("name" = Option<String>, Query, description = "The file name without its folder")
    ),
    request_body(description = "A job file (schema/job-file.schema.json): one object or an array; one object per line as application/x-ndjson", content((Object = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 200, description = "What the checks find and what the jobs would cost; `errors` of a file that would be rejected", body = EstimateView),
        ProblemResponses
    )
)]
pub(super) async fn estimate_jobs(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let upload = Upload::from_request(&request, &admin, &["name"])?;
    let _permit = match upload.is_long(&request) {
        true => Some(admin.long_upload.acquire().await),
        false => None,
    };
    let limit = upload.limit(&admin);
    let bytes = Bytes::from(read_body(&request, &mut body, limit, &admin.server.clock).await?);
    if bytes.is_empty() {
        return Err(Problem::bad_request("the request has no body; it must be a job file"));
    }
    let (checked, text) = (upload.clone(), bytes.clone());
    let found = web::block(move || checked.inspect(&text)).await.map_err(|_| panicked())?;
    if let Some(quotes) = admin.server.wanted_quotes.as_ref().filter(|_| found.errors.is_empty()) {
        let (upload, text) = (upload.clone(), bytes.clone());
        let bodies = web::block(move || upload.bodies(text).take(MAX_QUOTED).collect());
        quotes.wait_for(bodies.await.map_err(|_| panicked())?, QUOTE_PATIENCE).await;
    }
    let name = upload.name.clone().unwrap_or_else(|| "-".to_owned());
    let total = match found.errors.as_slice() {
        [] => admin.server.store.estimate_all(upload.bodies(bytes)).await?,
        _ => EstimateTotal::default(),
    };
    let ok = found.errors.is_empty();
    let file = FileEstimate {
        file: name,
        ok,
        jobs: total.jobs,
        objects: if ok { found.objects as u64 } else { 0 },
        cost: (&total).into(),
        errors: found.errors.iter().map(job_file_problem).collect(),
        warnings: found.warnings().iter().map(job_file_problem).collect(),
    };
    let answer = EstimateView { jobs: file.jobs, cost: file.cost.clone(), files: vec![file] };
    Ok(json_response(StatusCode::OK, &answer))
}
