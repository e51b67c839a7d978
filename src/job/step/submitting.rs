//! From pending to a task at the provider: the part that costs money.

use crate::job::attempt::attempt_key;
use crate::job::event::{Doubt, SubmitVerdict};
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::retry::{Backoff, CLOCK_TOLERANCE, KEY_LIFETIME, REFUSAL_TIMEOUT};
use crate::job::state::{HeldFrom, PendingAttempt, RunningTask, Schedule, State};
use crate::job::step::{AttemptToSend, Change};
use crate::job::{Job, JobError};
use crate::money::Quota;

impl Change<'_> {
    pub(super) fn attempt_started(&mut self) {
        let now = self.now();
        // A key from the future was created by a wrong clock: its age is unknown.
        let too_old = |attempt: &PendingAttempt| {
            now.since(attempt.created_at) >= KEY_LIFETIME || attempt.created_at.since(now) > CLOCK_TOLERANCE
        };
        match self.job.state {
            // No send under the old key was executed, so a new key cannot be billed twice.
            State::Pending { schedule, pending_attempt: None } => self.create_attempt(schedule),
            State::Pending { schedule, pending_attempt: Some(attempt) } if too_old(&attempt) => {
                self.create_attempt(schedule);
            }
            State::Pending { schedule, pending_attempt: Some(attempt) } => self.resend(schedule, attempt),
            State::Submitting { schedule, pending_attempt: attempt } if too_old(&attempt) => {
                let detail = format!("key {}", attempt_key(self.job.id(), attempt.number));
                self.hold(HoldReason::OutcomeUnknown, detail, HeldFrom::Submitting(schedule, attempt));
            }
            State::Submitting { schedule, pending_attempt } => {
                self.resend(schedule, PendingAttempt { outcome_unknown: true, ..pending_attempt });
            }
            State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. }
            | State::Held(_) => {}
        }
    }

    fn create_attempt(&mut self, schedule: Schedule) {
        let number = self.job.attempts.saturating_add(1);
        self.job.attempts = number;
        let now = self.now();
        self.record(HistoryEvent::Submitting, format!("key {}", attempt_key(self.job.id(), number)));
        self.job.state = State::Submitting {
            schedule: Schedule { due: now, ..schedule },
            pending_attempt: PendingAttempt { number, created_at: now, outcome_unknown: false },
        };
        self.send = Some(AttemptToSend::New(number));
    }

    fn resend(&mut self, schedule: Schedule, pending_attempt: PendingAttempt) {
        let number = pending_attempt.number;
        self.record(HistoryEvent::Submitting, format!("key {} again", attempt_key(self.job.id(), number)));
        let schedule = Schedule { due: self.now(), ..schedule };
        self.job.state = State::Submitting { schedule, pending_attempt };
        self.send = Some(AttemptToSend::Pending(number));
    }

    pub(super) fn submit_answered(&mut self, verdict: &SubmitVerdict) {
        // A doubt may have held the job during its call; what the call returned still counts.
        let Some((schedule, pending_attempt)) = pending_attempt_of(&self.job) else {
            if let SubmitVerdict::Accepted { task, .. } = verdict {
                self.record(HistoryEvent::Ignored, format!("late submit answer with task {task}"));
            }
            return;
        };
        let held = matches!(self.job.state, State::Held(_));
        match verdict {
            SubmitVerdict::Accepted { task, reserved } => self.submitted(task, *reserved),
            SubmitVerdict::Refused(_) if pending_attempt.outcome_unknown && held => {}
            SubmitVerdict::Refused(error) if pending_attempt.outcome_unknown => {
                self.resend_refused(schedule, pending_attempt, error);
            }
            SubmitVerdict::Refused(error) => {
                if self.job.cancel_requested {
                    self.cancelled_before_submit("the provider had refused it");
                } else {
                    self.fail(error.clone(), None);
                }
            }
            SubmitVerdict::NotExecuted { .. }
            | SubmitVerdict::Blocked { .. }
            | SubmitVerdict::Unknown { .. }
                if held => {}
            SubmitVerdict::NotExecuted { why, not_before } | SubmitVerdict::Blocked { why, not_before } => {
                self.record(HistoryEvent::SubmitNotExecuted, why.clone());
                let schedule = self.retry_later(schedule, Backoff::SUBMIT, *not_before);
                if pending_attempt.outcome_unknown {
                    self.job.state = State::Submitting { schedule, pending_attempt };
                } else if self.job.cancel_requested {
                    return self.cancelled_before_submit("before it was submitted");
                } else {
                    self.job.state = State::Pending { schedule, pending_attempt: Some(pending_attempt) };
                }
                self.job.facts.status_message = Some(why.clone());
            }
            SubmitVerdict::Unknown { why, not_before } => {
                self.record(HistoryEvent::SubmitOutcomeUnknown, why.clone());
                self.job.state = State::Submitting {
                    schedule: self.retry_later(schedule, Backoff::SUBMIT, *not_before),
                    pending_attempt: PendingAttempt { outcome_unknown: true, ..pending_attempt },
                };
                self.job.facts.status_message = Some(why.clone());
            }
            SubmitVerdict::Replayed { why } => {
                let held_from = HeldFrom::Submitting(schedule, pending_attempt);
                self.hold(HoldReason::ErrorReplayed, why.clone(), held_from);
            }
            SubmitVerdict::DuplicateTask { task } => {
                let held_from = HeldFrom::Submitting(schedule, pending_attempt);
                self.hold(HoldReason::DuplicateTask, format!("task {task}"), held_from);
            }
        }
    }

    /// A refusal says nothing about the send before it, which may have been executed and billed. Only the task it
    /// created, or the operator, settles that.
    fn resend_refused(&mut self, schedule: Schedule, pending_attempt: PendingAttempt, error: &JobError) {
        let why = format!("{}: {}", error.code, error.message);
        if self.now().since(pending_attempt.created_at) >= REFUSAL_TIMEOUT {
            let held_from = HeldFrom::Submitting(schedule, pending_attempt);
            return self.hold(HoldReason::ErrorReplayed, why, held_from);
        }
        let detail = format!("refused ({why}), but an earlier send may have been executed");
        self.record(HistoryEvent::SubmitOutcomeUnknown, detail);
        let schedule = self.retry_later(schedule, Backoff::SUBMIT, None);
        self.job.state = State::Submitting { schedule, pending_attempt };
        self.job.facts.status_message = Some(why);
    }

    fn submitted(&mut self, task: &TaskId, reserved: Option<Quota>) {
        let now = self.now();
        self.record(HistoryEvent::Submitted, format!("task {task}"));
        self.job.facts.submitted_at = Some(now);
        self.job.facts.reserved = reserved;
        self.job.facts.status_message = None;
        let delay = self.moment.policy.first_poll();
        let first_poll = Backoff { base: delay, factor: 1.0, cap: delay };
        // A callback that arrived before this answer, or a cancel request, does not wait for the first poll.
        let immediately = self.job.callback_at.is_some() || self.job.cancel_requested;
        let due = if immediately { now } else { now.plus(self.backoff(first_poll, 0)) };
        self.job.state = State::Queued(RunningTask {
            task: task.clone(),
            schedule: Schedule::starting(now, due),
            missing_since: None,
            polled_at: None,
        });
    }

    fn cancelled_before_submit(&mut self, detail: &str) {
        self.end(HistoryEvent::Cancelled, detail, State::Cancelled { task: None });
    }

    pub(super) fn submit_doubted(&mut self, doubt: Doubt) {
        let reason = match doubt {
            Doubt::Clock => HoldReason::ClockUnreliable,
            Doubt::Restored => HoldReason::DatabaseRestored,
        };
        match (self.job.state.clone(), doubt) {
            (State::Submitting { schedule, pending_attempt }, _) => {
                let detail = format!("key {}", attempt_key(self.job.id(), pending_attempt.number));
                self.hold(reason, detail, HeldFrom::Submitting(schedule, pending_attempt));
            }
            (State::Pending { schedule, .. }, Doubt::Restored) => {
                self.hold(reason, "", HeldFrom::Pending(schedule));
            }
            (
                State::Pending { .. }
                | State::Queued(_)
                | State::Processing(_)
                | State::Downloading(_)
                | State::Succeeded { .. }
                | State::Failed { .. }
                | State::Cancelled { .. }
                | State::Expired { .. }
                | State::Held(_),
                Doubt::Clock | Doubt::Restored,
            ) => {}
        }
    }
}

fn pending_attempt_of(job: &Job) -> Option<(Schedule, PendingAttempt)> {
    match &job.state {
        State::Submitting { schedule, pending_attempt } => Some((*schedule, *pending_attempt)),
        State::Held(hold) => match &hold.held_from {
            HeldFrom::Submitting(schedule, pending_attempt) => Some((*schedule, *pending_attempt)),
            HeldFrom::Pending(_) | HeldFrom::Running(_) | HeldFrom::Downloading(_) => None,
        },
        State::Pending { .. }
        | State::Queued(_)
        | State::Processing(_)
        | State::Downloading(_)
        | State::Succeeded { .. }
        | State::Failed { .. }
        | State::Cancelled { .. }
        | State::Expired { .. } => None,
    }
}
