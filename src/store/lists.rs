//! Lists of jobs: by a filter, in pages; active and finished jobs; links that expire soon; jobs of one file; the change feed.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::api::list::{JobFilter, MAX_PAGE, RatingFilter};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;
use crate::store::job_files::staging::NOT_STAGED;
use crate::store::job_rows::number_of;

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub jobs: Vec<JobDetails>,
    /// Where the next page begins, if there is one.
    pub next: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JobsOfFile {
    /// The file's name as dropped; `None` for posted jobs without one.
    pub file_name: Option<String>,
    /// The number of its jobs.
    pub jobs: u64,
    /// The job itself and its neighbours, in the file's order.
    pub near: Vec<JobDetails>,
}

/// The oldest of each state, then of them all: sorting every active job would take milliseconds.
const ACTIVE: &str = "jobs.nr IN (
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'submitting' ORDER BY nr LIMIT ?1) UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'queued' ORDER BY nr LIMIT ?1) UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'processing' ORDER BY nr LIMIT ?1) UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'downloading' ORDER BY nr LIMIT ?1))
    ORDER BY jobs.nr LIMIT ?1";
const FINISHED: &str = "jobs.state = ?1 AND jobs.finished_at IS NOT NULL AND jobs.finished_at >= ?2 AND jobs.dismissed_at IS NULL
    ORDER BY jobs.finished_at DESC LIMIT ?3";
const EXPIRING: &str = "jobs.download_at IS NOT NULL AND jobs.expires_at < ?1
    ORDER BY jobs.expires_at, jobs.nr LIMIT ?2";
const CHANGED: &str = "jobs.last_change > ?1 ORDER BY jobs.last_change LIMIT ?2";

impl Store {
    /// The jobs that pass `filter`, newest first, from `cursor` on; at most `limit` and never more than
    /// [`MAX_PAGE`].
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn list(&self, filter: JobFilter, cursor: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        self.read(move |connection| list(connection, &filter, cursor, limit.clamp(1, MAX_PAGE))).await
    }

    /// Jobs that are submitted and not finished, oldest first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn active_jobs(&self, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| details_where(connection, ACTIVE, [limit])).await
    }

    /// Jobs that finished in `state` at `since` or later and that nobody has dismissed, last finished first.
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

    /// The job file that a job came in, with up to `each_side` of its jobs before and after it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn jobs_of_same_file(&self, id: JobId, each_side: u32) -> Result<JobsOfFile, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, id)?;
            let (batch, file_name, jobs): (i64, _, i64) = connection
                .prepare_cached(
                    "SELECT batches.nr, file_name, batches.jobs FROM batches
                     JOIN jobs ON jobs.batch = batches.nr WHERE jobs.nr = ?1",
                )?
                .query_row([nr], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let side = |condition: &str, limit: u32| {
                let condition = format!("jobs.batch = ?1 AND jobs.nr {condition} LIMIT ?3");
                details_where(connection, &condition, (batch, nr, limit))
            };
            let mut near = side("< ?2 ORDER BY jobs.nr DESC", each_side)?;
            near.reverse();
            near.extend(side(">= ?2 ORDER BY jobs.nr", each_side + 1)?);
            Ok(JobsOfFile { file_name, jobs: jobs.unsigned_abs(), near })
        })
        .await
    }

    /// The jobs changed since the change numbered `after`, in the order of their last changes. Each is listed once, in its
    /// current state.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn changes_since(&self, after: i64, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| details_where(connection, CHANGED, (after, limit))).await
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(last_change(connection)?)).await
    }
}

pub(super) fn last_change(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("SELECT last_change FROM jobs ORDER BY last_change DESC LIMIT 1", [], |row| row.get(0))
        .optional()
        .map(|found| found.unwrap_or(0))
}

fn list(
    connection: &Connection,
    filter: &JobFilter,
    cursor: Option<i64>,
    limit: u32,
) -> Result<Page, StoreError> {
    let (mut conditions, mut values) = conditions_of(filter);
    conditions.push("jobs.nr < ?".to_owned());
    values.push(cursor.unwrap_or(i64::MAX).into());
    values.push(i64::from(limit + 1).into());
    let condition = format!("{} ORDER BY jobs.nr DESC LIMIT ?", conditions.join(" AND "));
    let mut jobs = details_where(connection, &condition, params_from_iter(values))?;
    // One more than asked for shows that there is another page.
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next = jobs.last().filter(|_| more).map(|last| last.nr);
    Ok(Page { jobs, next })
}

/// The conditions of a filter, joined by `AND`, and their values.
pub(super) fn conditions_of(filter: &JobFilter) -> (Vec<String>, Vec<Value>) {
    let mut conditions = vec![NOT_STAGED.to_owned()];
    let mut values: Vec<Value> = Vec::new();
    if let Some(state) = filter.state {
        conditions.push("jobs.state = ?".into());
        values.push(state.into_str().to_owned().into());
    }
    for label in &filter.labels {
        conditions.push("jobs.nr IN (SELECT job FROM labels WHERE key = ? AND value = ?)".into());
        values.push(label.key.clone().into());
        values.push(label.value.clone().into());
    }
    if let Some(text) = &filter.text {
        conditions.push(
            "(instr(lower(jobs.name), lower(?)) OR instr(lower(coalesce(requests.prompt, '')), lower(?))
              OR jobs.task_id = ?)"
                .into(),
        );
        values.extend(std::iter::repeat_n(Value::from(text.clone()), 3));
    }
    if let Some(rating) = filter.rating {
        let (condition, value) = match rating {
            RatingFilter::Unrated => ("jobs.rating IS NULL", None),
            RatingFilter::Exactly(rating) => ("jobs.rating = ?", Some(rating)),
            RatingFilter::AtLeast(rating) => {
                ("jobs.nr IN (SELECT nr FROM jobs WHERE rating >= ?)", Some(rating))
            }
        };
        conditions.push(condition.into());
        values.extend(value.map(|rating| Value::from(i64::from(rating))));
    }
    (conditions, values)
}

/// The frequent statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = [("finished", FINISHED), ("expiring", EXPIRING), ("changed", CHANGED)];
    fixed.map(|(name, condition)| (name, super::details::select_where(condition))).into()
}

#[cfg(test)]
mod tests;
