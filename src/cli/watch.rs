//! `watch`: changes of one job or of all, live.

use std::ops::ControlFlow;

use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::{Update, follow, follow_until_settled};
use crate::cli::list::JobsDocument;
use crate::cli::progress::Progress;
use crate::cli::suspensions::{eprint_suspensions, suspension_lines};
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::cli::usual::slots_line;
use crate::cli::wait::{exit_of, wait_until_settled};

/// `watch`
pub(crate) async fn watch(context: &Context, reference: Option<&str>) -> Result<Exit, CliError> {
    let client = context.client()?;
    let watching = async {
        match reference {
            Some(reference) => watch_job(context, &client, reference).await,
            None => watch_all(context, &client).await,
        }
    };
    tokio::select! {
        ended = watching => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

async fn watch_job(context: &Context, client: &ApiClient, reference: &str) -> Result<Exit, CliError> {
    let jobs = vec![client.job(reference).await?];
    if context.json {
        let jobs = wait_until_settled(client, &context.clock, jobs).await?;
        print_json(&JobsDocument { jobs: &jobs })?;
        return Ok(exit_of(&jobs));
    }
    eprint_suspensions(client).await?;
    let progress = Progress::as_result(1, &context.clock);
    let jobs = follow_until_settled(client, &context.clock, jobs, progress).await?;
    Ok(exit_of(&jobs))
}

async fn watch_all(context: &Context, client: &ApiClient) -> Result<Exit, CliError> {
    let mut progress = Progress::as_result(0, &context.clock);
    let mut suspended = Vec::new();
    let mut slots = None;
    eprint_line("watching; press ctrl-c to end");
    follow(client, &context.clock, None, |update| {
        match update {
            // One document per line: there is no end to wait for.
            Update::Job(job) if context.json => {
                print_line(&serde_json::to_string(&job).unwrap_or_default())?;
            }
            Update::Job(job) => progress.update(&job)?,
            Update::Status(_) if context.json => {}
            Update::Status(status) => {
                if let Some(line) = slots_line(&status.slots, &context.clock)
                    && slots.as_ref() != Some(&line)
                {
                    progress.show_slots(&line)?;
                    slots = Some(line);
                }
                let lines = suspension_lines(&status);
                for line in lines.iter().filter(|line| !suspended.contains(*line)) {
                    progress.write_note(line)?;
                }
                if lines.is_empty() && !suspended.is_empty() {
                    progress.write_note("nothing is paused any more")?;
                }
                suspended = lines;
            }
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(Exit::Done)
}
