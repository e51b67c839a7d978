//! Tasks that their jobs no longer have, because an operator retried the job before their cost was final. They are billed
//! all the same, so they are polled until it is, a limited number of times.

use rusqlite::OptionalExtension;

use crate::clock::Timestamp;
use crate::job::event::StatusVerdict;
use crate::job::state::Settlement;
use crate::job::step::Moment;
use crate::job::{JobId, TaskId};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::Topic;
use crate::store::writer::Writing;

const DUE: &str =
    "SELECT jobs.id, attempts.task_id FROM attempts INDEXED BY attempts_to_settle JOIN jobs ON jobs.nr = attempts.job
    WHERE attempts.settlement_at IS NOT NULL AND attempts.settlement_at <= ?1 ORDER BY attempts.settlement_at LIMIT ?2";
const NEXT: &str = "SELECT settlement_at FROM attempts INDEXED BY attempts_to_settle
    WHERE settlement_at IS NOT NULL AND settlement_at > ?1 ORDER BY settlement_at LIMIT 1";
const SETTLEMENT: &str = "SELECT settlement_at, settlement_tries FROM attempts
    WHERE task_id = ?1 AND settlement_at IS NOT NULL";

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

fn settlement_of(writing: &Writing<'_>, task: &TaskId) -> Result<Option<Settlement>, StoreError> {
    let mut statement = writing.connection.prepare_cached(SETTLEMENT)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Settlement { due: row.get(0)?, tries: row.get(1)? });
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
    [("earlier tasks", DUE), ("next earlier task", NEXT), ("settlement of a task", SETTLEMENT)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}

#[cfg(test)]
mod tests;
