//! Ingesting job files that are in memory, and recording their moves.

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::jobfile::Draft;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::idempotency::{KeyUse, find_use, record_use};
use crate::store::intake::{
    IngestError, IngestResult, Ingested, Inserts, Intake, UnmovedFile, Visibility, insert_intake,
    refuse_repeat,
};
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::writer::Writing;

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
