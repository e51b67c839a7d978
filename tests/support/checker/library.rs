//! I9: published files are complete and never change. I10: a job succeeds only with all outputs. I11: a job expires only
//! after a refusal by the media host and a later status query.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dropreel::sha256::sha256_hex;
use serde_json::Value;

use super::database::{Row, Snapshot};
use super::{Evidence, Findings, When};

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let library = evidence.data_dir.join("videos");
    let now = files(evidence.data_dir);
    for (path, hash) in &evidence.log.published {
        found.unless(now.get(path) == Some(hash), 9, || {
            format!("{path} was published and is now changed or gone")
        });
    }
    for (path, hash) in &now {
        check_published(evidence, snapshot, &library, path, hash, found);
    }
    for row in snapshot.outputs.iter().filter(|row| row.text("state") == "stored") {
        // The test that has the bucket checks it.
        if row.is_set("bucket") {
            continue;
        }
        let path = row.text("path");
        found.unless(now.get(path).is_some_and(|hash| hash == row.text("sha256")), 9, || {
            format!("{path} is stored in the database, but not in the library")
        });
    }
    for job in &snapshot.jobs {
        check_success(evidence, snapshot, job, found);
        if job.text("state") == "expired" {
            check_expired(evidence, job, found);
        }
    }
}

fn check_published(
    evidence: &Evidence<'_>,
    snapshot: &Snapshot,
    library: &Path,
    path: &str,
    hash: &str,
    found: &mut Findings,
) {
    let file = library.join(path);
    let Some(row) = snapshot.outputs.iter().find(|row| row.text("path") == path) else {
        return found.add(9, format!("{path} is in the library, but no output has this path"));
    };
    let metadata = std::fs::metadata(&file);
    let (bytes, mode) = metadata.map_or((0, 0), |found| (found.len(), found.permissions().mode() & 0o777));
    let agrees = row.text("sha256") == hash && row.count("bytes") == i64::try_from(bytes).unwrap_or(-1);
    found.unless(agrees, 9, || format!("{path} differs from its row"));
    found.unless(mode & 0o177 == 0, 15, || format!("{path} has mode {mode:o}"));
    let made = evidence.ledger.tasks.iter().find(|task| task.task_id == row.text("task_id"));
    let known = made.is_some_and(|task| {
        // The ledger has no hash of large files.
        task.outputs
            .iter()
            .any(|output| output.bytes == bytes && (output.sha256 == hash || output.sha256.is_empty()))
    });
    // A host of the test's own, which the ledger does not know.
    let elsewhere = row.text("host") == super::OTHER_HOST;
    found.unless(known || elsewhere || is_changing(evidence, &file), 9, || {
        format!("{path} differs from the provider's output")
    });
    let sidecar = std::fs::read(format!("{}.json", file.display()));
    let sidecar: Value = sidecar.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let same = sidecar["sha256"] == hash && sidecar["bytes"] == bytes && sidecar["file"] == path;
    found.unless(same, 9, || format!("the sidecar of {path} differs from it: {sidecar}"));
    let is_of_it =
        |(name, outdated): &(String, Row)| name == "outdated_sidecars" && outdated.text("path") == path;
    let is_outdated = snapshot.others.iter().any(is_of_it);
    let says_rating = sidecar["rating"].as_i64() == row.number("rating");
    found.unless(says_rating || is_outdated, 9, || {
        format!("the sidecar of {path} has another rating than its row: {sidecar}")
    });
    let of_task = |attempt: &&Row| attempt.text("task_id") == row.text("task_id");
    let cost = snapshot.attempts.iter().find(of_task).and_then(|attempt| attempt.number("charged_quota"));
    let says_cost = sidecar["cost_quota"].as_i64() == cost;
    found.unless(says_cost || is_outdated, 9, || {
        format!("the sidecar of {path} does not say that it cost {cost:?}: {sidecar}")
    });
}

/// Whether the sandbox serves another file at each request: the ledger knows only the first.
fn is_changing(evidence: &Evidence<'_>, file: &Path) -> bool {
    let sidecar = std::fs::read_to_string(format!("{}.json", file.display())).unwrap_or_default();
    sidecar.contains("etag=changes")
        || evidence.ledger.faults.keys().any(|fault| fault.contains("etag=changes"))
}

fn check_success(evidence: &Evidence<'_>, snapshot: &Snapshot, job: &Row, found: &mut Findings) {
    let (id, task) = (job.text("id"), job.text("task_id"));
    let rows: Vec<_> = snapshot
        .outputs
        .iter()
        .filter(|row| row.number("job") == job.number("nr") && row.text("task_id") == task)
        .collect();
    let stored = rows.iter().filter(|row| row.text("state") == "stored").count();
    let made = evidence.ledger.tasks.iter().find(|entry| entry.task_id == task);
    let wanted = made.map_or(0, |entry| entry.outputs.len());
    if job.text("state") == "succeeded" {
        let completed = made.is_some_and(|entry| entry.ended == Some("completed"));
        found.unless(completed && wanted > 0, 10, || {
            format!("job {id} succeeded, but task {task} did not complete")
        });
        found.unless(stored == wanted && rows.len() == wanted, 10, || {
            format!("job {id} succeeded with {stored} of {wanted} outputs stored")
        });
    } else if job.text("state") == "failed" && made.is_some_and(|entry| entry.ended == Some("completed")) {
        found.add(10, format!("job {id} failed, but its task {task} completed"));
    } else if evidence.when == When::Finally
        && wanted > 0
        && stored == wanted
        // The operator gave it up during its download.
        && job.text("state") != "cancelled"
    {
        found
            .add(10, format!("all {wanted} outputs of job {id} are stored, but it is {}", job.text("state")));
    }
}

fn check_expired(evidence: &Evidence<'_>, job: &Row, found: &mut Findings) {
    let (id, task) = (job.text("id"), job.text("task_id"));
    let requests = |call: &'static str| {
        let all = evidence.ledger.requests.iter();
        all.filter(move |arrival| arrival.call == call && arrival.task_id.as_deref() == Some(task))
    };
    let refused = |status: Option<u16>| status.is_some_and(|status| (400..500).contains(&status));
    let first = requests("media").find(|arrival| refused(arrival.status)).map(|arrival| arrival.at);
    let polled = first.is_some_and(|first| requests("status").any(|arrival| arrival.at >= first));
    found.unless(polled || evidence.ledger.requests_not_kept > 0, 11, || {
        format!("job {id} is expired without a refusal by the media host and a later status query")
    });
}

/// The hashes of the library's files by path, without sidecars and hidden folders.
pub fn files(data_dir: &Path) -> BTreeMap<String, String> {
    let library = data_dir.join("videos");
    let mut files = BTreeMap::new();
    let mut folders = vec![library.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if !name.ends_with(".json") {
                let below = path.strip_prefix(&library).expect("below the library").display().to_string();
                let bytes = std::fs::read(&path).unwrap_or_default();
                files.insert(below, sha256_hex(&bytes));
            }
        }
    }
    files
}
