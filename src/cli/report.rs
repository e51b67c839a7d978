//! `report`: how jobs ended, how long they took, what they cost.

use serde_json::Value;

use crate::cli::args::Report;
use crate::cli::term::{self, say, say_json, tell, text};
use crate::cli::{Context, Exit, Failure};
use crate::clock::Timestamp;
use crate::settings;

/// `report`
pub(super) async fn report(context: &Context, asked: &Report) -> Result<Exit, Failure> {
    let api = context.api()?;
    let since = asked.since.as_deref().map(|since| moment(context, since)).transpose()?;
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(since.as_deref().map(|since| ("since", since)));
    query.extend(asked.disputes.then_some(("disputes", "true")));
    let report = api.get(&["api", "v1", "report"], &query).await?;
    if context.json {
        say_json(&report)?;
        return Ok(Exit::Done);
    }
    if asked.disputes {
        return disputes(&report);
    }
    let day = |key: &str| text(&report, key).chars().take(16).collect::<String>().replace('T', " ");
    tell(&format!("what ended from {} to {} UTC", day("since"), day("until")));
    if report["total"]["jobs"] == 0 {
        tell("nothing");
        return Ok(Exit::Done);
    }
    let mut rows = vec![row("all", &report["total"])];
    for (title, key) in [("model", "by_model"), ("label", "by_label"), ("day", "by_day")] {
        let groups = report[key].as_array().into_iter().flatten();
        let mut groups: Vec<_> = groups.map(|group| row(&text(group, "key"), group)).collect();
        if !groups.is_empty() {
            rows.push(vec![String::new()]);
            rows.push(vec![format!("by {title}")]);
            rows.append(&mut groups);
        }
    }
    let heads = ["", "JOBS", "OK", "FAILED", "CANCELLED", "EXPIRED", "SUCCESS", "COST", "TIME", "LONGEST"];
    rows.iter_mut().for_each(|row| row.resize(heads.len(), String::new()));
    say(&term::table(&heads, rows, term::width()))?;
    Ok(Exit::Done)
}

fn row(name: &str, sums: &Value) -> Vec<String> {
    let count = |key: &str| sums[key].as_u64().unwrap_or(0).to_string();
    let span = |key: &str| {
        // Shown in whole seconds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let seconds = sums[key].as_f64().map(|seconds| seconds.max(0.0) as u64);
        seconds.map_or_else(String::new, term::span)
    };
    let rate = sums["success_rate"].as_f64();
    vec![
        term::plain(name),
        count("jobs"),
        count("succeeded"),
        count("failed"),
        count("cancelled"),
        count("expired"),
        rate.map_or_else(String::new, |rate| format!("{:.0}%", rate * 100.0)),
        format!("${:.2}", sums["cost_usd"].as_f64().unwrap_or(0.0)),
        span("average_seconds"),
        span("longest_seconds"),
    ]
}

fn disputes(report: &Value) -> Result<Exit, Failure> {
    let jobs: Vec<&Value> = report["disputes"].as_array().into_iter().flatten().collect();
    if jobs.is_empty() {
        tell("nothing was charged without a video");
        return Ok(Exit::Done);
    }
    let sum: f64 = jobs.iter().filter_map(|job| job["cost_usd"].as_f64()).sum();
    let why = |job: &Value| match job["error"]["message"].as_str() {
        Some(message) => term::plain(message),
        None => text(job, "reason"),
    };
    let row = |job: &&Value| {
        let cost = format!("${:.2}", job["cost_usd"].as_f64().unwrap_or(0.0));
        vec![text(job, "name"), text(job, "state"), text(job, "task_id"), cost, why(job)]
    };
    say(&term::table(
        &["NAME", "STATE", "TASK", "COST", "WHY"],
        jobs.iter().map(row).collect(),
        term::width(),
    ))?;
    tell(&format!(
        "{} jobs were charged ${sum:.2} and have no video: ask the provider, by their task ids",
        jobs.len()
    ));
    Ok(Exit::Done)
}

/// A span before now, such as `7d`, a day, or a moment; as RFC 3339.
fn moment(context: &Context, since: &str) -> Result<String, Failure> {
    if let Ok(span) = settings::duration(since) {
        return Ok(context.clock.now().minus(span).to_string());
    }
    let whole = if since.len() == 10 { format!("{since}T00:00:00Z") } else { since.to_owned() };
    Timestamp::parse_rfc3339(&whole).map(|at| at.to_string()).ok_or_else(|| {
        let message = format!("--since is a span (7d, 12h), a day (2026-11-01) or a time, not `{since}`");
        Failure::new(Exit::Usage, message)
    })
}
