//! `wait`, and waiting for jobs on behalf of `submit` and `demo`.

use crate::api::job::JobView;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::follow_until_settled;
use crate::cli::list::JobsDocument;
use crate::cli::progress::{Progress, outcome};
use crate::cli::received::ReceivedJob;
use crate::cli::summary::{are_many, sum_up};
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal::{print_json, print_line, width};
use crate::clock::Clock;
use crate::job::state::StateName;

/// `wait`
pub(crate) async fn wait(context: &Context, references: &[String]) -> Result<Exit, CliError> {
    let client = context.client()?;
    let mut jobs = Vec::new();
    for reference in references {
        jobs.push(client.job(reference).await?);
    }
    let jobs = wait_until_settled(&client, &context.clock, jobs).await?;
    if context.json {
        print_json(&JobsDocument { jobs: &jobs })?;
    } else {
        print_outcomes(&jobs)?;
    }
    Ok(exit_of(&jobs))
}

/// Waits until each job has ended or is held, with progress on standard error.
pub(crate) async fn wait_until_settled(
    client: &ApiClient,
    clock: &Clock,
    jobs: Vec<ReceivedJob>,
) -> Result<Vec<ReceivedJob>, CliError> {
    if jobs.iter().any(|job| !job.is_settled()) {
        eprint_suspensions(client).await?;
    }
    let progress = Progress::beside_result(jobs.len(), clock);
    follow_until_settled(client, clock, jobs, progress).await
}

/// Prints how jobs ended, or what they are held for. For a person, the successes among many are one line.
pub(crate) fn print_outcomes(jobs: &[ReceivedJob]) -> Result<(), CliError> {
    let sums_up = are_many(jobs) && width().is_some();
    let (succeeded, others): (Vec<&JobView>, Vec<&JobView>) =
        jobs.iter().map(|job| &**job).partition(|job| sums_up && job.state == StateName::Succeeded);
    if !succeeded.is_empty() {
        print_line(&sum_up(" succeeded", &succeeded))?;
    }
    others.into_iter().try_for_each(|job| print_line(&outcome(job)))
}

/// The exit of a command that waited for these jobs.
pub(crate) fn exit_of(jobs: &[ReceivedJob]) -> Exit {
    let all = jobs.iter().all(|job| job.state == StateName::Succeeded);
    if all { Exit::Done } else { Exit::NotSucceeded }
}
