//! One action, or a change of labels, for many jobs: counted first, then applied to exactly those.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::action::{
    BulkActionRequest, BulkActionResult, LabelChanges, PossibleBulkAction, RejectedAction,
};
use crate::api::estimate::CostEstimate;
use crate::api::list::{JobFilter, MAX_PAGE};
use crate::api::problem::Candidate;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::event::{Event, OperatorAction};
use crate::job::needs::effect;
use crate::job::state::StateName;
use crate::job::step::ActionReply;
use crate::job::step::possible::{is_repetition, possible_actions, rejection};
use crate::jobfile::dropreel_member::{MAX_LABELS, label_problem};
use crate::money::Quota;
use crate::pricing::total::EstimateTotal;
use crate::server::admin::http::json_response;
use crate::server::admin::page::choose_messages;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::store::Store;
use crate::store::details::JobDetails;
use crate::store::estimates::JobEstimate;
use crate::store::labels::LabelOutcome;

/// Most jobs one request may act on; a wider filter is rejected.
const MAX_JOBS: usize = 10_000;
/// Most jobs one request may name.
const MAX_NAMED: usize = 1000;
/// Most jobs named in the answer: rejected ones, or those that a dry run found.
const MAX_SHOWN: usize = 20;

/// `POST /api/v1/jobs/bulk`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/bulk",
    tag = "jobs",
    summary = "Apply one action to many jobs, or change their labels",
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
    let jobs = selected_jobs(store, &bulk).await?;
    let allowing: Vec<&JobDetails> = match bulk.action {
        Some(action) => {
            let now = clock.now();
            jobs.iter().filter(|details| allows(details, action, &bulk, now)).collect()
        }
        None => jobs.iter().collect(),
    };
    if let Some(expect) = bulk.expect.filter(|expect| *expect != allowing.len()) {
        let detail = format!("expected {expect} jobs, but {} match now; nothing was done", allowing.len());
        return Err(Problem::action_rejected(detail));
    }
    let cost = allowing.iter().filter_map(|details| details.cost).fold(Quota::ZERO, Quota::plus);
    let estimate = match bulk.action {
        Some(action) => estimate_of(action, &allowing),
        None => EstimateTotal::default(),
    };
    if !bulk.dry_run {
        check_cost(&estimate, bulk.max_cost_usd)?;
    }
    let mut result = BulkActionResult {
        jobs: allowing.len(),
        matched: jobs.len(),
        cost_quota: cost.get(),
        cost_usd: cost.usd(),
        estimate_usd: estimate.quota.usd(),
        first_jobs: Vec::new(),
        done: 0,
        rejected: Vec::new(),
        possible: Vec::new(),
        dismissed: Vec::new(),
        message: String::new(),
    };
    match bulk.action {
        _ if bulk.dry_run => {
            if bulk.action.is_none() && bulk.set_labels.is_empty() {
                result.possible = possible(&jobs, &bulk, clock.now());
            }
            let cost = match estimate.jobs {
                0 => String::new(),
                _ => format!(", {}", CostEstimate::from(&estimate).describe()),
            };
            result.message = format!("{} matched{cost}", count_jobs(result.jobs));
            if bulk.action.is_some() {
                result.first_jobs = allowing.iter().take(MAX_SHOWN).map(|details| named(details)).collect();
            }
        }
        Some(action) => {
            let left_out = |details: &&JobDetails| !is_left_out(details, action, &bulk);
            let (done, mut rejected) =
                apply_action(&request, &admin, action, jobs.iter().filter(left_out)).await?;
            result.message = summary(action, done.len(), &rejected);
            rejected.truncate(MAX_SHOWN);
            (result.done, result.rejected) = (done.len(), rejected);
            if action == OperatorAction::Dismiss {
                result.dismissed = done;
            }
        }
        None => {
            let (done, rejected) = set_labels(store, &bulk.set_labels, &jobs, clock.now()).await?;
            result.message = format!("labels of {} changed", count_jobs(done));
            (result.done, result.rejected) = (done, rejected);
        }
    }
    Ok(json_response(StatusCode::OK, &result))
}

