//! `report`: how jobs ended, how long they took, what they cost.

use crate::api::report::{Dispute, ReportTotals, ReportView};
use crate::cli::args::ReportArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{Column, count, duration, hang, printable, table};
use crate::cli::summary::MANY;
use crate::cli::suspensions::balance_line;
use crate::cli::terminal::{eprint_line, print_bytes, print_json, print_line, width};
use crate::clock::Timestamp;
use crate::clock::calendar::Zone;
use crate::money::Quota;
use crate::settings;

/// The columns of `--csv`.
const CSV_HEADER: &str = "group,key,jobs,succeeded,failed,cancelled,expired,success_rate,cost_quota,cost_usd,median_seconds,p95_seconds";

/// `report`
pub(crate) async fn report(context: &Context, args: &ReportArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let since = args.since.as_deref().map(|since| parse_since(since, context.clock.now())).transpose()?;
    let report = client.report(since, args.disputes).await?;
    if args.csv {
        print_bytes(csv(&report).as_bytes())?;
    } else if context.json {
        print_json(&report)?;
    } else {
        match &report.disputes {
            Some(disputes) => print_disputes(disputes)?,
            None => {
                print_report(&report)?;
                balance_line(&client.status().await?).iter().for_each(|line| eprint_line(line));
            }
        }
    }
    Ok(Exit::Done)
}

/// The groups, each with its word and its rows.
fn groups(report: &ReportView) -> Vec<(&'static str, Vec<(&str, &ReportTotals)>)> {
    let groups = [
        ("model", &report.by_model),
        ("label", &report.by_label),
        ("file", &report.by_file),
        ("day", &report.by_day),
    ];
    let of_groups = groups.into_iter().map(|(word, groups)| {
        (word, groups.iter().map(|group| (group.key.as_str(), &group.totals)).collect::<Vec<_>>())
    });
    std::iter::once(("all", vec![("", &report.total)]))
        .chain(of_groups)
        .filter(|(_, rows)| !rows.is_empty())
        .collect()
}

fn print_report(report: &ReportView) -> Result<(), CliError> {
    eprint_line(&format!("jobs that ended {}", span(report)));
    if report.total.jobs == 0 {
        eprint_line("none");
        return Ok(());
    }
    print_line(&report_table(report, width()))
}

/// Abbreviated, so that names and days fit 80 columns.
const COLUMNS: [Column; 10] = [
    Column::cut(""),
    Column::number("JOBS"),
    Column::number("OK"),
    Column::number("FAILED"),
    Column::number("CANC"),
    Column::number("EXP"),
    Column::number("RATE"),
    Column::number("COST"),
    Column::number("MEDIAN"),
    Column::number("P95"),
];

fn report_table(report: &ReportView, width: Option<u16>) -> String {
    let mut lines = Vec::new();
    for (group, rows) in groups(report) {
        if group != "all" {
            lines.push(vec![String::new()]);
            lines.push(vec![format!("by {group}")]);
        }
        // A person reads those with the most jobs.
        let shown = width.map_or(rows.len(), |_| MANY);
        for (key, totals) in rows.iter().take(shown) {
            lines.push(row(if key.is_empty() { group } else { key }, totals));
        }
        if let Some(left) = rows.len().checked_sub(shown).filter(|left| *left > 0) {
            lines.push(vec![format!("and {left} more")]);
        }
    }
    lines.iter_mut().for_each(|line| line.resize(COLUMNS.len(), String::new()));
    table(&COLUMNS, lines, width)
}

/// From when to when, with the zone of its days.
fn span(report: &ReportView) -> String {
    // The zone of the machine has no name that this one knows.
    let zone = Zone::named(&report.time_zone).unwrap_or(Zone::UTC);
    let minute = |time: Timestamp| format!("{} {}", zone.date_of(time), zone.time_of(time));
    format!("from {} to {} {zone}", minute(report.since), minute(report.until))
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
        Quota::new(totals.cost_quota).to_string(),
        whole_seconds(totals.median_seconds),
        whole_seconds(totals.p95_seconds),
    ]
}

fn whole_seconds(seconds: Option<f64>) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds are shown")]
    let seconds = seconds.map(|seconds| seconds.max(0.0) as u64);
    seconds.map_or_else(String::new, duration)
}

/// One table for all groups (RFC 4180).
fn csv(report: &ReportView) -> String {
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let line = |group: &str, key: &str, totals: &ReportTotals| {
        let ReportTotals { jobs, succeeded, failed, cancelled, expired, cost_quota, cost_usd, .. } = totals;
        let (key, rate) = (csv_field(key), number(totals.success_rate));
        let (median, p95) = (number(totals.median_seconds), number(totals.p95_seconds));
        format!(
            "{group},{key},{jobs},{succeeded},{failed},{cancelled},{expired},{rate},{cost_quota},{cost_usd},{median},{p95}\r\n"
        )
    };
    let mut text = format!("{CSV_HEADER}\r\n");
    for (group, rows) in groups(report) {
        rows.iter().for_each(|(key, totals)| text.push_str(&line(group, key, totals)));
    }
    text
}

fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

fn print_disputes(disputes: &[Dispute]) -> Result<(), CliError> {
    if disputes.is_empty() {
        eprint_line("no task was charged without a video");
        return Ok(());
    }
    eprint_line("charged and no video; send this to the provider:");
    print_line(&dispute_text(disputes, width()))
}

