//! I12: every job settles. I13: calls to the provider keep to rate, limits and suspensions, by the ledger's times.

use std::collections::BTreeMap;
use std::time::Duration;

use dropreel::sandbox::ledger::RequestEntry;

use super::database::{Row, Snapshot, is_end};
use super::{Evidence, Findings, Limits, When};

/// After a refused key or an empty balance, one probe in this time.
const PROBE_INTERVAL: Duration = Duration::from_secs(300);

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    if evidence.when == When::Finally {
        check_settled(snapshot, found);
    }
    let Some(limits) = evidence.log.limits else { return };
    let max_running = evidence.ledger.max_running;
    let has_failed_poll = |task: &str| {
        let of_task = |request: &&RequestEntry| {
            request.call == "status"
                && request.path.ends_with(task)
                && (request.fault.is_some() || request.status != Some(200))
        };
        !task.is_empty()
            && (evidence.log.lost_requests.iter().any(|path| path.ends_with(task))
                || evidence.ledger.requests.iter().any(|request| of_task(&request)))
    };
    // A job gives its place back once it has failed for a minute, though its task may run.
    let has_failed = |job: &&Row| {
        let of_job = |row: &&Row| row.number("job") == job.number("nr");
        let missing = snapshot.history.iter().filter(of_job).any(|row| row.text("event") == "task_missing");
        let sends = snapshot.attempts.iter().filter(of_job).filter_map(|row| row.number("sends")).max();
        missing
            || sends >= Some(5)
            || has_failed_poll(job.text("task_id"))
            || job.number("failing_since").is_some()
    };
    let failed = snapshot.jobs.iter().filter(has_failed).count();
    let allowed = limits.max_running + failed;
    found.unless(max_running <= allowed, 13, || {
        format!("{max_running} tasks ran at the provider at once; {allowed} are allowed")
    });
    let calls: Vec<&RequestEntry> = evidence
        .ledger
        .requests
        .iter()
        .filter(|arrival| !["media", "other"].contains(&arrival.call))
        .collect();
    check_spacing(&calls, &limits, found);
    check_suspensions(&calls, &limits, found);
}

fn check_settled(snapshot: &Snapshot, found: &mut Findings) {
    for job in &snapshot.jobs {
        let (id, state) = (job.text("id"), job.text("state"));
        let explained = !job.text("status_message").is_empty() || !snapshot.suspensions.is_empty();
        let is_settled = is_end(state) || state == "held" || (state == "pending" && explained);
        found.unless(is_settled, 12, || {
            let next = format!("{} at {:?}", job.text("next_action"), job.number("next_action_at"));
            format!("job {id} is still {state} (next: {next}; {})", job.text("status_message"))
        });
    }
    let unprocessed = snapshot.deliveries.iter().filter(|row| row.number("processed") == Some(0)).count();
    found.unless(unprocessed == 0, 12, || format!("{unprocessed} callbacks were stored but never processed"));
}

fn check_spacing(calls: &[&RequestEntry], limits: &Limits, found: &mut Findings) {
    let submits: Vec<_> = calls.iter().filter(|arrival| arrival.call == "submit").collect();
    for pair in submits.windows(2) {
        let apart = pair[1].at.since(pair[0].at);
        found.unless(apart + Duration::from_millis(1) >= limits.submit_spacing, 13, || {
            format!(
                "two submits {apart:?} apart at {}, the rate allows {:?}",
                pair[1].at, limits.submit_spacing
            )
        });
    }
    let mut polls: BTreeMap<&str, &RequestEntry> = BTreeMap::new();
    for arrival in calls.iter().filter(|arrival| arrival.call == "status") {
        if let Some(before) = polls.insert(&arrival.path, arrival) {
            let apart = arrival.at.since(before.at);
            found.unless(apart >= limits.poll_spacing, 13, || {
                format!("{} was polled twice within {apart:?}", arrival.path)
            });
        }
    }
}

fn check_suspensions(calls: &[&RequestEntry], limits: &Limits, found: &mut Findings) {
    for (place, arrival) in calls.iter().enumerate() {
        let Some(fault) = arrival.fault.as_deref() else { continue };
        let effective_from = arrival.at.plus(limits.in_flight);
        if let Some(pause) = fault.strip_prefix("429:").and_then(seconds) {
            let until = arrival.at.plus(pause).minus(Duration::from_secs(1));
            let early = calls[place + 1..].iter().find(|later| later.at > effective_from && later.at < until);
            if let Some(early) = early {
                let wait = early.at.since(arrival.at);
                found.add(
                    13,
                    format!("a {} {wait:?} after a limit of {pause:?} at {}", early.call, arrival.at),
                );
            }
        }
        // What one job gets as an answer concerns that job; what a neutral call gets concerns all.
        let is_suspended = |later: &&&RequestEntry| match (arrival.call, arrival.status) {
            ("models" | "balance", Some(401)) => true,
            ("models" | "balance", Some(402)) => later.call == "submit",
            _ => false,
        };
        let until = arrival.at.plus(PROBE_INTERVAL).minus(Duration::from_secs(1));
        let early = calls[place + 1..]
            .iter()
            .filter(|later| later.at > effective_from && later.at < until)
            .find(is_suspended);
        if let Some(early) = early {
            let (wait, status) = (early.at.since(arrival.at), arrival.status);
            found.add(13, format!("a {} {wait:?} after {status:?} at {}", early.call, arrival.at));
        }
    }
}

/// Parses a duration as the sandbox writes it: `500ms`, `30s`, `5m`, `2h`.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim_end_matches("-done");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}