/// Applies the action; returns the jobs that took it, and the others.
async fn apply_action(
    request: &HttpRequest,
    admin: &AdminState,
    action: OperatorAction,
    jobs: impl Iterator<Item = &JobDetails>,
) -> Result<(Vec<JobId>, Vec<RejectedAction>), Problem> {
    let (messages, mut done, mut rejected) = (choose_messages(request), Vec::new(), Vec::new());
    for JobDetails { job, .. } in jobs {
        let now = admin.server.clock.now();
        // One that did not allow it when the jobs were counted is not acted on, whatever became of it since.
        let (state, rejection) = match rejection(job, action, now) {
            Some(why) => (job.state_name(), Some(why)),
            None => {
                let applied = admin.server.store.apply(job.id(), Event::Operator(action), now).await?;
                let rejection = match applied.reply {
                    Some(ActionReply::Rejected(why)) => Some(why),
                    _ => None,
                };
                (applied.job.state_name(), rejection)
            }
        };
        match rejection {
            Some(why) => {
                let reason = messages.action_rejected(action, state, why);
                rejected.push(RejectedAction { job: job.id(), name: job.identity().name.clone(), reason });
            }
            None => done.push(job.id()),
        }
    }
    tracing::info!("bulk action {action} applied to {}", count_jobs(done.len()));
    Ok((done, rejected))
}

async fn set_labels(
    store: &Store,
    changes: &LabelChanges,
    jobs: &[JobDetails],
    now: Timestamp,
) -> Result<(usize, Vec<RejectedAction>), Problem> {
    let (mut changed, mut rejected) = (0, Vec::new());
    for JobDetails { job, .. } in jobs {
        match store.set_labels(job.id(), changes.clone(), now).await? {
            LabelOutcome::Changed => changed += 1,
            LabelOutcome::Same => {}
            LabelOutcome::TooMany if rejected.len() < MAX_SHOWN => {
                let reason = format!("it would have more than {MAX_LABELS} labels");
                rejected.push(RejectedAction { job: job.id(), name: job.identity().name.clone(), reason });
            }
            LabelOutcome::TooMany => {}
        }
    }
    tracing::info!("labels of {} changed", count_jobs(changed));
    Ok((changed, rejected))
}

fn allows(details: &JobDetails, action: OperatorAction, bulk: &BulkActionRequest, now: Timestamp) -> bool {
    let is_possible = || possible_actions(&details.job, now).iter().any(|possible| possible.action == action);
    !is_left_out(details, action, bulk) && is_possible()
}

/// A job that has not ended may be paid for: it is held and continues by a release, or repeats its submit, or downloads. A
/// retry of all must not buy it again. A dismissed job is done with: whoever wants it all the same names it. A repetition
/// does nothing.
fn is_left_out(details: &JobDetails, action: OperatorAction, bulk: &BulkActionRequest) -> bool {
    let state = details.job.state_name();
    let may_be_paid = matches!(state, StateName::Held | StateName::Submitting | StateName::Downloading)
        && bulk.state != Some(state);
    let is_dismissed = details.job.facts().dismissed_at.is_some() && bulk.jobs.is_empty();
    action == OperatorAction::Retry && (may_be_paid || is_dismissed) || is_repetition(&details.job, action)
}

/// Refuses an action that costs more than was shown.
fn check_cost(estimate: &EstimateTotal, max_cost_usd: Option<f64>) -> Result<(), Problem> {
    let Some(usd) = max_cost_usd else { return Ok(()) };
    let max = Quota::from_usd(usd).filter(|max| *max >= Quota::ZERO);
    let max = max.ok_or_else(|| Problem::bad_request("`max_cost_usd` must be an amount in US dollars"))?;
    if estimate.quota <= max {
        return Ok(());
    }
    let cost = CostEstimate::from(estimate).describe();
    Err(Problem::too_expensive(format!("{cost} by now: more than the {max} of before; nothing was done")))
}

