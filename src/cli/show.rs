//! `list` and `show`.

use serde_json::{Value, json};

use crate::cli::args::{Filter, List};
use crate::cli::term::{self, say, say_json, tell, text};
use crate::cli::{Api, Context, Exit, Failure};
use crate::clock::Timestamp;

/// The daemon gives so many jobs at once.
const PAGE: u32 = 500;

/// Words of the states that end a job.
const ENDS: [&str; 4] = ["succeeded", "failed", "cancelled", "expired"];

/// Whether a job moves no more by itself.
pub(super) fn rests(job: &Value) -> bool {
    let state = job["state"].as_str().unwrap_or_default();
    ENDS.contains(&state) || state == "held"
}

/// Jobs as the daemon shows them.
pub(super) type Jobs = Vec<Value>;

/// `list`
pub(super) async fn list(context: &Context, list: &List) -> Result<Exit, Failure> {
    let api = context.api()?;
    let (jobs, next) = fetch(&api, &list.filter, list.limit).await?;
    if context.json {
        say_json(&json!({"jobs": jobs, "next_cursor": next}))?;
        return Ok(Exit::Done);
    }
    tell_stops(&api).await?;
    if jobs.is_empty() {
        tell("no jobs; drop a job file into the inbox, or try `dropreel submit FILE`");
        return Ok(Exit::Done);
    }
    let width = term::width();
    let now = context.clock.now();
    let rows = jobs.iter().map(|job| row(job, now, width)).collect();
    say(&term::table(heads(width), rows, width))?;
    if !next.is_null() {
        tell("there are more; see --limit");
    }
    Ok(Exit::Done)
}

/// All jobs that pass a filter, newest first, at most `limit`, and where the next page would begin.
pub(super) async fn fetch(api: &Api, filter: &Filter, limit: u32) -> Result<(Jobs, Value), Failure> {
    let mut jobs = Jobs::new();
    let mut cursor = None;
    loop {
        let left = limit - u32::try_from(jobs.len()).unwrap_or(limit).min(limit);
        let next = page(api, filter, left.min(PAGE), cursor, &mut jobs).await?;
        match next {
            Some(next) if u32::try_from(jobs.len()).unwrap_or(u32::MAX) < limit => cursor = Some(next),
            next => return Ok((jobs, json!(next))),
        }
    }
}

/// The jobs of a job file, all `count` of them; the daemon's answer to the file showed only the `first` ones.
pub(super) async fn made_with(api: &Api, first: Jobs, count: usize) -> Result<Jobs, Failure> {
    let lost = || {
        let message = format!("accepted as {count} jobs, which cannot be told here; see `dropreel list`");
        Failure::new(Exit::Failed, message)
    };
    let first = first.first().map(|job| text(job, "id")).ok_or_else(lost)?;
    let mut jobs = Jobs::new();
    let mut cursor = None;
    // The jobs of a file are made at once: nothing is listed in between them.
    loop {
        let next = page(api, &Filter::default(), PAGE, cursor, &mut jobs).await?;
        if let Some(end) = jobs.iter().position(|job| text(job, "id") == first) {
            jobs.truncate(end + 1);
            jobs.reverse();
            jobs.truncate(count);
            return Ok(jobs);
        }
        cursor = Some(next.ok_or_else(lost)?);
    }
}

/// Adds a page of a list to `jobs`, and returns where the next one begins, if there is one.
async fn page(
    api: &Api,
    filter: &Filter,
    size: u32,
    cursor: Option<String>,
    jobs: &mut Jobs,
) -> Result<Option<String>, Failure> {
    let size = size.to_string();
    let mut query: Vec<(&str, &str)> = vec![("limit", &size)];
    query.extend(filter.state.as_deref().map(|state| ("state", state)));
    query.extend(filter.labels.iter().map(|label| ("label", label.as_str())));
    query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
    let mut page = api.get(&["api", "v1", "jobs"], &query).await?;
    if let Some(found) = page["jobs"].as_array_mut() {
        jobs.append(found);
    }
    Ok(page["next_cursor"].as_str().map(str::to_owned))
}

/// Tells what stands still: shown on every screen, for a job may wait for it.
pub(super) async fn tell_stops(api: &Api) -> Result<(), Failure> {
    let status = api.get(&["api", "v1", "status"], &[]).await?;
    stops(&status).iter().for_each(|stop| tell(stop));
    Ok(())
}

/// What stands still, a line each.
pub(super) fn stops(status: &Value) -> Vec<String> {
    let stops = status["suspensions"].as_array().into_iter().flatten();
    stops
        .map(|stop| match stop["until"].as_str() {
            Some(until) => format!("! {} (until {})", text(stop, "message"), term::plain(until)),
            None => format!("! {}", text(stop, "message")),
        })
        .collect()
}

/// Whether a list so wide has room for the model.
fn is_roomy(width: Option<u16>) -> bool {
    width.is_none_or(|width| width >= 100)
}

fn heads(width: Option<u16>) -> &'static [&'static str] {
    if is_roomy(width) {
        &["NAME", "STATE", "%", "MODEL", "AGE", "ID"]
    } else {
        &["NAME", "STATE", "%", "AGE", "ID"]
    }
}

fn row(job: &Value, now: Timestamp, width: Option<u16>) -> Vec<String> {
    let made = job["created_at"].as_str().and_then(Timestamp::parse_rfc3339);
    let age = made.map_or_else(String::new, |made| term::span(now.since(made).as_secs()));
    let mut row = vec![text(job, "name"), text(job, "state"), text(job, "progress")];
    if is_roomy(width) {
        row.push(text(job, "model"));
    }
    row.extend([age, text(job, "id")]);
    row
}

/// `show`
pub(super) async fn show(context: &Context, reference: &str) -> Result<Exit, Failure> {
    let api = context.api()?;
    let job = api.job(reference).await?;
    if context.json {
        say_json(&job)?;
    } else {
        tell_stops(&api).await?;
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
        let mut long = job();
        long["name"] = json!("樱花树下 ".repeat(12).trim_end());
        long["state"] = json!("downloading");
        let jobs = [job(), long];
        for (name, width) in [("list-80", Some(80)), ("list-120", Some(120)), ("list-piped", None)] {
            let rows = jobs.iter().map(|job| row(job, now, width)).collect();
            is_golden(name, &term::table(heads(width), rows, width));
        }
    }
}
