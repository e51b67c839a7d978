//! Reading jobs: one job, lists with filters and cursors, and the change feed.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Params, Row, params_from_iter};

use crate::api::job::HistoryView;
use crate::api::list::{JobFilter, MAX_PAGE};
use crate::job::output::{OutputKind, StoredFile};
use crate::job::state::StateName;
use crate::job::{Job, JobId, Labels};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::job_files::staging::NOT_STAGED;
use crate::store::output_rows::read_stored;
use crate::store::rows::{JobColumns, number_of, read_row};

/// A job with what is only displayed.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDetails {
    /// The number of its row, which a page's cursor is.
    pub(super) nr: i64,
    /// The job.
    pub job: Job,
    /// Its prompt, if it has one.
    pub prompt: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Its files in the library, those of earlier tasks too.
    pub files: Vec<(OutputKind, StoredFile)>,
    /// The number of its last change, for the change feed.
    pub changed: i64,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobDetails>,
    /// Where the next page begins, if there is one.
    pub next: Option<i64>,
}

/// The jobs that a reference matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// One job.
    One(JobId),
    /// None.
    None,
    /// Several; the newest few of them.
    Many(Vec<JobId>),
}

/// How many jobs are in each state. Staged jobs are pending; counting them by their files keeps to the index.
const COUNTS: &str = "SELECT state, count(*) - CASE state
        WHEN 'pending' THEN (SELECT coalesce(sum(jobs), 0) FROM intakes WHERE staged = 1) ELSE 0 END AS visible
    FROM jobs GROUP BY state HAVING visible > 0";

impl Store {
    /// One job.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn details(&self, id: JobId) -> Result<JobDetails, StoreError> {
        self.read(move |connection| details_in(connection, id)).await
    }

    /// A job's history, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn history(&self, id: JobId) -> Result<Vec<HistoryView>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, id)?;
            let mut statement = connection
                .prepare_cached("SELECT at, event, detail FROM history WHERE job = ?1 ORDER BY nr")?;
            let entries = statement.query_map([nr], |row| {
                Ok(HistoryView { at: row.get(0)?, event: row.get(1)?, detail: row.get(2)? })
            })?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The user's own text of a job's request, without the `dropreel` member and the callback URL.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn request(&self, id: JobId) -> Result<String, StoreError> {
        self.read(move |connection| request_in(connection, id)).await
    }

    /// The jobs that pass `filter`, newest first, from `cursor` on; at most `limit` and never more than
    /// [`MAX_PAGE`].
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn list(&self, filter: JobFilter, cursor: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        self.read(move |connection| list(connection, &filter, cursor, limit.clamp(1, MAX_PAGE))).await
    }

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

    /// The jobs changed since the change numbered `after`, in the order of their last changes. Each is listed once, in its
    /// current state.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn changes_since(&self, after: i64, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| {
            let changed = "jobs JOIN requests ON requests.job = jobs.nr
                           WHERE jobs.last_change > ?1 ORDER BY jobs.last_change LIMIT ?2";
            details_from(connection, changed, (after, limit))
        })
        .await
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(last_change(connection)?)).await
    }

    /// Finds a job by its id, by a prefix of its id (at least 6 characters), or by its name.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn find(&self, reference: String) -> Result<Found, StoreError> {
        self.read(move |connection| find(connection, &reference)).await
    }
}

pub(super) fn last_change(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("SELECT last_change FROM jobs ORDER BY last_change DESC LIMIT 1", [], |row| row.get(0))
        .optional()
        .map(|found| found.unwrap_or(0))
}

/// One job.
pub(super) fn details_in(connection: &Connection, id: JobId) -> Result<JobDetails, StoreError> {
    let one = "jobs JOIN requests ON requests.job = jobs.nr WHERE jobs.id = ?1";
    details_from(connection, one, [id])?.pop().ok_or(StoreError::NoSuchJob(id))
}

/// The user's own text of its request.
pub(super) fn request_in(connection: &Connection, id: JobId) -> Result<String, StoreError> {
    let nr = number_of(connection, id)?;
    let mut statement = connection.prepare_cached("SELECT body FROM requests WHERE job = ?1")?;
    Ok(statement.query_row([nr], |row| row.get(0))?)
}

/// The jobs `from` which rows of `jobs` joined with `requests`: what follows the `FROM` of a `SELECT`.
pub(super) fn details_from(
    connection: &Connection,
    from: &str,
    values: impl Params,
) -> Result<Vec<JobDetails>, StoreError> {
    let select = format!("SELECT {}, requests.prompt, requests.labels FROM {from}", JobColumns::SELECT);
    let mut statement = connection.prepare_cached(&select)?;
    statement.query_and_then(values, |row| read_details(connection, row))?.collect()
}

fn read_details(connection: &Connection, row: &Row<'_>) -> Result<JobDetails, StoreError> {
    let known = read_row(connection, row)?;
    let labels: String = row.get("labels")?;
    let mut statement = connection.prepare_cached(
        "SELECT * FROM outputs WHERE job = ?1 AND state = 'stored' ORDER BY stored_at, position",
    )?;
    let files = statement
        .query_and_then([known.nr], |row| Ok((row.get("kind")?, read_stored(row)?)))?
        .collect::<Result<_, StoreError>>()?;
    Ok(JobDetails {
        nr: known.nr,
        job: known.job,
        prompt: row.get("prompt")?,
        // dropreel wrote a map of strings; anything else comes from another program.
        labels: serde_json::from_str(&labels)
            .map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })?,
        files,
        changed: known.change,
    })
}

fn list(
    connection: &Connection,
    filter: &JobFilter,
    cursor: Option<i64>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut conditions = vec!["jobs.nr < ?".to_owned(), NOT_STAGED.to_owned()];
    let mut values: Vec<rusqlite::types::Value> = vec![cursor.unwrap_or(i64::MAX).into()];
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
        values.extend(std::iter::repeat_n(rusqlite::types::Value::from(text.clone()), 3));
    }
    values.push(i64::from(limit + 1).into());
    let from = format!(
        "jobs JOIN requests ON requests.job = jobs.nr WHERE {} ORDER BY jobs.nr DESC LIMIT ?",
        conditions.join(" AND ")
    );
    let mut jobs = details_from(connection, &from, params_from_iter(values))?;
    // One more than asked for shows that there is another page.
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next = jobs.last().filter(|_| more).map(|last| last.nr);
    Ok(Page { jobs, next })
}

fn find(connection: &Connection, reference: &str) -> Result<Found, StoreError> {
    let ids = |sql: &str, values: [&str; 2]| -> Result<Vec<JobId>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let texts: Vec<String> = statement.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(texts.iter().filter_map(|text| JobId::parse(text)).collect())
    };
    let lower = reference.to_ascii_lowercase();
    let is_prefix = lower.len() >= 6 && lower.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_prefix {
        let found = ids(
            &format!(
                "SELECT id FROM jobs WHERE id >= ?1 AND id < ?2 AND {NOT_STAGED} ORDER BY nr DESC LIMIT 10"
            ),
            [&lower, &format!("{lower}~")],
        )?;
        if !found.is_empty() {
            return Ok(one_or_many(found));
        }
    }
    let named = ids(
        &format!(
            "SELECT id FROM jobs WHERE (name = ?1 OR name = ?2) AND {NOT_STAGED} ORDER BY nr DESC LIMIT 10"
        ),
        [reference, reference],
    )?;
    Ok(one_or_many(named))
}

fn one_or_many(found: Vec<JobId>) -> Found {
    match found.as_slice() {
        [] => Found::None,
        [one] => Found::One(*one),
        _ => Found::Many(found),
    }
}
