//! The one place where jobs change: (job, event, moment) → the job as it is now, and what its history says.
//!
//! It never fails and never panics. An event for a job at its end is at most a line of history.

mod clock;
mod downloading;
mod operator;
mod running;
mod submitting;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::hold::{HeldFrom, Hold, HoldReason};
use crate::job::policy::PollingPolicy;
use crate::job::retry::Backoff;
use crate::job::state::{Schedule, State};
use crate::job::{Job, JobError, TaskId};

/// When and under what terms an event happens. Time and chance come from outside.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// 0 to 1, for jitter.
    pub chance: f64,
    /// The settings decisions depend on.
    pub terms: &'a PollingPolicy,
}

/// What an event led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The job as it is now.
    pub job: Job,
    /// What its history says of it, in order.
    pub history: Vec<HistoryLine>,
    /// For [`Event::AttemptStarted`]: which attempt may be sent once this is committed.
    pub send: Option<Sending>,
    /// For [`Event::Person`]: what to answer the person.
    pub reply: Option<Reply>,
    /// A person has said that the clock is right now, whatever it has shown before.
    pub clock_right: bool,
}

/// A line of a job's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// A short word for programs.
    pub event: &'static str,
    /// The particulars, for people. No secret, no control character.
    pub detail: String,
}

/// Which attempt may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// A new one: freeze its key and body first.
    Fresh(u32),
    /// The frozen one, as it is.
    Again(u32),
}

/// What to answer a person's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or under way.
    Done(&'static str),
    /// It cannot be done to a job in this state; why, and what can.
    Refused(String),
}

/// What `event` does to `job`.
pub fn step(job: &Job, event: &Event, moment: Moment<'_>) -> Outcome {
    let mut change =
        Change { job: job.clone(), moment, history: Vec::new(), send: None, reply: None, clock_right: false };
    match event {
        Event::AttemptStarted => change.attempt_started(),
        Event::SubmitAnswered(verdict) => change.submit_answered(verdict),
        Event::Asked { began, verdict } => change.asked(*began, verdict),
        Event::CancelAnswered(verdict) => change.call_off_answered(verdict),
        Event::CallbackReceived { hint, quiet } => change.knocked(hint.as_ref(), *quiet),
        Event::Stored(stored) => change.stored(stored),
        Event::FetchFailed { key, failure } => change.fetch_failed(*key, failure),
        Event::TimeCame => change.time_came(),
        Event::ClockSetBack => change.clock_set_back(),
        Event::Doubted(doubt) => change.doubted(*doubt),
        Event::Person(order) => change.ordered(*order),
    }
    let Change { job, history, send, reply, clock_right, .. } = change;
    Outcome { job, history, send, reply, clock_right }
}

/// A job on its way from before to after.
struct Change<'a> {
    job: Job,
    moment: Moment<'a>,
    history: Vec<HistoryLine>,
    send: Option<Sending>,
    reply: Option<Reply>,
    clock_right: bool,
}

impl Change<'_> {
    fn now(&self) -> Timestamp {
        self.moment.now
    }

    fn note(&mut self, event: &'static str, detail: impl Into<String>) {
        self.history.push(HistoryLine { event, detail: detail.into() });
    }

    fn wait(&self, backoff: Backoff, tries: u32) -> Duration {
        backoff.after(tries, self.moment.chance)
    }

    /// The due time after another try in vain: the backoff, but not before what the other side asked for.
    fn again(&self, pace: Schedule, backoff: Backoff, not_before: Option<Timestamp>) -> Schedule {
        let due = self.now().plus(self.wait(backoff, pace.tries));
        Schedule {
            due: not_before.map_or(due, |time| due.max(time)),
            tries: pace.tries.saturating_add(1),
            ..pace
        }
    }

    fn hold(&mut self, reason: HoldReason, detail: impl Into<String>, back_to: HeldFrom) {
        let detail = detail.into();
        self.note(
            "held",
            if detail.is_empty() {
                reason.as_str().to_owned()
            } else {
                format!("{}: {detail}", reason.as_str())
            },
        );
        self.job.learned.remark = None;
        self.job.state = State::Held(Hold { reason, detail, back_to });
    }

    /// Brings the job to one of its ends.
    fn end(&mut self, event: &'static str, detail: impl Into<String>, state: State) {
        self.note(event, detail);
        self.job.learned.finished_at = Some(self.now());
        self.job.learned.remark = None;
        self.job.cancel_wanted = false;
        self.job.knocked_at = None;
        self.job.state = state;
    }

    fn fail(&mut self, error: JobError, task: Option<TaskId>) {
        let detail = format!("{}: {}", error.code, error.message);
        self.job.learned.error = Some(error);
        self.end("failed", detail, State::Failed { task });
    }
}

#[cfg(test)]
mod tests;
