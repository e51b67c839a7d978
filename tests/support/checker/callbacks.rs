//! I6: every callback answered with 2xx is in the database, and no invalid callback is answered with 2xx.

use std::collections::BTreeMap;

use dropreel::sha256::sha256_hex;

use super::database::Snapshot;
use super::{Evidence, Findings, job_of_key};

/// Most bodies kept for a job; further callbacks are only counted.
const KEPT: usize = 20;

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let is_success = |status: Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
    let mut acknowledged: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let keys: BTreeMap<&str, &str> = evidence
        .ledger
        .tasks
        .iter()
        .filter_map(|task| Some((task.task_id.as_str(), job_of_key(task.key.as_deref()?))))
        .collect();
    for callback in evidence.ledger.callbacks.iter().filter(|callback| is_success(callback.status)) {
        if callback.forged {
            found.add(6, format!("a forged callback for task {} was answered with 2xx", callback.task_id));
        } else if let Some(job) = keys.get(callback.task_id.as_str()) {
            acknowledged.entry(job).or_default().push(&callback.body_sha256);
        }
    }
    for callback in evidence.log.sent_callbacks.iter().filter(|callback| is_success(callback.status)) {
        if callback.valid {
            acknowledged.entry(&callback.job).or_default().push(&callback.sha256);
        } else {
            found.add(6, format!("an invalid callback for job {} was answered with 2xx", callback.job));
        }
    }
    for (id, bodies) in acknowledged {
        let Some(job) = snapshot.job_by_id(id) else {
            found.add(6, format!("a callback for job {id} was answered with 2xx, but there is no such job"));
            continue;
        };
        let kept: Vec<_> =
            snapshot.deliveries.iter().filter(|row| row.number("job") == job.number("nr")).collect();
        let counted: i64 = kept.iter().map(|row| 1 + row.count("overflow")).sum();
        found.unless(counted >= bodies.len() as i64, 6, || {
            format!("{} callbacks for job {id} were answered with 2xx, and {counted} are kept", bodies.len())
        });
        for body in bodies {
            let is_kept = kept.iter().any(|row| sha256_hex(row.bytes("body")) == body);
            found.unless(is_kept || kept.len() >= KEPT, 6, || {
                format!("a callback for job {id} was answered with 2xx, and its body is not kept ({body})")
            });
        }
    }
}
