//! Ingesting a long job file in many short commits, so that no callback waits for it. Until its last job is written, the
//! file is *staged*: its jobs are counted and listed nowhere, and none is due. One commit then makes all of them visible,
//! and short ones after it make them due. A crash before that commit leaves nothing: the next start deletes what is staged.

use std::sync::Arc;

use futures_util::future::join;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::next_action::next_action;
use crate::jobfile::Draft;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::ingest::{count_accepted, ingested_before, record_key, undoing_refusal};
use crate::store::intake::{
    Drafts, IngestError, IngestResult, Ingested, Inserts, Intake, Visibility, insert_intake, refuse_repeat,
};
use crate::store::notify::Topic;
use crate::store::prune::delete_job;
use crate::store::rows::{JobColumns, read_row};
use crate::store::writer::{WriteKind, Writing};

/// Most jobs per commit. A callback that comes meanwhile waits for the rest of it.
pub const MAX_JOBS_PER_COMMIT: usize = 512;
/// A commit ends once the bodies of its jobs have this many bytes.
const MAX_COMMIT_BYTES: usize = 256 << 10;
/// Most jobs deleted per commit: each takes a dozen statements.
const MAX_DELETED_PER_COMMIT: i64 = 128;

/// The condition that a job is not staged.
pub(super) const NOT_STAGED: &str = "jobs.intake NOT IN (SELECT nr FROM intakes WHERE staged = 1)";

/// A staged file, or one whose jobs are not all due yet.
#[derive(Debug, Default)]
pub(super) struct StagedFile {
    nr: i64,
    jobs: Vec<JobId>,
    /// The keys of its jobs.
    keys: Vec<String>,
    /// One of its jobs says `again`.
    has_again: bool,
    /// One of its jobs has no key.
    lacks_key: bool,
}

/// The unfinished files: their ingestion failed, was cancelled, or was interrupted by a crash.
pub(super) type UnfinishedFiles = Arc<Mutex<Vec<StagedFile>>>;

/// Work on a file. If it is dropped before its end, the file counts as unfinished.
struct Work {
    file: StagedFile,
    unfinished: UnfinishedFiles,
    done: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.done {
            self.unfinished.lock().push(std::mem::take(&mut self.file));
        }
    }
}

impl Store {
    /// Ingests a job file of any length, whole or not at all.
    ///
    /// # Errors
    /// See [`IngestError`]; after any of them nothing is committed.
    pub async fn ingest(&self, intake: Intake, drafts: Drafts, now: Timestamp) -> IngestResult {
        let (first, rest) = self.read_chunk(drafts).await?;
        let Some(rest) = rest else {
            let ingested = self.ingest_batch(vec![(intake, first)], now).await?;
            return ingested.into_iter().next().unwrap_or(Err(IngestError::Store(StoreError::Closed)));
        };
        if let Some(ingested) = self.find_ingested(&intake).await? {
            return Ok(ingested);
        }
        // The keys of unfinished files must not reject this file.
        self.finish_unfinished().await?;
        let file = StagedFile { nr: self.stage_file(intake.clone(), now).await?, ..StagedFile::default() };
        let mut work = self.work_on(file);
        let published = match self.stage_jobs(&mut work.file, first, Some(rest), now).await {
            Ok(()) => self.publish_file(&work.file, intake.clone(), now).await,
            Err(error) => Err(error),
        };
        let outcome =
            published.map(|()| Ingested { nr: work.file.nr, jobs: std::mem::take(&mut work.file.jobs) });
        drop(work);
        if let Err(error) = self.finish_unfinished().await {
            tracing::warn!("a long job file is finished later: {error}");
        }
        match outcome {
            // Another ingestion of the same request has finished first.
            Err(IngestError::IdempotencyKeyReused) => {
                self.find_ingested(&intake).await?.ok_or(IngestError::IdempotencyKeyReused)
            }
            outcome => outcome,
        }
    }

    async fn find_ingested(&self, intake: &Intake) -> Result<Option<Ingested>, IngestError> {
        let intake = intake.clone();
        self.read(move |connection| match ingested_before(connection, &intake) {
            Err(IngestError::Store(error)) => Err(error),
            found => Ok(found),
        })
        .await?
    }

    /// Makes the jobs of published files due, and deletes those of unfinished files.
    ///
    /// # Errors
    /// Any failure of the database. The next call or the next start does the rest.
    pub async fn finish_unfinished(&self) -> Result<(), StoreError> {
        loop {
            let Some(file) = self.unfinished.lock().pop() else { return Ok(()) };
            let mut work = self.work_on(file);
            // The publisher of the file may have stopped waiting for the answer.
            if self.is_staged(work.file.nr).await? {
                self.discard(&work.file).await?;
            } else {
                self.make_jobs_due(work.file.nr).await?;
            }
            work.done = true;
        }
    }

