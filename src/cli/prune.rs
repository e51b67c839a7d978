//! `prune`: deletes old jobs and old job files.

use serde::Serialize;

use crate::api::prune::{PruneRequest, PruneResult};
use crate::cli::args::PruneArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{bytes, count, printable};
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line, stderr_is_terminal};
use crate::clock::Timestamp;

/// What was deleted, or would be.
#[derive(Serialize)]
struct PruneDocument {
    before: Timestamp,
    dry_run: bool,
    jobs: u64,
    files: u64,
    bytes: u64,
    failed: u64,
    failure: Option<String>,
}

/// `prune`
pub(crate) async fn prune(context: &Context, args: &PruneArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let counted = PruneDocument::new(request(&client, args, true).await?, true);
    if args.dry_run || counted.is_empty() {
        return print_result(context, args, PruneDocument { dry_run: args.dry_run, ..counted });
    }
    if !args.yes {
        let question = format!("Delete {} older than {} for good?", counted.describe(), args.older_than);
        confirm(&question)?;
    }
    let first = request(&client, args, false).await?;
    let mut more = first.more;
    let mut deleted = PruneDocument::new(first, false);
    while more {
        if stderr_is_terminal() && !context.json {
            eprint_line(&format!("{} of {}", deleted.jobs, counted.describe()));
        }
        let next = request(&client, args, false).await?;
        more = next.more;
        deleted.add(next);
    }
    print_result(context, args, deleted)
}

async fn request(client: &ApiClient, args: &PruneArgs, dry_run: bool) -> Result<PruneResult, CliError> {
    client.prune(&PruneRequest { older_than: args.older_than.clone(), dry_run }).await
}

fn print_result(context: &Context, args: &PruneArgs, result: PruneDocument) -> Result<Exit, CliError> {
    if context.json {
        print_json(&result)?;
    } else if result.is_empty() && result.failed == 0 {
        eprint_line(&format!("nothing to prune is older than {}", args.older_than));
    } else {
        let verb = if result.dry_run { "would delete" } else { "deleted" };
        print_line(&format!("{verb} {}", result.describe()))?;
    }
    match &result.failure {
        None => Ok(Exit::Done),
        Some(why) => {
            let files = count(result.failed, "file");
            Err(CliError::failed(format!("{files} could not be deleted: {}", printable(why))))
        }
    }
}

impl PruneDocument {
    fn new(result: PruneResult, dry_run: bool) -> Self {
        let PruneResult { before, jobs, files, bytes, failed, failure, more: _ } = result;
        Self { before, dry_run, jobs, files, bytes, failed, failure }
    }

    fn add(&mut self, next: PruneResult) {
        self.before = next.before;
        self.jobs += next.jobs;
        self.files += next.files;
        self.bytes += next.bytes;
        // Each request tries these files again.
        self.failed = next.failed;
        self.failure = next.failure;
    }

    fn is_empty(&self) -> bool {
        self.jobs == 0 && self.files == 0
    }

    fn describe(&self) -> String {
        let (jobs, files) = (count(self.jobs, "job"), count(self.files, "file"));
        format!("{jobs} and {files} ({})", bytes(self.bytes))
    }
}
