//! What dropreel itself writes as JSON, recognized by its keys. Dropped into the inbox, it must not be bought: much of it
//! names a model and looks like a job.

/// What an object is that has all of these keys, and what to do with it.
const RECORDS: &[(&[&str], &str)] = &[
    (
        &["job", "task_id", "request", "sha256", "file"],
        "this is the sidecar of a finished file, not a job; to make it again, drop the object under `request`",
    ),
    (
        &["file", "at", "errors"],
        "this is the reason for which a file was rejected, not a job; correct that file and drop it again",
    ),
    (
        &["id", "state", "task_id", "model", "created_at"],
        "this is a job as dropreel prints it, not a job file; to make it again, drop the object under `request`",
    ),
    (&["job", "output", "why", "sha256"], "this is the evidence beside a file in quarantine, not a job"),
];

/// What the object is, if dropreel wrote it.
pub(super) fn kind(has_key: impl Fn(&str) -> bool) -> Option<&'static str> {
    let found = RECORDS.iter().find(|(keys, _)| keys.iter().all(|key| has_key(key)));
    found.map(|(_, what)| *what)
}
