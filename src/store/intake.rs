//! Ingesting job files: all jobs of a file or none.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::rows::{INSERT_JOB, insert_job};
use crate::store::writer::{WriteKind, Writing};

/// The same bytes under the same name, or that of a copy, within this time are taken for a repeated copy
/// (docs/reference.md#job-files).
pub const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Where a job file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Dropped into the watched folder: it must still be moved out.
    Inbox,
    /// Handed over by the command line, the page or a program.
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

/// A job file about to be taken in.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Where it came from.
    pub source: Source,
    /// Its name, if it has one.
    pub file_name: Option<String>,
    /// Of its bytes.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// A job file taken in: its jobs are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The number of its row.
    pub nr: i64,
    /// Its jobs, in order.
    pub jobs: Vec<JobId>,
}

/// Why a job file was not taken in. Nothing of it was kept.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The same file was taken in within the last 24 hours.
    #[error(
        "the same file was taken in at {ingested_at} as job {first}; to run it again, set \"again\": true in its `dropreel` object"
    )]
    Duplicate {
        /// The first job of it.
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
        /// Who used it.
        first: JobId,
    },
    /// The file could not be read to its end, or changed meanwhile.
    #[error("{0}")]
    Unreadable(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A job file whose jobs are committed but which is still to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmovedFile {
    /// The number of its row.
    pub nr: i64,
    /// Its name in the inbox.
    pub file_name: String,
    /// Of its bytes.
    pub sha256: String,
    /// When it was taken in: names the folder it goes to.
    pub ingested_at: Timestamp,
}

/// The jobs of a file, read while they are written: a long file is never held in memory whole.
pub type Drafts = Box<dyn Iterator<Item = Result<Draft, String>> + Send>;

/// What became of a job file; whatever it is, of one that was not taken in nothing was kept.
pub type IngestResult = Result<Ingested, IngestError>;

impl Store {
    /// Takes many job files in, each whole or not at all, in this order and in one transaction. What became of each.
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
                let mut inserts = Inserts::prepare(writing.connection)?;
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

    /// Takes a job file in, whole, in one transaction.
    ///
    /// # Errors
    /// See [`IngestError`]; whatever it is, nothing was kept.
    pub async fn ingest(&self, intake: Intake, drafts: Drafts, now: Timestamp) -> IngestResult {
        let rng = self.rng.clone();
        // An error of the writer undoes the work; a rejection must undo it too, and still reach the caller.
        let refusal = Arc::new(Mutex::new(None));
        let rejection = refusal.clone();
        let mut drafts = Some(drafts);
        let written = self
            .writer
            .write_as(WriteKind::Once, move |writing| {
                let new_id = |order| JobId::new(now, order, &rng);
                let Some(drafts) = drafts.take() else {
                    return Err(StoreError::Aborted("a bug: a file is read a second time".into()));
                };
                ingest_stream(writing, &intake, drafts, now, &new_id).map_err(|error| match error {
                    IngestError::Store(error) => error,
                    other => {
                        let words = other.to_string();
                        *rejection.lock() = Some(other);
                        StoreError::Aborted(words)
                    }
                })
            })
            .await;
        let refused = refusal.lock().take();
        match (written, refused) {
            (Ok(taken), _) => Ok(taken),
            (Err(_), Some(refusal)) => Err(refusal),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Writes down which job files have left the inbox, by the numbers of their rows, and where each lies now, if
    /// anywhere.
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

    /// Job files whose jobs are committed but which may still lie in the inbox: what a crash left to finish.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unmoved(&self) -> Result<Vec<UnmovedFile>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT nr, file_name, sha256, ingested_at FROM intakes WHERE moved_at IS NULL ORDER BY nr",
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

/// Takes in a file whose jobs are all at hand. What refuses it is found before anything is written, but for keys: only
/// for them can there be something to undo.
fn ingest_drafts(
    writing: &mut Writing<'_>,
    inserts: &mut Inserts<'_>,
    intake: &Intake,
    drafts: &[Draft],
    now: Timestamp,
    new_id: &impl Fn(u64) -> JobId,
) -> IngestResult {
    if !drafts.iter().any(|draft| draft.again) && !drafts.iter().all(|draft| draft.key.is_some()) {
        refuse_repeat(writing.connection, intake, i64::MAX, now)?;
    }
    let undoable = drafts.iter().any(|draft| draft.key.is_some());
    let connection = writing.connection;
    let say = |word: &str| connection.prepare_cached(word)?.execute([]).map_err(StoreError::from);
    if undoable {
        say("SAVEPOINT file")?;
    }
    let nr = insert_intake(connection, intake, drafts.len(), now)?;
    let jobs: Result<Vec<_>, _> =
        drafts.iter().enumerate().map(|draft| inserts.add_job(writing, nr, draft, now, new_id)).collect();
    if undoable {
        if matches!(jobs, Err(IngestError::KeyUsed { .. })) {
            say("ROLLBACK TO file")?;
        }
        say("RELEASE file")?;
    }
    jobs.map(|jobs| ingested(writing, nr, jobs))
}

/// Takes in a file whose jobs are read while they are written. An error undoes all of the writer's work with it.
fn ingest_stream(
    writing: &mut Writing<'_>,
    intake: &Intake,
    drafts: Drafts,
    now: Timestamp,
    new_id: &impl Fn(u64) -> JobId,
) -> IngestResult {
    let nr = insert_intake(writing.connection, intake, 0, now)?;
    let mut inserts = Inserts::prepare(writing.connection)?;
    let mut jobs = Vec::new();
    let mut again = false;
    let mut keyed = true;
    for draft in drafts {
        let draft = draft.map_err(IngestError::Unreadable)?;
        again |= draft.again;
        keyed &= draft.key.is_some();
        jobs.push(inserts.add_job(writing, nr, (jobs.len(), &draft), now, new_id)?);
    }
    if !again && !keyed {
        refuse_repeat(writing.connection, intake, nr, now)?;
    }
    writing
        .connection
        .prepare_cached("UPDATE intakes SET jobs = ?2 WHERE nr = ?1")
        .and_then(|mut statement| statement.execute((nr, count(jobs.len()))))
        .map_err(StoreError::from)?;
    Ok(ingested(writing, nr, jobs))
}

fn ingested(writing: &mut Writing<'_>, nr: i64, jobs: Vec<JobId>) -> Ingested {
    for _ in &jobs {
        writing.count(MetricEvent::Accepted);
    }
    writing.notify(Topic::Changes);
    failpoints::hit(FailPoint::IntakeRowsWritten);
    Ingested { nr, jobs }
}

fn insert_intake(
    connection: &Connection,
    intake: &Intake,
    jobs: usize,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let file_name = intake.file_name.as_deref();
    let base_name = file_name.map(jobfile::base_name).filter(|base| Some(&**base) != file_name);
    connection
        .prepare_cached(
            "INSERT INTO intakes (source, file_name, base_name, sha256, bytes, jobs, ingested_at, moved_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
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
        ))?;
    Ok(connection.last_insert_rowid())
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

/// Earlier intakes of the same bytes under the same base name, the newest first, each with its first job.
pub(super) const REPEATED: &str =
    "SELECT (SELECT id FROM jobs WHERE jobs.intake = intakes.nr ORDER BY jobs.nr LIMIT 1), ingested_at, file_name
     FROM intakes
     WHERE coalesce(base_name, file_name) = ?1 AND sha256 = ?2 AND file_name IS NOT NULL AND nr < ?3
       AND ingested_at > ?4
     ORDER BY nr DESC";

fn refuse_repeat(
    connection: &Connection,
    intake: &Intake,
    nr: i64,
    now: Timestamp,
) -> Result<(), IngestError> {
    let Some(file_name) = &intake.file_name else { return Ok(()) };
    let since = now.minus(REPEAT_WINDOW).millis();
    let earlier = || -> rusqlite::Result<Option<(String, i64)>> {
        let mut statement = connection.prepare_cached(REPEATED)?;
        let base_name = jobfile::base_name(file_name);
        let mut rows = statement.query((&*base_name, &intake.sha256, nr, since))?;
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

/// For the first line of a job's history.
const INSERT_HISTORY: &str = "INSERT INTO history (job, at, event, detail) VALUES (?1, ?2, ?3, ?4)";

/// The statements that make a job, looked up once for many.
struct Inserts<'c> {
    connection: &'c Connection,
    job: CachedStatement<'c>,
    request: CachedStatement<'c>,
    label: CachedStatement<'c>,
    history: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            job: connection.prepare_cached(INSERT_JOB)?,
            request: connection
                .prepare_cached("INSERT INTO requests (job, body, prompt, labels) VALUES (?1, ?2, ?3, ?4)")?,
            label: connection.prepare_cached("INSERT INTO labels (key, value, job) VALUES (?1, ?2, ?3)")?,
            history: connection.prepare_cached(INSERT_HISTORY)?,
        })
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
        let nr = insert_job(&mut self.job, &job, intake, now, change)?;
        self.add_request(nr, job.id(), draft).map_err(StoreError::from)?;
        let detail = draft.not_before.map_or_else(String::new, |time| format!("not before {time}"));
        self.history.execute((nr, now.millis(), "accepted", detail)).map_err(StoreError::from)?;
        if let Some(next) = next_action(&job, now) {
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
