//! A person's word: cancel, retry, release.

use crate::job::event::Order;
use crate::job::hold::{HeldFrom, Hold, HoldReason};
use crate::job::output::OutputState;
use crate::job::state::{Fetching, Running, Schedule, State};
use crate::job::step::{Change, Reply};
use crate::job::{JobFacts, TaskId};

impl Change<'_> {
    pub(super) fn ordered(&mut self, order: Order) {
        let reply = match order {
            Order::Cancel => self.cancel(),
            Order::Retry => self.retry(),
            Order::Release => self.release(),
        };
        self.reply = Some(reply);
    }

    fn cancel(&mut self) -> Reply {
        let now = self.now();
        match self.job.state.clone() {
            State::Pending { .. } => self.cancelled(None, "before it was submitted"),
            State::Submitting { pace, trial } => {
                self.want_cancel();
                self.job.state =
                    State::Submitting { pace: Schedule { due: pace.due.min(now), ..pace }, trial };
                Reply::Done(
                    "its submit is under way; it is cancelled at the provider as soon as its task is known",
                )
            }
            State::Queued(running) => self.call_off(running, State::Queued),
            State::Processing(running) => self.call_off(running, State::Processing),
            State::Held(hold) => self.cancel_held(hold),
            State::Downloading(_) => {
                Reply::Refused("the provider has finished and charged it; it is being downloaded".into())
            }
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => Reply::Refused(format!("it has already {}", self.ended_how())),
        }
    }

    fn cancel_held(&mut self, hold: Hold) -> Reply {
        match hold.back_to {
            HeldFrom::Pending(_) => self.cancelled(None, "before it was submitted"),
            HeldFrom::Submitting(..) => self.cancelled(
                None,
                "given up while the outcome of its submit was unknown: it may have been billed",
            ),
            HeldFrom::Running(running) if hold.reason == HoldReason::TaskMissing => {
                self.cancelled(Some(running.task), "given up: the provider does not know the task")
            }
            HeldFrom::Running(running) => self.call_off(running, State::Processing),
            HeldFrom::Downloading(fetching) => {
                self.cancelled(Some(fetching.task), "given up before it was stored")
            }
        }
    }

    fn cancelled(&mut self, task: Option<TaskId>, how: &'static str) -> Reply {
        self.end("cancelled", how, State::Cancelled { task });
        Reply::Done(how)
    }

    fn want_cancel(&mut self) {
        self.note("cancel_requested", "");
        self.job.cancel_wanted = true;
    }

    fn call_off(&mut self, running: Running, state: fn(Running) -> State) -> Reply {
        self.want_cancel();
        let pace = Schedule { due: self.now(), tries: 0, ..running.pace };
        self.job.state = state(Running { pace, ..running });
        Reply::Done("the provider is asked to cancel it; a task it has begun cannot be cancelled")
    }

    fn retry(&mut self) -> Reply {
        match self.job.state {
            State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } | State::Held(_) => {
                self.note("retried", format!("attempt {}", self.job.attempts.saturating_add(1)));
                self.begin_anew();
                Reply::Done("it is submitted again under a new key, and billed again")
            }
            State::Succeeded { .. } => Reply::Refused(
                "it has already succeeded; to make another, drop its file again with \"again\": true".into(),
            ),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_) => {
                Reply::Refused(format!("it is {} and goes on by itself", self.job.state_name()))
            }
        }
    }

    fn begin_anew(&mut self) {
        self.job.outputs.clear();
        self.job.learned = JobFacts::default();
        self.job.cancel_wanted = false;
        self.job.alerted = false;
        self.job.knocked_at = None;
        let now = self.now();
        self.job.state = State::Pending { pace: Schedule::starting(now, now), trial: None };
    }

    fn release(&mut self) -> Reply {
        let State::Held(hold) = self.job.state.clone() else {
            return Reply::Refused(format!("it is not held but {}", self.job.state_name()));
        };
        let now = self.now();
        self.note("released", hold.reason.as_str());
        self.clock_right = hold.reason == HoldReason::ClockDoubted;
        match hold.reason {
            HoldReason::OutcomeUnknown | HoldReason::ErrorReplayed | HoldReason::TaskShared => {
                self.begin_anew();
                Reply::Done("it is submitted again under a new key, and may be billed a second time")
            }
            HoldReason::ClockDoubted
            | HoldReason::DatabaseRestored
            | HoldReason::Slow
            | HoldReason::TaskMissing
            | HoldReason::NoOutput
            | HoldReason::MediaForbidden
            | HoldReason::OutputUnfit => {
                self.go_back(hold.back_to, Schedule::starting(now, now));
                Reply::Done("it goes on where it stopped")
            }
        }
    }

    fn go_back(&mut self, back_to: HeldFrom, anew: Schedule) {
        for output in &mut self.job.outputs {
            if let OutputState::Waiting { unfit, .. } = &mut output.state {
                *unfit = 0;
            }
        }
        self.job.state = match back_to {
            HeldFrom::Pending(_) => State::Pending { pace: anew, trial: None },
            HeldFrom::Submitting(_, trial) => State::Submitting { pace: anew, trial },
            HeldFrom::Running(running) => {
                State::Processing(Running { pace: anew, missing_since: None, ..running })
            }
            HeldFrom::Downloading(fetching) => {
                State::Downloading(Fetching { pace: anew, refresh: true, ..fetching })
            }
        };
    }

    fn ended_how(&self) -> &'static str {
        match self.job.state {
            State::Succeeded { .. } => "succeeded",
            State::Failed { .. } => "failed",
            State::Cancelled { .. } => "been cancelled",
            State::Expired { .. } => "expired",
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_)
            | State::Held(_) => "begun",
        }
    }
}
