//! The only place that changes jobs: (job, event, moment) → the job afterwards and the entries for its history.
//!
//! A step cannot fail and does not panic. An event that does not apply to the job's state is ignored; if it may matter
//! to people, the history says so. `table.txt` lists what every event does in every state.

mod adoption;
mod budget;
mod downloading;
pub mod edit;
mod links;
mod operator;
mod pictures;
pub mod possible;
mod running;
mod settlement;
mod submitting;
mod time;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::history::{HistoryEntry, HistoryEvent};
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::policy::PollingPolicy;
use crate::job::retry::Backoff;
use crate::job::state::{HeldFrom, Hold, PendingAttempt, Schedule, State, StateName};
use crate::job::{Job, JobError};
use crate::money::Quota;

/// Most history entries of a job without the operator, but for its end.
const MAX_UNATTENDED_ENTRIES: u32 = 150;

/// When an event happens and under which policy. Time and randomness come from outside.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// The settings that decisions depend on.
    pub policy: &'a PollingPolicy,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// The job afterwards.
    pub job: Job,
    /// The entries for its history, in order.
    pub history: Vec<HistoryEntry>,
    /// For [`Event::AttemptStarted`]: the attempt to send once this is committed.
    pub send: Option<AttemptToSend>,
    /// For [`Event::Operator`]: the answer.
    pub reply: Option<ActionReply>,
    /// What became known about the cost of an attempt.
    pub billing: Option<Billing>,
}

/// What became known about the cost of an attempt, be it the newest or an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Billing {
    /// The attempt of this number was certainly not executed.
    NotExecuted(u32),
    /// The attempt of this number may have been executed after all.
    MayBeExecuted(u32),
    /// The provider has frozen this much for the attempt of this number.
    Frozen(u32, Quota),
    /// The provider has charged this much for a task; zero after a refund.
    Charged {
        task: TaskId,
        /// How much.
        quota: Quota,
        /// Whether the task completed.
        completed: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptToSend {
    /// A new one: commit its key and body first.
    New(u32),
    /// The pending one, unchanged.
    Pending(u32),
}

/// The answer to an operator's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionReply {
    /// Done or in progress; what happens now.
    Done(&'static str),
    /// Not possible in the job's state; why, and what is.
    Rejected(String),
}

/// Applies `event` to `job`.
pub fn step(job: &Job, event: &Event, moment: Moment<'_>) -> StepOutcome {
    let before = job.state_name();
    let mut change =
        Change { job: job.clone(), moment, history: Vec::new(), send: None, reply: None, billing: None };
    match event {
        Event::AttemptStarted => change.attempt_started(),
        Event::SubmitAnswered { attempt, verdict } => change.submit_answered(*attempt, verdict),
        Event::Adopted { task, submitted_at } => change.adopted(task, *submitted_at),
        Event::TaskAfterRefusal { task } => change.found_after_refusal(task),
        Event::StatusPolled { task, sent_at, verdict } => change.status_polled(task, *sent_at, verdict),
        Event::CancelAnswered { task, verdict } => change.cancel_answered(task, verdict),
        Event::CallbackReceived { hint, quiet } => change.callback_received(hint.as_ref(), *quiet),
        Event::Stored(stored) => change.stored(stored),
        Event::Spooled { task, key } => change.spooled(task, *key),
        Event::DownloadFailed { task, key, failure } => change.download_failed(task, *key, failure),
        Event::TimeElapsed => change.time_elapsed(),
        Event::ClockSetBack => change.clock_set_back(),
        Event::DatabaseRestored => change.database_restored(),
        Event::OverBudget { need, why, until } => change.over_budget(*need, why, *until),
        Event::BudgetFreed => change.budget_freed(),
        Event::TooExpensive { why } => change.too_expensive(why),
        Event::ListAwaited => change.list_awaited(),
        Event::ModelUnlisted { nearest } => change.model_unlisted(nearest.as_deref()),
        Event::Edited(edit) => change.edited(edit),
        Event::MovedOut => change.moved_out(),
        Event::PicturesChecked => change.pictures_checked(),
        Event::PictureUnavailable(fault) => change.picture_unavailable(fault),
        Event::Operator(action) => change.operator_acted(*action),
    }
    let Change { mut job, history, send, reply, billing, .. } = change;
    if job.state_name() != StateName::Pending {
        job.budget_wait = None;
    }
    if job.state_name() != before {
        job.facts.dismissed_at = None;
    }
    StepOutcome { job, history, send, reply, billing }
}

/// A job while a step changes it. The methods for each event are in the modules of the states they belong to.
struct Change<'a> {
    job: Job,
    moment: Moment<'a>,
    history: Vec<HistoryEntry>,
    send: Option<AttemptToSend>,
    reply: Option<ActionReply>,
    billing: Option<Billing>,
}

