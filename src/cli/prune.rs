//! `prune`: forgets what is long over.

use serde_json::{Value, json};

use crate::cli::args::Prune;
use crate::cli::term::{self, say, say_json, tell};
use crate::cli::{Api, Context, Exit, Failure};

/// What was removed so far, or would be.
#[derive(Default)]
struct Sum {
    jobs: u64,
    files: u64,
    bytes: u64,
    failed: u64,
    failure: Option<String>,
}

/// `prune`
pub(super) async fn prune(context: &Context, prune: &Prune) -> Result<Exit, Failure> {
    let api = context.api()?;
    let (counted, mut last) = once(&api, prune, true).await?;
    if prune.dry_run || counted.is_nothing() {
        return told(context, prune, counted, &last);
    }
    if !prune.yes {
        term::ask(&format!(
            "prune {}, older than {}? They are gone for good.",
            counted.what(),
            prune.older_than
        ))?;
    }
    let mut sum = Sum::default();
    loop {
        let (more, answer) = once(&api, prune, false).await?;
        sum.add(more);
        let goes_on = answer["more"] == true;
        last = answer;
        if !goes_on {
            break;
        }
        if term::draws() && !context.json {
            tell(&format!("{} of {}", sum.jobs, counted.what()));
        }
    }
    told(context, prune, sum, &last)
}

async fn once(api: &Api, prune: &Prune, dry_run: bool) -> Result<(Sum, Value), Failure> {
    let body = json!({"older_than": prune.older_than, "dry_run": dry_run});
    let answer = api.post_patiently(&["api", "v1", "prune"], &body).await?;
    let number = |key: &str| answer[key].as_u64().unwrap_or(0);
    let sum = Sum {
        jobs: number("jobs"),
        files: number("files"),
        bytes: number("bytes"),
        failed: number("failed"),
        failure: answer["failure"].as_str().map(term::plain),
    };
    Ok((sum, answer))
}

fn told(context: &Context, prune: &Prune, sum: Sum, last: &Value) -> Result<Exit, Failure> {
    if context.json {
        say_json(&json!({
            "before": last["before"], "dry_run": prune.dry_run, "jobs": sum.jobs, "files": sum.files,
            "bytes": sum.bytes, "failed": sum.failed, "failure": sum.failure,
        }))?;
    } else if sum.is_nothing() && sum.failed == 0 {
        tell(&format!("nothing to prune is older than {}", prune.older_than));
    } else {
        let done = if prune.dry_run { "to prune" } else { "pruned" };
        say(&format!("{done}: {}", sum.what()))?;
    }
    match sum.failure {
        None => Ok(Exit::Done),
        Some(why) => {
            let message = format!("{} files could not be removed: {why}", sum.failed);
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

impl Sum {
    fn is_nothing(&self) -> bool {
        self.jobs == 0 && self.files == 0
    }

    fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.files += other.files;
        self.bytes += other.bytes;
        // What cannot be removed is tried each time.
        self.failed = other.failed;
        self.failure = other.failure;
    }

    fn what(&self) -> String {
        let many = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        format!("{} and {} ({})", many(self.jobs, "job"), many(self.files, "file"), term::bytes(self.bytes))
    }
}
