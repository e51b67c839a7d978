//! How many jobs there are: by state, and of the unfinished ones also by model.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::error::StoreError;

/// Unfinished jobs of one state and model.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their state.
    pub state: StateName,
    /// Their model.
    pub model: String,
    /// The number of jobs.
    pub jobs: i64,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
}

/// Counts of unfinished jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct UnfinishedJobs {
    /// By state and model.
    pub unfinished: Vec<Group>,
    /// When the first link of an output that is not downloaded expires.
    pub nearest_expiry: Option<Timestamp>,
}

/// How many jobs are in each state. Staged jobs are pending; counting them by their files keeps to the index.
const COUNTS: &str = "SELECT state, count(*) - CASE state
        WHEN 'pending' THEN (SELECT coalesce(sum(jobs), 0) FROM batches WHERE staged = 1) ELSE 0 END AS visible
    FROM jobs GROUP BY state HAVING visible > 0";
const UNFINISHED: &str = "SELECT state, model, count(*), min(created_at) FROM jobs INDEXED BY jobs_by_state
    WHERE state IN ('pending', 'submitting', 'queued', 'processing', 'downloading', 'held') AND jobs.batch NOT IN (SELECT nr FROM batches WHERE staged = 1) GROUP BY state, model";
const NEAREST_EXPIRY: &str = "SELECT expires_at FROM jobs INDEXED BY jobs_to_download
    WHERE download_at IS NOT NULL AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1";

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
                Ok(Group { state: row.get(0)?, model: row.get(1)?, jobs: row.get(2)?, oldest: row.get(3)? })
            })?;
            let unfinished = groups.collect::<Result<_, _>>()?;
            let mut statement = connection.prepare_cached(NEAREST_EXPIRY)?;
            let nearest_expiry = statement.query_row([], |row| row.get(0)).optional()?;
            Ok(UnfinishedJobs { unfinished, nearest_expiry })
        })
        .await
    }
}
