//! The queries of the page and of metrics: active and finished jobs, links that expire soon, jobs of one file, spending.

use rusqlite::{Connection, OptionalExtension, Params};

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::query::{JobDetails, details_from};
use crate::store::rows::number_of;

/// The jobs of one job file.
#[derive(Clone, Debug, PartialEq)]
pub struct JobsOfFile {
    /// The file's name as dropped; `None` for posted jobs without one.
    pub file_name: Option<String>,
    /// The number of its jobs.
    pub jobs: u64,
    /// The job itself and its neighbours, in the file's order.
    pub near: Vec<JobDetails>,
}

const ACTIVE: &str = "JOIN_REQUESTS WHERE jobs.state IN ('submitting', 'queued', 'processing', 'downloading') \
    ORDER BY jobs.nr LIMIT ?1";
const FINISHED: &str = "JOIN_REQUESTS WHERE jobs.state = ?1 AND jobs.finished_at IS NOT NULL AND jobs.finished_at >= ?2 \
    ORDER BY jobs.finished_at DESC LIMIT ?3";
const EXPIRING: &str = "INDEXED BY jobs_to_download JOIN_REQUESTS WHERE jobs.download_at IS NOT NULL AND jobs.expires_at < ?1 ORDER BY jobs.expires_at, jobs.nr LIMIT ?2";
const SPENT: &str = "SELECT coalesce(sum(cost_quota), 0) FROM jobs \
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL AND finished_at >= ?1";

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

const UNFINISHED: &str = "SELECT state, model, count(*), min(created_at) FROM jobs INDEXED BY jobs_by_state
    WHERE state IN ('pending', 'submitting', 'queued', 'processing', 'downloading', 'held') AND jobs.intake NOT IN (SELECT nr FROM intakes WHERE staged = 1) GROUP BY state, model";
const NEAREST_EXPIRY: &str = "SELECT expires_at FROM jobs INDEXED BY jobs_to_download
    WHERE download_at IS NOT NULL AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1";

impl Store {
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

    /// Jobs that are submitted and not finished, oldest first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn active_jobs(&self, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| details_where(connection, ACTIVE, [limit])).await
    }

    /// Jobs that finished in `state` at `since` or later, last finished first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn ended_jobs(
        &self,
        state: StateName,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| details_where(connection, FINISHED, (state, since, limit))).await
    }

    /// Jobs to download whose first link expires before `until`, the most urgent first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn expiring_jobs(&self, until: Timestamp, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| details_where(connection, EXPIRING, (until, limit))).await
    }

    /// The cost of the jobs that finished at `since` or later.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn spent_since(&self, since: Timestamp) -> Result<Quota, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(SPENT)?;
            Ok(statement.query_row([since], |row| row.get(0))?)
        })
        .await
    }

    /// The job file that a job came in, with up to `each_side` of its jobs before and after it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn jobs_of_same_file(&self, id: JobId, each_side: u32) -> Result<JobsOfFile, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, id)?;
            let (intake, file_name, jobs): (i64, _, i64) = connection
                .prepare_cached(
                    "SELECT intakes.nr, file_name, intakes.jobs FROM intakes
                     JOIN jobs ON jobs.intake = intakes.nr WHERE jobs.nr = ?1",
                )?
                .query_row([nr], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let side = |condition: &str, limit: u32| {
                let rest = format!("JOIN_REQUESTS WHERE jobs.intake = ?1 AND jobs.nr {condition} LIMIT ?3");
                details_where(connection, &rest, (intake, nr, limit))
            };
            let mut near = side("< ?2 ORDER BY jobs.nr DESC", each_side)?;
            near.reverse();
            near.extend(side(">= ?2 ORDER BY jobs.nr", each_side + 1)?);
            Ok(JobsOfFile { file_name, jobs: jobs.unsigned_abs(), near })
        })
        .await
    }
}

/// The statements of the overview page, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn page_statements() -> Vec<(&'static str, String)> {
    let jobs = |rest: &str| format!("SELECT jobs.nr FROM jobs {}", rest.replace("JOIN_REQUESTS", ""));
    vec![("finished", jobs(FINISHED)), ("expiring", jobs(EXPIRING)), ("spent", SPENT.to_owned())]
}

fn details_where(
    connection: &Connection,
    rest: &str,
    values: impl Params,
) -> Result<Vec<JobDetails>, StoreError> {
    let rest = rest.replace("JOIN_REQUESTS", "JOIN requests ON requests.job = jobs.nr");
    details_from(connection, &format!("jobs {rest}"), values)
}
