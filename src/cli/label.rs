//! `label`: sets labels of named jobs, or of all that match a filter, and removes them.

use serde::Serialize;

use crate::api::action::{BulkActionRequest, LabelChanges, RejectedAction};
use crate::cli::actions::{print_selection, selected_jobs};
use crate::cli::args::LabelArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line};
use crate::job::JobId;

/// Most jobs that one request may name.
const MAX_NAMED: usize = 1000;

#[derive(Default, Serialize)]
struct LabelsDocument {
    /// How many jobs have other labels now.
    done: usize,
    /// The first jobs whose labels could not be changed.
    rejected: Vec<RejectedAction>,
}

/// `label`
pub(crate) async fn label(context: &Context, args: &LabelArgs) -> Result<Exit, CliError> {
    let set_labels = changes(args)?;
    let client = context.client()?;
    let jobs = selected_jobs(&client, &args.jobs).await?;
    if args.jobs.dry_run || jobs.is_empty() {
        return print_selection(context, " to label", &jobs);
    }
    if args.jobs.jobs.is_empty() && !args.jobs.yes {
        confirm(&format!("Change the labels of {}?", count(jobs.len() as u64, "job")))?;
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let mut document = LabelsDocument::default();
    for jobs in ids.chunks(MAX_NAMED) {
        let request = BulkActionRequest {
            set_labels: set_labels.clone(),
            jobs: jobs.to_vec(),
            ..BulkActionRequest::default()
        };
        let result = client.act_on_many(&request).await?;
        document.done += result.done;
        document.rejected.extend(result.rejected);
    }
    if context.json {
        print_json(&document)?;
    } else {
        for rejected in &document.rejected {
            eprint_line(&format!("{}: {}", printable(&rejected.name), printable(&rejected.reason)));
        }
        print_line(&format!("labels of {} changed", count(document.done as u64, "job")))?;
    }
    Ok(if document.rejected.is_empty() { Exit::Done } else { Exit::Failed })
}

fn changes(args: &LabelArgs) -> Result<LabelChanges, CliError> {
    let set = args.set.iter().map(|label| (label.key.clone(), Some(label.value.clone())));
    let mut changes = LabelChanges::new();
    for (key, value) in set.chain(args.remove.iter().map(|key| (key.clone(), None))) {
        if changes.insert(key.clone(), value).is_some() {
            return Err(CliError::usage(format!("the label `{key}` is given twice")));
        }
    }
    Ok(changes)
}
