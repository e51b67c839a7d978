//! Which jobs are due: the queues of the stages that talk to the provider. `downloads` has that of the download stage.
//!
//! The cost of a query does not depend on the number of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::next_action::NextAction;
use crate::job::retry::FAILING_GRACE;
use crate::job::scheduling::{ModelTasks, TaskCounts, Turns, WaitingJob};
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension, Row};
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
/// The first job of each model to submit. Skips from model to model in the index.
const HEADS: &str = "WITH RECURSIVE models (model) AS (
        SELECT min(model) FROM jobs WHERE next_action = 'submit'
        UNION ALL
        SELECT (SELECT min(model) FROM jobs WHERE next_action = 'submit' AND model > models.model)
        FROM models WHERE models.model IS NOT NULL)
    SELECT jobs.id, jobs.model, jobs.priority, jobs.turn FROM models, jobs
    WHERE models.model IS NOT NULL AND jobs.nr = (
        SELECT nr FROM jobs AS head WHERE head.next_action = 'submit' AND head.model = models.model
        ORDER BY head.priority DESC, head.turn, head.nr LIMIT 1)";
/// The first job of a model and priority after the turns so far.
const NEXT_TURN: &str = "SELECT id, turn FROM jobs
    WHERE next_action = 'submit' AND model = ?1 AND priority = ?2 AND turn > ?3 ORDER BY turn, nr LIMIT 1";
const RUNNING: &str =
    "SELECT model, count(*), count(*) FILTER (WHERE failing_since <= ?1) FROM jobs INDEXED BY jobs_running
    WHERE state = 'submitting' OR state = 'queued' OR state = 'processing' GROUP BY model";
/// The tasks at the provider whose calls do not fail. No more than run at one time.
const UNPOLLED: &str = "SELECT id, coalesce(polled_at, submitted_at, 0) FROM jobs INDEXED BY jobs_running
    WHERE (state = 'submitting' OR state = 'queued' OR state = 'processing') AND next_action = 'poll'";
/// The frequent statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    use strum::VariantArray;
    let fixed = [
        ("first job of each model", HEADS),
        ("next turn", NEXT_TURN),
        ("running by model", RUNNING),
        ("unpolled", UNPOLLED),
    ];
    let of_actions = NextAction::VARIANTS
        .iter()
        .copied()
        .filter(|what| *what != NextAction::Submit)
        .flat_map(|what| [("due", of(DUE, what)), ("next due", of(NEXT, what))]);
    fixed.into_iter().map(|(name, sql)| (name, sql.to_owned())).chain(of_actions).collect()
}

fn of(sql: &str, what: NextAction) -> String {
    sql.replace("ACTION", what.into_str())
}

/// How many tasks of each model are at the provider.
pub(super) fn task_counts(connection: &Connection, now: Timestamp) -> Result<TaskCounts, StoreError> {
    let mut statement = connection.prepare_cached(RUNNING)?;
    let failing_since = now.minus(FAILING_GRACE).millis();
    let count = |row: &Row<'_>| {
        let (all, failing): (u32, u32) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, ModelTasks { working: all.saturating_sub(failing), failing }))
    };
    let running: BTreeMap<String, ModelTasks> =
        statement.query_map([failing_since], count)?.collect::<Result<_, _>>()?;
    Ok(TaskCounts(running))
}

impl Store {
    /// The jobs that need `what` by `now`, at most `limit`. Those to submit are in an index of their own: see
    /// [`submit_queue`](Self::submit_queue).
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn due_jobs(&self, what: NextAction, now: Timestamp, limit: u32) -> Result<Due, StoreError> {
        self.read(move |connection| {
            let mut due = connection.prepare_cached(&of(DUE, what))?;
            let jobs = due.query_map((now, limit), |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut next = connection.prepare_cached(&of(NEXT, what))?;
            Ok(Due { jobs, next: next.query_row([now], |row| row.get(0)).optional()? })
        })
        .await
    }

    /// The first job of each model to submit after these turns, and how many tasks are at the provider.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn submit_queue(
        &self,
        now: Timestamp,
        turns: Turns,
    ) -> Result<(Vec<WaitingJob>, TaskCounts), StoreError> {
        self.read(move |connection| {
            let head = |row: &Row<'_>| {
                Ok(WaitingJob {
                    id: row.get(0)?,
                    model: row.get(1)?,
                    priority: row.get(2)?,
                    turn: row.get(3)?,
                })
            };
            let mut statement = connection.prepare_cached(HEADS)?;
            let mut heads: Vec<WaitingJob> = statement.query_map([], head)?.collect::<Result<_, _>>()?;
            for head in &mut heads {
                let Some(last) = turns.last(head.priority) else { continue };
                let mut statement = connection.prepare_cached(NEXT_TURN)?;
                let next = statement
                    .query_row((&head.model, head.priority, last), |row| Ok((row.get(0)?, row.get(1)?)));
                if let Some((id, turn)) = next.optional()? {
                    *head = WaitingJob { id, turn, ..head.clone() };
                }
            }
            Ok((heads, task_counts(connection, now)?))
        })
        .await
    }

    /// The jobs whose tasks were not polled for `interval`, longest not polled first, and when the next one will not have been.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unpolled_jobs(&self, now: Timestamp, interval: Duration) -> Result<Due, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(UNPOLLED)?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, Timestamp>(1)?.plus(interval), row.get(0)?)))?;
            let mut found: Vec<(Timestamp, JobId)> = rows.collect::<Result<_, _>>()?;
            found.sort_unstable();
            let later = found.split_off(found.partition_point(|(due, _)| *due <= now));
            let jobs = found.into_iter().map(|(_, job)| job).collect();
            Ok(Due { jobs, next: later.first().map(|(due, _)| *due) })
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
                        "UPDATE jobs SET next_action = NULL, next_action_at = NULL, download_at = NULL, download_failing = NULL, upload_at = NULL, expiry_alerted = 1, status_message = ?2,
                                         last_change = ?3
                         WHERE id = ?1",
                    )?
                    .execute((job.to_string(), &why, change))?;
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE attempts SET settlement_at = NULL WHERE job = (SELECT nr FROM jobs WHERE id = ?1)",
                    )?
                    .execute([job.to_string()])?;
                Ok(())
            })
            .await
    }
}
