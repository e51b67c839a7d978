//! `cancel`, `retry`, `release`, `dismiss`, `undismiss`: on named jobs, or on all that match a filter.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::api::action::ActionResult;
use crate::api::job::JobView;
use crate::api::list::JobOrder;
use crate::cli::args::ActionArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::list::{JobsDocument, fetch_jobs};
use crate::cli::received::{Received, ReceivedJob};
use crate::cli::summary::{about_cost, are_many, group, sum_up};
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line, width};
use crate::job::event::OperatorAction;
use crate::job::state::StateName;

/// Most jobs one filter may select.
const MAX_JOBS: u32 = 10_000;

/// Whether the job probably allows the action: the daemon decides.
fn may_allow(action: OperatorAction, job: &JobView) -> bool {
    let state = job.state;
    match action {
        OperatorAction::Cancel => !state.is_end(),
        OperatorAction::Release => state == StateName::Held,
        OperatorAction::Dismiss => matches!(state, StateName::Failed | StateName::Expired),
        OperatorAction::Undismiss => job.dismissed_at.is_some(),
        OperatorAction::Retry => !matches!(
            state,
            StateName::Pending | StateName::Queued | StateName::Processing | StateName::Succeeded
        ),
    }
}

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
    let by_filter = args.jobs.is_empty();
    let mut jobs = selected_jobs(&client, args).await?;
    if by_filter {
        let rest = format!(" whose state does not allow `{action}`");
        leave_out(&mut jobs, |job| !may_allow(action, job), "job", &rest);
        if action == OperatorAction::Retry {
            // A person is done with them: whoever wants one all the same names it.
            leave_out(&mut jobs, |job| job.dismissed_at.is_some(), "dismissed job", "");
        }
    }
    if args.dry_run || jobs.is_empty() {
        return print_selection(context, &about_action(action, &jobs), &jobs);
    }
    if by_filter && !args.yes {
        confirm(&question(action, &jobs))?;
    }
    let mut document = ActionsDocument { done: Vec::new(), rejected: 0 };
    let (mut failure, mut rejected) = (None, Vec::new());
    // A person reads one line for many jobs.
    let sums_up = are_many(&jobs) && (context.json || width().is_some());
    let progress = if sums_up { ProgressBar::new(jobs.len() as u64) } else { ProgressBar::hidden() };
    for job in &jobs {
        let name = printable(&job.name);
        match client.act(job.id, action).await {
            Ok(result) => {
                if !context.json && !sums_up {
                    print_line(&format!("{name}: {}", printable(&result.message)))?;
                }
                document.done.push(result);
            }
            Err(error) if error.exit == Exit::Failed => {
                if !sums_up {
                    eprint_line(&format!("{name}: {}", printable(&error.message)));
                }
                document.rejected += 1;
                rejected.push((error.message, &**job));
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if sums_up {
        if !context.json {
            let done = document.done.iter().map(|result| (result.message.clone(), &result.job));
            group(done)
                .iter()
                .try_for_each(|(message, jobs)| print_line(&sum_up(&format!(": {message}"), jobs)))?;
        }
        group(rejected)
            .iter()
            .for_each(|(message, jobs)| eprint_line(&sum_up(&format!(": {message}"), jobs)));
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
        return Ok(fetch_jobs(client, &args.filter.filter(), JobOrder::Created, MAX_JOBS).await?.jobs);
    }
    let mut jobs = Vec::new();
    for reference in &args.jobs {
        jobs.push(client.job(reference).await?);
    }
    Ok(jobs)
}

/// Removes jobs, and says how many.
fn leave_out(jobs: &mut Vec<ReceivedJob>, is_left_out: impl Fn(&JobView) -> bool, noun: &str, rest: &str) {
    let before = jobs.len();
    jobs.retain(|job| !is_left_out(job));
    if jobs.len() < before {
        eprint_line(&format!("left out: {}{rest}", count((before - jobs.len()) as u64, noun)));
    }
}

/// Which action it would be, and what it would probably cost.
fn about_action(action: OperatorAction, jobs: &[ReceivedJob]) -> String {
    let about = match action {
        OperatorAction::Cancel | OperatorAction::Dismiss | OperatorAction::Undismiss => String::new(),
        OperatorAction::Retry | OperatorAction::Release => about_cost(jobs.iter().map(|job| &**job)),
    };
    format!(" to {}{about}", action.into_str())
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

fn question(action: OperatorAction, jobs: &[ReceivedJob]) -> String {
    let about = about_cost(jobs.iter().map(|job| &**job));
    let about = if about.is_empty() { about } else { format!("{about} in all") };
    let jobs = count(jobs.len() as u64, "job");
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
