//! Lists of batches: the job files that were ingested, with the states and the cost of their jobs.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::api::batch::{BatchView, MAX_BATCH_PAGE, batch_id};
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::error::StoreError;

/// Files whose jobs are visible and not all pruned, newest first.
const FILES: &str = "SELECT nr, file_name, jobs, ingested_at FROM batches
    WHERE nr < ?1 AND staged = 0 AND EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.nr)
    ORDER BY nr DESC LIMIT ?2";
/// The jobs of a file. Without GROUP BY, for which SQLite would sort them.
const JOBS: &str =
    "SELECT state, cost_quota, finished_at FROM jobs INDEXED BY jobs_by_batch WHERE batch = ?1";

impl Store {
    /// The newest batches from `cursor` on, at most `limit` and never more than [`MAX_BATCH_PAGE`], and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn batches(
        &self,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<BatchView>, Option<i64>), StoreError> {
        let limit = limit.clamp(1, MAX_BATCH_PAGE);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(FILES)?;
            // One more than asked for shows that there is another page.
            let rows = statement.query_and_then((cursor.unwrap_or(i64::MAX), limit + 1), |row| {
                Ok::<_, StoreError>((row.get(0)?, read_batch(connection, row)?))
            })?;
            let mut found: Vec<(i64, BatchView)> = rows.collect::<Result<_, _>>()?;
            let more = found.len() > limit as usize;
            found.truncate(limit as usize);
            let next = found.last().filter(|_| more).map(|(nr, _)| *nr);
            Ok((found.into_iter().map(|(_, batch)| batch).collect(), next))
        })
        .await
    }
}

fn read_batch(connection: &Connection, file: &Row<'_>) -> Result<BatchView, StoreError> {
    let nr: i64 = file.get(0)?;
    let mut statement = connection.prepare_cached(JOBS)?;
    let mut rows = statement.query([nr])?;
    let (mut states, mut cost, mut last, mut finished) = (BTreeMap::new(), Quota::ZERO, None, true);
    while let Some(row) = rows.next()? {
        let state: StateName = row.get(0)?;
        *states.entry(state).or_insert(0) += 1;
        cost = cost.plus(row.get::<_, Option<Quota>>(1)?.unwrap_or_default());
        last = last.max(row.get::<_, Option<Timestamp>>(2)?);
        finished &= state.is_end();
    }
    Ok(BatchView {
        id: batch_id(nr),
        file: file.get(1)?,
        jobs: file.get::<_, i64>(2)?.unsigned_abs(),
        states,
        cost_usd: cost.usd(),
        created_at: file.get(3)?,
        finished_at: last.filter(|_| finished),
    })
}

/// The statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("batches", FILES.to_owned()), ("jobs of a batch", JOBS.to_owned())]
}

#[cfg(test)]
mod tests;
