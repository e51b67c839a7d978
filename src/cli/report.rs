//! `report`: how jobs ended, how long they took, what they cost.

use crate::api::job::JobView;
use crate::api::report::{ReportTotals, ReportView};
use crate::cli::args::ReportArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, duration, table};
use crate::cli::terminal::{eprint_line, print_json, print_line, width};
use crate::clock::Timestamp;
use crate::settings;

/// `report`
pub(crate) async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let since = args.since.as_deref().map(|since| parse_since(since, context.clock.now())).transpose()?;
    let report = client.report(since.map(|since| since.to_string()), args.disputes).await?;
    if context.json {
        print_json(&report)?;
        return Ok(Exit::Done);
    }
    match &report.disputes {
        Some(disputes) => print_disputes(disputes)?,
        None => print_report(&report)?,
    }
    Ok(Exit::Done)
}

fn print_report(report: &ReportView) -> Result<(), CliError> {
    let minute = |time: Timestamp| time.to_string().chars().take(16).collect::<String>().replace('T', " ");
    eprint_line(&format!("jobs that ended from {} to {} UTC", minute(report.since), minute(report.until)));
    if report.total.jobs == 0 {
        eprint_line("none");
        return Ok(());
    }
    // Abbreviated, so that names and days fit 80 columns.
    let headers = ["", "JOBS", "OK", "FAILED", "CANC", "EXP", "RATE", "COST", "MEAN", "MAX"];
    let mut rows = vec![row("all", &report.total)];
    for (title, groups) in [("model", &report.by_model), ("label", &report.by_label), ("day", &report.by_day)]
    {
        if !groups.is_empty() {
            rows.push(vec![String::new()]);
            rows.push(vec![format!("by {title}")]);
            rows.extend(groups.iter().map(|group| row(&group.key, &group.totals)));
        }
    }
    rows.iter_mut().for_each(|row| row.resize(headers.len(), String::new()));
    print_line(&table(&headers, rows, width()))
}

fn row(name: &str, totals: &ReportTotals) -> Vec<String> {
    let rate = totals.success_rate.map(|rate| format!("{:.0}%", rate * 100.0));
    vec![
        name.to_owned(),
        totals.jobs.to_string(),
        totals.succeeded.to_string(),
        totals.failed.to_string(),
        totals.cancelled.to_string(),
        totals.expired.to_string(),
        rate.unwrap_or_default(),
        format!("${:.2}", totals.cost_usd),
        whole_seconds(totals.average_seconds),
        whole_seconds(totals.longest_seconds),
    ]
}

fn whole_seconds(seconds: Option<f64>) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds are shown")]
    let seconds = seconds.map(|seconds| seconds.max(0.0) as u64);
    seconds.map_or_else(String::new, duration)
}

fn print_disputes(jobs: &[JobView]) -> Result<(), CliError> {
    if jobs.is_empty() {
        eprint_line("no job was charged without a video");
        return Ok(());
    }
    let row = |job: &JobView| {
        let cost = format!("${:.2}", job.cost_usd.unwrap_or(0.0));
        let why = job.error.as_ref().map(|error| error.message.clone()).or_else(|| job.reason.clone());
        let task = job.task_id.clone().unwrap_or_default();
        vec![job.name.clone(), job.state.to_string(), task, cost, why.unwrap_or_default()]
    };
    let rows = jobs.iter().map(row).collect();
    print_line(&table(&["NAME", "STATE", "TASK", "COST", "WHY"], rows, width()))?;
    let sum: f64 = jobs.iter().filter_map(|job| job.cost_usd).sum();
    let (jobs, have) = (count(jobs.len() as u64, "job"), if jobs.len() == 1 { "has" } else { "have" });
    eprint_line(&format!("{jobs} charged ${sum:.2} in total {have} no video: ask the provider, by task id"));
    Ok(())
}

/// A time span before `now` such as `7d`, a day, or a time.
fn parse_since(since: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    if let Ok(span) = settings::duration(since) {
        return Ok(now.minus(span));
    }
    let time = if since.len() == 10 { format!("{since}T00:00:00Z") } else { since.to_owned() };
    Timestamp::parse_rfc3339(&time).ok_or_else(|| {
        CliError::usage(format!(
            "--since is a time span (7d, 12h), a day (2026-11-01) or a time, not `{since}`"
        ))
    })
}
