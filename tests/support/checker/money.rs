//! I3: an attempt is committed before it is sent. I4: a job is billed once. I5: every charge belongs to a job. The ledger
//! says what was charged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::database::{Row, Snapshot, is_end};
use super::{ELSEWHERE, Evidence, Findings, When, job_of_key};

/// The longest use of a key, on the provider's clock.
const KEY_LIFETIME: Duration = Duration::from_secs(23 * 3600 + 60);

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let by_key: BTreeMap<&str, &Row> = snapshot.attempts.iter().map(|row| (row.text("key"), row)).collect();
    for (key, used) in evidence.ledger.keys.iter().filter(|(key, _)| !key.starts_with(ELSEWHERE)) {
        let row = by_key.get(key.as_str());
        found.unless(used.bodies.len() == 1, 3, || {
            format!("key {key} was sent with {} bodies", used.bodies.len())
        });
        match row {
            None => found.add(3, format!("key {key} was sent, but there is no attempt for it")),
            Some(row) => {
                let same = used.bodies.iter().all(|body| body == row.text("body_sha256"));
                found.unless(same, 3, || format!("key {key} was sent with another body than the attempt's"));
            }
        }
        let age = used.last.since(used.first);
        found.unless(age < KEY_LIFETIME, 4, || format!("key {key} was used for {age:?}"));
    }
    for arrival in evidence.ledger.requests.iter().filter(|arrival| arrival.call == "submit") {
        found.unless(arrival.key.is_some(), 3, || "a submit without a key".to_owned());
    }
    check_billed_once(evidence, snapshot, found);
    if evidence.when == When::Finally {
        check_orphans(evidence, snapshot, found);
    }
}

fn check_billed_once(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let mut charged: BTreeMap<&str, u32> = BTreeMap::new();
    let mut charged_keys: BTreeMap<&str, u32> = BTreeMap::new();
    for task in evidence.ledger.tasks.iter().filter(|task| task.cost.get() > 0) {
        if let Some(key) = &task.key {
            *charged.entry(job_of_key(key)).or_default() += 1;
            *charged_keys.entry(key).or_default() += 1;
        }
    }
    for (job, times) in charged {
        let extra = evidence.log.extra_charges.get(job).copied().unwrap_or(0);
        found.unless(times <= 1 + extra, 4, || {
            format!("job {job} was charged {times} times; operators allowed {extra} more than one")
        });
    }
    for job in &snapshot.jobs {
        let id = job.text("id");
        let extra = evidence.log.extra_charges.get(id).copied().unwrap_or(0);
        let keys = snapshot.attempts.iter().filter(|row| row.number("job") == job.number("nr"));
        let mut attempts: Vec<_> = keys.map(|row| (row.count("number"), row.text("key"))).collect();
        attempts.sort_unstable();
        // After a charged key only an operator can start another attempt.
        let followed =
            attempts.iter().rev().skip(1).filter(|(_, key)| charged_keys.contains_key(key)).count();
        found.unless(followed <= extra as usize, 4, || {
            format!(
                "job {id} has a further key although an earlier one was charged and no operator asked for it"
            )
        });
    }
}

fn check_orphans(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    for task in evidence.ledger.tasks.iter().filter(|task| task.cost.get() > 0) {
        let id = &task.task_id;
        let owners: Vec<_> = snapshot.attempts.iter().filter(|row| row.text("task_id") == *id).collect();
        let key = task.key.as_deref().unwrap_or_default();
        let owner = match owners.as_slice() {
            [owner] => *owner,
            [] if key.starts_with(ELSEWHERE) => continue,
            // A job held with an unknown outcome has no task id yet, but its key is known.
            [] => match snapshot.attempts.iter().find(|row| row.text("key") == key) {
                Some(attempt) => attempt,
                None => {
                    found.add(5, format!("task {id} was charged but belongs to no job"));
                    continue;
                }
            },
            several => {
                found.add(5, format!("task {id} belongs to {} attempts", several.len()));
                continue;
            }
        };
        let Some(job) = snapshot.job(owner.count("job")) else { continue };
        let state = job.text("state");
        let extra = evidence.log.extra_charges.contains_key(job.text("id"));
        let known = !owners.is_empty() || state == "held" || extra || is_end(state);
        found.unless(known && (is_end(state) || state == "held"), 5, || {
            format!("task {id} was charged, but job {} is {state}", job.text("id"))
        });
        // An operator may cancel a job whose task is unknown; the answer warns that it may have been billed.
        let abandoned = state == "cancelled";
        let lost = owners.is_empty() && state != "held" && !abandoned && !extra;
        found.unless(!lost, 5, || {
            format!("task {id} was charged, but job {} does not know it", job.text("id"))
        });
    }
}
