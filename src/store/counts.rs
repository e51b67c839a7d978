//! How many jobs there are: by state, and of the unfinished ones also by model. Read from `job_counts`, so that a million
//! jobs are not counted for a page.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{self, Connection, OptionalExtension};
use crate::store::disputes::wrong_disputes;
use crate::store::error::StoreError;
use crate::store::job_rows::NOT_STAGED;
use crate::store::needs::wrong_needs;

/// Unfinished jobs of one state and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Their state.
    pub state: StateName,
    /// Their model.
    pub model: String,
    /// The number of jobs.
    pub jobs: i64,
}

/// Counts of unfinished jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedJobs {
    /// By state and model.
    pub unfinished: Vec<Group>,
    /// When the oldest job of each state was accepted.
    pub oldest: BTreeMap<StateName, Timestamp>,
    /// When the first link of an output that is not downloaded expires.
    pub nearest_expiry: Option<Timestamp>,
    /// How many have outputs to upload.
    pub to_upload: u64,
}

/// How many jobs are in each state. Staged jobs are pending, and not visible.
const COUNTS: &str = "SELECT state, visible FROM (
        SELECT state, sum(jobs) - CASE state
            WHEN 'pending' THEN (SELECT coalesce(sum(jobs), 0) FROM batches WHERE staged = 1) ELSE 0 END AS visible
        FROM job_counts GROUP BY state) AS counted
    WHERE visible > 0";
pub(super) const UNFINISHED: &str = "SELECT state, model, visible FROM (
        SELECT state, model, jobs - CASE state
            WHEN 'pending' THEN (SELECT count(*) FROM jobs WHERE jobs.model = job_counts.model
                                 AND jobs.batch IN (SELECT nr FROM batches WHERE staged = 1)) ELSE 0 END AS visible
        FROM job_counts WHERE state IN ('pending', 'submitting', 'queued', 'processing', 'downloading', 'held')) AS counted
    WHERE visible > 0";
const NEAREST_EXPIRY: &str = "SELECT expires_at FROM jobs INDEXED BY jobs_to_download
    WHERE download_at IS NOT NULL AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1";
const TO_UPLOAD: &str = "SELECT count(*) FROM jobs INDEXED BY jobs_to_upload WHERE upload_at IS NOT NULL";
/// Rows of `job_counts` that differ from a full count, and groups of jobs that it lacks.
const WRONG: &str = "SELECT (SELECT count(*) FROM (
        SELECT * FROM job_counts WHERE jobs <> 0 OR estimate_quota <> 0
        EXCEPT SELECT state, model, count(*), coalesce(sum(estimate_quota), 0) FROM jobs GROUP BY state, model) AS wrong)
    + (SELECT count(*) FROM (
        SELECT state, model, count(*), coalesce(sum(estimate_quota), 0) FROM jobs GROUP BY state, model
        EXCEPT SELECT * FROM job_counts) AS missing)";

fn oldest() -> String {
    format!(
        "SELECT created_at FROM jobs INDEXED BY jobs_by_state WHERE state = ?1 AND {NOT_STAGED} ORDER BY nr LIMIT 1"
    )
}

/// Adds new jobs to the counts. No trigger does: it would take longer than the job's own row.
pub(super) fn count_new_jobs(
    connection: &Connection,
    state: StateName,
    model: &str,
    (jobs, estimate): (i64, Quota),
) -> Result<(), StoreError> {
    let mut add = connection.prepare_cached(
        "INSERT INTO job_counts VALUES (?1, ?2, ?3, ?4) ON CONFLICT (state, model) DO UPDATE
         SET jobs = job_counts.jobs + ?3, estimate_quota = job_counts.estimate_quota + ?4",
    )?;
    add.execute((state, model, jobs, estimate))?;
    Ok(())
}

/// How many of the counts differ from a full count, with those of jobs in need and of tasks in dispute.
pub(super) fn wrong_counts(connection: &Connection) -> db::Result<i64> {
    let wrong: i64 = connection.query_row(WRONG, [], |row| row.get(0))?;
    Ok(wrong + wrong_needs(connection)? + wrong_disputes(connection)?)
}

impl Store {
    /// How many jobs are in each state; states without any are left out.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn counts(&self) -> Result<BTreeMap<StateName, u64>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(COUNTS)?;
            let counts =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            Ok(counts.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Counts the unfinished jobs.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unfinished_jobs(&self) -> Result<UnfinishedJobs, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(UNFINISHED)?;
            let groups = statement.query_map([], |row| {
                Ok(Group { state: row.get(0)?, model: row.get(1)?, jobs: row.get(2)? })
            })?;
            let unfinished: Vec<Group> = groups.collect::<Result<_, _>>()?;
            let mut statement = connection.prepare_cached(&oldest())?;
            let mut oldest = BTreeMap::new();
            for Group { state, .. } in &unfinished {
                if !oldest.contains_key(state)
                    && let Some(created) = statement.query_row([state], |row| row.get(0)).optional()?
                {
                    oldest.insert(*state, created);
                }
            }
            let mut statement = connection.prepare_cached(NEAREST_EXPIRY)?;
            let nearest_expiry = statement.query_row([], |row| row.get(0)).optional()?;
            let mut statement = connection.prepare_cached(TO_UPLOAD)?;
            let to_upload = statement.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs();
            Ok(UnfinishedJobs { unfinished, oldest, nearest_expiry, to_upload })
        })
        .await
    }
}

/// The frequent statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("oldest of a state", oldest()), ("nearest expiry", NEAREST_EXPIRY.to_owned())]
}
