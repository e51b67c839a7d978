//! The operator's actions: cancel, retry, release.

use crate::job::JobFacts;
use crate::job::event::OperatorAction;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::OutputState;
use crate::job::state::{Downloading, HeldFrom, Hold, RunningTask, Schedule, State};
use crate::job::step::{ActionReply, Change};

impl Change<'_> {
    pub(super) fn operator_acted(&mut self, action: OperatorAction) {
        let reply = match action {
            OperatorAction::Cancel => self.cancel(),
            OperatorAction::Retry => self.retry(),
            OperatorAction::Release => self.release(),
        };
        self.reply = Some(reply);
    }

    fn cancel(&mut self) -> ActionReply {
        let now = self.now();
        match self.job.state.clone() {
            State::Pending { .. } => self.cancel_unsubmitted(),
            State::Submitting { schedule, pending_attempt } => {
                self.request_cancel();
                let schedule = Schedule { due: schedule.due.min(now), ..schedule };
                self.job.state = State::Submitting { schedule, pending_attempt };
                ActionReply::Done("being submitted; it is cancelled at the provider once its task is known")
            }
            State::Queued(running) => self.cancel_task(running, State::Queued),
            State::Processing(running) => self.cancel_task(running, State::Processing),
            State::Held(hold) => self.cancel_held(hold),
            State::Downloading(_) => ActionReply::Rejected(
                "too late: the provider has finished and billed it; it is being downloaded".into(),
            ),
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => ActionReply::Rejected(format!("too late: it {}", self.past_state())),
        }
    }

    fn cancel_held(&mut self, hold: Hold) -> ActionReply {
        match hold.held_from {
            HeldFrom::Pending(_) => self.cancel_unsubmitted(),
            HeldFrom::Submitting(..) => self.give_up(
                None,
                "given up while the outcome of its submit was unknown; it may have been billed",
            ),
            HeldFrom::Running(running) if hold.reason == HoldReason::TaskMissing => {
                self.give_up(Some(running.task), "given up: the provider does not know the task")
            }
            HeldFrom::Running(running) => self.cancel_task(running, State::Processing),
            HeldFrom::Downloading(downloading) => {
                self.give_up(Some(downloading.task), "given up before it was stored")
            }
        }
    }

    fn cancel_unsubmitted(&mut self) -> ActionReply {
        self.end(HistoryEvent::Cancelled, "before it was submitted", State::Cancelled { task: None });
        ActionReply::Done("cancelled before it was submitted")
    }

    fn give_up(&mut self, task: Option<TaskId>, detail: &'static str) -> ActionReply {
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
        match self.job.state {
            State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } | State::Held(_) => {
                let attempt = self.job.attempts.saturating_add(1);
                self.record(HistoryEvent::Retried, format!("attempt {attempt}"));
                self.start_over();
                ActionReply::Done("submitted again under a new key, and billed again")
            }
            State::Succeeded { .. } => ActionReply::Rejected(
                "it succeeded; to make another, drop its file again with \"again\": true".into(),
            ),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_) => ActionReply::Rejected(format!(
                "not needed: it is {} and continues by itself",
                self.job.state_name()
            )),
        }
    }

    fn start_over(&mut self) {
        self.job.outputs.clear();
        self.job.facts = JobFacts::default();
        self.job.cancel_requested = false;
        self.job.expiry_alerted = false;
        self.job.callback_at = None;
        let now = self.now();
        self.job.state = State::Pending { schedule: Schedule::starting(now, now), pending_attempt: None };
    }

    fn release(&mut self) -> ActionReply {
        let State::Held(hold) = self.job.state.clone() else {
            return ActionReply::Rejected(format!("not held: it {}", self.past_state()));
        };
        let now = self.now();
        self.record(HistoryEvent::Released, hold.reason.into_str());
        self.clock_confirmed = hold.reason == HoldReason::ClockUnreliable;
        match hold.reason {
            HoldReason::OutcomeUnknown | HoldReason::ErrorReplayed | HoldReason::DuplicateTask => {
                self.start_over();
                ActionReply::Done("submitted again under a new key; it may be billed a second time")
            }
            HoldReason::ClockUnreliable
            | HoldReason::DatabaseRestored
            | HoldReason::TimedOut
            | HoldReason::TaskMissing
            | HoldReason::NoOutput
            | HoldReason::AddressForbidden
            | HoldReason::HostNotAllowed
            | HoldReason::PlainHttpForbidden
            | HoldReason::LinkUnusable
            | HoldReason::FileTooLarge
            | HoldReason::InvalidOutput => {
                self.resume(hold.held_from, Schedule::starting(now, now));
                ActionReply::Done("it continues where it stopped")
            }
        }
    }

    fn resume(&mut self, held_from: HeldFrom, schedule: Schedule) {
        for output in &mut self.job.outputs {
            if let OutputState::Waiting { invalid_downloads, .. } = &mut output.state {
                *invalid_downloads = 0;
            }
        }
        self.job.state = match held_from {
            HeldFrom::Pending(_) => State::Pending { schedule, pending_attempt: None },
            HeldFrom::Submitting(_, pending_attempt) => State::Submitting { schedule, pending_attempt },
            HeldFrom::Running(running) => {
                State::Processing(RunningTask { schedule, missing_since: None, ..running })
            }
            HeldFrom::Downloading(downloading) => {
                State::Downloading(Downloading { schedule, refresh_links: true, ..downloading })
            }
        };
    }

    /// "it ..."
    fn past_state(&self) -> String {
        match self.job.state {
            State::Succeeded { .. } => "succeeded".into(),
            State::Failed { .. } => "failed".into(),
            State::Cancelled { .. } => "was cancelled".into(),
            State::Expired { .. } => "expired".into(),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_)
            | State::Held(_) => format!("is {}", self.job.state_name()),
        }
    }
}
