//! The operator's actions: cancel, retry, release, dismiss, undismiss.

use crate::job::event::OperatorAction;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::{Output, Waiting};
use crate::job::retry::OUTPUT_GRACE;
use crate::job::state::{Downloading, HeldFrom, Hold, RunningTask, Schedule, State};
use crate::job::step::edit::MOVED;
use crate::job::step::{ActionReply, Change};
use crate::job::{Job, JobFacts};

const GIVEN_UP_UNKNOWN: &str =
    "given up while the outcome of its submit was unknown; it may have been billed";
const GIVEN_UP_COMPLETED: &str = "given up before it was stored; the provider has billed it";

impl Job {
    /// Whether the operator may retry it, or release it if it has not ended: it has ended without success, is held, or
    /// fails.
    pub fn needs_attention(&self) -> bool {
        match &self.state {
            State::Pending { schedule, .. } | State::Submitting { schedule, .. } => {
                schedule.failing_since.is_some()
            }
            State::Queued(running) | State::Processing(running) => running.schedule.failing_since.is_some(),
            State::Downloading(_) => {
                self.outputs.is_empty()
                    || self.outputs.iter().filter_map(Output::waiting).any(Waiting::is_failing)
            }
            State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } | State::Held(_) => true,
            State::Succeeded { .. } => false,
        }
    }

    /// "it ..."
    pub(super) fn past_state(&self) -> String {
        match self.state {
            State::Succeeded { .. } => "succeeded".into(),
            State::Failed { .. } => "failed".into(),
            State::Cancelled { .. } => "was cancelled".into(),
            State::Expired { .. } => "expired".into(),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_)
            | State::Held(_) => format!("is {}", self.state_name()),
        }
    }
}

