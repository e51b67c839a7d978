//! An attempt: one paid call with its key and its exact body, committed before it is sent.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::secret::sha256_hex;

/// The idempotency key of a job's attempt: `<job id>` for the first, `<job id>.N` for the others
/// (docs/reference.md#job-states).
pub fn attempt_key(id: JobId, number: u32) -> String {
    if number <= 1 { id.to_string() } else { format!("{id}.{number}") }
}

/// What may be sent: only the store hands one out, after its commit. The body holds the callback URL and so is
/// never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    job: JobId,
    number: u32,
    body: String,
    frozen_at: Timestamp,
}

impl Attempt {
    /// Only for the store: an attempt whose row is committed.
    pub fn restore(job: JobId, number: u32, body: String, frozen_at: Timestamp) -> Self {
        Self { job, number, body, frozen_at }
    }

    /// Whose attempt it is.
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

    /// The body's SHA-256: every send of one key has this one.
    pub fn body_sha256(&self) -> String {
        sha256_hex(self.body.as_bytes())
    }

    /// When it was committed.
    pub fn frozen_at(&self) -> Timestamp {
        self.frozen_at
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("key", &self.key()).finish_non_exhaustive()
    }
}
