//! The queues: which jobs are due. The cost of a query does not depend on the number of jobs.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Rows};

use crate::clock::Timestamp;
use crate::job::next_action::NextAction;
use crate::job::output::host_of_link;
use crate::job::retry::FAILING_GRACE;
use crate::job::scheduling::{ModelTasks, TaskCounts, WaitingJob};
use crate::job::{JobId, Priority};
use crate::store::Store;
use crate::store::error::StoreError;

/// Jobs with a due action of one kind, and when the next one is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The due jobs, longest due first.
    pub jobs: Vec<JobId>,
    /// When the next job after them is due.
    pub next: Option<Timestamp>,
}

// The action is part of the text. Bound as a value, it would make SQLite compile the statement again each time, because of
// the partial indexes.
const DUE: &str = "SELECT id FROM jobs WHERE next_action = 'ACTION' AND next_action_at <= ?1 ORDER BY next_action_at LIMIT ?2";
const NEXT: &str = "SELECT next_action_at FROM jobs WHERE next_action = 'ACTION' AND next_action_at > ?1 ORDER BY next_action_at LIMIT 1";
/// First downloads, the link that expires first before the others. With the link of the output to be downloaded first, for
/// its host.
const DOWNLOADS: &str =
    "SELECT id, (SELECT link FROM outputs WHERE job = jobs.nr AND outputs.task_id = jobs.task_id
        AND state = 'waiting' AND tries = 0 LIMIT 1)
    FROM jobs INDEXED BY jobs_to_download
    WHERE download_at IS NOT NULL AND download_failing = 0 ORDER BY expires_at, nr LIMIT ?1";
/// Downloads that have failed, the longest due first.
const DOWNLOADS_AGAIN: &str =
    "SELECT id, (SELECT link FROM outputs WHERE job = jobs.nr AND outputs.task_id = jobs.task_id
        AND state = 'waiting' AND due_at <= ?1 LIMIT 1)
    FROM jobs INDEXED BY jobs_to_download_again
    WHERE download_failing = 1 AND download_at <= ?1 ORDER BY download_at LIMIT ?2";
const NEXT_DOWNLOAD: &str = "SELECT download_at FROM jobs INDEXED BY jobs_to_download_again
    WHERE download_failing = 1 AND download_at > ?1 ORDER BY download_at LIMIT 1";
/// The first job of each model to submit. Skips from model to model in the index.
const HEADS: &str = "WITH RECURSIVE models (model) AS (
        SELECT min(model) FROM jobs WHERE next_action = 'submit'
        UNION ALL
        SELECT (SELECT min(model) FROM jobs WHERE next_action = 'submit' AND model > models.model)
        FROM models WHERE models.model IS NOT NULL)
    SELECT jobs.id, jobs.model, jobs.priority FROM models, jobs
    WHERE models.model IS NOT NULL AND jobs.nr = (
        SELECT nr FROM jobs AS head WHERE head.next_action = 'submit' AND head.model = models.model
        ORDER BY head.priority DESC, head.nr LIMIT 1)";
const RUNNING: &str =
    "SELECT model, count(*), coalesce(sum(failing_since <= ?1), 0) FROM jobs INDEXED BY jobs_running
    WHERE state = 'submitting' OR state = 'queued' OR state = 'processing' GROUP BY model";
const ALERTS: &str = "SELECT id FROM jobs INDEXED BY jobs_to_alert
    WHERE expiry_alerted = 0 AND expires_at IS NOT NULL AND finished_at IS NULL AND expires_at <= ?1
    ORDER BY expires_at LIMIT ?2";

/// The frequent statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    use strum::VariantArray;
    let fixed = [
        ("first downloads", DOWNLOADS),
        ("downloads that failed", DOWNLOADS_AGAIN),
        ("next download", NEXT_DOWNLOAD),
        ("first job of each model", HEADS),
        ("running by model", RUNNING),
        ("to alert", ALERTS),
    ];
    let of_actions = NextAction::VARIANTS
        .iter()
        .copied()
        .flat_map(|what| [("due", of(DUE, what)), ("next due", of(NEXT, what))]);
    fixed.into_iter().map(|(name, sql)| (name, sql.to_owned())).chain(of_actions).collect()
}

fn of(sql: &str, what: NextAction) -> String {
    sql.replace("ACTION", what.into_str())
}

