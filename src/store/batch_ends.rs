//! Counts the jobs of each batch that have not ended, and notifies hooks in the commit that ends the last one.

use crate::clock::Timestamp;
use crate::job::notification::JobNotification;
use crate::store::error::StoreError;
use crate::store::hooks::{About, write_calls};
use crate::store::writer::Writing;

/// Adds `more` to the open jobs of a batch. If none is left, the batch has finished.
pub(super) fn add_open_jobs(
    writing: &mut Writing<'_>,
    batch: i64,
    more: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let open: i64 = writing
        .connection
        .prepare_cached("UPDATE batches SET open_jobs = open_jobs + ?2 WHERE nr = ?1 RETURNING open_jobs")?
        .query_row((batch, more), |row| row.get(0))?;
    if open == 0 {
        write_calls(writing, About::Batch(batch), JobNotification::BatchFinished, now)?;
    }
    Ok(())
}
