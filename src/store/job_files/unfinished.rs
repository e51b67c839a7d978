//! Finishes the long job files of [`staging`](crate::store::job_files::staging): makes the jobs of a published file due, and
//! deletes a file whose ingestion failed, was cancelled or was interrupted by a crash.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::next_action::{NextAction, next_action};
use crate::job::{Job, JobId};
use crate::store::Store;
use crate::store::db::{self, Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::job_rows::{JobColumns, read_row};
use crate::store::leadership::Role;
use crate::store::notify::Topic;
use crate::store::prune::delete_job;
use crate::store::writer::{WriteKind, Writing};
use parking_lot::Mutex;

/// Most jobs made due, or keys deleted, per commit.
const MAX_CHANGED_PER_COMMIT: i64 = 512;
/// Most jobs deleted per commit: each takes a dozen statements.
const MAX_DELETED_PER_COMMIT: i64 = 128;

/// A staged file, or one whose jobs are not all due yet.
#[derive(Debug, Default)]
pub(in crate::store) struct StagedFile {
    pub(super) nr: i64,
    pub(super) jobs: Vec<JobId>,
    /// The keys of its jobs, unless they are unknown.
    pub(super) keys: Vec<String>,
    /// Another process staged it, or this one before its start.
    pub(super) has_unknown_keys: bool,
    /// One of its jobs says `again`.
    pub(super) has_again: bool,
    /// One of its jobs has no key.
    pub(super) lacks_key: bool,
}

/// The unfinished files: their ingestion failed, was cancelled, or was interrupted by a crash.
pub(in crate::store) type UnfinishedFiles = Arc<Mutex<Vec<StagedFile>>>;

/// Work on a file. If it is dropped before its end, the file counts as unfinished.
pub(super) struct Work {
    pub(super) file: StagedFile,
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
    /// Makes the jobs of published files due, and deletes those of unfinished files.
    ///
    /// # Errors
    /// Any failure of the database. The next call or the next start does the rest.
    pub async fn finish_unfinished(&self) -> Result<(), StoreError> {
        self.finish_unfinished_within(Duration::MAX).await.map(drop)
    }

    /// The same, but begins nothing after `longest`, except that each call gets further. Returns whether there is more to do.
    ///
    /// # Errors
    /// As [`Store::finish_unfinished`].
    pub async fn finish_unfinished_within(&self, longest: Duration) -> Result<bool, StoreError> {
        let began = self.clock.tick();
        loop {
            let Some(file) = self.unfinished.lock().pop() else { return Ok(false) };
            let mut work = self.work_on(file);
            let (nr, left) = (work.file.nr, longest.saturating_sub(self.clock.tick().since(began)));
            // The publisher of the file may have stopped waiting for the answer.
            work.done = if self.is_staged(nr).await? {
                let mut keys = (!work.file.has_unknown_keys).then(|| std::mem::take(&mut work.file.keys));
                // If this call is dropped, they are read.
                work.file.has_unknown_keys = true;
                let discarded = self.discard(nr, &mut keys, "TRUE", left).await;
                work.file.has_unknown_keys = keys.is_none();
                work.file.keys = keys.unwrap_or_default();
                discarded?
            } else {
                self.make_jobs_due(nr, left).await?
            };
            if !work.done {
                return Ok(true);
            }
        }
    }

    pub(super) fn work_on(&self, file: StagedFile) -> Work {
        Work { file, unfinished: self.unfinished.clone(), done: false }
    }

    /// Runs in the writer, after all earlier writes.
    async fn is_staged(&self, nr: i64) -> Result<bool, StoreError> {
        let is_staged = move |writing: &mut Writing<'_>| {
            let mut select =
                writing.connection.prepare_cached("SELECT 1 FROM batches WHERE nr = ?1 AND staged = 1")?;
            Ok(select.exists([nr])?)
        };
        self.writer.write_as(WriteKind::Background, is_staged).await
    }

    /// Makes the jobs of a published file due. Begins no further commit after `longest`; returns whether it is finished.
    pub(in crate::store) async fn make_jobs_due(
        &self,
        nr: i64,
        longest: Duration,
    ) -> Result<bool, StoreError> {
        let (began, mut last) = (self.clock.tick(), 0);
        loop {
            let make_due = move |writing: &mut Writing<'_>| make_some_due(writing, nr, last);
            match self.writer.write_as(WriteKind::Background, make_due).await? {
                Some(next) => last = next,
                None => return Ok(true),
            }
            if self.clock.tick().since(began) >= longest {
                return Ok(false);
            }
        }
    }

    /// Deletes a staged file if its row in `batches` meets a condition, which may have changed since it was found. `keys` are its
    /// keys that are left, if they are known. Begins no further commit after `longest`; returns whether it is finished.
    pub(in crate::store) async fn discard(
        &self,
        nr: i64,
        keys: &mut Option<Vec<String>>,
        condition: &str,
        longest: Duration,
    ) -> Result<bool, StoreError> {
        // It cannot be published or grow from now on, by a process that was taken for gone. Its own count is of no use any more.
        let give_up = format!("UPDATE batches SET jobs = -1 WHERE nr = ?1 AND staged = 1 AND {condition}");
        let give_up = move |writing: &mut Writing<'_>| Ok(writing.connection.execute(&give_up, [nr])? == 1);
        if !self.writer.write_as(WriteKind::Background, give_up).await? {
            return Ok(true);
        }
        let keys = match keys {
            Some(keys) => keys,
            None => keys.insert(self.read(move |connection| Ok(keys_of(connection, nr)?)).await?),
        };
        // From now on, so that each call gets further.
        let began = self.clock.tick();
        let is_over = || self.clock.tick().since(began) >= longest;
        while !keys.is_empty() {
            let left = keys.len().saturating_sub(MAX_CHANGED_PER_COMMIT as usize);
            let some = keys[left..].to_vec();
            let delete = move |writing: &mut Writing<'_>| {
                let mut delete = writing.connection.prepare_cached(
                    "DELETE FROM keys WHERE key = ?1
                     AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = keys.job AND jobs.batch = ?2)",
                )?;
                some.iter().try_for_each(|key| delete.execute((key, nr)).map(drop))?;
                Ok(())
            };
            self.writer.write_as(WriteKind::Background, delete).await?;
            keys.truncate(left);
            if is_over() {
                return Ok(false);
            }
        }
        let delete = move |writing: &mut Writing<'_>| delete_some_jobs(writing, nr);
        while self.writer.write_as(WriteKind::Background, delete).await? {
            if is_over() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Makes due the jobs of a range that are alike in all that decides when: most of a file are. They change in their order.
const MAKE_ALIKE_DUE: &str =
    "UPDATE jobs NOT INDEXED SET next_action = ?2, next_action_at = ?3, last_change = ?4 + nr
    WHERE nr BETWEEN ?5 AND ?6 AND batch = ?1 AND last_change = 0
        AND due_at IS NOT DISTINCT FROM ?7 AND pictures_checked IS NOT DISTINCT FROM ?8 AND created_at = ?9";

/// Makes some jobs of a published file due, those after the row `last`. Returns the last one.
fn make_some_due(writing: &mut Writing<'_>, batch: i64, last: i64) -> Result<Option<i64>, StoreError> {
    let connection = writing.connection;
    let mut select = connection.prepare_cached(&format!(
        "SELECT {} FROM jobs WHERE batch = ?1 AND nr > ?2 AND nr <= ?3 AND last_change = 0 ORDER BY nr LIMIT ?4",
        JobColumns::SELECT
    ))?;
    let first = match select.query((batch, last, i64::MAX, 1))?.next()? {
        Some(row) => read_row(connection, &row)?,
        None => {
            let mut finish = connection.prepare_cached("UPDATE batches SET staged = 0 WHERE nr = ?1")?;
            finish.execute([batch])?;
            return Ok(None);
        }
    };
    // As it was accepted: every change since would have given it a number.
    let (record, end) = (first.job.record(), first.nr.saturating_add(MAX_CHANGED_PER_COMMIT - 1));
    let due = due_when_accepted(&first.job);
    let change = writing.next_changes(MAX_CHANGED_PER_COMMIT) - first.nr;
    let alike = (record.due_at, record.pictures_checked, record.identity.created_at);
    let changed = connection
        .prepare_cached(MAKE_ALIKE_DUE)?
        .execute((batch, due.0, due.1, change, first.nr, end, alike.0, alike.1, alike.2))?;
    if i64::try_from(changed) != Ok(MAX_CHANGED_PER_COMMIT) {
        let mut update = connection.prepare_cached(
            "UPDATE jobs SET next_action = ?2, next_action_at = ?3, last_change = ?4 WHERE nr = ?1",
        )?;
        let mut rows = select.query((batch, first.nr, end, MAX_CHANGED_PER_COMMIT))?;
        while let Some(row) = rows.next()? {
            let other = read_row(connection, &row)?;
            let (action, at) = due_when_accepted(&other.job);
            update.execute((other.nr, action, at, writing.next_change()))?;
        }
    }
    writing.notify(Topic::Submit);
    writing.notify(Topic::Changes);
    Ok(Some(end))
}

/// What a job needs first. It is due from when it was accepted, like any new job.
fn due_when_accepted(job: &Job) -> (Option<NextAction>, Option<Timestamp>) {
    let next = next_action(job, job.identity().created_at);
    (next.map(|next| next.action), next.map(|next| next.due))
}

/// Deletes some jobs of a staged file, and its own row with the last one. Returns whether there may be more.
fn delete_some_jobs(writing: &mut Writing<'_>, batch: i64) -> Result<bool, StoreError> {
    let connection = writing.connection;
    let mut select =
        connection.prepare_cached("SELECT nr FROM jobs WHERE batch = ?1 ORDER BY nr LIMIT ?2")?;
    let rows = select.query_map((batch, MAX_DELETED_PER_COMMIT), |row| row.get(0))?;
    let jobs: Vec<i64> = rows.collect::<Result<_, _>>()?;
    for nr in &jobs {
        delete_job(writing, *nr, batch)?;
    }
    let count = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    connection
        .prepare_cached("UPDATE batches SET open_jobs = open_jobs - ?2 WHERE nr = ?1")?
        .execute((batch, count))?;
    if jobs.is_empty() {
        connection.prepare_cached("DELETE FROM batches WHERE nr = ?1 AND staged = 1")?.execute([batch])?;
    }
    Ok(!jobs.is_empty())
}

/// Deletes the staged files that a crash left, and returns the published files whose jobs are not all due yet. Only for the
/// start, when nothing waits for the writer. Where several processes share the database, each returns its own; the staged ones,
/// too, which are deleted in short commits.
pub(in crate::store) fn recover(connection: &Connection, role: Role) -> db::Result<Vec<StagedFile>> {
    if let Some(own) = connection.own_batches(role == Role::Leader) {
        let select = format!("SELECT nr FROM batches WHERE (staged = 1 OR staged = 2) AND {own}");
        let mut select = connection.prepare_cached(&select)?;
        let files =
            select.query_map([], |row| Ok(StagedFile { nr: row.get(0)?, ..StagedFile::default() }))?;
        return files.collect();
    }
    let staged = connection.query_row("SELECT 1 FROM batches WHERE staged = 1", [], |_| Ok(())).optional()?;
    if staged.is_some() {
        connection.execute_batch(DELETE_STAGED)?;
    }
    let mut select = connection.prepare_cached("SELECT nr FROM batches WHERE staged = 2")?;
    let files = select.query_map([], |row| Ok(StagedFile { nr: row.get(0)?, ..StagedFile::default() }))?;
    files.collect()
}

fn keys_of(connection: &Connection, batch: i64) -> db::Result<Vec<String>> {
    // Only where several processes share a database, whose keys have an index by job.
    let mut select = connection
        .prepare_cached("SELECT key FROM jobs CROSS JOIN keys ON keys.job = jobs.id WHERE jobs.batch = ?1")?;
    select.query_map([batch], |row| row.get(0))?.collect()
}

const DELETE_STAGED: &str = "BEGIN IMMEDIATE;
    CREATE TEMP TABLE staged_jobs AS
        SELECT jobs.nr, jobs.id FROM jobs JOIN batches ON batches.nr = jobs.batch WHERE batches.staged = 1;
    DELETE FROM keys WHERE job IN (SELECT id FROM staged_jobs);
    DELETE FROM labels WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM job_pictures WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM requests WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM history WHERE job IN (SELECT nr FROM staged_jobs);
    DELETE FROM jobs WHERE nr IN (SELECT nr FROM staged_jobs);
    DELETE FROM batches WHERE staged = 1;
    DROP TABLE staged_jobs;
    COMMIT;";