/// What to send to the provider, in lines of this width.
fn dispute_text(disputes: &[Dispute], width: Option<u16>) -> String {
    let mut text = hang(
        "",
        "These tasks were charged, but brought no video. Please refund them, or say what for.",
        width,
    );
    text.push_str("\n\n");
    for dispute in disputes {
        let Dispute { task_id, submitted_at, model, charged_quota, why, name, .. } = dispute;
        let usd = Quota::new(*charged_quota);
        // An id stays whole.
        text.push_str(&printable(&format!("task {task_id}")));
        for line in [
            format!("submitted {submitted_at}, model {model}"),
            format!("charged {charged_quota} quota ({usd})"),
            why.clone(),
            format!("our job {} ({name})", dispute.job),
        ] {
            text.push_str(&format!("\n{}", hang("  ", &line, width)));
        }
        text.push_str("\n\n");
    }
    let sum = disputes.iter().fold(Quota::ZERO, |sum, one| sum.plus(Quota::new(one.charged_quota)));
    let tasks = count(disputes.len() as u64, "task");
    text.push_str(&format!("{tasks}, {} quota ({sum}) in total", sum.get()));
    text
}

/// A time span before `now` such as `7d`, a day, or a time, as the daemon takes it. It knows when a day begins.
fn parse_since(since: &str, now: Timestamp) -> Result<String, CliError> {
    if let Ok(span) = settings::duration(since) {
        return Ok(now.minus(span).to_string());
    }
    let is_known = Zone::UTC.start_of(since).is_some() || Timestamp::parse_rfc3339(since).is_some();
    is_known.then(|| since.to_owned()).ok_or_else(|| {
        CliError::usage(format!(
            "--since is a time span (7d, 12h), a day (2026-11-01) or a time, not `{since}`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::report::ReportGroup;
    use crate::job::JobId;
    use crate::job::state::StateName;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    #[test]
    fn csv_has_one_row_for_each_group_and_quotes_what_needs_it() {
        let totals = ReportTotals {
            jobs: 3,
            succeeded: 2,
            failed: 1,
            success_rate: Some(0.5),
            cost_quota: 75_000,
            cost_usd: 0.15,
            median_seconds: Some(61.5),
            ..ReportTotals::default()
        };
        let group = |key: &str| vec![ReportGroup { key: key.into(), totals: totals.clone() }];
        let report = ReportView {
            since: NOW,
            until: NOW,
            time_zone: "UTC".into(),
            total: totals.clone(),
            by_model: group("wan2.6"),
            by_label: group("title=a \"b\", c"),
            by_file: group("春天.json"),
            by_day: group("2026-11-28"),
            disputes: None,
        };
        let values = "3,2,1,0,0,0.5,75000,0.15,61.5,";
        let expected = [
            CSV_HEADER.to_owned(),
            format!("all,,{values}"),
            format!("model,wan2.6,{values}"),
            format!("label,\"title=a \"\"b\"\", c\",{values}"),
            format!("file,春天.json,{values}"),
            format!("day,2026-11-28,{values}"),
            String::new(),
        ];
        assert_eq!(csv(&report).split("\r\n").collect::<Vec<_>>(), expected);
        let columns = |line: &str| line.split(',').count();
        assert_eq!(columns(CSV_HEADER), columns(&expected[1]));
    }

    #[test]
    fn span_is_in_the_zone_of_the_days() {
        let cases = [
            ("Asia/Shanghai", "from 2026-04-04 14:46 to 2026-04-04 14:46 Asia/Shanghai"),
            ("local time", "from 2026-04-04 06:46 to 2026-04-04 06:46 UTC"),
        ];
        for (zone, expected) in cases {
            let report = ReportView {
                since: NOW,
                until: NOW,
                time_zone: zone.into(),
                total: ReportTotals::default(),
                by_model: Vec::new(),
                by_label: Vec::new(),
                by_file: Vec::new(),
                by_day: Vec::new(),
                disputes: None,
            };
            assert_eq!(span(&report), expected);
        }
    }

    #[test]
    fn since_is_a_span_a_day_or_a_time() {
        let day_before = "2026-04-03T06:46:00.000Z";
        for (since, expected) in [
            ("24h", Some(day_before)),
            ("2026-11-01", Some("2026-11-01")),
            ("2026-11-01T00:00:00+08:00", Some("2026-11-01T00:00:00+08:00")),
            ("2026-02-30", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_since(since, NOW).ok().as_deref(), expected, "{since}");
        }
    }

    #[test]
    fn dispute_names_all_that_the_provider_needs() {
        let dispute = |task: &str, charged_quota| Dispute {
            job: JobId::NONE,
            name: "sakura".into(),
            state: StateName::Failed,
            task_id: task.into(),
            model: "wan2.6".into(),
            submitted_at: NOW,
            charged_quota,
            charged_usd: 0.15,
            why: "failed: task_failed: no \u{1b}[2J reason".into(),
        };
        let expected = "\
These tasks were charged, but brought no video. Please refund them, or say what for.

task task-1
  submitted 2026-04-04T06:46:00.000Z, model wan2.6
  charged 75000 quota ($0.15)
  failed: task_failed: no ·[2J reason
  our job 00000000-0000-0000-0000-000000000000 (sakura)

task task-2
  submitted 2026-04-04T06:46:00.000Z, model wan2.6
  charged 5001 quota ($0.01)
  failed: task_failed: no ·[2J reason
  our job 00000000-0000-0000-0000-000000000000 (sakura)

2 tasks, 80001 quota ($0.16) in total";
        assert_eq!(dispute_text(&[dispute("task-1", 75_000), dispute("task-2", 5_001)], None), expected);
    }
}
