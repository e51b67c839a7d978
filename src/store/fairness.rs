//! Whose turn it is to be submitted. Each job keeps the value of the label in `provider.fair_by`, so that the next value is
//! found in an index.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;

use crate::sha256::sha256_hex;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::meta::{get, set};
use crate::store::writer::Writing;

/// A digest of the label that the turns of all jobs are of; absent or 0: of none.
const FAIR_BY: &str = "fair_by";
/// Jobs of any state: one that has ended may be retried.
const RENEW: &str = "UPDATE jobs SET turn = coalesce(
        (SELECT json_each.value FROM requests, json_each(requests.labels) WHERE requests.job = jobs.nr AND json_each.key = ?1), '')";
const CLEAR: &str = "UPDATE jobs SET turn = '' WHERE turn <> ''";

impl Store {
    /// The label whose values take turns.
    pub fn fair_by(&self) -> Option<String> {
        self.fair_by.read().clone()
    }

    /// Uses the label for new jobs without renewing turns: the process that leads does.
    pub fn follow_fair_by(&self, label: Option<String>) {
        *self.fair_by.write() = label;
    }

    /// Sets the label whose values take turns. If it is another one than at the last start, the turns of all jobs are
    /// renewed: some seconds for a million jobs. Call it before the first job is ingested or submitted.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn set_fair_by(&self, label: Option<String>) -> Result<(), StoreError> {
        self.fair_by.write().clone_from(&label);
        let digest = label.as_deref().map_or(0, digest);
        self.writer
            .write(move |writing| {
                if get::<i64>(writing.connection, FAIR_BY)?.unwrap_or(0) == digest {
                    return Ok(());
                }
                match &label {
                    Some(label) => writing.connection.execute(RENEW, [label])?,
                    None => writing.connection.execute(CLEAR, [])?,
                };
                set(writing.connection, FAIR_BY, digest)
            })
            .await
    }
}

/// 40 bits, never 0 but by a chance of 1 to a trillion.
pub(super) fn digest(label: &str) -> i64 {
    let bytes = HEXLOWER.decode(sha256_hex(label.as_bytes()).as_bytes()).unwrap_or_default();
    bytes.iter().take(5).fold(0, |digest, byte| digest << 8 | i64::from(*byte))
}

/// Renews the turn of a job whose labels have changed.
pub(super) fn set_turn(
    writing: &Writing<'_>,
    nr: i64,
    fair_by: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let Some(label) = fair_by else { return Ok(()) };
    let turn = labels.get(label).map_or("", String::as_str);
    writing.connection.prepare_cached("UPDATE jobs SET turn = ?2 WHERE nr = ?1")?.execute((nr, turn))?;
    Ok(())
}

#[cfg(test)]
mod tests;
