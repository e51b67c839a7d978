//! Ingesting job files: all jobs of a file or none.

use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::next_action::next_action;
use crate::job::{Identity, Job, JobId, Priority};
use crate::jobfile::{self, Draft};
use crate::store::Store;
use crate::store::apply::topic_of;
use crate::store::error::StoreError;
use crate::store::idempotency::{IdempotencyKey, KeyUse, find_use, record_use};
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::rows::{INSERT_JOB, insert_job};
use crate::store::writer::Writing;

/// The same bytes under the same name, or that of a copy, within this time count as a repeated copy
/// (docs/reference.md#job-files).
pub const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Where a job file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Dropped into the inbox; it must still be moved out.
    Inbox,
    /// Posted by the command line, the page or a program.
    Api,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Api => "api",
        }
    }
}

/// A job file to ingest.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Where it came from.
    pub source: Source,
    /// Its name, if it has one.
    pub file_name: Option<String>,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// The key of its request, if the client may repeat the request.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An ingested job file: its jobs are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The number of its row.
    pub nr: i64,
    /// Its jobs, in order.
    pub jobs: Vec<JobId>,
}

/// Why a job file was not ingested. Nothing of it was committed.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The same file was accepted within the last 24 hours.
    #[error(
        "the same file was accepted at {ingested_at} as job {first}; to run it again, set \"again\": true in its `dropreel` object"
    )]
    Duplicate {
        /// Its first job.
        first: JobId,
        /// When.
        ingested_at: Timestamp,
    },
    /// The `key` of one of its jobs was used before.
    #[error("the key `{key}` was already used by job {first}; a key is run once only")]
    KeyUsed {
        /// The key.
        key: String,
        /// Which job of the file, from 0.
        place: usize,
        /// The job that used it.
        first: JobId,
    },
    /// The `Idempotency-Key` of a request belongs to another request.
    #[error("the Idempotency-Key was used for another request; use a new key for each request")]
    IdempotencyKeyReused,
    /// The file could not be read to its end, or changed meanwhile.
    #[error("{0}")]
    Unreadable(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A job file whose jobs are committed and that is not moved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmovedFile {
    /// The number of its row.
    pub nr: i64,
    /// Its name in the inbox.
    pub file_name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// When it was ingested. Its date is the name of the folder that it moves to.
    pub ingested_at: Timestamp,
}

/// The jobs of a file, read while they are written, so that a long file is never in memory as a whole.
pub type Drafts = Box<dyn Iterator<Item = Result<Draft, String>> + Send>;

/// The outcome of ingesting a job file. After an error nothing of it was committed.
pub type IngestResult = Result<Ingested, IngestError>;

impl Store {
    /// Ingests many job files, each whole or not at all, in this order and in one transaction. Returns the outcome of each.
    ///
    /// # Errors
    /// Any failure of the database; none of the files is ingested then.
    pub async fn ingest_batch(
        &self,
        files: Vec<(Intake, Vec<Draft>)>,
        now: Timestamp,
    ) -> Result<Vec<IngestResult>, StoreError> {
        let rng = self.rng.clone();
        self.writer
            .write(move |writing| {
                let new_id = |order| JobId::new(now, order, &rng);
                let mut inserts = Inserts::prepare(writing.connection, Visibility::AtOnce)?;
                let outcomes = files.iter().map(|(intake, drafts)| {
                    match ingest_drafts(writing, &mut inserts, intake, drafts, now, &new_id) {
                        Err(IngestError::Store(error)) => Err(error),
                        outcome => Ok(outcome),
                    }
                });
                outcomes.collect()
            })
            .await
    }

    /// Records which job files have left the inbox, by the numbers of their rows, and where each is now (`None`: nowhere).
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn mark_moved(
        &self,
        moved: Vec<(i64, Option<String>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let mut mark = writing
                    .connection
                    .prepare_cached("UPDATE intakes SET moved_at = ?2, moved_to = ?3 WHERE nr = ?1")?;
                for (nr, to) in &moved {
                    mark.execute((nr, now.millis(), to))?;
                }
                Ok(())
            })
            .await
    }

    /// Job files whose jobs are committed and that may still be in the inbox, after a crash.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unmoved(&self) -> Result<Vec<UnmovedFile>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT nr, file_name, sha256, ingested_at FROM intakes WHERE moved_at IS NULL AND staged = 0 ORDER BY nr",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(UnmovedFile {
                    nr: row.get(0)?,
                    file_name: row.get(1)?,
                    sha256: row.get(2)?,
                    ingested_at: Timestamp::from_millis(row.get(3)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Ingests a file whose jobs are all in memory. Only a used key is found after something was written.
fn ingest_drafts(
    writing: &mut Writing<'_>,
    inserts: &mut Inserts<'_>,
    intake: &Intake,
    drafts: &[Draft],
    now: Timestamp,
    new_id: &impl Fn(u64) -> JobId,
) -> IngestResult {
    if let Some(ingested) = ingested_before(writing.connection, intake)? {
        return Ok(ingested);
    }
    if !drafts.iter().any(|draft| draft.again) && !drafts.iter().all(|draft| draft.key.is_some()) {
        refuse_repeat(writing.connection, intake, now)?;
    }
    let connection = writing.connection;
    let has_keys = drafts.iter().any(|draft| draft.key.is_some());
    let (nr, jobs) = undoing_refusal(connection, has_keys, || {
        let nr = insert_intake(connection, intake, drafts.len(), Visibility::AtOnce, now)?;
        Ok((nr, inserts.add_jobs(writing, nr, 0, drafts, now, new_id)?))
    })?;
    record_key(connection, intake, nr, now)?;
    count_accepted(writing, jobs.len());
    Ok(Ingested { nr, jobs })
}

/// The jobs that the same request with the same key made earlier, if it did.
pub(super) fn ingested_before(
    connection: &Connection,
    intake: &Intake,
) -> Result<Option<Ingested>, IngestError> {
    let Some(key) = &intake.idempotency_key else { return Ok(None) };
    match find_use(connection, key)? {
        None => Ok(None),
        Some(KeyUse::OtherRequest) => Err(IngestError::IdempotencyKeyReused),
        Some(KeyUse::SameRequest { intake: nr }) => {
            Ok(Some(Ingested { nr, jobs: jobs_of_intake(connection, nr)? }))
        }
    }
}

/// Records the key of the request that made this intake. Must be in the commit that makes its jobs visible.
pub(super) fn record_key(
    connection: &Connection,
    intake: &Intake,
    nr: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    intake.idempotency_key.as_ref().map_or(Ok(()), |key| record_use(connection, key, nr, now))
}

pub(super) const JOBS_OF_INTAKE: &str = "SELECT id FROM jobs WHERE intake = ?1 ORDER BY nr";

fn jobs_of_intake(connection: &Connection, intake: i64) -> Result<Vec<JobId>, StoreError> {
    let mut statement = connection.prepare_cached(JOBS_OF_INTAKE)?;
    let jobs = statement.query_map([intake], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// Runs `work`, and undoes its writes if it rejects the file.
pub(super) fn undoing_refusal<T>(
    connection: &Connection,
    may_refuse: bool,
    work: impl FnOnce() -> Result<T, IngestError>,
) -> Result<T, IngestError> {
    if !may_refuse {
        return work();
    }
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]).map_err(StoreError::from);
    execute("SAVEPOINT file")?;
    let done = work();
    if matches!(done, Err(IngestError::KeyUsed { .. })) {
        execute("ROLLBACK TO file")?;
    }
    execute("RELEASE file")?;
    done
}

/// Counts and announces the jobs of an ingested file once they are committed.
pub(super) fn count_accepted(writing: &mut Writing<'_>, jobs: usize) {
    for _ in 0..jobs {
        writing.count(MetricEvent::Accepted);
    }
    writing.notify(Topic::Changes);
    failpoints::hit(FailPoint::IntakeRowsWritten);
}

/// When the jobs of a file are visible and due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    /// After their commit.
    AtOnce,
    /// Once the whole file is written (see [`staging`](crate::store::staging)).
    Staged,
}

pub(super) fn insert_intake(
    connection: &Connection,
    intake: &Intake,
    jobs: usize,
    visibility: Visibility,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let file_name = intake.file_name.as_deref();
    let base_name = file_name.map(jobfile::base_name).filter(|base| Some(&**base) != file_name);
    connection
        .prepare_cached(
            "INSERT INTO intakes (source, file_name, base_name, sha256, bytes, jobs, ingested_at, moved_at, staged)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            intake.source.as_str(),
            &intake.file_name,
            base_name.as_deref(),
            &intake.sha256,
            i64::try_from(intake.bytes).unwrap_or(i64::MAX),
            count(jobs),
            now.millis(),
            match intake.source {
                Source::Inbox => None,
                Source::Api => Some(now.millis()),
            },
            visibility == Visibility::Staged,
        ))?;
    Ok(connection.last_insert_rowid())
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

/// Earlier intakes of the same bytes under the same base name, newest first, each with its first job.
pub(super) const REPEATED: &str =
    "SELECT (SELECT id FROM jobs WHERE jobs.intake = intakes.nr ORDER BY jobs.nr LIMIT 1), ingested_at, file_name
     FROM intakes
     WHERE coalesce(base_name, file_name) = ?1 AND sha256 = ?2 AND file_name IS NOT NULL AND staged = 0
       AND ingested_at > ?3
     ORDER BY nr DESC";

pub(super) fn refuse_repeat(
    connection: &Connection,
    intake: &Intake,
    now: Timestamp,
) -> Result<(), IngestError> {
    let Some(file_name) = &intake.file_name else { return Ok(()) };
    let since = now.minus(REPEAT_WINDOW).millis();
    let earlier = || -> rusqlite::Result<Option<(String, i64)>> {
        let mut statement = connection.prepare_cached(REPEATED)?;
        let base_name = jobfile::base_name(file_name);
        let mut rows = statement.query((&*base_name, &intake.sha256, since))?;
        while let Some(row) = rows.next()? {
            let (first, name): (Option<String>, String) = (row.get(0)?, row.get(2)?);
            if let Some(first) = first
                && jobfile::are_same_or_copy(&name, file_name)
            {
                return Ok(Some((first, row.get(1)?)));
            }
        }
        Ok(None)
    };
    match earlier().map_err(StoreError::from)? {
        None => Ok(()),
        Some((id, ingested_at)) => {
            let first = known_id(&id)?;
            Err(IngestError::Duplicate { first, ingested_at: Timestamp::from_millis(ingested_at) })
        }
    }
}

/// Inserts the first history entry of a job.
const INSERT_HISTORY: &str = "INSERT INTO history (job, at, event, detail) VALUES (?1, ?2, ?3, ?4)";

/// The statements that insert a job, prepared once for many jobs.
pub(super) struct Inserts<'c> {
    connection: &'c Connection,
    visibility: Visibility,
    job: CachedStatement<'c>,
    request: CachedStatement<'c>,
    label: CachedStatement<'c>,
    history: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    pub(super) fn prepare(connection: &'c Connection, visibility: Visibility) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            visibility,
            job: connection.prepare_cached(INSERT_JOB)?,
            request: connection
                .prepare_cached("INSERT INTO requests (job, body, prompt, labels) VALUES (?1, ?2, ?3, ?4)")?,
            label: connection.prepare_cached("INSERT INTO labels (key, value, job) VALUES (?1, ?2, ?3)")?,
            history: connection.prepare_cached(INSERT_HISTORY)?,
        })
    }

    /// Adds jobs after the first `before` jobs of their file;
    pub(super) fn add_jobs(
        &mut self,
        writing: &mut Writing<'_>,
        intake: i64,
        before: usize,
        drafts: &[Draft],
        now: Timestamp,
        new_id: &impl Fn(u64) -> JobId,
    ) -> Result<Vec<JobId>, IngestError> {
        let places = (before..).zip(drafts);
        places.map(|draft| self.add_job(writing, intake, draft, now, new_id)).collect()
    }

    fn add_job(
        &mut self,
        writing: &mut Writing<'_>,
        intake: i64,
        (place, draft): (usize, &Draft),
        now: Timestamp,
        new_id: &impl Fn(u64) -> JobId,
    ) -> Result<JobId, IngestError> {
        if let Some(key) = &draft.key
            && let Some(first) = job_of_key(self.connection, key)?
        {
            return Err(IngestError::KeyUsed { key: key.clone(), place, first });
        }
        let change = writing.next_change();
        let identity = Identity {
            id: new_id(change.unsigned_abs()),
            name: draft.name.clone(),
            model: draft.model.clone(),
            priority: Priority::new(draft.priority.into()).unwrap_or_default(),
            created_at: now,
        };
        let job = Job::accept(identity, draft.not_before);
        let (next, change) = match self.visibility {
            Visibility::AtOnce => (next_action(&job, now), change),
            Visibility::Staged => (None, 0),
        };
        let nr = insert_job(&mut self.job, &job, intake, next, change)?;
        self.add_request(nr, job.id(), draft).map_err(StoreError::from)?;
        let detail = draft.not_before.map_or_else(String::new, |time| format!("not before {time}"));
        self.history.execute((nr, now.millis(), "accepted", detail)).map_err(StoreError::from)?;
        if let Some(next) = next {
            writing.notify(topic_of(next.action));
        }
        Ok(job.id())
    }

    fn add_request(&mut self, nr: i64, id: JobId, draft: &Draft) -> rusqlite::Result<()> {
        let labels = serde_json::to_string(&draft.labels)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.request.execute((nr, &draft.body, &draft.prompt, labels))?;
        for (key, value) in &draft.labels {
            self.label.execute((key, value, nr))?;
        }
        if let Some(key) = &draft.key {
            let mut insert = self.connection.prepare_cached("INSERT INTO keys (key, job) VALUES (?1, ?2)")?;
            insert.execute((key, id.to_string()))?;
        }
        Ok(())
    }
}

fn job_of_key(connection: &Connection, key: &str) -> Result<Option<JobId>, StoreError> {
    let id: Option<String> = connection
        .prepare_cached("SELECT job FROM keys WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    id.map(|id| known_id(&id)).transpose()
}

fn known_id(id: &str) -> Result<JobId, StoreError> {
    JobId::parse(id).ok_or_else(|| StoreError::UnknownWord { what: "job id", value: id.to_owned() })
}
