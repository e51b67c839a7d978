//! From pending to a task at the provider: the part that costs money.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::attempt::attempt_key;
use crate::job::event::SubmitVerdict;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::retry::{
    BLOCKED_TIMEOUT, Backoff, CLOCK_TOLERANCE, KEY_LIFETIME, MIN_SUBMIT_TRIES, REFUSAL_TIMEOUT,
    SUBMIT_TIMEOUT,
};
use crate::job::state::{HeldFrom, PendingAttempt, RunningTask, Schedule, State};
use crate::job::step::{AttemptToSend, Billing, Change};
use crate::job::waiting::list_awaited;
use crate::job::{Job, JobError};
use crate::money::Quota;

/// After this many tries the wait between polls has grown to its longest.
const TRIES_OF_SLOW_TASK: u32 = 16;

impl Change<'_> {
    pub(super) fn attempt_started(&mut self) {
        let now = self.now();
        match self.job.state {
            State::Pending { .. } if self.job.identity.adopted => {}
            // No send under the old key was executed, so a new key cannot be billed twice.
            State::Pending { schedule, pending_attempt: None } => self.create_attempt(schedule),
            State::Pending { schedule, pending_attempt: Some(attempt) } if attempt.is_too_old(now) => {
                self.create_attempt(schedule);
            }
            State::Pending { schedule, pending_attempt: Some(attempt) } => self.resend(schedule, attempt),
            State::Submitting { schedule, pending_attempt: attempt } if attempt.is_too_old(now) => {
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

    /// A job that the provider has already seen is not held for this: the provider's own answer decides.
    pub(super) fn model_unlisted(&mut self, nearest: Option<&str>) {
        if let State::Pending { schedule, pending_attempt: None } = self.job.state
            && self.job.needs_listed_model()
        {
            let model = &self.job.identity.model;
            let nearest = nearest.map(|nearest| format!("; the nearest is {nearest}")).unwrap_or_default();
            let detail = format!("{model}{nearest}");
            self.hold(HoldReason::UnknownModel, detail, HeldFrom::Pending(schedule, None));
        }
    }

    /// Its submit waits until another list says whether the provider has the model.
    pub(super) fn list_awaited(&mut self) {
        if self.job.needs_listed_model() {
            self.job.facts.status_message = Some(list_awaited(&self.job.identity.model));
        }
    }

    fn create_attempt(&mut self, schedule: Schedule) {
        let number = self.job.attempts.saturating_add(1);
        self.job.attempts = number;
        self.job.unlisted_allowed = false;
        self.job.facts.status_message = None;
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
        let detail = format!("key {} again", attempt_key(self.job.id(), number));
        self.record_try(schedule.tries, HistoryEvent::Submitting, detail);
        let schedule = Schedule { due: self.now(), ..schedule };
        self.job.state = State::Submitting { schedule, pending_attempt };
        self.send = Some(AttemptToSend::Pending(number));
    }

    pub(super) fn submit_answered(&mut self, attempt: u32, verdict: &SubmitVerdict) {
        // The operator may have given up or retried the job during the call.
        let Some((schedule, pending_attempt)) =
            sent_attempt_of(&self.job).filter(|(_, pending)| pending.number == attempt)
        else {
            if let SubmitVerdict::Accepted { task, .. } | SubmitVerdict::DuplicateTask { task } = verdict {
                self.ignore(format!("late answer to attempt {attempt}: task {task}"));
            }
            return;
        };
        let held = matches!(self.job.state, State::Held(_));
        if !pending_attempt.outcome_unknown && verdict.is_not_executed() {
            self.billing = Some(Billing::NotExecuted(attempt));
        }
        match verdict {
            SubmitVerdict::Accepted { task, reserved } => {
                self.billing = reserved.map(|quota| Billing::Frozen(attempt, quota));
                let now = self.now();
                self.submitted(HistoryEvent::Submitted, task, Some(now), *reserved);
            }
            // A held job waits for the operator: only the task itself changes that.
            _ if held
                && (pending_attempt.outcome_unknown || !matches!(verdict, SubmitVerdict::Refused(_))) => {}
            SubmitVerdict::Refused(error) if pending_attempt.outcome_unknown => {
                self.resend_refused(schedule, pending_attempt, error);
            }
            SubmitVerdict::Refused(error) => {
                if self.job.cancel_requested {
                    self.cancelled_before_submit("the provider had refused it");
                } else {
                    self.fail(error.clone(), None, Some(pending_attempt));
                }
            }
            SubmitVerdict::Suspended { why, not_before } => {
                self.record_try(schedule.tries, HistoryEvent::SubmitNotExecuted, why.clone());
                let schedule = self.retry_later(schedule, Backoff::SUBMIT, *not_before);
                let schedule = Schedule { failing_since: None, ..schedule };
                self.submit_again(schedule, pending_attempt, why);
            }
            SubmitVerdict::NotExecuted { why, not_before } => {
                self.record_try(schedule.tries, HistoryEvent::SubmitNotExecuted, why.clone());
                let schedule = self.retry_failing(schedule, Backoff::SUBMIT, *not_before);
                self.submit_failed(schedule, pending_attempt, why, SUBMIT_TIMEOUT, HoldReason::SubmitFailing);
            }
            SubmitVerdict::Blocked { why, not_before } => {
                self.record_try(schedule.tries, HistoryEvent::SubmitNotExecuted, why.clone());
                let schedule = self.retry_failing(schedule, Backoff::SUBMIT, *not_before);
                self.submit_failed(
                    schedule,
                    pending_attempt,
                    why,
                    BLOCKED_TIMEOUT,
                    HoldReason::SubmitBlocked,
                );
            }
            SubmitVerdict::Unknown { why, not_before } => {
                self.record_try(schedule.tries, HistoryEvent::SubmitOutcomeUnknown, why.clone());
                let schedule = self.retry_failing(schedule, Backoff::SUBMIT, *not_before);
                let pending_attempt = PendingAttempt { outcome_unknown: true, ..pending_attempt };
                self.submit_failed(schedule, pending_attempt, why, SUBMIT_TIMEOUT, HoldReason::SubmitFailing);
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

    /// A failed try: the same attempt is sent again, or the job is held once nothing has worked for `timeout`.
    fn submit_failed(
        &mut self,
        schedule: Schedule,
        pending_attempt: PendingAttempt,
        why: &str,
        timeout: Duration,
        reason: HoldReason,
    ) {
        let failing = schedule.failing_since.map_or(Duration::ZERO, |since| self.now().since(since));
        if failing < timeout || schedule.tries < MIN_SUBMIT_TRIES {
            return self.submit_again(schedule, pending_attempt, why);
        }
        let held_from = if pending_attempt.outcome_unknown {
            HeldFrom::Submitting(schedule, pending_attempt)
        } else if self.job.cancel_requested {
            return self.cancelled_before_submit("before it was submitted");
        } else {
            HeldFrom::Pending(schedule, Some(pending_attempt))
        };
        self.hold(reason, why, held_from);
    }

    fn submit_again(&mut self, schedule: Schedule, pending_attempt: PendingAttempt, why: &str) {
        if pending_attempt.outcome_unknown {
            self.job.state = State::Submitting { schedule, pending_attempt };
        } else if self.job.cancel_requested {
            return self.cancelled_before_submit("before it was submitted");
        } else {
            self.job.state = State::Pending { schedule, pending_attempt: Some(pending_attempt) };
        }
        self.job.facts.status_message = Some(why.to_owned());
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
        self.record_try(schedule.tries, HistoryEvent::SubmitOutcomeUnknown, detail);
        let schedule = self.retry_failing(schedule, Backoff::SUBMIT, None);
        self.submit_again(schedule, pending_attempt, &why);
    }

    /// A copy of the refused submit was executed. The same key leads to its task, and is billed once.
    pub(super) fn found_after_refusal(&mut self, task: &TaskId) {
        let State::Failed { refused: Some(attempt), .. } = self.job.state else { return };
        self.billing = Some(Billing::MayBeExecuted(attempt.number));
        self.job.facts.error = None;
        self.job.facts.finished_at = None;
        let now = self.now();
        let attempt = PendingAttempt { outcome_unknown: true, ..attempt };
        let held_from = HeldFrom::Submitting(Schedule::starting(now, now), attempt);
        self.hold(HoldReason::TaskAfterRefusal, format!("task {task}"), held_from);
    }

    /// The job has its task.
    pub(super) fn submitted(
        &mut self,
        event: HistoryEvent,
        task: &TaskId,
        at: Option<Timestamp>,
        reserved: Option<Quota>,
    ) {
        let now = self.now();
        self.record(event, format!("task {task}"));
        self.job.facts.submitted_at = at;
        self.job.facts.reserved = reserved;
        self.job.checks_waived = false;
        self.job.facts.status_message = None;
        let policy = self.moment.policy;
        let delay = policy.first_poll();
        let (first_poll, tries) = match policy.usual.filter(|_| policy.callbacks) {
            // Then as seldom as possible: the callback of a slow task still comes.
            Some(usual) => (usual.first_poll(delay), TRIES_OF_SLOW_TASK),
            None => (self.backoff(Backoff { base: delay, factor: 1.0, cap: delay }, 0), 0),
        };
        // A callback that arrived before this answer, or a cancel request, does not wait for the first poll.
        let immediately = self.job.callback_at.is_some() || self.job.cancel_requested;
        let (due, tries) = if immediately { (now, 0) } else { (now.plus(first_poll), tries) };
        self.job.state = State::Queued(RunningTask {
            task: task.clone(),
            schedule: Schedule { tries, ..Schedule::starting(now, due) },
            polled_at: None,
        });
    }

    fn cancelled_before_submit(&mut self, detail: &str) {
        self.end(HistoryEvent::Cancelled, detail, State::Cancelled { task: None });
    }

    pub(super) fn database_restored(&mut self) {
        let reason = HoldReason::DatabaseRestored;
        match self.job.state.clone() {
            // An attempt that was not executed when the copy was made may have been since.
            State::Submitting { schedule, pending_attempt }
            | State::Pending { schedule, pending_attempt: Some(pending_attempt) } => {
                let detail = format!("key {}", attempt_key(self.job.id(), pending_attempt.number));
                let pending_attempt = PendingAttempt { outcome_unknown: true, ..pending_attempt };
                self.hold(reason, detail, HeldFrom::Submitting(schedule, pending_attempt));
            }
            State::Pending { schedule, pending_attempt: None } => {
                self.hold(reason, "", HeldFrom::Pending(schedule, None));
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
}

impl PendingAttempt {
    /// Whether its key must not be sent any more. A key from the future was created by a wrong clock: its age is
    /// unknown.
    pub(super) fn is_too_old(&self, now: Timestamp) -> bool {
        now.since(self.created_at) >= KEY_LIFETIME || self.created_at.since(now) > CLOCK_TOLERANCE
    }
}

/// The attempt whose submit call may be under way.
fn sent_attempt_of(job: &Job) -> Option<(Schedule, PendingAttempt)> {
    match &job.state {
        State::Submitting { schedule, pending_attempt } => Some((*schedule, *pending_attempt)),
        State::Held(hold) => match &hold.held_from {
            HeldFrom::Submitting(schedule, pending_attempt) => Some((*schedule, *pending_attempt)),
            HeldFrom::Pending(..) | HeldFrom::Running(_) | HeldFrom::Downloading(_) => None,
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
