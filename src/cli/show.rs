//! `show`: one job in full.

use crate::api::job::{AttemptView, JobView, NeedActionView};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{self, hang, printable, state_word, usd};
use crate::cli::list::short_ids;
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal::{colours, print_json, print_line, width};
use crate::cli::usual::time_note;
use crate::clock::Timestamp;
use crate::clock::calendar::Zone;
use crate::money::Quota;

/// `show`
pub(crate) async fn show(context: &Context, reference: &str) -> Result<Exit, CliError> {
    let client = context.client()?;
    let job = client.job(reference).await?;
    if context.json {
        print_json(&job)?;
    } else {
        eprint_suspensions(&client).await?;
        print_line(&describe(&job, context.clock.now(), &context.clock.zone(), width()))?;
    }
    Ok(Exit::Done)
}

/// What the longest state takes, with the space before it.
const STATE_WIDTH: u16 = 13;

/// The job in lines of this width. Paths and ids stay whole, so that they can be copied.
fn describe(job: &JobView, now: Timestamp, zone: &Zone, width: Option<u16>) -> String {
    let name = hang("", &job.name, width.map(|width| width.saturating_sub(STATE_WIDTH)));
    let mut lines = vec![format!("{name}  {}", state_word(job.state, colours()))];
    let time = |time: &Timestamp| zone.date_and_time_of(*time);
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| hang(&format!("  {name:<12} "), &value, width)));
    };
    fact("id", Some(job.id.to_string()));
    fact("reason", job.reason.clone());
    fact("error", job.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)));
    fact("task", job.task_id.clone());
    fact("model", Some(job.model.clone()));
    fact("prompt", job.prompt.clone());
    fact("progress", (!job.state.is_end()).then(|| format!("{}%", job.progress)));
    fact("time", time_note(job, now));
    fact("priority", (job.priority != 0).then(|| job.priority.to_string()));
    fact("created", Some(format!("{} {zone}", time(&job.created_at))));
    fact("submitted", job.submitted_at.as_ref().map(time));
    fact("completed", job.completed_at.as_ref().map(time));
    fact("finished", job.finished_at.as_ref().map(time));
    fact("link expires", job.expires_at.as_ref().map(time));
    fact("at most", job.max_cost_usd.map(usd));
    fact("estimate", job.estimate_usd.map(usd));
    fact("cost", job.cost_usd.map(usd));
    fact("rating", job.rating.map(|rating| rating.to_string()));
    fact("dismissed", job.dismissed_at.as_ref().map(time));
    fact("batch", Some(job.batch.clone()).filter(|batch| !batch.is_empty()));
    fact("again of", job.again_of.map(|id| id.to_string()));
    for id in job.again_as.iter().flatten() {
        fact("again as", Some(id.to_string()));
    }
    for attempt in job.attempts.iter().flatten() {
        fact("attempt", Some(describe_attempt(attempt, zone)));
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
    for file in &job.files {
        let rated = file.rating.map_or_else(String::new, |rating| format!(", rated {rating}"));
        lines.push(format!("  {:<12} {}", "file", printable(&file.path)));
        lines.push(format!("{:<15}{}{rated}", "", format::bytes(file.bytes)));
    }
    let id = short_ids(&[job.id]).concat();
    for possible in job.actions.iter().flatten() {
        let needs = job.needs.iter().flat_map(|needs| &needs.actions);
        let does = needs.filter(|need| need.action == possible.action).map(describe_need).next();
        let billed = if possible.may_be_billed_again { "  (may be billed again)" } else { "" };
        let (action, does) = (printable(&possible.action), does.unwrap_or_default());
        let command = format!("dropreel {action} {id}{does}{billed}");
        lines.push(hang(&format!("  {:<12} ", "possible"), &command, width));
    }
    if let Some(history) = &job.history {
        lines.push(String::new());
        let longest = history.iter().map(|entry| entry.event.chars().count()).max().unwrap_or(0);
        for entry in history {
            let event = printable(&entry.event);
            let before = format!("  {}  {event:<longest$}  ", time(&entry.at));
            lines.push(hang(&before, &entry.detail, width));
        }
    }
    lines.join("\n")
}

/// ": polls it again, free"
fn describe_need(action: &NeedActionView) -> String {
    let cost = match action.cost_usd {
        None => String::new(),
        Some(0.0) if action.action != "release" => String::new(),
        Some(0.0) => ", free".to_owned(),
        Some(cost) => format!(", about {}", usd(cost)),
    };
    format!(": {}{cost}", action.does)
}

/// "2026-04-04 06:46:00  estimated $0.14 (own), frozen $0.16, charged $0.15".
fn describe_attempt(attempt: &AttemptView, zone: &Zone) -> String {
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
    format!("{}  {}", zone.date_and_time_of(attempt.at), known.join(", ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{NOW, assert_golden, job};
    use crate::job::state::StateName;

    #[test]
    fn job_is_described_in_full() {
        let mut job = job(StateName::Held);
        let shanghai = Zone::named("Asia/Shanghai").unwrap();
        assert_golden("show", &describe(&job, NOW, &shanghai, None));
        job.prompt = Some("春天的樱花树下,花瓣随风飘落。".repeat(9));
        job.reason = Some("the task was not finished in time, so it is asked for now and then. ".repeat(4));
        job.warnings.push("an-address-without-spaces/".repeat(6));
        for entry in job.history.iter_mut().flatten() {
            entry.detail = "what the provider\u{1b}[2J said of it ".repeat(5);
        }
        assert_golden("show-80", &describe(&job, NOW, &shanghai, Some(80)));
    }
}
