//! Job files as they are ingested: their rows, and those of their jobs.

use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::next_action::{DueWork, due_work};
use crate::job::{Identity, Job, JobId, Priority};
use crate::jobfile::{self, Draft};
use crate::store::error::StoreError;
use crate::store::idempotency::IdempotencyKey;
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

    /// Adds jobs that follow the first `before` jobs of their file.
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
            max_cost: draft.max_cost,
            created_at: now,
        };
        let job = Job::accept(identity, draft.not_before);
        let (due, change) = match self.visibility {
            Visibility::AtOnce => (due_work(&job, now), change),
            Visibility::Staged => (DueWork::default(), 0),
        };
        let nr = insert_job(&mut self.job, &job, intake, due, change)?;
        self.add_request(nr, job.id(), draft).map_err(StoreError::from)?;
        let detail = draft.not_before.map_or_else(String::new, |time| format!("not before {time}"));
        self.history.execute((nr, now.millis(), "accepted", detail)).map_err(StoreError::from)?;
        writing.notify_due(due);
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

pub(super) fn known_id(id: &str) -> Result<JobId, StoreError> {
    JobId::parse(id).ok_or_else(|| StoreError::UnknownWord { what: "job id", value: id.to_owned() })
}
