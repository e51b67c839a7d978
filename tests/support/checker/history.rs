//! I8: the database file is sound, and each job's history is a path through the states that ends in its current state.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use super::database::{Row, Snapshot};

const RUNNING: &[&str] = &["pending", "submitting", "queued", "processing", "downloading"];
const ENDS: &[&str] = &["succeeded", "failed", "cancelled", "expired"];
const ANY: &[&str] = &[
    "pending",
    "submitting",
    "queued",
    "processing",
    "downloading",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
    "held",
];

/// The entry of a job that is held because a copy of its refused submit was executed.
const AFTER_REFUSAL: &str = "held after a refusal";

/// A history event, the states in which it can happen, and the states it can lead to; none: the state stays. A release
/// can lead to any running state: only the daemon knows where the job was held from.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("submitting", &["pending", "submitting"], &["submitting"]),
    // Repeated sends are not all in the history, so one may follow that is not.
    ("over_budget", &["pending", "submitting"], &["pending", "submitting"]),
    ("picture_unreachable", &["pending"], &[]),
    ("submit_not_executed", &["submitting"], &["pending", "submitting"]),
    ("submit_outcome_unknown", &["submitting"], &["submitting"]),
    ("submitted", &["submitting", "held"], &["queued"]),
    ("adopted", &["pending", "submitting", "held"], &["queued"]),
    ("processing", &["queued"], &["processing"]),
    ("completed", &["queued", "processing", "downloading", "held"], &["downloading"]),
    ("completed", &["held"], &["held"]),
    ("spooled", &["downloading", "held"], &[]),
    ("stored", &["downloading", "held", "cancelled"], &[]),
    ("succeeded", &["downloading", "held"], &["succeeded"]),
    ("expired", &["downloading", "held"], &["expired"]),
    ("failed", &["submitting", "queued", "processing", "downloading", "held"], &["failed"]),
    ("cancelled", &["pending", "submitting", "queued", "processing", "downloading", "held"], &["cancelled"]),
    ("held", RUNNING, &["held"]),
    (AFTER_REFUSAL, &["failed"], &["held"]),
    ("released", &["held"], RUNNING),
    ("released", RUNNING, RUNNING),
    ("retried", &["failed", "cancelled", "expired", "held"], &["pending"]),
    ("retried", RUNNING, &["pending"]),
    ("cancel_requested", &["submitting", "queued", "processing"], &[]),
    ("cancel_requested", &["held"], &["processing"]),
    ("cancel_accepted", &["queued", "processing"], &[]),
    ("cancel_refused", &["queued", "processing"], &[]),
    ("cancel_abandoned", &["queued", "processing"], &[]),
    ("task_missing", &["queued", "processing"], &[]),
    ("quarantined", &["downloading", "held"], &[]),
    ("link_refused", &["downloading", "held"], &[]),
    ("link_expired", &["downloading", "held"], &[]),
    ("expiring", &["downloading", "held"], &[]),
    ("callback_received", ANY, &[]),
    ("ignored", ANY, &[]),
    ("earlier_task", ANY, &[]),
    ("edited", &["pending", "held"], &["pending"]),
    ("dismissed", &["failed", "expired"], &[]),
    ("undismissed", &["failed", "expired"], &[]),
    ("rated", ANY, &[]),
    ("labelled", ANY, &[]),
    ("task_found", &["held"], &["processing"]),
    ("task_finished", &["held"], &[]),
];

pub fn check(snapshot: &Snapshot, found: &mut Findings) {
    found.unless(snapshot.integrity == "ok", 8, || format!("integrity_check: {}", snapshot.integrity));
    found.unless(snapshot.foreign_keys_broken == 0, 8, || "foreign keys are broken".to_owned());
    found.unless(snapshot.journal_mode == "wal", 8, || format!("journal mode {}", snapshot.journal_mode));
    let mut lines: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for line in &snapshot.history {
        let after_refusal =
            line.text("event") == "held" && line.text("detail").starts_with("task_after_refusal");
        let event = if after_refusal { AFTER_REFUSAL } else { line.text("event") };
        lines.entry(line.count("job")).or_default().push(event);
    }
    for batch in snapshot.batches.iter().filter(|batch| batch.count("staged") != 1) {
        let is_open =
            |job: &&Row| job.count("batch") == batch.count("nr") && !ENDS.contains(&job.text("state"));
        let (counted, open) = (batch.count("open_jobs"), snapshot.jobs.iter().filter(is_open).count());
        found.unless(counted == open as i64, 8, || {
            format!("batch {} counts {counted} open jobs and has {open}", batch.count("nr"))
        });
    }
    for job in &snapshot.jobs {
        let (id, state) = (job.text("id"), job.text("state"));
        let events = lines.remove(&job.count("nr")).unwrap_or_default();
        match final_states(&events) {
            Err(why) => found.add(8, format!("job {id}: {why}; its history: {}", events.join(" "))),
            Ok(ends) => found.unless(ends.contains(state), 8, || {
                format!("job {id} is {state}, but its history ends in {ends:?}: {}", events.join(" "))
            }),
        }
        let reason = !job.text("reason").is_empty() && !job.text("held_from").is_empty();
        found.unless(state != "held" || reason, 8, || format!("job {id} is held without a reason"));
    }
    found.unless(lines.is_empty(), 8, || format!("history of jobs that do not exist: {:?}", lines.keys()));
}

/// The states to which a history can have led.
fn final_states(events: &[&str]) -> Result<BTreeSet<&'static str>, String> {
    if events.first() != Some(&"accepted") {
        return Err("it does not begin with `accepted`".to_owned());
    }
    let mut states = BTreeSet::from(["pending"]);
    for (place, event) in events.iter().enumerate().skip(1) {
        let edges: Vec<_> = EDGES.iter().filter(|(name, ..)| name == event).collect();
        if edges.is_empty() {
            return Err(format!("`{event}` is not a known event"));
        }
        let mut next = BTreeSet::new();
        for (_, from, to) in edges {
            for state in states.iter().filter(|state| from.contains(state)) {
                match to {
                    [] => drop(next.insert(*state)),
                    to => next.extend(to.iter().copied()),
                }
            }
        }
        if next.is_empty() {
            return Err(format!("`{event}` (line {}) cannot happen in {states:?}", place + 1));
        }
        states = next;
    }
    Ok(states)
}
