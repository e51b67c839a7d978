//! Writes what happened to a job into its history.

use crate::clock::Timestamp;
use crate::job::history::HistoryEntry;
use crate::store::error::StoreError;
use crate::store::writer::Writing;

/// Adds entries, in order, in the transaction of the change that they tell of.
pub(super) fn write_history(
    writing: &Writing<'_>,
    nr: i64,
    now: Timestamp,
    entries: &[HistoryEntry],
) -> Result<(), StoreError> {
    for entry in entries {
        writing
            .connection
            .prepare_cached("INSERT INTO history (job, at, event, detail) VALUES (?1, ?2, ?3, ?4)")?
            .execute((nr, now.millis(), entry.event.into_str(), &entry.detail))?;
    }
    Ok(())
}
