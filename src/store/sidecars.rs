//! Sidecars that do not say yet what the database says: recorded in the commit that makes them so, and kept until they
//! are rewritten.

use crate::job::{JobId, TaskId};
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::error::StoreError;
use crate::store::notify::Topic;
use crate::store::writer::{WriteKind, Writing};

/// A file that is about to be published has a sidecar soon.
const OUTDATED: &str =
    "SELECT outdated_sidecars.path, outdated_sidecars.version, jobs.id, attempts.charged_quota,
        outputs.rating, (SELECT labels FROM requests WHERE requests.job = outputs.job), outputs.bucket
    FROM outdated_sidecars
    LEFT JOIN outputs ON outputs.path = outdated_sidecars.path AND outputs.state <> 'lost'
    LEFT JOIN jobs ON jobs.nr = outputs.job
    LEFT JOIN attempts ON attempts.task_id = outputs.task_id
    WHERE outdated_sidecars.path > ?1 AND outputs.state IS DISTINCT FROM 'waiting'
    ORDER BY outdated_sidecars.path LIMIT ?2";

/// A sidecar to rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutdatedSidecar {
    /// The path of its file, below the library.
    pub path: String,
    /// The number of the change that made it so.
    pub version: i64,
    /// What it has to say; `None`: its output is gone.
    pub facts: Option<SidecarFacts>,
}

/// What may change in a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarFacts {
    /// The job of the file.
    pub job: JobId,
    /// The address of the bucket that it is in; `None`: it is in the folder.
    pub bucket: Option<String>,
    /// What the task that made it was charged.
    pub cost: Option<Quota>,
    /// What a person gave it.
    pub rating: Option<u8>,
    /// The labels of the job, as JSON.
    pub labels: Option<String>,
}

/// Records that the sidecars of a task's files must be rewritten.
pub(super) fn outdate_sidecars(writing: &mut Writing<'_>, nr: i64, task: &TaskId) -> Result<(), StoreError> {
    let outdated = writing
        .connection
        .prepare_cached(
            "INSERT INTO outdated_sidecars (path, version)
             SELECT path, 1 FROM outputs WHERE job = ?1 AND task_id = ?2 AND path IS NOT NULL
             ON CONFLICT (path) DO UPDATE SET version = outdated_sidecars.version + 1",
        )?
        .execute((nr, task.as_str()))?;
    if outdated > 0 {
        writing.notify(Topic::Sidecars);
    }
    Ok(())
}

/// Records that the sidecar of a file must be rewritten.
pub(super) fn outdate_sidecar(writing: &mut Writing<'_>, path: &str) -> Result<(), StoreError> {
    writing
        .connection
        .prepare_cached(
            "INSERT INTO outdated_sidecars (path, version) VALUES (?1, 1)
             ON CONFLICT (path) DO UPDATE SET version = outdated_sidecars.version + 1",
        )?
        .execute([path])?;
    writing.notify(Topic::Sidecars);
    Ok(())
}

impl Store {
    /// The first `limit` sidecars to rewrite whose paths come after `after`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn outdated_sidecars(
        &self,
        after: String,
        limit: u32,
    ) -> Result<Vec<OutdatedSidecar>, StoreError> {
        self.read(move |connection| outdated_in(connection, &after, limit)).await
    }

    /// A sidecar says what it had to say. It stays recorded if that has changed since.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn sidecar_rewritten(&self, path: String, version: i64) -> Result<(), StoreError> {
        self.writer
            .write_as(WriteKind::Background, move |writing| {
                let sql = "DELETE FROM outdated_sidecars WHERE path = ?1 AND version = ?2";
                writing.connection.prepare_cached(sql)?.execute((&path, version))?;
                Ok(())
            })
            .await
    }
}

fn outdated_in(connection: &Connection, after: &str, limit: u32) -> Result<Vec<OutdatedSidecar>, StoreError> {
    let mut statement = connection.prepare_cached(OUTDATED)?;
    let outdated = statement.query_map((after, limit), |row| {
        let (job, cost, rating): (Option<JobId>, _, _) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let (labels, bucket) = (row.get(5)?, row.get(6)?);
        let facts = job.map(|job| SidecarFacts { job, bucket, cost, rating, labels });
        Ok(OutdatedSidecar { path: row.get(0)?, version: row.get(1)?, facts })
    })?;
    Ok(outdated.collect::<Result<_, _>>()?)
}

/// The statement, so that a test can check its query plan.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("outdated sidecars", OUTDATED.to_owned())]
}

#[cfg(test)]
mod tests;
