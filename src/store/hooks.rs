//! The outbox of hooks: notifications to deliver, committed with the change that they report.

use std::fmt;

use crate::api::batch::batch_id;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::notification::JobNotification;
use crate::store::Store;
use crate::store::db::OptionalExtension;
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
    /// What happened.
    pub event: JobNotification,
    /// What it happened to.
    pub subject: Subject,
    /// When it happened.
    pub at: Timestamp,
    /// The number of tries so far.
    pub tries: u32,
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Job(JobId),
    /// The number of its row.
    Batch(i64),
    Daemon,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => job.fmt(f),
            Self::Batch(nr) => f.write_str(&batch_id(*nr)),
            Self::Daemon => f.write_str("dropreel"),
        }
    }
}

/// The row that a notification is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Job(i64),
    Batch(i64),
    Daemon,
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
    "SELECT hook_calls.nr, hook_calls.event, jobs.id, hook_calls.batch, hook_calls.at, hook_calls.tries
    FROM hook_calls INDEXED BY hook_calls_due LEFT JOIN jobs ON jobs.nr = hook_calls.job
    WHERE hook_calls.hook = ?1 AND hook_calls.due_at IS NOT NULL AND hook_calls.due_at <= ?2
    ORDER BY hook_calls.due_at, hook_calls.nr LIMIT ?3";
const NEXT: &str = "SELECT due_at FROM hook_calls INDEXED BY hook_calls_due
    WHERE hook = ?1 AND due_at IS NOT NULL AND due_at > ?2 ORDER BY due_at LIMIT 1";

const BRING_FORWARD: &str = "UPDATE hook_calls INDEXED BY hook_calls_due SET due_at = ?2
    WHERE hook = ?1 AND due_at IS NOT NULL AND due_at > ?3";

const AWAITS_TRY: &str = "SELECT 1 FROM hook_calls WHERE nr = ?1 AND tries = ?2 AND due_at IS NOT NULL";

/// Writes a call for each hook that subscribed to the event.
pub(super) fn write_calls(
    writing: &mut Writing<'_>,
    about: About,
    event: JobNotification,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (job, batch) = match about {
        About::Job(nr) => (Some(nr), None),
        About::Batch(nr) => (None, Some(nr)),
        About::Daemon => (None, None),
    };
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
                "INSERT INTO hook_calls (hook, event, job, batch, at, tries, due_at) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?5)",
            )?
            .execute((hook, event, job, batch, now))?;
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
        self.writer.write(move |writing| write_calls(writing, About::Daemon, event, now)).await
    }

    /// Due calls of a hook, oldest first, and when its next one is due.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn due_hook_calls(
        &self,
        hook: String,
        now: Timestamp,
        limit: u32,
    ) -> Result<(Vec<HookCall>, Option<Timestamp>), StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DUE)?;
            let calls = statement.query_map((&hook, now, limit), |row| {
                let (job, batch): (Option<JobId>, Option<i64>) = (row.get(2)?, row.get(3)?);
                Ok(HookCall {
                    nr: row.get(0)?,
                    event: row.get(1)?,
                    subject: job.map(Subject::Job).or(batch.map(Subject::Batch)).unwrap_or(Subject::Daemon),
                    at: row.get(4)?,
                    tries: row.get(5)?,
                })
            })?;
            let calls = calls.collect::<Result<_, _>>()?;
            let mut statement = connection.prepare_cached(NEXT)?;
            Ok((calls, statement.query_row((&hook, now), |row| row.get(0)).optional()?))
        })
        .await
    }

    /// Makes the calls of a hook that are due after `latest` due now.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn bring_hook_calls_forward(
        &self,
        hook: String,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                writing.connection.prepare_cached(BRING_FORWARD)?.execute((&hook, now, latest))?;
                Ok(())
            })
            .await
    }

    /// Finishes the due calls of hooks that are not among `hooks`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn finish_calls_of_other_hooks(
        &self,
        hooks: Vec<String>,
        outcome: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let known = serde_json::Value::from(hooks.clone()).to_string();
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE hook_calls SET due_at = NULL, tried_at = ?2, outcome = ?3
                         WHERE due_at IS NOT NULL AND hook NOT IN (SELECT value FROM json_each(?1))",
                    )?
                    .execute((known, now, &outcome))?;
                Ok(())
            })
            .await
    }

    /// Whether a call still waits for this try: since it was read, another one may have ended.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn awaits_try(&self, call: &HookCall) -> Result<bool, StoreError> {
        let (nr, tries) = (call.nr, call.tries);
        self.read(move |connection| {
            let mut select = connection.prepare_cached(AWAITS_TRY)?;
            Ok(select.exists((nr, tries))?)
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
    let due = [("due calls", DUE), ("next call", NEXT), ("calls to bring forward", BRING_FORWARD)];
    due.into_iter().chain([("one call", AWAITS_TRY)]).map(|(name, sql)| (name, sql.to_owned())).collect()
}
