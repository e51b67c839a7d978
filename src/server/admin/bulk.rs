//! One action for all jobs that match a filter: counted first, then applied to exactly those jobs.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::action::{BulkActionRequest, BulkActionResult, RejectedAction};
use crate::api::estimate::CostEstimate;
use crate::api::list::{JobFilter, MAX_PAGE};
use crate::job::event::{Event, OperatorAction};
use crate::job::step::ActionReply;
use crate::money::Quota;
use crate::pricing::total::EstimateTotal;
use crate::server::admin::http::json_response;
use crate::server::admin::page::choose_messages;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::store::Store;
use crate::store::details::JobDetails;
use crate::store::estimates::JobEstimate;

/// Most jobs one request may act on; a wider filter is rejected.
const MAX_JOBS: usize = 10_000;
/// Most rejected jobs named in the answer.
const MAX_REJECTED_SHOWN: usize = 20;

/// `POST /api/v1/jobs/bulk`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/bulk",
    tag = "jobs",
    summary = "Apply one action to all jobs that match a filter",
    request_body(content = BulkActionRequest),
    responses(
        (status = 200, description = "The action was applied, or its jobs were counted", body = BulkActionResult),
        ProblemResponses
    )
)]
pub(super) async fn run_bulk_action(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"action":"retry","state":"failed","dry_run":true}"#;
    let bulk: BulkActionRequest = admin.read_json(&request, &mut body, example).await?;
    let (store, clock) = (&admin.server.store, &admin.server.clock);
    let jobs = matching_jobs(store, bulk.filter()).await?;
    if let Some(expect) = bulk.expect.filter(|expect| *expect != jobs.len()) {
        let detail = format!("expected {expect} jobs, but {} match now; nothing was done", jobs.len());
        return Err(Problem::action_rejected(detail));
    }
    let cost = jobs.iter().filter_map(|details| details.cost).fold(Quota::ZERO, Quota::plus);
    let estimate = match bulk.action {
        OperatorAction::Cancel | OperatorAction::Dismiss => EstimateTotal::default(),
        OperatorAction::Retry | OperatorAction::Release => estimate_of(store, &jobs).await?,
    };
    let (messages, mut done, mut rejected) = (choose_messages(&request), 0, Vec::new());
    for JobDetails { job, .. } in jobs.iter().filter(|_| !bulk.dry_run) {
        let applied = store.apply(job.id(), Event::Operator(bulk.action), clock.now()).await?;
        match applied.reply {
            Some(ActionReply::Rejected(reason)) => {
                let reason = messages.action_rejected(bulk.action, applied.job.state_name(), reason);
                rejected.push(RejectedAction { job: job.id(), name: job.identity().name.clone(), reason });
            }
            _ => done += 1,
        }
    }
    let message = if bulk.dry_run {
        let cost = match estimate.jobs {
            0 => String::new(),
            _ => format!(", {}", CostEstimate::from(&estimate).describe()),
        };
        format!("{} matched{cost}", count_jobs(jobs.len()))
    } else {
        tracing::info!("bulk action {} applied to {done} {} jobs", bulk.action.into_str(), bulk.state);
        summary(bulk.action, done, &rejected)
    };
    rejected.truncate(MAX_REJECTED_SHOWN);
    let result = BulkActionResult {
        jobs: jobs.len(),
        cost_quota: cost.get(),
        cost_usd: cost.usd(),
        estimate_usd: estimate.quota.usd(),
        done,
        rejected,
        message,
    };
    Ok(json_response(StatusCode::OK, &result))
}

fn summary(action: OperatorAction, done: usize, rejected: &[RejectedAction]) -> String {
    let jobs = count_jobs(done);
    let applied = match action {
        OperatorAction::Cancel => format!("cancellation requested for {jobs}"),
        OperatorAction::Retry => format!("{jobs} resubmitted"),
        OperatorAction::Release => format!("{jobs} released"),
        OperatorAction::Dismiss => format!("{jobs} dismissed"),
    };
    match rejected {
        [] => applied,
        [first, ..] => format!("{applied}; {} rejected: {}", rejected.len(), first.reason),
    }
}

fn count_jobs(n: usize) -> String {
    if n == 1 { "1 job".to_owned() } else { format!("{n} jobs") }
}

/// What the jobs will probably cost if they are submitted now.
async fn estimate_of(store: &Store, jobs: &[JobDetails]) -> Result<EstimateTotal, Problem> {
    let mut total = EstimateTotal::default();
    let estimates = store.estimate_jobs(jobs.iter().map(|details| details.job.id()).collect()).await?;
    for JobEstimate { estimate, price_class, .. } in estimates.values() {
        total.add(*estimate, price_class.as_deref());
    }
    Ok(total)
}

/// All jobs that match, newest first.
async fn matching_jobs(store: &Store, filter: JobFilter) -> Result<Vec<JobDetails>, Problem> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(filter.clone(), cursor, MAX_PAGE).await?;
        jobs.extend(page.jobs);
        if jobs.len() > MAX_JOBS {
            let detail = format!("more than {MAX_JOBS} jobs match this filter; narrow it by label or text");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(jobs),
        }
    }
}
