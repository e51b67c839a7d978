//! Ingests many job files that are in memory in one commit.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::jobfile::Draft;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::job_files::idempotency::{ingested_before, record_key};
use crate::store::job_files::insert::{
    Inserts, Visibility, count_accepted, insert_file, refuse_repeat, undoing_refusal,
};
use crate::store::job_files::{FileToIngest, IngestError, IngestResult, Ingested};
use crate::store::writer::Writing;

impl Store {
    /// Ingests many job files, each whole or not at all, in this order and in one transaction. Returns the outcome of each.
    ///
    /// # Errors
    /// Any failure of the database; none of the files is ingested then.
    pub async fn ingest_batch(
        &self,
        files: Vec<(FileToIngest, Vec<Draft>)>,
        now: Timestamp,
    ) -> Result<Vec<IngestResult>, StoreError> {
        let (rng, context, inbox) = (self.rng.clone(), self.insert_context(), self.inbox_number());
        self.writer
            .write(move |writing| {
                let new_id = |order| JobId::new(now, order, &rng);
                let mut inserts = Inserts::prepare(writing.connection, &context, Visibility::AtOnce)?;
                let outcomes = files.iter().map(|(file, drafts)| {
                    match ingest_drafts(writing, &mut inserts, (file, inbox), drafts, now, &new_id) {
                        Err(IngestError::Store(error)) => Err(error),
                        outcome => Ok(outcome),
                    }
                });
                let outcomes = outcomes.collect::<Result<_, _>>()?;
                inserts.finish()?;
                Ok(outcomes)
            })
            .await
    }
}

/// Ingests a file whose jobs are all in memory. Only a used key is found after something was written.
fn ingest_drafts(
    writing: &mut Writing<'_>,
    inserts: &mut Inserts<'_>,
    (file, inbox): (&FileToIngest, Option<i32>),
    drafts: &[Draft],
    now: Timestamp,
    new_id: &impl Fn(u64) -> JobId,
) -> IngestResult {
    if let Some(ingested) = ingested_before(writing.connection, file)? {
        return Ok(ingested);
    }
    if !drafts.iter().any(|draft| draft.again) && !drafts.iter().all(|draft| draft.key.is_some()) {
        refuse_repeat(writing.connection, file, now)?;
    }
    let connection = writing.connection;
    let has_keys = drafts.iter().any(|draft| draft.key.is_some());
    let (nr, jobs) = undoing_refusal(connection, has_keys, || {
        let nr = insert_file(connection, (file, inbox), drafts.len(), Visibility::AtOnce, now)?;
        Ok((nr, inserts.add_jobs(writing, nr, drafts, now, new_id)?))
    })?;
    record_key(connection, file, nr, now)?;
    count_accepted(writing, jobs.len());
    Ok(Ingested { nr, jobs })
}
