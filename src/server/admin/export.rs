//! Exports jobs as job files, and moves them to another machine. `store/export.rs` says why in this order.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::export::{ExportLine, ExportPage, MoveRequest, MovedJobs, MovedPage};
use crate::api::list::MAX_PAGE;
use crate::failpoints::{self, FailPoint};
use crate::job::state::StateName;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::selection::parse_filter;
use crate::server::admin::state::AdminState;
use crate::store::export::{ExportedJob, ExportedPictures};

/// `GET /api/v1/export`.
#[utoipa::path(
    get,
    path = "/api/v1/export",
    tag = "jobs",
    summary = "Jobs as job files, oldest first",
    params(
        ("state" = Option<StateName>, Query, description = "Only jobs in this state"),
        ("label" = Option<Vec<String>>, Query, description = "Only jobs with this label, `KEY=VALUE`; repeatable"),
        ("pictures" = Option<bool>, Query, description = "Call local pictures by their content, as `pictures` of each job names them"),
        ("limit" = Option<u64>, Query, description = "Most jobs in the answer; 500 by default and at most", minimum = 1),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the previous page")
    ),
    responses(
        (status = 200, description = "A page of jobs", body = ExportPage),
        ProblemResponses
    )
)]
pub(super) async fn export_jobs(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(&request, &["state", "label", "pictures", "limit", "cursor"])?;
    let (filter, cursor) = (parse_filter(&query)?, query.number("cursor")?.unwrap_or(0));
    let limit = query.limit(MAX_PAGE, MAX_PAGE)?;
    let now = admin.server.clock.now();
    let pictures = exported_pictures(match query.single("pictures")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::bad_request("`pictures` must be `true` or `false`")),
    });
    let (jobs, next) = admin.server.store.export(filter, cursor, limit, pictures, now).await?;
    let next_cursor = next.map(|next| next.to_string());
    Ok(json_response(StatusCode::OK, &ExportPage { jobs: lines(jobs), next_cursor }))
}

/// `POST /api/v1/export/move`.
#[utoipa::path(
    post,
    path = "/api/v1/export/move",
    tag = "jobs",
    summary = "Cancel some jobs that were not submitted and hand out their job files, for another machine",
    request_body(content = MoveRequest),
    responses(
        (status = 200, description = "Jobs to acknowledge once their lines are where they were to go; until then the next call answers the same jobs. None: all are moved", body = MovedPage),
        ProblemResponses
    )
)]
pub(super) async fn move_jobs(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"state":"pending","label":["project=spring"]}"#;
    let wanted: MoveRequest = admin.read_json(&request, &mut body, example).await?;
    let (store, pictures) = (&admin.server.store, exported_pictures(wanted.pictures));
    let (jobs, interrupted) = store.move_jobs(wanted.filter(), pictures, admin.server.clock.now()).await?;
    let is_last = jobs.is_empty() && !wanted.pictures;
    let left_with_pictures = if is_last { store.unmoved_with_pictures(wanted.filter()).await? } else { 0 };
    failpoints::hit(FailPoint::MovedJobsCommitted);
    tracing::info!("handed out {} jobs to another machine, not acknowledged yet", jobs.len());
    Ok(json_response(StatusCode::OK, &MovedPage { jobs: lines(jobs), interrupted, left_with_pictures }))
}

/// `POST /api/v1/export/acknowledge`.
#[utoipa::path(
    post,
    path = "/api/v1/export/acknowledge",
    tag = "jobs",
    summary = "Confirm that the lines of moved jobs are where they were to go. Repeating it is safe",
    request_body(content = MovedJobs),
    responses(
        (status = 200, description = "They are not handed out again", body = MovedJobs),
        ProblemResponses
    )
)]
pub(super) async fn acknowledge_moved(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let moved: MovedJobs = admin.read_json(&request, &mut body, r#"{"jobs":["..."]}"#).await?;
    admin.server.store.acknowledge_moved(moved.jobs.clone()).await?;
    failpoints::hit(FailPoint::MovedJobsAcknowledged);
    Ok(json_response(StatusCode::OK, &moved))
}

fn exported_pictures(by_content: bool) -> ExportedPictures {
    if by_content { ExportedPictures::ByContent } else { ExportedPictures::ByPath }
}

fn lines(jobs: Vec<ExportedJob>) -> Vec<ExportLine> {
    jobs.into_iter().map(|ExportedJob { id, line, pictures }| ExportLine { id, line, pictures }).collect()
}