fn ids(
    statement: &mut rusqlite::CachedStatement<'_>,
    with: impl rusqlite::Params,
) -> Result<Vec<JobId>, StoreError> {
    let mut rows = statement.query(with)?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        ids.push(JobId::parse(&id).ok_or(StoreError::UnknownWord { what: "job id", value: id })?);
    }
    Ok(ids)
}

/// The jobs that need `what` by `now`, at most `limit`.
pub(super) fn due_in(
    connection: &Connection,
    what: NextAction,
    now: Timestamp,
    limit: u32,
) -> Result<Due, StoreError> {
    let jobs = ids(&mut connection.prepare_cached(&of(DUE, what))?, (now.millis(), limit))?;
    let next: Option<i64> =
        connection.prepare_cached(&of(NEXT, what))?.query_row([now.millis()], |row| row.get(0)).optional()?;
    Ok(Due { jobs, next: next.map(Timestamp::from_millis) })
}

/// The jobs with outputs to download by `now`, at most `limit` that were not tried yet and as many that failed; with the
/// host of one of their links.
pub(super) fn downloads_in(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(JobId, String)>, StoreError> {
    let mut jobs = Vec::new();
    let mut read = |mut rows: Rows<'_>| {
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            let host = row.get::<_, Option<String>>(1)?.as_deref().map_or_else(String::new, host_of_link);
            jobs.push((
                JobId::parse(&id).ok_or(StoreError::UnknownWord { what: "job id", value: id })?,
                host,
            ));
        }
        Ok::<_, StoreError>(())
    };
    read(connection.prepare_cached(DOWNLOADS)?.query([limit])?)?;
    read(connection.prepare_cached(DOWNLOADS_AGAIN)?.query((now.millis(), limit))?)?;
    Ok(jobs)
}

/// When the first download that is not due yet will be.
pub(super) fn next_download_in(
    connection: &Connection,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let next: Option<i64> =
        connection.prepare_cached(NEXT_DOWNLOAD)?.query_row([now.millis()], |row| row.get(0)).optional()?;
    Ok(next.map(Timestamp::from_millis))
}

/// Jobs whose links expire by `until` and that have not been alerted about.
pub(super) fn to_alert_in(
    connection: &Connection,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<JobId>, StoreError> {
    ids(&mut connection.prepare_cached(ALERTS)?, (until.millis(), limit))
}

impl Store {
    /// The jobs that need `what` by `now`, at most `limit`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn due_jobs(&self, what: NextAction, now: Timestamp, limit: u32) -> Result<Due, StoreError> {
        self.read(move |connection| due_in(connection, what, now, limit)).await
    }

    /// The first job of each model to submit, and how many tasks are at the provider.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn submit_queue(&self, now: Timestamp) -> Result<(Vec<WaitingJob>, TaskCounts), StoreError> {
        self.read(move |connection| {
            let mut heads = Vec::new();
            let mut statement = connection.prepare_cached(HEADS)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let id: String = row.get(0)?;
                heads.push(WaitingJob {
                    id: JobId::parse(&id).ok_or(StoreError::UnknownWord { what: "job id", value: id })?,
                    model: row.get(1)?,
                    priority: Priority::new(row.get(2)?).unwrap_or_default(),
                });
            }
            let mut statement = connection.prepare_cached(RUNNING)?;
            let failing_since = now.minus(FAILING_GRACE).millis();
            let count = |row: &Row<'_>| {
                let (all, failing): (u32, u32) = (row.get(1)?, row.get(2)?);
                Ok((row.get(0)?, ModelTasks { working: all.saturating_sub(failing), failing }))
            };
            let running: BTreeMap<String, ModelTasks> =
                statement.query_map([failing_since], count)?.collect::<Result<_, _>>()?;
            Ok((heads, TaskCounts(running)))
        })
        .await
    }

    /// Takes a job with a corrupt row out of every queue and stores why. Its state stays as it is.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn isolate_job(&self, job: JobId, why: String) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let change = writing.next_change();
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE jobs SET next_action = NULL, next_action_at = NULL, download_at = NULL, download_failing = NULL, expiry_alerted = 1, status_message = ?2,
                                         last_change = ?3
                         WHERE id = ?1",
                    )?
                    .execute((job.to_string(), &why, change))?;
                Ok(())
            })
            .await
    }
}
