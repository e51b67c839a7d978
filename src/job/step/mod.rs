//! The only place that changes jobs: (job, event, moment) → the job afterwards and the entries for its history.
//!
//! A step cannot fail and does not panic. An event that does not apply to the job's state is ignored; if it may matter
//! to people, the history says so. `table.txt` lists what every event does in every state.

mod downloading;
mod operator;
pub mod possible;
mod running;
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
use crate::job::state::{HeldFrom, Hold, Schedule, State};
use crate::job::{Job, JobError};

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
    /// The operator vouches for the clock, whatever it showed before.
    pub clock_confirmed: bool,
}

/// The attempt to send.
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
    let mut change = Change {
        job: job.clone(),
        moment,
        history: Vec::new(),
        send: None,
        reply: None,
        clock_confirmed: false,
    };
    match event {
        Event::AttemptStarted => change.attempt_started(),
        Event::SubmitAnswered(verdict) => change.submit_answered(verdict),
        Event::StatusPolled { sent_at, verdict } => change.status_polled(*sent_at, verdict),
        Event::CancelAnswered(verdict) => change.cancel_answered(verdict),
        Event::CallbackReceived { hint, quiet } => change.callback_received(hint.as_ref(), *quiet),
        Event::Stored(stored) => change.stored(stored),
        Event::DownloadFailed { key, failure } => change.download_failed(*key, failure),
        Event::TimeElapsed => change.time_elapsed(),
        Event::ClockSetBack => change.clock_set_back(),
        Event::SubmitDoubted(doubt) => change.submit_doubted(*doubt),
        Event::Operator(action) => change.operator_acted(*action),
    }
    let Change { job, history, send, reply, clock_confirmed, .. } = change;
    StepOutcome { job, history, send, reply, clock_confirmed }
}

/// A job while a step changes it. The methods for each event are in the modules of the states they belong to.
struct Change<'a> {
    job: Job,
    moment: Moment<'a>,
    history: Vec<HistoryEntry>,
    send: Option<AttemptToSend>,
    reply: Option<ActionReply>,
    clock_confirmed: bool,
}

impl Change<'_> {
    fn now(&self) -> Timestamp {
        self.moment.now
    }

    fn record(&mut self, event: HistoryEvent, detail: impl Into<String>) {
        self.history.push(HistoryEntry { event, detail: detail.into() });
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

    fn fail(&mut self, error: JobError, task: Option<TaskId>) {
        let detail = format!("{}: {}", error.code, error.message);
        self.job.facts.error = Some(error);
        self.end(HistoryEvent::Failed, detail, State::Failed { task });
    }
}

#[cfg(test)]
mod tests;