fn named(details: &JobDetails) -> Candidate {
    let identity = details.job.identity();
    Candidate { id: identity.id, name: identity.name.clone(), state: details.job.state_name() }
}

/// What the jobs allow.
fn possible(jobs: &[JobDetails], bulk: &BulkActionRequest, now: Timestamp) -> Vec<PossibleBulkAction> {
    let (bulk, mut all) = (&BulkActionRequest { state: None, ..bulk.clone() }, Vec::new());
    for action in [
        OperatorAction::Retry,
        OperatorAction::Release,
        OperatorAction::Cancel,
        OperatorAction::Dismiss,
        OperatorAction::Undismiss,
    ] {
        let allowing: Vec<&JobDetails> =
            jobs.iter().filter(|details| allows(details, action, bulk, now)).collect();
        if !allowing.is_empty() {
            let estimate_usd = estimate_of(action, &allowing).quota.usd();
            all.push(PossibleBulkAction { action, jobs: allowing.len(), estimate_usd });
        }
    }
    all
}

fn summary(action: OperatorAction, done: usize, rejected: &[RejectedAction]) -> String {
    let jobs = count_jobs(done);
    let applied = match action {
        OperatorAction::Cancel => format!("cancellation requested for {jobs}"),
        OperatorAction::Retry => format!("{jobs} resubmitted"),
        OperatorAction::Release => format!("{jobs} released"),
        OperatorAction::Dismiss => format!("{jobs} dismissed"),
        OperatorAction::Undismiss => format!("{jobs} back on the list of what needs a person"),
    };
    match rejected {
        [] => applied,
        [first, ..] => format!("{applied}; {} rejected: {}", rejected.len(), first.reason),
    }
}

fn count_jobs(n: usize) -> String {
    if n == 1 { "1 job".to_owned() } else { format!("{n} jobs") }
}

/// What the action will probably cost: the next attempts of the jobs that it submits.
fn estimate_of(action: OperatorAction, jobs: &[&JobDetails]) -> EstimateTotal {
    let mut total = EstimateTotal::default();
    for details in jobs.iter().filter(|details| effect(&details.job, action).is_billed()) {
        if let Some(JobEstimate { estimate, price_class, .. }) = &details.next {
            total.add(*estimate, price_class.as_deref());
        }
    }
    total
}

/// The jobs that are named, or all that match, newest first.
async fn selected_jobs(store: &Store, bulk: &BulkActionRequest) -> Result<Vec<JobDetails>, Problem> {
    if bulk.action.is_some() && !bulk.set_labels.is_empty() {
        return Err(Problem::bad_request("give `action` or `set_labels`, not both"));
    }
    if bulk.action.is_none() && bulk.set_labels.is_empty() && !bulk.dry_run {
        return Err(Problem::bad_request("give `action` or `set_labels`"));
    }
    for (key, value) in &bulk.set_labels {
        if let Some(problem) = label_problem(key, value.as_deref().unwrap_or_default()) {
            return Err(Problem::bad_request(format!("`{key}` {problem}")));
        }
    }
    let filter = bulk.filter().map_err(|error| Problem::bad_request(error.to_string()))?;
    let is_filtered = filter != JobFilter::default();
    if !bulk.jobs.is_empty() {
        if is_filtered {
            return Err(Problem::bad_request("give `jobs` or a filter, not both"));
        }
        if bulk.jobs.len() > MAX_NAMED {
            return Err(Problem::bad_request(format!("`jobs` may name at most {MAX_NAMED} jobs")));
        }
        return Ok(store.jobs_by_id(bulk.jobs.clone()).await?);
    }
    if !is_filtered && !bulk.dry_run && bulk.expect.is_none() {
        return Err(Problem::bad_request(
            "give `jobs`, or a filter such as `state`; for all jobs, give `expect`, the number that a dry run counted",
        ));
    }
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
