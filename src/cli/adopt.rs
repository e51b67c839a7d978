//! `adopt`: tracks tasks that were made elsewhere.

use crate::api::adopt::{AdoptRequest, AdoptResult, MAX_ADOPTED};
use crate::cli::args::AdoptArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::cli::terminal::{eprint_line, print_json, print_line};

/// `adopt`
pub(crate) async fn adopt(context: &Context, args: &AdoptArgs) -> Result<Exit, CliError> {
    if args.task_ids.len() > MAX_ADOPTED {
        return Err(CliError::usage(format!("adopt at most {MAX_ADOPTED} tasks at a time")));
    }
    let request = AdoptRequest { task_ids: args.task_ids.clone(), name: args.name.clone() };
    let result = context.client()?.adopt(&request).await?;
    if context.json {
        print_json(&result)?;
    } else {
        for line in job_lines(&result) {
            print_line(&line)?;
        }
    }
    for error in &result.errors {
        eprint_line(&printable(&format!("{}: {}", error.task_id, error.message)));
    }
    Ok(if result.errors.is_empty() { Exit::Done } else { Exit::Failed })
}

fn job_lines(result: &AdoptResult) -> Vec<String> {
    let line = |job: &crate::api::job::JobView| {
        let task = job.task_id.as_deref().unwrap_or_default();
        let before = if result.known.iter().any(|known| known == task) { ", as before" } else { "" };
        printable(&format!("{task}: job {} ({}), {}{before}", job.id, job.name, job.state))
    };
    result.jobs.iter().map(line).collect()
}
