//! The outbox of hooks: notifications to deliver, committed with the change that they report.

use rusqlite::OptionalExtension;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::notification::JobNotification;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::job_rows::number_of;
use crate::store::notify::Topic;
use crate::store::subscription::Subscription;
use crate::store::writer::Writing;

/// A hook to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The number of its row, which never changes.
    pub nr: i64,
    pub hook: String,
    /// What happened.
    pub event: JobNotification,
    /// The job; `None` if the event concerns no single job.
    pub job: Option<JobId>,
    /// When it happened.
    pub at: Timestamp,
    /// The number of tries so far.
    pub tries: u32,
}

/// The status of a call, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCallStatus {
    /// What happened.
    pub event: String,
    pub hook: String,
    /// The number of tries so far.
    pub tries: u32,
    /// When it is tried next; `None` once it is finished.
    pub due_at: Option<Timestamp>,
    /// When the last try ended.
    pub tried_at: Option<Timestamp>,
    /// The outcome of the last try.
    pub outcome: Option<String>,
}

const DUE: &str =
    "SELECT hook_calls.nr, hook_calls.hook, hook_calls.event, jobs.id, hook_calls.at, hook_calls.tries
    FROM hook_calls INDEXED BY hook_calls_due LEFT JOIN jobs ON jobs.nr = hook_calls.job
    WHERE hook_calls.due_at IS NOT NULL AND hook_calls.due_at <= ?1
    ORDER BY hook_calls.due_at, hook_calls.nr LIMIT ?2";
const NEXT: &str = "SELECT due_at FROM hook_calls INDEXED BY hook_calls_due
    WHERE due_at IS NOT NULL AND due_at > ?1 ORDER BY due_at LIMIT 1";

/// Writes a call for each hook that subscribed to the event.
pub(super) fn write_calls(
    writing: &mut Writing<'_>,
    job: Option<i64>,
    event: JobNotification,
    now: Timestamp,
) -> Result<(), StoreError> {
    let hooks: Vec<String> = writing
        .subscriptions()
        .iter()
        .filter(|one| one.on.contains(&event))
        .map(|one| one.hook.clone())
        .collect();
    for hook in hooks {
        writing
            .connection
            .prepare_cached(
                "INSERT INTO hook_calls (hook, event, job, at, tries, due_at) VALUES (?1, ?2, ?3, ?4, 0, ?4)",
            )?
            .execute((hook, event, job, now))?;
        writing.notify(Topic::Hooks);
    }
    Ok(())
}

impl Store {
    /// Sets the subscriptions of hooks. Call it before the first change: earlier notifications are not delivered.
    pub fn set_subscriptions(&self, subscriptions: Vec<Subscription>) {
        // Set once, at the start; a second call has no effect.
        let _ = self.subscriptions.set(subscriptions);
    }

    /// Notifies hooks of an event that concerns no single job.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn notify_hooks(&self, event: JobNotification, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |writing| write_calls(writing, None, event, now)).await
    }

    /// Due calls, oldest first, and when the next one is due.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn due_hook_calls(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<HookCall>, Option<Timestamp>), StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DUE)?;
            let calls = statement.query_map((now, limit), |row| {
                Ok(HookCall {
                    nr: row.get(0)?,
                    hook: row.get(1)?,
                    event: row.get(2)?,
                    job: row.get(3)?,
                    at: row.get(4)?,
                    tries: row.get(5)?,
                })
            })?;
            let calls = calls.collect::<Result<_, _>>()?;
            let mut statement = connection.prepare_cached(NEXT)?;
            Ok((calls, statement.query_row([now], |row| row.get(0)).optional()?))
        })
        .await
    }

    /// Records the outcome of a try. `again` is when the call is tried next; `None`: it is finished.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn finish_hook_call(
        &self,
        nr: i64,
        outcome: String,
        again: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE hook_calls SET tries = tries + 1, due_at = ?2, tried_at = ?3, outcome = ?4
                         WHERE nr = ?1",
                    )?
                    .execute((nr, again, now, &outcome))?;
                Ok(())
            })
            .await
    }

    /// The calls of a job, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn hook_calls_of(&self, job: JobId) -> Result<Vec<HookCallStatus>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, job)?;
            let mut statement = connection.prepare_cached(
                "SELECT event, hook, tries, due_at, tried_at, outcome FROM hook_calls WHERE job = ?1 ORDER BY nr",
            )?;
            let calls = statement.query_map([nr], |row| {
                Ok(HookCallStatus {
                    event: row.get(0)?,
                    hook: row.get(1)?,
                    tries: row.get(2)?,
                    due_at: row.get(3)?,
                    tried_at: row.get(4)?,
                    outcome: row.get(5)?,
                })
            })?;
            Ok(calls.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("due calls", DUE.to_owned()), ("next call", NEXT.to_owned())]
}
