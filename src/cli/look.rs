//! `list` and `show`.

use serde_json::{Value, json};

use crate::cli::args::{Filter, List};
use crate::cli::term::{self, say, say_json, text};
use crate::cli::{Context, Exit, Failure};
use crate::clock::Timestamp;

/// The daemon gives so many jobs at once.
const PAGE: u32 = 500;

/// `list`
pub(super) async fn list(context: &Context, list: &List) -> Result<Exit, Failure> {
    let api = context.api()?;
    let (jobs, next) = fetch(&api, &list.filter, list.limit).await?;
    if context.json {
        say_json(&json!({"jobs": jobs, "next_cursor": next}))?;
        return Ok(Exit::Done);
    }
    let status = api.get(&["api", "v1", "status"], &[]).await?;
    for stop in stops(&status) {
        eprintln!("{stop}");
    }
    if jobs.is_empty() {
        eprintln!("no jobs; drop a job file into the inbox, or try `dropreel submit FILE`");
        return Ok(Exit::Done);
    }
    let width = term::width();
    let now = context.clock.now();
    let rows = jobs.iter().map(|job| row(job, now, width)).collect();
    say(&term::table(heads(width), rows, width))?;
    if !next.is_null() {
        eprintln!("there are more; see --limit");
    }
    Ok(Exit::Done)
}

/// All jobs that pass a filter, newest first, at most `limit`, and where the next page would begin.
pub(super) async fn fetch(
    api: &crate::cli::Api,
    filter: &Filter,
    limit: u32,
) -> Result<(Vec<Value>, Value), Failure> {
    let mut jobs: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let left = limit - u32::try_from(jobs.len()).unwrap_or(limit).min(limit);
        let size = left.min(PAGE).to_string();
        let mut query: Vec<(&str, &str)> = vec![("limit", &size)];
        query.extend(filter.state.as_deref().map(|state| ("state", state)));
        query.extend(filter.labels.iter().map(|label| ("label", label.as_str())));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page = api.get(&["api", "v1", "jobs"], &query).await?;
        if let Some(found) = page["jobs"].as_array_mut() {
            jobs.append(found);
        }
        let next = page["next_cursor"].take();
        match next.as_str() {
            Some(more) if u32::try_from(jobs.len()).unwrap_or(u32::MAX) < limit => {
                cursor = Some(more.to_owned())
            }
            _ => return Ok((jobs, next)),
        }
    }
}

/// What stands still, a line each.
pub(super) fn stops(status: &Value) -> Vec<String> {
    let stops = status["stops"].as_array().into_iter().flatten();
    stops
        .map(|stop| match stop["until"].as_str() {
            Some(until) => format!("! {} (until {})", text(stop, "message"), term::plain(until)),
            None => format!("! {}", text(stop, "message")),
        })
        .collect()
}

fn heads(width: u16) -> &'static [&'static str] {
    if width < 100 {
        &["NAME", "STATE", "%", "AGE", "ID"]
    } else {
        &["NAME", "STATE", "%", "MODEL", "AGE", "ID"]
    }
}

fn row(job: &Value, now: Timestamp, width: u16) -> Vec<String> {
    let made = job["created_at"].as_str().and_then(Timestamp::parse_rfc3339);
    let age = made.map_or_else(String::new, |made| term::span(now.since(made).as_secs()));
    let mut row = vec![text(job, "name"), text(job, "state"), text(job, "progress")];
    if width >= 100 {
        row.push(text(job, "model"));
    }
    row.extend([age, text(job, "id")]);
    row
}

/// `show`
pub(super) async fn show(context: &Context, reference: &str) -> Result<Exit, Failure> {
    let job = context.api()?.get(&["api", "v1", "jobs", reference], &[]).await?;
    if context.json {
        say_json(&job)?;
    } else {
        say(&described(&job))?;
    }
    Ok(Exit::Done)
}

/// A job in full, for people.
fn described(job: &Value) -> String {
    let mut lines = vec![format!("{}  {}", text(job, "name"), term::state(&text(job, "state")))];
    let facts = [
        ("id", "id"),
        ("reason", "reason"),
        ("task", "task_id"),
        ("model", "model"),
        ("prompt", "prompt"),
        ("progress", "progress"),
        ("priority", "priority"),
        ("created", "created_at"),
        ("submitted", "submitted_at"),
        ("completed", "completed_at"),
        ("finished", "finished_at"),
        ("link dies", "expires_at"),
    ];
    for (name, key) in facts {
        let value = text(job, key);
        if !value.is_empty() {
            lines.push(format!("  {name:<10} {value}"));
        }
    }
    if let Some(usd) = job["cost_usd"].as_f64() {
        lines.push(format!("  {:<10} ${usd:.4}", "cost"));
    }
    for (key, value) in job["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), term::plain);
        lines.push(format!("  {:<10} {}={value}", "label", term::plain(key)));
    }
    if job["error"].is_object() {
        lines.push(format!(
            "  {:<10} {}: {}",
            "error",
            text(&job["error"], "code"),
            text(&job["error"], "message")
        ));
    }
    for file in job["files"].as_array().into_iter().flatten() {
        let size = term::bytes(file["bytes"].as_u64().unwrap_or(0));
        lines.push(format!("  {:<10} {}  ({size})", "file", text(file, "path")));
    }
    if let Some(history) = job["history"].as_array() {
        lines.push(String::new());
        for entry in history {
            let time = text(entry, "at");
            let line = format!("  {time}  {:<14} {}", text(entry, "event"), text(entry, "detail"));
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Value {
        json!({
            "id": "01a2069b-5192-7000-8002-4ba8a661699c", "name": "春天\u{1b}[2J", "state": "held",
            "reason": "the task was not finished in time", "task_id": "task-1", "model": "wan2.5-t2v",
            "prompt": "樱花", "progress": 45, "priority": 0, "labels": {"project": "spring"}, "cost_quota": 75000,
            "cost_usd": 0.15, "created_at": "2026-04-04T06:46:00.000Z", "submitted_at": null,
            "files": [{"path": "/videos/a.mp4", "bytes": 2048}], "error": null,
            "history": [{"at": "2026-04-04T06:46:00.000Z", "event": "accepted", "detail": ""}],
        })
    }

    /// After a wanted change write them anew with `DROPREEL_GOLDEN=write` and read the difference.
    fn is_golden(name: &str, shown: &str) {
        let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let shown = format!("{shown}\n");
        if std::env::var_os("DROPREEL_GOLDEN").is_some() {
            std::fs::write(&path, &shown).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), shown);
    }

    #[test]
    fn a_job_is_shown_with_all_that_a_person_needs() {
        is_golden("show", &described(&job()));
    }

    #[test]
    fn a_list_fits_its_terminal_and_keeps_the_whole_id() {
        let now = Timestamp::parse_rfc3339("2026-04-04T07:46:00Z").unwrap();
        for width in [80, 120] {
            is_golden(
                &format!("list-{width}"),
                &term::table(heads(width), vec![row(&job(), now, width)], width),
            );
        }
    }
}
