//! One job with what is displayed of it: found by its id or name, its history and its request.

use crate::api::job::{AttemptView, HistoryView};
use crate::job::output::{OutputKey, StoredFile};
use crate::job::usual_time::UsualTime;
use crate::job::{Job, JobId, Labels, TaskId, UsedDefault};
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension, Params, Row};
use crate::store::error::StoreError;
use crate::store::estimates::JobEstimate;
use crate::store::job_rows::{JobColumns, NOT_STAGED, number_of, read_row};
use crate::store::learned_times::{USUAL_COLUMN, usual_time_column};
use crate::store::output_rows::read_stored;

/// A job with what is only displayed.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDetails {
    /// The number of its row, which a page's cursor is.
    pub(super) nr: i64,
    /// The number of its job file.
    pub(super) batch: i64,
    pub job: Job,
    /// Its prompt, if it has one.
    pub prompt: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// What the checks of its job file warned about.
    pub warnings: Vec<String>,
    /// The job whose request it runs again; that one may be pruned.
    pub again_of: Option<JobId>,
    /// What its newest attempt was estimated at; before the first one, the job when that was last done.
    pub estimate: Option<Quota>,
    /// What its next attempt will probably cost by current prices; `None`: no action submits it.
    pub next: Option<JobEstimate>,
    /// What all its attempts were charged; `None`: nothing is known yet.
    pub cost: Option<Quota>,
    /// How long its task usually takes, while it is at the provider and where that is learned.
    pub usual: Option<UsualTime>,
    /// 0 to 5, of its best output.
    pub rating: Option<u8>,
    /// Its files in the library, those of earlier tasks too.
    pub files: Vec<LibraryFile>,
    /// The number of its last change, for the change feed.
    pub changed: i64,
}

/// An output in the library.
#[derive(Clone, Debug, PartialEq)]
pub struct LibraryFile {
    /// Which output of its task.
    pub key: OutputKey,
    /// The file.
    pub file: StoredFile,
    /// 0 to 5.
    pub rating: Option<u8>,
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

impl Found {
    /// The job, if it is one.
    pub fn one(self) -> Option<JobId> {
        match self {
            Self::One(id) => Some(id),
            Self::None | Self::Many(_) => None,
        }
    }
}

impl Store {
    /// Where the attempt of a task was sent; `None`: where the settings say.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn base_url_of(&self, task: &TaskId) -> Result<Option<String>, StoreError> {
        let task = task.as_str().to_owned();
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT base_url FROM attempts WHERE task_id = ?1")?;
            Ok(statement.query_row([task], |row| row.get(0)).optional()?.flatten())
        })
        .await
    }

    /// One job.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn details(&self, id: JobId) -> Result<JobDetails, StoreError> {
        let read = self.read_priced(move |connection| Ok(vec![details_in(connection, id)?]));
        read.await?.pop().ok_or(StoreError::NoSuchJob(id))
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

    /// What each attempt of a job was estimated at and cost, the first attempt first.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn attempts(&self, id: JobId) -> Result<Vec<AttemptView>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, id)?;
            let mut statement = connection.prepare_cached(
                "SELECT key, base_url, created_at, estimate_quota, estimate_source, frozen_quota, charged_quota
                 FROM attempts WHERE job = ?1 ORDER BY number",
            )?;
            let attempts = statement.query_map([nr], |row| {
                Ok(AttemptView {
                    key: row.get(0)?,
                    base_url: row.get(1)?,
                    at: row.get(2)?,
                    estimate_usd: row.get::<_, Option<Quota>>(3)?.map(Quota::usd),
                    estimate_source: row.get(4)?,
                    frozen_quota: row.get(5)?,
                    charged_quota: row.get(6)?,
                })
            })?;
            Ok(attempts.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What a job has from defaults.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn used_defaults(&self, id: JobId) -> Result<Vec<UsedDefault>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, id)?;
            let mut statement = connection.prepare_cached("SELECT defaults FROM requests WHERE job = ?1")?;
            let Some(text) = statement.query_row([nr], |row| row.get::<_, Option<String>>(0))? else {
                return Ok(Vec::new());
            };
            serde_json::from_str(&text).map_err(|_| StoreError::UnknownWord { what: "defaults", value: text })
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

    /// Finds a job by its id, by its name, or by a part of its id (at least 6 characters).
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn find(&self, reference: String) -> Result<Found, StoreError> {
        self.read(move |connection| find(connection, &reference)).await
    }
}

