//! The sidecar beside each file of the library: how the file was made, and enough to run the job again.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::output::{OutputKind, StoredFile};
use crate::store::details::JobDetails;

/// The sidecar's text: one JSON object. `request` is the user's text, without API key and callback URL, so that it
/// contains no secret of ours.
pub(super) fn text(details: &JobDetails, request: &str, origin: &Origin, file: &StoredFile) -> Vec<u8> {
    let (identity, facts) = (details.job.identity(), details.job.facts());
    let sidecar = Sidecar {
        job: identity.id,
        name: &identity.name,
        task_id: details.job.task().map(crate::job::TaskId::as_str),
        model: &identity.model,
        request: serde_json::from_str(request).ok(),
        labels: &details.labels,
        cost_quota: facts.cost.map(crate::money::Quota::get),
        cost_usd: facts.cost.map(crate::money::Quota::usd),
        created_at: identity.created_at,
        submitted_at: facts.submitted_at,
        completed_at: facts.completed_at,
        stored_at: file.stored_at,
        url_host: &file.host,
        file: &file.path,
        plain_http: origin.plain_http,
        kind: origin.kind.into_str(),
        mime: origin.mime,
        bytes: file.bytes,
        sha256: &file.sha256,
    };
    // Strings, numbers and parsed JSON always serialize.
    let mut text = serde_json::to_vec_pretty(&sidecar).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What a file is, and how it came.
pub(super) struct Origin {
    pub kind: OutputKind,
    pub mime: &'static str,
    /// Without TLS.
    pub plain_http: bool,
}

#[derive(Serialize)]
struct Sidecar<'a> {
    job: JobId,
    name: &'a str,
    task_id: Option<&'a str>,
    model: &'a str,
    request: Option<Box<RawValue>>,
    labels: &'a BTreeMap<String, String>,
    cost_quota: Option<i64>,
    cost_usd: Option<f64>,
    created_at: Timestamp,
    submitted_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    stored_at: Timestamp,
    url_host: &'a str,
    /// Only where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    plain_http: bool,
    file: &'a str,
    kind: &'a str,
    mime: &'a str,
    bytes: u64,
    sha256: &'a str,
}
