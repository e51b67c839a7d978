//! I19: an answer counts only for what it is about. The ledger says which key made a task, and whose a link is.

use super::database::{Row, Snapshot};
use super::{ELSEWHERE, Evidence, Findings};

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    for attempt in snapshot.attempts.iter().filter(|attempt| !attempt.text("task_id").is_empty()) {
        check_task(evidence, snapshot, attempt, found);
    }
    for output in &snapshot.outputs {
        check_link(evidence, output, found);
    }
}

/// A task belongs to the attempt whose key made it. One that only a callback names belongs to an attempt of its job whose
/// answer was lost; nothing tells which, if several were.
fn check_task(evidence: &Evidence<'_>, snapshot: &Snapshot, attempt: &Row, found: &mut Findings) {
    let (task, key) = (attempt.text("task_id"), attempt.text("key"));
    let made = evidence.ledger.tasks.iter().find(|made| made.task_id == task);
    let Some(maker) = made.and_then(|made| made.key.as_deref()) else { return };
    // Adopted.
    if maker.starts_with(ELSEWHERE) {
        return;
    }
    // The sandbox was asked to answer with the id of another task.
    let is_misled = |fault: &str| fault.starts_with("same-id");
    let mut submits = evidence.ledger.requests.iter().filter(|arrival| arrival.key.as_deref() == Some(key));
    let was_misled = submits.any(|arrival| arrival.fault.as_deref().is_some_and(is_misled));
    let job_of = |key: &str| key.split('.').next().map(str::to_owned);
    let is_named = job_of(maker) == job_of(key)
        && snapshot.history.iter().any(|row| {
            row.count("job") == attempt.count("job")
                && row.text("event") == "earlier_task"
                && row.text("detail").contains(task)
        });
    found.unless(maker == key || is_named || was_misled, 19, || {
        format!("task {task} was made under key {maker}, but belongs to the attempt with key {key}")
    });
}

/// An output is downloaded from a link of its own task.
fn check_link(evidence: &Evidence<'_>, output: &Row, found: &mut Findings) {
    let (task, link) = (output.text("task_id"), output.text("link"));
    // Links of other hosts are not in the ledger.
    let Some(issued) = evidence.ledger.links.iter().find(|issued| link.ends_with(&issued.link)) else {
        return;
    };
    found.unless(issued.task_id == task, 19, || {
        format!("an output of task {task} has a link that was issued for task {}", issued.task_id)
    });
}
