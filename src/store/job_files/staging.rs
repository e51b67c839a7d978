//! Ingesting a long job file in many short commits, so that no callback waits for it. Until its last job is written, the
//! file is *staged*: its jobs are counted and listed nowhere, and none is due. One commit then makes all of them visible,
//! and short ones after it make them due. A crash before that commit leaves nothing: the next start deletes what is staged.

use futures_util::future::join;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::jobfile::Draft;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::job_files::idempotency::{ingested_before, record_key};
use crate::store::job_files::insert::{
    Inserts, Visibility, count_accepted, insert_file, refuse_repeat, undoing_refusal,
};
use crate::store::job_files::unfinished::StagedFile;
use crate::store::job_files::{Drafts, FileToIngest, IngestError, IngestResult, Ingested};
use crate::store::writer::{WriteKind, Writing};

/// Most jobs per commit. A callback that comes meanwhile waits for the rest of it.
pub const MAX_JOBS_PER_COMMIT: usize = 512;
/// A commit ends once the bodies of its jobs have this many bytes.
const MAX_COMMIT_BYTES: usize = 256 << 10;

impl Store {
    /// Ingests a job file of any length, whole or not at all.
    ///
    /// # Errors
    /// See [`IngestError`]; after any of them nothing is committed.
    pub async fn ingest(&self, file: FileToIngest, drafts: Drafts, now: Timestamp) -> IngestResult {
        let (first, rest) = self.read_chunk(drafts).await?;
        // The keys of unfinished files must not reject this file.
        self.finish_unfinished().await?;
        let Some(rest) = rest else {
            let ingested = self.ingest_batch(vec![(file, first)], now).await?;
            return ingested.into_iter().next().unwrap_or(Err(IngestError::Store(StoreError::Closed)));
        };
        if let Some(ingested) = self.find_ingested(&file).await? {
            return Ok(ingested);
        }
        let nr = self.stage_file(file.clone(), now).await?;
        let mut work = self.work_on(StagedFile { nr, ..StagedFile::default() });
        let published = match self.stage_jobs(&mut work.file, first, Some(rest), now).await {
            Ok(()) => self.publish_file(&work.file, file.clone(), now).await,
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
                self.find_ingested(&file).await?.ok_or(IngestError::IdempotencyKeyReused)
            }
            outcome => outcome,
        }
    }

    async fn find_ingested(&self, file: &FileToIngest) -> Result<Option<Ingested>, IngestError> {
        let file = file.clone();
        self.read(move |connection| match ingested_before(connection, &file) {
            Err(IngestError::Store(error)) => Err(error),
            found => Ok(found),
        })
        .await?
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

    async fn stage_file(&self, file: FileToIngest, now: Timestamp) -> Result<i64, StoreError> {
        let inbox = self.inbox_number();
        let insert = move |writing: &mut Writing<'_>| {
            insert_file(writing.connection, (&file, inbox), 0, Visibility::Staged, now)
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
            file.keys.extend(chunk.iter().flat_map(Draft::keys).map(str::to_owned));
            let write = self.stage_chunk(file.nr, chunk, now);
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
        drafts: Vec<Draft>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, IngestError> {
        let (rng, context) = (self.rng.clone(), self.insert_context());
        let stage = move |writing: &mut Writing<'_>| {
            let connection = writing.connection;
            let new_id = |order| JobId::new(now, order, &rng);
            let mut inserts = Inserts::prepare(connection, &context, Visibility::Staged)?;
            let has_keys = drafts.iter().any(|draft| draft.key.is_some());
            let staged = "SELECT 1 FROM batches WHERE nr = ?1 AND staged = 1 AND jobs >= 0";
            if !connection.prepare_cached(staged)?.exists([nr])? {
                return Err(StoreError::Busy);
            }
            let add = || inserts.add_jobs(writing, nr, &drafts, now, &new_id);
            match undoing_refusal(connection, has_keys, add) {
                Err(IngestError::Store(error)) => Err(error),
                jobs => {
                    inserts.finish()?;
                    let staged = jobs.as_ref().map_or(0, Vec::len);
                    connection
                        .prepare_cached(
                            "UPDATE batches SET jobs = jobs + ?2, open_jobs = open_jobs + ?2 WHERE nr = ?1",
                        )?
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
        staged: &StagedFile,
        file: FileToIngest,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        let (nr, jobs) = (staged.nr, staged.jobs.len());
        let may_be_copy = !staged.has_again && staged.lacks_key;
        let publish = move |writing: &mut Writing<'_>| {
            let refused = match ingested_before(writing.connection, &file) {
                Ok(None) if may_be_copy => refuse_repeat(writing.connection, &file, now),
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(IngestError::IdempotencyKeyReused),
                Err(error) => Err(error),
            };
            match refused {
                Ok(()) => record_key(writing.connection, &file, nr, now)?,
                Err(IngestError::Store(error)) => return Err(error),
                refused => return Ok(refused),
            }
            let mut publish = writing
                .connection
                .prepare_cached("UPDATE batches SET staged = 2 WHERE nr = ?1 AND staged = 1 AND jobs = ?2")?;
            // Another process that took this one for gone has deleted some or all of them.
            if publish.execute((nr, i64::try_from(jobs).unwrap_or(i64::MAX)))? == 0 {
                return Err(StoreError::Busy);
            }
            count_accepted(writing, jobs);
            Ok(Ok(()))
        };
        self.writer.write(publish).await?
    }
}

#[cfg(test)]
mod tests;
