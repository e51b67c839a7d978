//! `show`: one job in full.

use crate::api::job::{AttemptView, JobView};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{self, printable, state_word, usd};
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal::{colours, print_json, print_line};
use crate::money::Quota;

/// `show`
pub(crate) async fn show(context: &Context, reference: &str) -> Result<Exit, CliError> {
    let client = context.client()?;
    let job = client.job(reference).await?;
    if context.json {
        print_json(&job)?;
    } else {
        eprint_suspensions(&client).await?;
        print_line(&describe(&job))?;
    }
    Ok(Exit::Done)
}

fn describe(job: &JobView) -> String {
    let mut lines = vec![format!("{}  {}", printable(&job.name), state_word(job.state, colours()))];
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12} {}", printable(&value))));
    };
    let time = |time: &Option<crate::clock::Timestamp>| time.map(|time| time.to_string());
    fact("id", Some(job.id.to_string()));
    fact("reason", job.reason.clone());
    fact("task", job.task_id.clone());
    fact("model", Some(job.model.clone()));
    fact("prompt", job.prompt.clone());
    fact("progress", Some(format!("{}%", job.progress)));
    fact("priority", Some(job.priority.to_string()));
    fact("created", Some(job.created_at.to_string()));
    fact("submitted", time(&job.submitted_at));
    fact("completed", time(&job.completed_at));
    fact("finished", time(&job.finished_at));
    fact("link expires", time(&job.expires_at));
    fact("at most", job.max_cost_usd.map(usd));
    fact("estimate", job.estimate_usd.map(usd));
    fact("cost", job.cost_usd.map(usd));
    fact("rating", job.rating.map(|rating| rating.to_string()));
    fact("dismissed", time(&job.dismissed_at));
    fact("batch", Some(job.batch.clone()).filter(|batch| !batch.is_empty()));
    fact("again of", job.again_of.map(|id| id.to_string()));
    for id in job.again_as.iter().flatten() {
        fact("again as", Some(id.to_string()));
    }
    for attempt in job.attempts.iter().flatten() {
        fact("attempt", Some(describe_attempt(attempt)));
    }
    for (key, value) in &job.labels {
        fact("label", Some(format!("{key}={value}")));
    }
    for default in job.defaults.iter().flatten() {
        fact("default", Some(default.to_string()));
    }
    for warning in &job.warnings {
        fact("warning", Some(warning.clone()));
    }
    fact("error", job.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)));
    for file in &job.files {
        let rated = file.rating.map_or_else(String::new, |rating| format!(", rated {rating}"));
        fact("file", Some(format!("{}  ({}{rated})", file.path, format::bytes(file.bytes))));
    }
    for possible in job.actions.iter().flatten() {
        let cost = if possible.may_be_billed_again { "; it may be billed again" } else { "" };
        fact("possible", Some(format!("dropreel {} {}{cost}", possible.action, job.id)));
    }
    if let Some(history) = &job.history {
        lines.push(String::new());
        let entries = history.iter().map(|entry| {
            let (event, detail) = (printable(&entry.event), printable(&entry.detail));
            format!("  {}  {event:<19} {detail}", entry.at).trim_end().to_owned()
        });
        lines.extend(entries);
    }
    lines.join("\n")
}

/// "2026-04-04T06:46:00.000Z  estimated $0.14 (own), frozen $0.16, charged $0.15".
fn describe_attempt(attempt: &AttemptView) -> String {
    let mut known = Vec::new();
    if let Some(estimate) = attempt.estimate_usd {
        let source = attempt.estimate_source.as_deref().unwrap_or("unknown source");
        known.push(format!("estimated {} ({source})", usd(estimate)));
    }
    let mut amount = |word: &str, quota: Option<i64>| {
        known.extend(quota.map(|quota| format!("{word} {}", Quota::new(quota))));
    };
    amount("frozen", attempt.frozen_quota);
    amount("charged", attempt.charged_quota);
    format!("{}  {}", attempt.at, known.join(", ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{assert_golden, job};
    use crate::job::state::StateName;

    #[test]
    fn job_is_described_in_full() {
        assert_golden("show", &describe(&job(StateName::Held)));
    }
}
