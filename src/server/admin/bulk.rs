//! One order for all jobs that pass a filter: counted first, then given to exactly those.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::action::{BulkActionRequest, BulkActionResult, RejectedAction};
use crate::api::list::{JobFilter, MAX_PAGE};
use crate::api::problem::ProblemDetails;
use crate::job::Job;
use crate::job::event::Event;
use crate::job::step::Reply;
use crate::money::Quota;
use crate::server::admin::{Admin, answer};
use crate::server::problem::{Kind, Problem};

/// More jobs than this are not ordered at once: the filter is to be narrower.
const MOST: usize = 10_000;
/// So many of those that could not follow are named in the answer.
const NAMED: usize = 20;

/// `POST /api/v1/orders`.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "jobs",
    summary = "One order for all jobs that pass a filter",
    request_body(content = BulkActionRequest),
    responses(
        (status = 200, description = "It is done, or was only counted", body = BulkActionResult),
        (status = "4XX", description = "What is wrong with the request", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn order(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let how = r#"{"action":"retry","state":"failed","dry_run":true}"#;
    let wanted: BulkActionRequest = admin.read_order(&request, &mut body, how).await?;
    let jobs = passing(&admin, wanted.filter()).await?;
    if let Some(expect) = wanted.expect.filter(|expect| *expect != jobs.len()) {
        let detail =
            format!("{expect} jobs were expected and there are {} now; nothing was done", jobs.len());
        return Err(Problem::of(Kind::Refused, StatusCode::CONFLICT, detail));
    }
    let cost = jobs.iter().filter_map(|job| job.learned().cost).fold(Quota::ZERO, Quota::plus);
    let (mut done, mut rejected) = (0, Vec::new());
    for job in jobs.iter().filter(|_| !wanted.dry_run) {
        let id = job.id();
        match admin.door.store.apply(id, Event::Person(wanted.action), admin.door.clock.now()).await?.reply {
            Some(Reply::Refused(reason)) => {
                rejected.push(RejectedAction { job: id, name: job.identity().name.clone(), reason });
            }
            _ => done += 1,
        }
    }
    let message = if wanted.dry_run {
        format!("{} jobs pass the filter", jobs.len())
    } else {
        tracing::info!("a person's {} of {done} {} jobs", wanted.action.as_str(), wanted.state);
        match rejected.len() {
            0 => format!("{done} jobs"),
            not => format!("{done} jobs; {not} could not: {}", rejected[0].reason),
        }
    };
    rejected.truncate(NAMED);
    let result = BulkActionResult {
        jobs: jobs.len(),
        cost_quota: cost.get(),
        cost_usd: cost.usd(),
        done,
        rejected,
        message,
    };
    Ok(answer(StatusCode::OK, &result))
}

/// All jobs that pass, newest first.
async fn passing(admin: &Admin, filter: JobFilter) -> Result<Vec<Job>, Problem> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = admin.door.store.list(filter.clone(), cursor, MAX_PAGE).await?;
        jobs.extend(page.jobs.into_iter().map(|sight| sight.job));
        if jobs.len() > MOST {
            let detail = format!("more than {MOST} jobs pass this filter; narrow it by label or text");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(jobs),
        }
    }
}
