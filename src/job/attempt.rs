//! The numbering of attempts.

use crate::job::id::JobId;

/// The idempotency key of an attempt: `<job id>` for the first, `<job id>.N` for later ones
/// (docs/reference.md#job-states).
pub fn attempt_key(id: JobId, number: u32) -> String {
    if number <= 1 { id.to_string() } else { format!("{id}.{number}") }
}
