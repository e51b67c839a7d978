//! An attempt: one billable submit with its key and exact body, committed before it is sent.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::secret::sha256_hex;

/// The idempotency key of an attempt: `<job id>` for the first, `<job id>.N` for later ones
/// (docs/reference.md#job-states).
pub fn attempt_key(id: JobId, number: u32) -> String {
    if number <= 1 { id.to_string() } else { format!("{id}.{number}") }
}

/// An attempt to send. Only the store makes one, after its commit. The body contains the callback URL and is never
/// logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    job: JobId,
    number: u32,
    body: String,
    created_at: Timestamp,
}

impl Attempt {
    /// An attempt whose row is committed. Only for the store.
    pub fn restore(job: JobId, number: u32, body: String, created_at: Timestamp) -> Self {
        Self { job, number, body, created_at }
    }

    /// Its job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// 1 for the first.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The idempotency key.
    pub fn key(&self) -> String {
        attempt_key(self.job, self.number)
    }

    /// The exact bytes to send.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The same for every send of one key.
    pub fn body_sha256(&self) -> String {
        sha256_hex(self.body.as_bytes())
    }

    /// When it was committed.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("key", &self.key()).finish_non_exhaustive()
    }
}