impl Change<'_> {
    pub(super) fn operator_acted(&mut self, action: OperatorAction) {
        self.job.unattended_entries = 0;
        let reply = match action {
            OperatorAction::Cancel => self.cancel(),
            OperatorAction::Retry => self.retry(),
            OperatorAction::Release => self.release(),
            OperatorAction::Dismiss => self.dismiss(),
            OperatorAction::Undismiss => self.undismiss(),
        };
        self.reply = Some(reply);
    }

    fn cancel(&mut self) -> ActionReply {
        let now = self.now();
        match self.job.state.clone() {
            State::Pending { .. } => self.cancel_unsubmitted(),
            // The second request while the first has led to nothing.
            State::Submitting { schedule, .. } if self.job.cancel_requested && schedule.tries > 0 => {
                self.give_up(None, GIVEN_UP_UNKNOWN)
            }
            State::Submitting { schedule, pending_attempt } => {
                self.request_cancel();
                let schedule = Schedule { due: schedule.due.min(now), ..schedule };
                self.job.state = State::Submitting { schedule, pending_attempt };
                ActionReply::Done(
                    "being submitted; it is cancelled at the provider once its task is known; cancel it again to \
                     give it up now",
                )
            }
            State::Queued(running) | State::Processing(running)
                if self.job.cancel_requested && running.schedule.tries > 0 =>
            {
                self.give_up(Some(running.task), "given up: the provider does not answer about its task")
            }
            State::Queued(running) => self.cancel_task(running, State::Queued),
            State::Processing(running) => self.cancel_task(running, State::Processing),
            State::Held(hold) => self.cancel_held(hold),
            State::Downloading(downloading) => self.give_up(Some(downloading.task), GIVEN_UP_COMPLETED),
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {
                ActionReply::Rejected(format!("too late: it {}", self.job.past_state()))
            }
        }
    }

    fn cancel_held(&mut self, hold: Hold) -> ActionReply {
        match hold.held_from {
            HeldFrom::Pending(..) => self.cancel_unsubmitted(),
            HeldFrom::Submitting(..) => self.give_up(None, GIVEN_UP_UNKNOWN),
            HeldFrom::Running(running) if hold.reason == HoldReason::TaskMissing => {
                self.give_up(Some(running.task), "given up: the provider does not know the task")
            }
            HeldFrom::Running(running) => self.cancel_task(running, State::Processing),
            HeldFrom::Downloading(downloading) => self.give_up(Some(downloading.task), GIVEN_UP_COMPLETED),
        }
    }

    fn cancel_unsubmitted(&mut self) -> ActionReply {
        self.end(HistoryEvent::Cancelled, "before it was submitted", State::Cancelled { task: None });
        ActionReply::Done("cancelled before it was submitted")
    }

    fn give_up(&mut self, task: Option<TaskId>, detail: &'static str) -> ActionReply {
        if self.job.is_task_unfinished() {
            self.expect_settlement();
        }
        self.end(HistoryEvent::Cancelled, detail, State::Cancelled { task });
        ActionReply::Done(detail)
    }

    fn request_cancel(&mut self) {
        self.record(HistoryEvent::CancelRequested, "");
        self.job.cancel_requested = true;
    }

    fn cancel_task(&mut self, running: RunningTask, state: fn(RunningTask) -> State) -> ActionReply {
        self.request_cancel();
        let schedule = Schedule { due: self.now(), tries: 0, ..running.schedule };
        self.job.state = state(RunningTask { schedule, ..running });
        ActionReply::Done(
            "cancellation requested; if the task has already started, it finishes and is billed",
        )
    }

    fn retry(&mut self) -> ActionReply {
        if let State::Succeeded { .. } = self.job.state {
            return ActionReply::Rejected("it succeeded; `dropreel again` makes another".into());
        }
        if !self.job.needs_attention() {
            return ActionReply::Rejected(format!(
                "not needed: it is {} and continues by itself",
                self.job.state_name()
            ));
        }
        if self.job.facts.moved_at.is_some() {
            return ActionReply::Rejected(format!(
                "it was {MOVED}; `dropreel again` buys it here all the same"
            ));
        }
        if self.job.identity.adopted {
            return ActionReply::Rejected(
                "its task was made elsewhere and adopted, so there is no request to submit again; submit a job file \
                 with the request"
                    .into(),
            );
        }
        let attempt = self.job.attempts.saturating_add(1);
        self.record(HistoryEvent::Retried, format!("attempt {attempt}"));
        self.start_over();
        ActionReply::Done("submitted again under a new key; it may be billed again")
    }

    fn dismiss(&mut self) -> ActionReply {
        match self.job.state {
            State::Failed { .. } | State::Expired { .. } => {
                if self.job.facts.dismissed_at.is_none() {
                    self.record(HistoryEvent::Dismissed, "");
                    self.job.facts.dismissed_at = Some(self.now());
                }
                ActionReply::Done("taken off the list of what needs a person")
            }
            _ => ActionReply::Rejected(format!("not failed or expired: it {}", self.job.past_state())),
        }
    }

    fn undismiss(&mut self) -> ActionReply {
        match self.job.state {
            State::Failed { .. } | State::Expired { .. } => {
                if self.job.facts.dismissed_at.take().is_some() {
                    self.record(HistoryEvent::Undismissed, "");
                }
                ActionReply::Done("on the list of what needs a person")
            }
            _ => ActionReply::Rejected(format!("not failed or expired: it {}", self.job.past_state())),
        }
    }

    fn start_over(&mut self) {
        self.job.outputs.clear();
        self.job.facts = JobFacts::default();
        self.job.cancel_requested = false;
        self.job.expiry_alerted = false;
        self.job.callback_at = None;
        self.job.budget_wait = None;
        self.job.settlement = None;
        self.job.unlisted_allowed = false;
        self.job.pictures_checked = self.job.pictures_checked.map(|_| false);
        let now = self.now();
        self.job.state = State::Pending { schedule: Schedule::starting(now, now), pending_attempt: None };
    }

    fn release(&mut self) -> ActionReply {
        let (held_from, reason) = match self.job.state.clone() {
            State::Held(hold) => (hold.held_from, hold.reason.into_str()),
            State::Pending { schedule, pending_attempt } if self.job.needs_attention() => {
                (HeldFrom::Pending(schedule, pending_attempt), "")
            }
            State::Submitting { schedule, pending_attempt } if self.job.needs_attention() => {
                (HeldFrom::Submitting(schedule, pending_attempt), "")
            }
            State::Queued(running) | State::Processing(running) if self.job.needs_attention() => {
                (HeldFrom::Running(running), "")
            }
            State::Downloading(downloading) if self.job.needs_attention() => {
                (HeldFrom::Downloading(downloading), "")
            }
            _ => return ActionReply::Rejected(format!("not held: it {}", self.job.past_state())),
        };
        self.resume(held_from, reason)
    }

    /// Continues where the job stopped. Never with a new key where the old one may have been used: that could pay twice.
    fn resume(&mut self, held_from: HeldFrom, reason: &'static str) -> ActionReply {
        let now = self.now();
        match self.job.state {
            State::Held(Hold { reason: HoldReason::TooExpensive, .. }) => self.job.checks_waived = true,
            State::Held(Hold { reason: HoldReason::UnknownModel, .. }) => self.job.unlisted_allowed = true,
            State::Held(Hold { reason: HoldReason::PictureUnreachable, .. })
            | State::Pending { pending_attempt: None, .. } => {
                self.job.pictures_checked = self.job.pictures_checked.map(|_| true);
            }
            _ => {}
        }
        let schedule = Schedule::starting(now, now);
        if let HeldFrom::Submitting(_, pending_attempt) = &held_from
            && pending_attempt.is_too_old(now)
        {
            return ActionReply::Rejected(
                "its key is too old to be sent again; look for its task in the provider's task list; if it is not \
                 there, retry it: it is submitted under a new key and may be billed a second time"
                    .into(),
            );
        }
        self.record(HistoryEvent::Released, reason);
        self.job.state = match held_from {
            HeldFrom::Pending(kept, None) if kept.failing_since.is_some() => {
                State::Pending { schedule, pending_attempt: None }
            }
            // The user may have set its time (`not_before`).
            HeldFrom::Pending(kept, None) => {
                State::Pending { schedule: Schedule { due: kept.due, ..schedule }, pending_attempt: None }
            }
            HeldFrom::Pending(_, pending_attempt) => State::Pending { schedule, pending_attempt },
            HeldFrom::Submitting(_, pending_attempt) => {
                self.job.state = State::Submitting { schedule, pending_attempt };
                return ActionReply::Done("the same submit is repeated under the same key, and billed once");
            }
            HeldFrom::Running(running) => {
                let schedule = schedule.spaced_from(running.polled_at);
                State::Processing(RunningTask { schedule, ..running })
            }
            HeldFrom::Downloading(downloading) => {
                for waiting in self.job.outputs.iter_mut().filter_map(Output::waiting_mut) {
                    waiting.due = now;
                    waiting.invalid_downloads = 0;
                    waiting.blocked = None;
                    waiting.give_up_at = waiting.give_up_at.max(now.plus(OUTPUT_GRACE));
                }
                let schedule = schedule.spaced_from(downloading.polled_at);
                State::Downloading(Downloading { schedule, ..downloading })
            }
        };
        ActionReply::Done("it continues where it stopped")
    }
}
