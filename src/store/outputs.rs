//! Paths planned for outputs before they are published, so that a publication interrupted by a crash can be finished.

use rusqlite::Connection;

use crate::job::output::OutputKey;
use crate::job::{JobId, TaskId};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::rows::number_of;

/// An output about to be published. Committed before the file gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Below the library's folder.
    pub path: String,
    /// The checked file's length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// The host it came from.
    pub host: String,
}

impl Store {
    /// Plans the path of an output. Returns false if another output has this path.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn plan_output(
        &self,
        job: JobId,
        task: TaskId,
        key: OutputKey,
        plan: Plan,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |writing| {
                let nr = number_of(writing.connection, job)?;
                let taken = writing
                    .connection
                    .prepare_cached(
                        "SELECT 1 FROM outputs WHERE path = ?1
                         AND NOT (job = ?2 AND task_id = ?3 AND kind = ?4 AND idx = ?5)",
                    )?
                    .exists((&plan.path, nr, &task, key.kind, key.index))?;
                if taken {
                    return Ok(false);
                }
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE outputs SET path = ?5, bytes = ?6, sha256 = ?7, host = ?8
                         WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4 AND state = 'waiting'",
                    )?
                    .execute((
                        nr,
                        &task,
                        key.kind,
                        key.index,
                        &plan.path,
                        i64::try_from(plan.bytes).unwrap_or(i64::MAX),
                        &plan.sha256,
                        &plan.host,
                    ))?;
                Ok(true)
            })
            .await
    }
}

/// The plans of a task's outputs that are not stored yet, made before a crash.
pub(super) fn plans_in(
    connection: &Connection,
    job: JobId,
    task: &TaskId,
) -> Result<Vec<(OutputKey, Plan)>, StoreError> {
    let nr = number_of(connection, job)?;
    let mut statement = connection.prepare_cached(
        "SELECT kind, idx, path, bytes, sha256, host FROM outputs
         WHERE job = ?1 AND task_id = ?2 AND state = 'waiting' AND path IS NOT NULL",
    )?;
    let plans = statement.query_map((nr, task), |row| {
        let plan = Plan {
            path: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.unsigned_abs(),
            sha256: row.get(4)?,
            host: row.get(5)?,
        };
        Ok((OutputKey { kind: row.get(0)?, index: row.get(1)? }, plan))
    })?;
    Ok(plans.collect::<Result<_, _>>()?)
}
