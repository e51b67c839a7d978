//! Callback bodies: committed before they are answered, applied to their jobs afterwards.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::event::Event;
use crate::job::step::Moment;
use crate::store::Store;
use crate::store::adopt::job_of_task;
use crate::store::apply::{Applied, apply_in};
use crate::store::db::OptionalExtension;
use crate::store::error::StoreError;
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::writer::{WriteKind, Writing};

/// Most callback bodies kept per job; further ones are only counted.
pub const KEPT_PER_JOB: i64 = 20;

/// Proof that a delivery is committed. The 204 is made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept(());

/// A delivery that is not processed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The number of its row.
    pub nr: i64,
    /// Its job.
    pub job: JobId,
    job_nr: i64,
    /// The body as sent.
    pub body: Vec<u8>,
    /// How many further callbacks were only counted.
    pub more: u32,
}

impl Store {
    /// Commits a callback's body. After this returns, no crash can lose it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn keep_delivery(&self, job: JobId, body: Vec<u8>, now: Timestamp) -> Result<Kept, StoreError> {
        let write = self.writer.write(move |writing| {
            keep(writing, job, &body, now)?;
            writing.notify(Topic::Deliveries);
            writing.count(MetricEvent::Callback);
            Ok(Kept(()))
        });
        write.await
    }

    /// The oldest deliveries after number `after` that are not processed.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unprocessed_deliveries(&self, after: i64, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT deliveries.nr, jobs.id, jobs.nr, deliveries.body, deliveries.overflow
                 FROM deliveries CROSS JOIN jobs ON jobs.nr = deliveries.job
                 WHERE deliveries.processed = 0 AND deliveries.nr > ?1 ORDER BY deliveries.nr LIMIT ?2",
            )?;
            let deliveries = statement.query_map((after, limit), |row| {
                Ok(Delivery {
                    nr: row.get(0)?,
                    job: row.get(1)?,
                    job_nr: row.get(2)?,
                    body: row.get(3)?,
                    more: row.get(4)?,
                })
            })?;
            Ok(deliveries.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Applies a delivery to its job and marks it as processed, in one transaction. `believed` is its content, if the
    /// settings trust it.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn process_delivery(
        &self,
        delivery: &Delivery,
        received: Event,
        believed: Option<Event>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let (policy, jitter) = (self.policy, self.rng.fraction());
        let (job, marked) = (delivery.job, (delivery.nr, delivery.job_nr, delivery.more));
        // In the background: no caller waits for it, but senders of callbacks wait for their 204.
        self.writer
            .write_as(WriteKind::Background, move |writing| {
                mark_processed(writing, marked)?;
                let moment = Moment { now, jitter, policy: &policy };
                let (mut applied, _) = apply_in(writing, job, &received, moment)?;
                if let Event::CallbackReceived { hint: Some(task), .. } = &received
                    && applied.job.refused_attempt().is_some()
                    && job_of_task(writing.connection, task)?.is_none()
                {
                    let found = Event::TaskAfterRefusal { task: task.clone() };
                    applied = apply_in(writing, job, &found, moment)?.0;
                }
                match &believed {
                    Some(event) => apply_in(writing, job, event, moment).map(|(applied, _)| applied),
                    None => Ok(applied),
                }
            })
            .await
    }

    /// Marks a delivery as processed whose job cannot be processed.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn skip_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let marked = (delivery.nr, delivery.job_nr, delivery.more);
        self.writer.write_as(WriteKind::Background, move |writing| mark_processed(writing, marked)).await
    }

    /// The number of the newest delivery, 0 before the first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn newest_delivery(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            let newest = "SELECT coalesce(max(nr), 0) FROM deliveries";
            Ok(connection.query_row(newest, [], |row| row.get(0))?)
        })
        .await
    }

    /// How many deliveries a job has had, including those that were only counted.
    #[cfg(test)]
    pub(crate) async fn count_deliveries(&self, job: JobId) -> u64 {
        let count =
            "SELECT coalesce(sum(1 + overflow), 0) FROM deliveries JOIN jobs ON jobs.nr = job WHERE id = ?1";
        let counted = self.read(move |connection| Ok(connection.query_row(count, [job], |row| row.get(0))?));
        counted.await.unwrap_or(0_i64).unsigned_abs()
    }
}

pub(super) fn keep(
    writing: &mut Writing<'_>,
    job: JobId,
    body: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    let connection = writing.connection;
    // Queried first: an INSERT that reads its own table copies what it reads.
    let (job_nr, processed): (i64, i64) = connection
        .prepare_cached(
            "SELECT nr, (SELECT count(*) FROM deliveries WHERE deliveries.job = jobs.nr AND processed = 1)
             FROM jobs WHERE id = ?1",
        )?
        .query_row([job], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(StoreError::NoSuchJob(job))?;
    let of_job = writing.unprocessed.of_job(connection, job_nr)?;
    if processed + of_job.count < KEPT_PER_JOB {
        let mut insert = connection.prepare_cached(
            "INSERT INTO deliveries (job, received_at, overflow, processed, body) VALUES (?1, ?2, 0, 0, ?3)",
        )?;
        writing.unprocessed.add(job_nr, insert.insert((job_nr, now, body))?);
        return Ok(());
    }
    let counted = connection
        .prepare_cached("UPDATE deliveries SET overflow = overflow + 1 WHERE nr = ?1 AND processed = 0")?
        .execute([of_job.newest])?;
    if counted == 0 {
        let nr = connection
            .prepare_cached(
                "UPDATE deliveries SET overflow = overflow + 1, processed = 0
                 WHERE nr = (SELECT max(nr) FROM deliveries WHERE job = ?1 AND processed = 1) RETURNING nr",
            )?
            .query_row([job_nr], |row| row.get(0))?;
        writing.unprocessed.add(job_nr, nr);
    }
    Ok(())
}

/// A delivery that counted a further callback since it was read stays unprocessed.
fn mark_processed(writing: &mut Writing<'_>, (nr, job_nr, more): (i64, i64, u32)) -> Result<(), StoreError> {
    let marked = writing
        .connection
        .prepare_cached(
            "UPDATE deliveries SET processed = 1 WHERE nr = ?1 AND overflow = ?2 AND processed = 0",
        )?
        .execute((nr, more))?;
    if marked > 0 {
        writing.unprocessed.remove(job_nr);
    }
    Ok(())
}