/// One job.
pub(super) fn details_in(connection: &Connection, id: JobId) -> Result<JobDetails, StoreError> {
    details_where(connection, "jobs.id = ?1", [id])?.pop().ok_or(StoreError::NoSuchJob(id))
}

/// The user's own text of its request.
pub(super) fn request_in(connection: &Connection, id: JobId) -> Result<String, StoreError> {
    let nr = number_of(connection, id)?;
    let mut statement = connection.prepare_cached("SELECT body FROM requests WHERE job = ?1")?;
    Ok(statement.query_row([nr], |row| row.get(0))?)
}

/// The jobs for which `condition` holds, which may use `jobs` and `requests`; an `ORDER BY` and a `LIMIT` may follow it.
pub(super) fn details_where(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> Result<Vec<JobDetails>, StoreError> {
    let mut statement = connection.prepare_cached(&select_where(condition))?;
    statement.query_and_then(values, |row| read_details(connection, row))?.collect()
}

/// The statement of [`details_where`].
pub(super) fn select_where(condition: &str) -> String {
    let columns = JobColumns::SELECT;
    format!(
        "SELECT {columns}, jobs.rating, requests.prompt, requests.labels, requests.warnings,
                (SELECT estimate_quota FROM attempts WHERE attempts.job = jobs.nr AND attempts.number = jobs.attempts)
                    AS attempt_estimate_quota,
                (SELECT sum(charged_quota) FROM attempts WHERE attempts.job = jobs.nr) AS charged_quota,
                (SELECT again_of FROM batches WHERE batches.nr = jobs.batch) AS again_of,
                {USUAL_COLUMN}
         FROM jobs JOIN requests ON requests.job = jobs.nr WHERE {condition}"
    )
}

fn read_details(connection: &Connection, row: &Row<'_>) -> Result<JobDetails, StoreError> {
    let known = read_row(connection, row)?;
    let (labels, warnings): (String, String) = (row.get("labels")?, row.get("warnings")?);
    let mut statement = connection.prepare_cached(
        "SELECT * FROM outputs WHERE job = ?1 AND state = 'stored' ORDER BY stored_at, position",
    )?;
    let files = statement
        .query_and_then([known.nr], |row| {
            let key = OutputKey { kind: row.get("kind")?, index: row.get("idx")? };
            Ok(LibraryFile { key, file: read_stored(row)?, rating: row.get("rating")? })
        })?
        .collect::<Result<_, StoreError>>()?;
    Ok(JobDetails {
        nr: known.nr,
        batch: known.batch,
        job: known.job,
        prompt: row.get("prompt")?,
        // dropreel wrote a map of strings; anything else comes from another program.
        labels: serde_json::from_str(&labels)
            .map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })?,
        warnings: serde_json::from_str(&warnings)
            .map_err(|_| StoreError::UnknownWord { what: "warnings", value: warnings })?,
        again_of: row.get("again_of")?,
        usual: usual_time_column(row)?,
        rating: row.get("rating")?,
        estimate: row.get::<_, Option<Quota>>("attempt_estimate_quota")?.or(row.get("estimate_quota")?),
        next: None,
        cost: row.get("charged_quota")?,
        files,
        changed: known.change,
    })
}

/// Fewest characters of a part of an id: a word such as `fade` must not mean a job.
const MIN_PART: usize = 6;

/// An id is found by its index, so a whole one costs nothing. A part is looked for in all of them, in some 100 ms among a
/// million.
fn find(connection: &Connection, reference: &str) -> Result<Found, StoreError> {
    let ids = |condition: &str, value: &str| -> Result<Vec<JobId>, StoreError> {
        let sql = format!("SELECT id FROM jobs WHERE {condition} AND {NOT_STAGED} ORDER BY nr DESC LIMIT 10");
        let mut statement = connection.prepare_cached(&sql)?;
        let texts: Vec<String> = statement.query_map([value], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(texts.iter().filter_map(|text| JobId::parse(text)).collect())
    };
    let part = reference.to_ascii_lowercase();
    let is_part = part.len() >= MIN_PART && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let mut found = ids("id = ?1", &part)?;
    if found.is_empty() {
        found = ids("name = ?1", reference)?;
    }
    if found.is_empty() && is_part {
        found = ids("id IN (SELECT id FROM jobs WHERE replace(id, ?1, '') <> id)", &part)?;
    }
    Ok(one_or_many(found))
}

fn one_or_many(found: Vec<JobId>) -> Found {
    match found.as_slice() {
        [] => Found::None,
        [one] => Found::One(*one),
        _ => Found::Many(found),
    }
}