impl Change<'_> {
    fn now(&self) -> Timestamp {
        self.moment.now
    }

    /// Adds to the history. Where an endless stream of answers repeats itself, it is cut off: nobody reads thousands of
    /// entries. An end is always recorded.
    fn record(&mut self, event: HistoryEvent, detail: impl Into<String>) {
        let mut detail = detail.into();
        if self.job.unattended_entries >= MAX_UNATTENDED_ENTRIES && !event.is_end() {
            return;
        }
        self.job.unattended_entries = self.job.unattended_entries.saturating_add(1);
        if self.job.unattended_entries == MAX_UNATTENDED_ENTRIES {
            detail.push_str(" (the history stops here until the operator acts or the job ends)");
        }
        self.history.push(HistoryEntry { event, detail });
    }

    /// Adds the outcome of a try to the history, at growing intervals.
    fn record_try(&mut self, tries: u32, event: HistoryEvent, detail: impl Into<String>) {
        if tries < 4 || tries.is_power_of_two() {
            self.record(event, detail);
        }
    }

    /// An answer about a task or an attempt that the job no longer has.
    fn ignore(&mut self, detail: impl Into<String>) {
        self.record(HistoryEvent::Ignored, detail);
    }

    fn backoff(&self, backoff: Backoff, tries: u32) -> Duration {
        backoff.after(tries, self.moment.jitter)
    }

    /// The schedule after another try: the backoff, but not before the time that the other side asked for.
    fn retry_later(&self, schedule: Schedule, backoff: Backoff, not_before: Option<Timestamp>) -> Schedule {
        let due = self.now().plus(self.backoff(backoff, schedule.tries));
        Schedule {
            due: not_before.map_or(due, |time| due.max(time)),
            tries: schedule.tries.saturating_add(1),
            ..schedule
        }
    }

    /// The same after a failure of the job's own.
    fn retry_failing(&self, schedule: Schedule, backoff: Backoff, not_before: Option<Timestamp>) -> Schedule {
        let failing_since = Some(schedule.failing_since.unwrap_or(self.now()));
        Schedule { failing_since, ..self.retry_later(schedule, backoff, not_before) }
    }

    fn hold(&mut self, reason: HoldReason, detail: impl Into<String>, held_from: HeldFrom) {
        let detail = detail.into();
        let entry = if detail.is_empty() {
            reason.into_str().to_owned()
        } else {
            format!("{}: {detail}", reason.into_str())
        };
        self.record(HistoryEvent::Held, entry);
        self.job.facts.status_message = None;
        self.job.state = State::Held(Hold { reason, detail, held_from });
    }

    /// Brings the job to one of its ends.
    fn end(&mut self, event: HistoryEvent, detail: impl Into<String>, state: State) {
        self.record(event, detail);
        self.job.facts.finished_at = Some(self.now());
        self.job.facts.status_message = None;
        self.job.cancel_requested = false;
        self.job.callback_at = None;
        self.job.state = state;
    }

    fn fail(&mut self, error: JobError, task: Option<TaskId>, refused: Option<PendingAttempt>) {
        let detail = format!("{}: {}", error.code, error.message);
        self.job.facts.error = Some(error);
        self.end(HistoryEvent::Failed, detail, State::Failed { task, refused });
    }
}

#[cfg(test)]
mod tests;
