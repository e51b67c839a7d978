//! Lists of jobs: the conditions of a filter; active and finished jobs; links that expire soon; jobs of one file; the change feed.

use std::collections::BTreeMap;

use crate::api::batch::batch_id;
use crate::api::list::{JobFilter, RatingFilter};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::db::{self, Connection, OptionalExtension, Row, Value};
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;
use crate::store::job_rows::{NOT_STAGED, number_of};
use crate::store::needs::{CAUSE, IN_NEED};
use crate::store::prices::set_prices;
use crate::store::search::HAS_WORDS;

/// What a list shows of where a job comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOrigin {
    /// The id of its batch.
    pub batch: String,
    /// The name of its job file.
    pub file: Option<String>,
    /// The seed of its request, as it is written.
    pub seed: Option<String>,
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
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'submitting' ORDER BY nr LIMIT ?1) AS a UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'queued' ORDER BY nr LIMIT ?1) AS b UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'processing' ORDER BY nr LIMIT ?1) AS c UNION ALL
        SELECT nr FROM (SELECT nr FROM jobs WHERE state = 'downloading' ORDER BY nr LIMIT ?1) AS d)
    ORDER BY jobs.nr LIMIT ?1";
const FINISHED: &str = "jobs.state = ?1 AND jobs.finished_at IS NOT NULL AND jobs.finished_at >= ?2 AND jobs.dismissed_at IS NULL
    ORDER BY jobs.finished_at DESC LIMIT ?3";
const EXPIRING: &str = "jobs.download_at IS NOT NULL AND jobs.expires_at < ?1
    ORDER BY jobs.expires_at, jobs.nr LIMIT ?2";
/// Where a job comes from. Long requests, which hold whole pictures, are not read for it.
const ORIGIN: &str = "SELECT jobs.batch, batches.file_name,
        CASE WHEN octet_length(requests.body) <= ?2 THEN requests.body END
    FROM jobs JOIN requests ON requests.job = jobs.nr JOIN batches ON batches.nr = jobs.batch WHERE jobs.id = ?1";
const MAX_REQUEST_BYTES: u32 = 64 * 1024;
/// SQLite seeks by the first of the two bounds; the second makes the index usable.
const CHANGED: &str = "jobs.last_change > ?1 AND jobs.last_change > 0 ORDER BY jobs.last_change LIMIT ?2";

impl Store {
    /// Where each of these jobs comes from.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn origins(&self, ids: Vec<JobId>) -> Result<BTreeMap<JobId, JobOrigin>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(ORIGIN)?;
            let mut origins = BTreeMap::new();
            for id in ids {
                let read = |row: &Row<'_>| {
                    let seed = row.text(2)?.and_then(seed_of);
                    Ok(JobOrigin { batch: batch_id(row.get(0)?), file: row.get(1)?, seed })
                };
                if let Some(origin) = statement.query_row((id, MAX_REQUEST_BYTES), read).optional()? {
                    origins.insert(id, origin);
                }
            }
            Ok(origins)
        })
        .await
    }

    /// These jobs, in this order, without those that no longer exist.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn jobs_by_id(&self, ids: Vec<JobId>) -> Result<Vec<JobDetails>, StoreError> {
        self.read_priced(move |connection| {
            let mut jobs = Vec::with_capacity(ids.len());
            for id in ids {
                jobs.extend(details_where(connection, "jobs.id = ?1", [id])?);
            }
            Ok(jobs)
        })
        .await
    }

    /// Jobs that are submitted and not finished, oldest first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn active_jobs(&self, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read_priced(move |connection| details_where(connection, ACTIVE, [limit])).await
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
        self.read_priced(move |connection| details_where(connection, FINISHED, (state, since, limit))).await
    }

    /// Jobs to download whose first link expires before `until`, the most urgent first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn expiring_jobs(&self, until: Timestamp, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read_priced(move |connection| details_where(connection, EXPIRING, (until, limit))).await
    }

    /// The job file that a job came in, with up to `each_side` of its jobs before and after it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn jobs_of_same_file(&self, id: JobId, each_side: u32) -> Result<JobsOfFile, StoreError> {
        let book = self.prices.read().clone();
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
            set_prices(connection, &book, &mut near)?;
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
        self.read_priced(move |connection| details_where(connection, CHANGED, (after, limit))).await
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(last_change(connection)?)).await
    }
}

/// The seed of a request, as it is written.
fn seed_of(request: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Seeded<'r> {
        #[serde(borrow)]
        seed: &'r serde_json::value::RawValue,
    }
    Some(serde_json::from_str::<Seeded<'_>>(request).ok()?.seed.get().to_owned())
}

pub(super) fn last_change(connection: &Connection) -> db::Result<i64> {
    connection.query_row("SELECT coalesce(max(last_change), 0) FROM jobs WHERE last_change > 0", [], |row| {
        row.get(0)
    })
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
        conditions.push(HAS_WORDS.into());
        values.push(text.clone().into());
    }
    if let Some(file) = &filter.file {
        let (condition, of_file) = of_file(file);
        conditions.push(condition);
        values.extend(of_file);
    }
    if let Some(folder) = &filter.folder {
        conditions.push(
            "jobs.nr IN (SELECT job FROM labels WHERE key = 'folder' AND (value = ? OR value >= ? AND value < ?))"
                .into(),
        );
        values.extend(folder_bounds(folder));
    }
    if let Some(batch) = filter.batch {
        conditions.push("jobs.batch = ?".into());
        values.push(batch.into());
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
    if filter.needs || filter.cause.is_some() {
        conditions.push(IN_NEED.into());
    }
    if let Some(cause) = &filter.cause {
        conditions.push(format!("{CAUSE} = ?"));
        values.push(cause.clone().into());
    }
    if let Some(model) = &filter.model {
        conditions.push("jobs.model = ?".into());
        values.push(model.clone().into());
    }
    (conditions, values)
}

/// A folder, and what lies between its subfolders and what follows them.
pub(super) fn folder_bounds(folder: &str) -> [Value; 3] {
    let folder = folder.trim_matches('/');
    // `0` follows `/`.
    [folder.to_owned(), format!("{folder}/"), format!("{folder}0")].map(Value::from)
}

/// The condition that a job came in this file, named with or without its folder.
pub(super) fn of_file(file: &str) -> (String, Vec<Value>) {
    // As in the index `batches_by_name`.
    let name = "substr(file_name, length(rtrim(file_name, replace(file_name, '/', ''))) + 1)";
    let condition = format!(
        "jobs.batch IN (SELECT nr FROM batches WHERE {name} = ? AND file_name IS NOT NULL
            AND (file_name = ? OR substr(file_name, length(file_name) - length(?)) = '/' || ?))"
    );
    let own_name = file.rsplit('/').next().unwrap_or(file);
    (condition, [own_name, file, file, file].map(|text| Value::from(text.to_owned())).into())
}

/// The frequent statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = [("finished", FINISHED), ("expiring", EXPIRING), ("changed", CHANGED)];
    fixed.map(|(name, condition)| (name, super::details::select_where(condition))).into()
}

#[cfg(test)]
mod tests;
