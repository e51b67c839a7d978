//! Tasks that their jobs no longer have, because an operator retried the job before their cost was final, or before the
//! outcome of the submit was known. They are billed all the same, so they are polled until it is, a limited number of times.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::job::event::StatusVerdict;
use crate::job::history::{HistoryEntry, HistoryEvent};
use crate::job::state::Settlement;
use crate::job::step::Moment;
use crate::job::{Job, JobId, TaskId};
use crate::store::Store;
use crate::store::db::{OptionalExtension, Row};
use crate::store::error::StoreError;
use crate::store::history::write_history;
use crate::store::notify::Topic;
use crate::store::writer::Writing;

const DUE: &str =
    "SELECT jobs.id, attempts.task_id FROM attempts INDEXED BY attempts_to_settle JOIN jobs ON jobs.nr = attempts.job
    WHERE attempts.settlement_at IS NOT NULL AND attempts.settlement_at <= ?1 ORDER BY attempts.settlement_at LIMIT ?2";
const NEXT: &str = "SELECT settlement_at FROM attempts INDEXED BY attempts_to_settle
    WHERE settlement_at IS NOT NULL AND settlement_at > ?1 ORDER BY settlement_at LIMIT 1";
const SETTLEMENT: &str = "SELECT settlement_at, settlement_tries FROM attempts
    WHERE task_id = ?1 AND settlement_at IS NOT NULL";

/// Attempts that may have made a task that nobody knows, and whether their outcome is unknown. `coalesce`, since an index of
/// tasks would find all attempts without one, of all jobs.
const WITHOUT_TASK: &str = "SELECT number, counted_quota > 0 FROM attempts
    WHERE job = ?1 AND coalesce(task_id, '') = '' AND sends > 0 ORDER BY number";
/// Tasks that callbacks named and no attempt has, as the step writes them into the history.
const NAMED_TASKS: &str = "SELECT substr(detail, 10) FROM history
    WHERE job = ?1 AND event = 'callback_received' AND detail LIKE 'for task %'
      AND NOT EXISTS (SELECT 1 FROM attempts WHERE task_id = substr(detail, 10)) ORDER BY nr";

/// Tasks to poll for their cost, and when the next one is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierTasks {
    /// The due ones with their jobs, longest due first.
    pub due: Vec<(JobId, TaskId)>,
    /// When the next one after them is due.
    pub next: Option<Timestamp>,
}

/// Sets when a task is polled; `None`: not any more.
pub(super) fn set_settlement(
    writing: &mut Writing<'_>,
    task: &TaskId,
    settlement: Option<Settlement>,
) -> Result<(), StoreError> {
    let (at, tries) = (settlement.map(|it| it.due), settlement.map_or(0, |it| it.tries));
    writing
        .connection
        .prepare_cached("UPDATE attempts SET settlement_at = ?2, settlement_tries = ?3 WHERE task_id = ?1")?
        .execute((task.as_str(), at, tries))?;
    writing.notify(Topic::Poll);
    Ok(())
}

/// A task that its job no longer has was polled.
pub(super) fn note_poll(
    writing: &mut Writing<'_>,
    task: &TaskId,
    verdict: &StatusVerdict,
    moment: Moment<'_>,
) -> Result<(), StoreError> {
    match settlement_of(writing, task)? {
        Some(settlement) => set_settlement(writing, task, settlement.polled(verdict, moment)),
        None => Ok(()),
    }
}

/// A callback named a task that its job no longer has.
pub(super) fn note_callback(
    writing: &mut Writing<'_>,
    task: &TaskId,
    now: Timestamp,
) -> Result<(), StoreError> {
    match settlement_of(writing, task)? {
        Some(settlement) => set_settlement(writing, task, Some(settlement.hurried(now))),
        None => Ok(()),
    }
}

/// Gives the tasks that callbacks of this job have named, and that no attempt has, to its attempts without one. Not while
/// an attempt may have to be sent again: the task may be of that one, whose answer is still to come.
pub(super) fn bind_named_tasks(
    writing: &mut Writing<'_>,
    nr: i64,
    job: &Job,
    moment: Moment<'_>,
) -> Result<(), StoreError> {
    // Such a job is held for the task (`task_after_refusal`).
    if job.pending_attempt().is_some() || job.refused_attempt().is_some() {
        return Ok(());
    }
    let connection = writing.connection;
    let mut attempts = connection
        .prepare_cached(WITHOUT_TASK)?
        .query_map([nr], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(u32, bool)>, _>>()?;
    // A callback does not say which attempt it is of: the oldest is taken, one that was refused only if no outcome is
    // unknown. What the job cost is right all the same.
    attempts.sort_by_key(|(_, is_unknown)| !is_unknown);
    if attempts.is_empty() {
        return Ok(());
    }
    let mut tasks = connection
        .prepare_cached(NAMED_TASKS)?
        .query_map([nr], |row| row.get(0))?
        .collect::<Result<Vec<TaskId>, _>>()?;
    let mut seen = BTreeSet::new();
    tasks.retain(|task| seen.insert(task.clone()));
    for (task, (number, _)) in tasks.into_iter().zip(attempts) {
        connection
            .prepare_cached("UPDATE attempts SET task_id = ?3 WHERE job = ?1 AND number = ?2")?
            .execute((nr, number, task.as_str()))?;
        set_settlement(writing, &task, Some(Settlement::first(moment)))?;
        let detail =
            format!("task {task} of attempt {number}, whose outcome was unknown, is polled for its cost");
        let id = job.id();
        tracing::warn!(job = %id, "job {id}: a callback proves that an earlier submit was executed: {detail}");
        write_history(writing, nr, moment.now, &[HistoryEntry { event: HistoryEvent::EarlierTask, detail }])?;
    }
    Ok(())
}

fn settlement_of(writing: &Writing<'_>, task: &TaskId) -> Result<Option<Settlement>, StoreError> {
    let mut statement = writing.connection.prepare_cached(SETTLEMENT)?;
    let read = |row: &Row<'_>| Ok(Settlement { due: row.get(0)?, tries: row.get(1)? });
    Ok(statement.query_row([task.as_str()], read).optional()?)
}

impl Store {
    /// The tasks that are due by `now`, at most `limit`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn earlier_tasks(&self, now: Timestamp, limit: u32) -> Result<EarlierTasks, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DUE)?;
            let due = statement.query_map((now, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
            let due = due.collect::<Result<_, _>>()?;
            let mut statement = connection.prepare_cached(NEXT)?;
            Ok(EarlierTasks { due, next: statement.query_row([now], |row| row.get(0)).optional()? })
        })
        .await
    }

    /// Whether the task is still due: a list of them may be outdated.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn is_earlier_task_due(&self, task: TaskId, now: Timestamp) -> Result<bool, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(SETTLEMENT)?;
            let due: Option<Timestamp> = statement.query_row([task.as_str()], |row| row.get(0)).optional()?;
            Ok(due.is_some_and(|due| due <= now))
        })
        .await
    }
}

/// The statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("earlier tasks", DUE),
        ("next earlier task", NEXT),
        ("settlement of a task", SETTLEMENT),
        ("attempts without a task", WITHOUT_TASK),
        ("named tasks", NAMED_TASKS),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

#[cfg(test)]
mod tests;