    fn work_on(&self, file: StagedFile) -> Work {
        Work { file, unfinished: self.unfinished.clone(), done: false }
    }

    /// Reads the jobs of one commit, and returns the rest unless it was the last.
    async fn read_chunk(&self, mut drafts: Drafts) -> Result<(Vec<Draft>, Option<Drafts>), IngestError> {
        let read = move || {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while chunk.len() < MAX_JOBS_PER_COMMIT && bytes < MAX_COMMIT_BYTES {
                let Some(draft) = drafts.next() else { return Ok((chunk, None)) };
                let draft = draft?;
                bytes += draft.body.len();
                chunk.push(draft);
            }
            Ok((chunk, Some(drafts)))
        };
        let read = self.clock.run_blocking(read).await;
        // The reader panicked: the file must not be ingested in part.
        read.unwrap_or_else(|_| Err("it could not be read to its end".into()))
            .map_err(IngestError::Unreadable)
    }

    async fn stage_file(&self, intake: Intake, now: Timestamp) -> Result<i64, StoreError> {
        let insert = move |writing: &mut Writing<'_>| {
            insert_intake(writing.connection, &intake, 0, Visibility::Staged, now)
        };
        self.writer.write(insert).await
    }

    /// Writes all jobs of a file; the next ones are read meanwhile.
    async fn stage_jobs(
        &self,
        file: &mut StagedFile,
        mut chunk: Vec<Draft>,
        mut rest: Option<Drafts>,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        loop {
            file.has_again |= chunk.iter().any(|draft| draft.again);
            file.lacks_key |= chunk.iter().any(|draft| draft.key.is_none());
            file.keys.extend(chunk.iter().filter_map(|draft| draft.key.clone()));
            let write = self.stage_chunk(file.nr, file.jobs.len(), chunk, now);
            let (jobs, next) = match rest.take() {
                Some(rest) => join(write, self.read_chunk(rest)).await,
                None => (write.await, Ok((Vec::new(), None))),
            };
            file.jobs.extend(jobs?);
            (chunk, rest) = next?;
            if chunk.is_empty() {
                return Ok(());
            }
        }
    }

    async fn stage_chunk(
        &self,
        nr: i64,
        before: usize,
        drafts: Vec<Draft>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, IngestError> {
        let rng = self.rng.clone();
        let stage = move |writing: &mut Writing<'_>| {
            let connection = writing.connection;
            let new_id = |order| JobId::new(now, order, &rng);
            let mut inserts = Inserts::prepare(connection, Visibility::Staged)?;
            let has_keys = drafts.iter().any(|draft| draft.key.is_some());
            let add = || inserts.add_jobs(writing, nr, before, &drafts, now, &new_id);
            match undoing_refusal(connection, has_keys, add) {
                Err(IngestError::Store(error)) => Err(error),
                jobs => {
                    let staged = jobs.as_ref().map_or(0, Vec::len);
                    connection
                        .prepare_cached("UPDATE intakes SET jobs = jobs + ?2 WHERE nr = ?1")?
                        .execute((nr, i64::try_from(staged).unwrap_or(i64::MAX)))?;
                    Ok(jobs)
                }
            }
        };
        self.writer.write_as(WriteKind::Background, stage).await?
    }

    /// Makes all jobs of a staged file visible.
    async fn publish_file(
        &self,
        file: &StagedFile,
        intake: Intake,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        let (nr, jobs) = (file.nr, file.jobs.len());
        let may_be_copy = !file.has_again && file.lacks_key;
        let publish = move |writing: &mut Writing<'_>| {
            let refused = match ingested_before(writing.connection, &intake) {
                Ok(None) if may_be_copy => refuse_repeat(writing.connection, &intake, now),
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(IngestError::IdempotencyKeyReused),
                Err(error) => Err(error),
            };
            match refused {
                Ok(()) => record_key(writing.connection, &intake, nr, now)?,
                Err(IngestError::Store(error)) => return Err(error),
                refused => return Ok(refused),
            }
            writing
                .connection
                .prepare_cached("UPDATE intakes SET staged = 0 WHERE nr = ?1")?
                .execute([nr])?;
            count_accepted(writing, jobs);
            Ok(Ok(()))
        };
        self.writer.write(publish).await?
    }

    /// Runs in the writer, after all earlier writes.
    async fn is_staged(&self, nr: i64) -> Result<bool, StoreError> {
        let is_staged = move |writing: &mut Writing<'_>| {
            let mut select =
                writing.connection.prepare_cached("SELECT 1 FROM intakes WHERE nr = ?1 AND staged = 1")?;
            Ok(select.exists([nr])?)
        };
        self.writer.write_as(WriteKind::Background, is_staged).await
    }

    async fn make_jobs_due(&self, nr: i64) -> Result<(), StoreError> {
        let mut last = 0;
        loop {
            let make_due = move |writing: &mut Writing<'_>| make_some_due(writing, nr, last);
            match self.writer.write_as(WriteKind::Background, make_due).await? {
                Some(next) => last = next,
                None => return Ok(()),
            }
        }
    }

    async fn discard(&self, file: &StagedFile) -> Result<(), StoreError> {
        let nr = file.nr;
        for keys in file.keys.chunks(MAX_JOBS_PER_COMMIT) {
            let keys = keys.to_vec();
            let delete = move |writing: &mut Writing<'_>| {
                let mut delete = writing.connection.prepare_cached(
                    "DELETE FROM keys WHERE key = ?1
                     AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = keys.job AND jobs.intake = ?2)",
                )?;
                keys.iter().try_for_each(|key| delete.execute((key, nr)).map(drop))?;
                Ok(())
            };
            self.writer.write_as(WriteKind::Background, delete).await?;
        }
        let delete = move |writing: &mut Writing<'_>| delete_some_jobs(writing, nr);
        while self.writer.write_as(WriteKind::Background, delete).await? {}
        Ok(())
    }
}

