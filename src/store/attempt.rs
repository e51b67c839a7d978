//! The proof that an attempt is committed. It is here so that only the store can make one; as it imports nothing of the
//! store, modules beside the store may name it.

use crate::clock::Timestamp;
use crate::job::attempt::attempt_key;
use crate::job::id::JobId;
use crate::sha256::sha256_hex;

/// A committed attempt: one billable submit with its idempotency key and its exact body. The body contains the callback
/// URL and is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    job: JobId,
    number: u32,
    body: String,
    base_url: Option<String>,
    created_at: Timestamp,
}

impl Attempt {
    /// An attempt whose row is written. The writer returns it once the transaction is committed.
    pub(super) fn new(
        job: JobId,
        number: u32,
        body: String,
        base_url: Option<String>,
        created_at: Timestamp,
    ) -> Self {
        Self { job, number, body, base_url, created_at }
    }

    /// An attempt that is not committed.
    #[cfg(test)]
    pub(crate) fn for_test(job: JobId, number: u32, body: &str, created_at: Timestamp) -> Self {
        Self::new(job, number, body.to_owned(), None, created_at)
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

    /// Where it is sent, each time; `None`: an older version made it, and the settings decide.
    pub fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
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
