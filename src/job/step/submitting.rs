//! From pending to a task at the provider: the part that costs money.

use crate::failpoints::{Bug, planted};
use crate::job::attempt::attempt_key;
use crate::job::event::{Doubt, SubmitVerdict};
use crate::job::hold::{HeldFrom, HoldReason};
use crate::job::retry::{Backoff, CLOCK_TOLERANCE, KEY_LIFE, REFUSAL_PATIENCE};
use crate::job::state::{PendingAttempt, Running, Schedule, State};
use crate::job::step::{Change, Sending};
use crate::job::{Job, JobError, TaskId};
use crate::money::Quota;

impl Change<'_> {
    pub(super) fn attempt_started(&mut self) {
        let now = self.now();
        // A key of a time still to come was frozen by a clock that was wrong: nobody knows how old it is.
        let too_old = |trial: &PendingAttempt| {
            now.since(trial.frozen_at) >= KEY_LIFE || trial.frozen_at.since(now) > CLOCK_TOLERANCE
        };
        match self.job.state {
            // No try under the old key was executed, so a new one pays for nothing twice.
            State::Pending { pace, trial: None } => self.freeze(pace),
            State::Pending { pace, trial: Some(trial) } if too_old(&trial) => self.freeze(pace),
            State::Pending { pace, trial: Some(trial) } => self.send_again(pace, trial),
            State::Submitting { pace, trial } if too_old(&trial) => {
                let detail = format!("key {}", attempt_key(self.job.id(), trial.number));
                self.hold(HoldReason::OutcomeUnknown, detail, HeldFrom::Submitting(pace, trial));
            }
            State::Submitting { pace, trial } if trial.unknown && planted(Bug::NewKeyOnRetry) => {
                self.freeze(pace)
            }
            State::Submitting { pace, trial } if !trial.unknown && planted(Bug::OutcomeForgotten) => {
                self.freeze(pace);
            }
            State::Submitting { pace, trial } => {
                self.send_again(pace, PendingAttempt { unknown: true, ..trial })
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

    fn freeze(&mut self, pace: Schedule) {
        let number = self.job.attempts.saturating_add(1);
        self.job.attempts = number;
        let trial = PendingAttempt { number, frozen_at: self.now(), unknown: false };
        self.note("submitting", format!("key {}", attempt_key(self.job.id(), number)));
        self.job.state = State::Submitting { pace: Schedule { due: self.now(), ..pace }, trial };
        self.send = Some(Sending::Fresh(number));
    }

    fn send_again(&mut self, pace: Schedule, trial: PendingAttempt) {
        self.note("submitting", format!("key {} again", attempt_key(self.job.id(), trial.number)));
        self.job.state = State::Submitting { pace: Schedule { due: self.now(), ..pace }, trial };
        self.send = Some(Sending::Again(trial.number));
    }

    pub(super) fn submit_answered(&mut self, verdict: &SubmitVerdict) {
        // A doubt may have held the job while its call was under way; what the call brought still counts.
        let Some((pace, trial)) = trial_of(&self.job) else {
            if let SubmitVerdict::Accepted { task, .. } = verdict {
                self.note("ignored", format!("a submit answered late with task {task}"));
            }
            return;
        };
        let held = matches!(self.job.state, State::Held(_));
        match verdict {
            SubmitVerdict::Accepted { task, reserved } => self.accepted(task, *reserved),
            SubmitVerdict::Refused(_) if trial.unknown && held => {}
            SubmitVerdict::Refused(error) if trial.unknown => self.repeat_refused(pace, trial, error),
            SubmitVerdict::Refused(error) => {
                if self.job.cancel_wanted {
                    self.end("cancelled", "the provider had refused it", State::Cancelled { task: None });
                } else {
                    self.fail(error.clone(), None);
                }
            }
            SubmitVerdict::NotExecuted { .. } | SubmitVerdict::Unknown { .. } if held => {}
            SubmitVerdict::NotExecuted { why, not_before } => {
                self.note("submit_not_executed", why.clone());
                let pace = self.again(pace, Backoff::SUBMIT, *not_before);
                if trial.unknown {
                    self.job.state = State::Submitting { pace, trial };
                } else if self.job.cancel_wanted {
                    return self.end("cancelled", "before it was submitted", State::Cancelled { task: None });
                } else {
                    self.job.state = State::Pending { pace, trial: Some(trial) };
                }
                self.job.learned.remark = Some(why.clone());
            }
            SubmitVerdict::Unknown { why, not_before } => {
                self.note("submit_unknown", why.clone());
                let pace = self.again(pace, Backoff::SUBMIT, *not_before);
                self.job.state = State::Submitting { pace, trial: PendingAttempt { unknown: true, ..trial } };
                self.job.learned.remark = Some(why.clone());
            }
            SubmitVerdict::Replayed { why } => {
                self.hold(HoldReason::ErrorReplayed, why.clone(), HeldFrom::Submitting(pace, trial));
            }
            SubmitVerdict::Shared { task } => {
                self.hold(HoldReason::TaskShared, format!("task {task}"), HeldFrom::Submitting(pace, trial));
            }
        }
    }

    /// A refusal says nothing of the try before it, which may have been executed and charged: only the task it made, or
    /// a person, settles that.
    fn repeat_refused(&mut self, pace: Schedule, trial: PendingAttempt, error: &JobError) {
        let why = format!("{}: {}", error.code, error.message);
        if self.now().since(trial.frozen_at) >= REFUSAL_PATIENCE {
            return self.hold(HoldReason::ErrorReplayed, why, HeldFrom::Submitting(pace, trial));
        }
        self.note("submit_unknown", format!("refused ({why}), but an earlier try may have been executed"));
        self.job.state = State::Submitting { pace: self.again(pace, Backoff::SUBMIT, None), trial };
        self.job.learned.remark = Some(why);
    }

    fn accepted(&mut self, task: &TaskId, reserved: Option<Quota>) {
        let now = self.now();
        self.note("submitted", format!("task {task}"));
        self.job.learned.submitted_at = Some(now);
        self.job.learned.reserved = reserved;
        self.job.learned.remark = None;
        let terms = self.moment.terms;
        let first_poll = Backoff { base: terms.first_poll(), factor: 1.0, cap: terms.first_poll() };
        // A callback that overtook this answer, or a cancel, does not wait for the first poll.
        let hurry = self.job.knocked_at.is_some() || self.job.cancel_wanted;
        let due = if hurry { now } else { now.plus(self.wait(first_poll, 0)) };
        self.job.state = State::Queued(Running {
            task: task.clone(),
            pace: Schedule::starting(now, due),
            missing_since: None,
            asked_at: None,
        });
    }

    pub(super) fn doubted(&mut self, doubt: Doubt) {
        let reason = match doubt {
            Doubt::Clock => HoldReason::ClockDoubted,
            Doubt::Restored => HoldReason::DatabaseRestored,
        };
        match (self.job.state.clone(), doubt) {
            (State::Submitting { pace, trial }, _) => {
                self.hold(
                    reason,
                    format!("key {}", attempt_key(self.job.id(), trial.number)),
                    HeldFrom::Submitting(pace, trial),
                );
            }
            (State::Pending { pace, .. }, Doubt::Restored) => self.hold(reason, "", HeldFrom::Pending(pace)),
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

fn trial_of(job: &Job) -> Option<(Schedule, PendingAttempt)> {
    match &job.state {
        State::Submitting { pace, trial } => Some((*pace, *trial)),
        State::Held(hold) => match &hold.back_to {
            HeldFrom::Submitting(pace, trial) => Some((*pace, *trial)),
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