/// Makes some jobs of a published file due, those after the row `last`. Returns the last one.
fn make_some_due(writing: &mut Writing<'_>, intake: i64, last: i64) -> Result<Option<i64>, StoreError> {
    let connection = writing.connection;
    let mut select = connection.prepare_cached(&format!(
        "SELECT {} FROM jobs WHERE intake = ?1 AND nr > ?2 AND last_change = 0 ORDER BY nr LIMIT ?3",
        JobColumns::SELECT
    ))?;
    let mut update = connection.prepare_cached(
        "UPDATE jobs SET next_action = ?2, next_action_at = ?3, last_change = ?4 WHERE nr = ?1",
    )?;
    let mut rows = select.query((intake, last, MAX_JOBS_PER_COMMIT as i64))?;
    let mut done = None;
    while let Some(row) = rows.next()? {
        let found = read_row(connection, row)?;
        // Due from when it was accepted, like any new job.
        let next = next_action(&found.job, found.job.identity().created_at);
        let (action, due) = (next.map(|next| next.action), next.map(|next| next.due));
        update.execute((found.nr, action, due, writing.next_change()))?;
        done = Some(found.nr);
    }
    writing.notify(Topic::Submit);
    writing.notify(Topic::Changes);
    Ok(done)
}

/// Deletes some jobs of a staged file, and its own row with the last one. Returns whether there may be more.
fn delete_some_jobs(writing: &mut Writing<'_>, intake: i64) -> Result<bool, StoreError> {
    let connection = writing.connection;
    let mut select =
        connection.prepare_cached("SELECT nr FROM jobs WHERE intake = ?1 ORDER BY nr LIMIT ?2")?;
    let rows = select.query_map((intake, MAX_DELETED_PER_COMMIT), |row| row.get(0))?;
    let jobs: Vec<i64> = rows.collect::<Result<_, _>>()?;
    for nr in &jobs {
        delete_job(writing, *nr, intake)?;
    }
    let count = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    connection
        .prepare_cached("UPDATE intakes SET jobs = jobs - ?2 WHERE nr = ?1")?
        .execute((intake, count))?;
    if jobs.is_empty() {
        connection.prepare_cached("DELETE FROM intakes WHERE nr = ?1 AND staged = 1")?.execute([intake])?;
    }
    Ok(!jobs.is_empty())
}

/// Deletes the staged files that a crash left, and returns the published files whose jobs are not all due yet. Only for the
/// start, when nothing waits for the writer.
pub(super) fn recover(connection: &Connection) -> rusqlite::Result<Vec<StagedFile>> {
    let staged = connection.query_row("SELECT 1 FROM intakes WHERE staged = 1", [], |_| Ok(())).optional()?;
    if staged.is_some() {
        connection.execute_batch(DELETE_STAGED)?;
    }
    let mut select = connection.prepare("SELECT DISTINCT intake FROM jobs WHERE last_change = 0")?;
    let files = select.query_map([], |row| Ok(StagedFile { nr: row.get(0)?, ..StagedFile::default() }))?;
    files.collect()
}

const DELETE_STAGED: &str = "BEGIN IMMEDIATE;
    CREATE TEMP TABLE staged_jobs AS
        SELECT jobs.nr, jobs.id FROM jobs JOIN intakes ON intakes.nr = jobs.intake WHERE intakes.staged = 1;
    DELETE FROM keys WHERE job IN (SELECT id FROM staged_jobs);
    DELETE FROM labels WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM requests WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM history WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM jobs WHERE nr IN (SELECT nr FROM staged_jobs);
    DELETE FROM intakes WHERE staged = 1;
    DROP TABLE temp.staged_jobs;
    COMMIT;";

#[cfg(test)]
mod tests;
