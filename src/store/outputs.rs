//! Names planned for outputs before they are published, so that a crash in between can be finished.

use rusqlite::OptionalExtension;

use crate::job::output::OutputKey;
use crate::job::{JobId, TaskId};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::rows::number_of;

/// What is about to be published: committed before the file gets its name.
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
    /// Plans the name an output will be published under. False: another output has that name.
    ///
    /// # Errors
    /// What can befall the database.
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
                        "SELECT 1 FROM outputs WHERE planned = ?1
                         AND NOT (job = ?2 AND task_id = ?3 AND kind = ?4 AND idx = ?5)",
                    )?
                    .exists((&plan.path, nr, task.as_str(), key.kind.as_str(), key.index))?;
                if taken {
                    return Ok(false);
                }
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE outputs SET planned = ?5, bytes = ?6, sha256 = ?7, host = ?8
                         WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4 AND state = 'waiting'",
                    )?
                    .execute((
                        nr,
                        task.as_str(),
                        key.kind.as_str(),
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

    /// The plan of an output that is not stored yet, if one was made before a crash.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn planned_output(
        &self,
        job: JobId,
        task: TaskId,
        key: OutputKey,
    ) -> Result<Option<Plan>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, job)?;
            Ok(connection
                .prepare_cached(
                    "SELECT planned, bytes, sha256, host FROM outputs WHERE job = ?1 AND task_id = ?2 AND kind = ?3
                     AND idx = ?4 AND state = 'waiting' AND planned IS NOT NULL",
                )?
                .query_row((nr, task.as_str(), key.kind.as_str(), key.index), |row| {
                    Ok(Plan {
                        path: row.get(0)?,
                        bytes: row.get::<_, i64>(1)?.unsigned_abs(),
                        sha256: row.get(2)?,
                        host: row.get(3)?,
                    })
                })
                .optional()?)
        })
        .await
    }
}
