//! While the task is at the provider: status answers, callbacks, cancel calls.

use crate::clock::Timestamp;
use crate::job::JobError;
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, TaskFacts};
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::retry::{
    Backoff, MAX_CANCEL_TRIES, MIN_POLL_SPACING, MISSING_TIMEOUT, SLOW_POLL_INTERVAL, UNREADABLE_TIMEOUT,
};
use crate::job::state::{HeldFrom, RunningTask, Schedule, State};
use crate::job::step::{Billing, Change};

impl Change<'_> {
    pub(super) fn status_polled(&mut self, task: &TaskId, sent_at: Timestamp, verdict: &StatusVerdict) {
        // Also of an earlier task: it is paid for all the same.
        if let StatusVerdict::Answered(TaskFacts { phase, cost: Some(cost), .. }) = verdict
            && phase.is_end()
        {
            let completed = *phase == Phase::Completed;
            self.billing = Some(Billing::Charged { task: task.clone(), quota: *cost, completed });
        }
        if self.job.task() == Some(task) && self.job.state_name().is_end() && self.job.settlement.is_some() {
            return self.polled_ended(verdict);
        }
        if self.job.task() != Some(task) || self.job.state_name().is_end() {
            // It is polled until its end is known, with its cost.
            if let StatusVerdict::Answered(facts) = verdict
                && facts.phase.is_end()
                && !facts.cost_pending
            {
                self.ignore(format!("status of task {task}: {}", facts.phase));
            }
            return;
        }
        if self.job.callback_at.is_some_and(|callback_at| callback_at < sent_at) {
            self.job.callback_at = None;
        }
        match self.job.state.clone() {
            State::Queued(running) | State::Processing(running) => {
                self.polled_running(running, sent_at, verdict);
            }
            State::Downloading(downloading) => self.polled_downloading(downloading, sent_at, verdict),
            State::Held(hold) => match hold.held_from {
                HeldFrom::Running(running) => match (hold.reason, verdict) {
                    (HoldReason::TaskMissing | HoldReason::StatusUnreadable, StatusVerdict::Answered(_)) => {
                        self.found_again(running, sent_at, verdict)
                    }
                    _ => self.polled_held(running, sent_at, verdict),
                },
                HeldFrom::Downloading(downloading) => self.polled_downloading(downloading, sent_at, verdict),
                HeldFrom::Pending(..) | HeldFrom::Submitting(..) => {}
            },
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    fn polled_running(&mut self, running: RunningTask, sent_at: Timestamp, verdict: &StatusVerdict) {
        let now = self.now();
        let policy = self.moment.policy;
        let polls = Backoff::polls(policy.interval, policy.max_interval);
        let mut running = RunningTask { polled_at: Some(now), ..running };
        let not_before = match verdict {
            StatusVerdict::Answered(facts) => {
                running.schedule.failing_since = None;
                self.job.facts.status_message = None;
                self.update_progress(facts);
                match facts.phase {
                    Phase::Completed | Phase::Failed | Phase::Cancelled => {
                        return self.task_ended(running.task, facts, sent_at);
                    }
                    Phase::Processing => self.processing_started(&running),
                    Phase::Queued | Phase::Unclear(_) => {}
                }
                None
            }
            StatusVerdict::Missing => {
                let unknown = "the provider does not know the task";
                let since = *running.schedule.failing_since.get_or_insert(now);
                if since == now {
                    self.record(HistoryEvent::TaskMissing, unknown);
                }
                if now.since(since) >= MISSING_TIMEOUT {
                    let detail = format!("task {}", running.task);
                    return self.hold_running(HoldReason::TaskMissing, detail, running);
                }
                self.job.facts.status_message = Some(unknown.into());
                None
            }
            StatusVerdict::Unreadable { why, not_before } => {
                let since = *running.schedule.failing_since.get_or_insert(now);
                if now.since(since) >= UNREADABLE_TIMEOUT {
                    return self.hold_running(HoldReason::StatusUnreadable, why.clone(), running);
                }
                self.job.facts.status_message = Some(why.clone());
                *not_before
            }
            StatusVerdict::Unanswered { why, not_before } => {
                // Until it is answered again it takes no place from other jobs.
                running.schedule.failing_since.get_or_insert(now);
                self.job.facts.status_message = Some(why.clone());
                *not_before
            }
        };
        if now.since(running.schedule.since) >= policy.give_up {
            let detail = format!("task {}, submitted {}", running.task, running.schedule.since);
            return self.hold_running(HoldReason::TimedOut, detail, running);
        }
        let is_early = running.schedule.due > sent_at && !self.job.identity.adopted;
        // Somebody watches the task, or its callback said so: when it is polled without them stays as it was.
        running.schedule = match verdict {
            StatusVerdict::Answered(_) if is_early => running.schedule.spaced_from(running.polled_at),
            _ => self.retry_later(running.schedule, polls, not_before),
        };
        if self.job.callback_at.is_some() {
            let soonest = now.plus(MIN_POLL_SPACING);
            running.schedule.due = not_before.map_or(soonest, |time| time.max(soonest));
        }
        self.set_running(running);
    }

    fn hold_running(&mut self, reason: HoldReason, detail: String, running: RunningTask) {
        let held_from = HeldFrom::Running(poll_slowly(running, self.now()));
        self.hold(reason, detail, held_from);
    }

    /// Once the provider answers about the task again, the operator has nothing to do.
    fn found_again(&mut self, running: RunningTask, sent_at: Timestamp, verdict: &StatusVerdict) {
        self.record(HistoryEvent::TaskFound, "the provider answers about the task again");
        self.job.state = State::Processing(running.clone());
        self.polled_running(running, sent_at, verdict);
    }

    /// The job stays held unless its task has ended after all.
    fn polled_held(&mut self, running: RunningTask, sent_at: Timestamp, verdict: &StatusVerdict) {
        let now = self.now();
        if let StatusVerdict::Answered(facts) = verdict {
            self.update_progress(facts);
            match facts.phase {
                Phase::Completed | Phase::Failed | Phase::Cancelled => {
                    self.record(HistoryEvent::TaskFinished, "the task ended after all");
                    return self.task_ended(running.task, facts, sent_at);
                }
                Phase::Queued | Phase::Processing | Phase::Unclear(_) => {}
            }
        }
        let running = poll_slowly(RunningTask { polled_at: Some(now), ..running }, now);
        self.set_running(running);
    }

    pub(super) fn task_ended(&mut self, task: TaskId, facts: &TaskFacts, sent_at: Timestamp) {
        self.note_settlement(facts);
        self.job.facts.completed_at = facts.completed_at.or(Some(self.now()));
        match facts.phase {
            Phase::Completed => self.completed(task, facts, sent_at),
            Phase::Failed => {
                let error = facts.error.clone().unwrap_or_else(|| JobError {
                    code: "task_failed".into(),
                    message: "the provider reports that the task failed, without a reason".into(),
                });
                self.fail(error, Some(task), None);
            }
            Phase::Cancelled => {
                self.end(HistoryEvent::Cancelled, "at the provider", State::Cancelled { task: Some(task) });
            }
            Phase::Queued | Phase::Processing | Phase::Unclear(_) => {}
        }
    }

    fn update_progress(&mut self, facts: &TaskFacts) {
        let reported = match facts.phase {
            Phase::Completed => Some(100),
            Phase::Queued | Phase::Processing | Phase::Unclear(_) | Phase::Failed | Phase::Cancelled => {
                facts.progress.map(|progress| progress.min(100))
            }
        };
        if let Some(progress) = reported {
            self.job.facts.progress = progress;
        }
    }

    fn processing_started(&mut self, running: &RunningTask) {
        if let State::Queued(_) = self.job.state {
            self.record(HistoryEvent::Processing, "");
            self.job.state = State::Processing(running.clone());
        }
    }

    /// Replaces the running task's data; the state stays the same.
    fn set_running(&mut self, new: RunningTask) {
        match &mut self.job.state {
            State::Queued(running) | State::Processing(running) => *running = new,
            State::Held(hold) => hold.held_from = HeldFrom::Running(new),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Downloading(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    pub(super) fn callback_received(&mut self, hint: Option<&TaskId>, quiet: bool) {
        let now = self.now();
        if !quiet {
            let detail = hint.map_or_else(String::new, |task| format!("for task {task}"));
            self.record(HistoryEvent::CallbackReceived, detail);
        }
        self.settlement_soon();
        let first = self.job.callback_at.is_none();
        match &mut self.job.state {
            State::Queued(running) | State::Processing(running) => {
                if first {
                    // The answer may lag behind the callback.
                    running.schedule.tries = 0;
                }
                poll_soon(&mut running.schedule, running.polled_at, now);
                self.job.callback_at = Some(now);
            }
            State::Held(hold) => {
                if let HeldFrom::Running(running) = &mut hold.held_from {
                    poll_soon(&mut running.schedule, running.polled_at, now);
                    self.job.callback_at = Some(now);
                }
            }
            // The callback overtook the submit's answer. The first one brings the resend forward; if each did, callbacks
            // could defeat its backoff.
            State::Submitting { schedule, .. } => {
                if first {
                    schedule.due = schedule.due.min(now);
                }
                self.job.callback_at = Some(now);
            }
            State::Pending { .. }
            | State::Downloading(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    pub(super) fn cancel_answered(&mut self, task: &TaskId, verdict: &CancelVerdict) {
        let (State::Queued(running) | State::Processing(running)) = self.job.state.clone() else {
            return;
        };
        if running.task != *task {
            return self.ignore(format!("answer to the cancel request for the earlier task {task}"));
        }
        if !self.job.cancel_requested {
            return;
        }
        let now = self.now();
        let poll_now = Schedule { due: now.plus(MIN_POLL_SPACING), tries: 0, ..running.schedule };
        let schedule = match verdict {
            CancelVerdict::Accepted => {
                self.record(HistoryEvent::CancelAccepted, "the provider accepted the cancel request");
                self.job.cancel_requested = false;
                poll_now
            }
            CancelVerdict::TooLate { why } => {
                self.record(HistoryEvent::CancelRefused, why.clone());
                self.job.facts.status_message = Some(format!("not cancelled: {why}"));
                self.job.cancel_requested = false;
                poll_now
            }
            CancelVerdict::Unanswered { why, .. } if running.schedule.tries >= MAX_CANCEL_TRIES => {
                self.record(HistoryEvent::CancelAbandoned, format!("the provider did not answer: {why}"));
                self.job.cancel_requested = false;
                if running.schedule.failing_since.is_some() {
                    let detail = "given up: the provider answers neither cancel nor status requests; the task may be \
                                  billed";
                    self.expect_settlement();
                    return self.end(
                        HistoryEvent::Cancelled,
                        detail,
                        State::Cancelled { task: Some(running.task) },
                    );
                }
                poll_now
            }
            CancelVerdict::Unanswered { why, not_before } => {
                self.job.facts.status_message = Some(why.clone());
                self.retry_later(running.schedule, Backoff::CANCEL, *not_before)
            }
        };
        self.set_running(RunningTask { schedule, ..running });
    }
}

fn poll_slowly(running: RunningTask, now: Timestamp) -> RunningTask {
    let schedule = Schedule { due: now.plus(SLOW_POLL_INTERVAL), ..running.schedule };
    RunningTask { schedule, ..running }
}

impl Schedule {
    /// Not due within [`MIN_POLL_SPACING`] of the last status query.
    pub(super) fn spaced_from(self, polled_at: Option<Timestamp>) -> Self {
        let earliest = polled_at.map_or(self.due, |polled_at| polled_at.plus(MIN_POLL_SPACING));
        Self { due: self.due.max(earliest), ..self }
    }
}

/// Due immediately, but not within [`MIN_POLL_SPACING`] of the last status query.
fn poll_soon(schedule: &mut Schedule, polled_at: Option<Timestamp>, now: Timestamp) {
    let soonest = polled_at.map_or(now, |polled_at| now.max(polled_at.plus(MIN_POLL_SPACING)));
    schedule.due = schedule.due.min(soonest);
}
