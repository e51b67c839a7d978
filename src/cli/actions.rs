//! `cancel`, `retry`, `release`, `dismiss`, `undismiss`: on named jobs, or on all that match a filter. The daemon decides
//! which those are and what they cost, as it does for the page.

use serde::Serialize;

use crate::api::action::{ActionResult, BulkActionRequest, BulkActionResult};
use crate::api::job::JobView;
use crate::api::list::JobOrder;
use crate::cli::args::ActionArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable, usd};
use crate::cli::list::{JobsDocument, fetch_jobs};
use crate::cli::received::{Received, ReceivedJob};
use crate::cli::summary::{are_many, sum_up};
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line, width};
use crate::job::event::OperatorAction;

/// Most jobs that a filter may select.
const MAX_JOBS: u32 = 10_000;

#[derive(Serialize)]
struct ActionsDocument {
    done: Vec<Received<ActionResult>>,
    rejected: usize,
}

/// `cancel`, `retry`, `release`, `dismiss`, `undismiss`
pub(crate) async fn apply(
    context: &Context,
    action: OperatorAction,
    args: &ActionArgs,
) -> Result<Exit, CliError> {
    let client = context.client()?;
    if args.jobs.is_empty() {
        return apply_by_filter(context, &client, action, args).await;
    }
    let jobs = selected_jobs(&client, args).await?;
    if args.dry_run {
        let cost = jobs.iter().filter_map(|job| cost_of(action, job)).sum();
        return print_selection(context, &format!(" to {action}{}", about(cost)), &jobs);
    }
    let mut document = ActionsDocument { done: Vec::new(), rejected: 0 };
    let mut failure = None;
    for job in &jobs {
        let name = printable(&job.name);
        match client.act(job.id, action).await {
            Ok(result) => {
                if !context.json {
                    print_line(&format!("{name}: {}", printable(&result.message)))?;
                }
                document.done.push(result);
            }
            Err(error) if error.exit == Exit::Failed => {
                eprint_line(&format!("{name}: {}", printable(&error.message)));
                document.rejected += 1;
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if context.json {
        print_json(&document)?;
    }
    if let Some(error) = failure {
        return Err(error);
    }
    Ok(if document.rejected == 0 { Exit::Done } else { Exit::Failed })
}

/// The jobs that are named, or all that match the filter.
pub(crate) async fn selected_jobs(
    client: &ApiClient,
    args: &ActionArgs,
) -> Result<Vec<ReceivedJob>, CliError> {
    if args.jobs.is_empty() {
        let page = fetch_jobs(client, &args.filter.filter(), JobOrder::Created, MAX_JOBS).await?;
        if page.next_cursor.is_some() {
            let message = format!("more than {MAX_JOBS} jobs match; narrow the filter by another label");
            return Err(CliError::failed(message));
        }
        return Ok(page.jobs);
    }
    let mut jobs = Vec::new();
    for reference in &args.jobs {
        jobs.push(client.job(reference).await?);
    }
    Ok(jobs)
}

/// Lists the jobs of a dry run; `about` says what would become of them.
pub(crate) fn print_selection(
    context: &Context,
    about: &str,
    jobs: &[ReceivedJob],
) -> Result<Exit, CliError> {
    if context.json {
        print_json(&JobsDocument { jobs })?;
        return Ok(Exit::Done);
    }
    if are_many(jobs) && width().is_some() {
        let jobs: Vec<&JobView> = jobs.iter().map(|job| &**job).collect();
        print_line(&sum_up(about, &jobs))?;
        return Ok(Exit::Done);
    }
    eprint_line(&format!("{}{about}", count(jobs.len() as u64, "job")));
    for job in jobs {
        print_line(&format!("{}  {}  {}", job.id, job.state, printable(&job.name)))?;
    }
    Ok(Exit::Done)
}

/// Acts on all jobs that match, or on none: if others match by then, or the price has risen, the daemon refuses.
async fn apply_by_filter(
    context: &Context,
    client: &ApiClient,
    action: OperatorAction,
    args: &ActionArgs,
) -> Result<Exit, CliError> {
    let request = BulkActionRequest {
        action: Some(action),
        state: args.filter.state,
        label: args.filter.labels.clone(),
        ..BulkActionRequest::default()
    };
    let found = client.act_on_many(&BulkActionRequest { dry_run: true, ..request.clone() }).await?;
    let left_out = found.matched.saturating_sub(found.jobs);
    if left_out > 0 {
        let others = count(left_out as u64, "job");
        let why = match action {
            OperatorAction::Retry => "dismissed, or not ended and not named by --state",
            _ => "in a state that does not allow it",
        };
        eprint_line(&format!("left out: {others} ({why})"));
    }
    if args.dry_run || found.jobs == 0 {
        return print_found(context, action, &found);
    }
    if !args.yes {
        confirm(&question(action, &found))?;
    }
    let (expect, max_cost_usd) = (Some(found.jobs), Some(found.estimate_usd));
    let done = client.act_on_many(&BulkActionRequest { expect, max_cost_usd, ..request }).await?;
    if context.json {
        print_json(&done)?;
    } else {
        print_line(&printable(&done.message))?;
    }
    Ok(if done.done == found.jobs { Exit::Done } else { Exit::Failed })
}

fn print_found(
    context: &Context,
    action: OperatorAction,
    found: &BulkActionResult,
) -> Result<Exit, CliError> {
    if context.json {
        print_json(found)?;
        return Ok(Exit::Done);
    }
    eprint_line(&format!("{} to {action}{}", count(found.jobs as u64, "job"), about(found.estimate_usd)));
    for job in &found.first_jobs {
        print_line(&format!("{}  {}  {}", job.id, job.state, printable(&job.name)))?;
    }
    let others = found.jobs.saturating_sub(found.first_jobs.len());
    if others > 0 {
        eprint_line(&format!("and {}", count(others as u64, "other job")));
    }
    Ok(Exit::Done)
}

/// What the action will probably cost, where the job says it.
fn cost_of(action: OperatorAction, job: &JobView) -> Option<f64> {
    let actions = &job.needs.as_ref()?.actions;
    actions.iter().find(|possible| possible.action == action.into_str())?.cost_usd
}

/// `, about $1.20`; nothing if it is free, or nothing is known.
fn about(cost_usd: f64) -> String {
    if cost_usd > 0.0 { format!(", about {}", usd(cost_usd)) } else { String::new() }
}

fn question(action: OperatorAction, found: &BulkActionResult) -> String {
    let about = about(found.estimate_usd);
    let about = if about.is_empty() { about } else { format!("{about} in all") };
    let jobs = count(found.jobs as u64, "job");
    match action {
        OperatorAction::Cancel => format!("Cancel {jobs}?"),
        OperatorAction::Dismiss => format!("Dismiss {jobs}?"),
        OperatorAction::Undismiss => format!("Undo the dismissal of {jobs}?"),
        OperatorAction::Retry => {
            format!("Retry {jobs}{about}? Each becomes a new task, and may be billed again.")
        }
        OperatorAction::Release => {
            format!("Release {jobs}? Some may be billed again{about}: `dropreel show JOB` says which.")
        }
    }
}
