//! While the task is at the provider: status answers, callbacks, cancels.

use crate::clock::Timestamp;
use crate::failpoints::{Bug, planted};
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, TaskFacts};
use crate::job::hold::{HeldFrom, HoldReason};
use crate::job::retry::{Backoff, CALL_OFF_LIMIT, MISSING_PATIENCE, QUERY_SPACING, SLOW_POLL};
use crate::job::state::{Running, Schedule, State};
use crate::job::step::Change;
use crate::job::{JobError, TaskId};

impl Change<'_> {
    pub(super) fn asked(&mut self, began: Timestamp, verdict: &StatusVerdict) {
        if self.job.knocked_at.is_some_and(|knocked| knocked < began) {
            self.job.knocked_at = None;
        }
        match self.job.state.clone() {
            State::Queued(running) | State::Processing(running) => self.running_asked(running, verdict),
            State::Downloading(fetching) => self.fetching_asked(fetching, verdict),
            State::Held(hold) => match hold.back_to.clone() {
                HeldFrom::Running(running) if hold.reason == HoldReason::TaskMissing => {
                    self.missing_asked(running, verdict);
                }
                HeldFrom::Running(running) => self.held_asked(running, verdict),
                HeldFrom::Pending(_) | HeldFrom::Submitting(..) | HeldFrom::Downloading(_) => {}
            },
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    fn running_asked(&mut self, running: Running, verdict: &StatusVerdict) {
        let now = self.now();
        let terms = self.moment.terms;
        let polls = Backoff::polls(terms.interval, terms.max_interval);
        let mut running = Running { asked_at: Some(now), ..running };
        let not_before = match verdict {
            StatusVerdict::Seen(facts) => {
                running.missing_since = None;
                self.job.learned.remark = None;
                self.take_progress(facts);
                match facts.phase {
                    Phase::Completed | Phase::Failed | Phase::Cancelled => {
                        return self.task_ended(running.task, facts);
                    }
                    Phase::Processing => self.begin_processing(&running),
                    Phase::Queued | Phase::Unclear(_) => {}
                }
                None
            }
            StatusVerdict::Missing => {
                let since = *running.missing_since.get_or_insert(now);
                if since == now {
                    self.note("task_missing", "the provider says it does not know the task");
                }
                if now.since(since) >= MISSING_PATIENCE {
                    let detail = format!("task {}", running.task);
                    return self.hold(
                        HoldReason::TaskMissing,
                        detail,
                        HeldFrom::Running(slowly(running, now)),
                    );
                }
                self.job.learned.remark = Some("the provider says it does not know the task".into());
                None
            }
            StatusVerdict::Unanswered { why, not_before } => {
                self.job.learned.remark = Some(why.clone());
                *not_before
            }
        };
        if now.since(running.pace.since) >= terms.give_up {
            let detail = format!("task {}, submitted {}", running.task, running.pace.since);
            return self.hold(HoldReason::Slow, detail, HeldFrom::Running(slowly(running, now)));
        }
        running.pace = self.again(running.pace, polls, not_before);
        if self.job.knocked_at.is_some() {
            let soonest = now.plus(QUERY_SPACING);
            running.pace.due = not_before.map_or(soonest, |time| time.max(soonest));
        }
        self.put_running(running);
    }

    /// A task the provider denied: once it is known again, nobody needs to do anything.
    fn missing_asked(&mut self, running: Running, verdict: &StatusVerdict) {
        let StatusVerdict::Seen(_) = verdict else {
            return self.held_asked(running, verdict);
        };
        let now = self.now();
        self.note("task_found", "the provider knows the task again");
        let running = Running { pace: Schedule::starting(now, now), ..running };
        self.job.state = State::Processing(running.clone());
        self.running_asked(running, verdict);
    }

    /// A task given up on: it stays held unless the provider says it has ended after all.
    fn held_asked(&mut self, running: Running, verdict: &StatusVerdict) {
        let now = self.now();
        if let StatusVerdict::Seen(facts) = verdict {
            self.take_progress(facts);
            match facts.phase {
                Phase::Completed | Phase::Failed | Phase::Cancelled => {
                    self.note("task_finished", "the task has ended after all");
                    return self.task_ended(running.task, facts);
                }
                Phase::Queued | Phase::Processing | Phase::Unclear(_) => {}
            }
        }
        let running = slowly(Running { asked_at: Some(now), ..running }, now);
        self.put_running(running);
    }

    fn task_ended(&mut self, task: TaskId, facts: &TaskFacts) {
        self.job.learned.cost = facts.cost.or(self.job.learned.cost);
        self.job.learned.completed_at = facts.completed_at.or(Some(self.now()));
        match facts.phase {
            Phase::Completed => self.completed(task, facts),
            Phase::Failed => {
                let error = facts.error.clone().unwrap_or_else(|| JobError {
                    code: "task_failed".into(),
                    message: "the provider says the task failed, without a reason".into(),
                });
                self.fail(error, Some(task));
            }
            Phase::Cancelled => {
                self.end("cancelled", "by the provider's word", State::Cancelled { task: Some(task) })
            }
            Phase::Queued | Phase::Processing | Phase::Unclear(_) => {}
        }
    }

    pub(super) fn ended_after_completion(&mut self, task: TaskId, facts: &TaskFacts) {
        self.task_ended(task, facts);
    }

    fn take_progress(&mut self, facts: &TaskFacts) {
        let told = match facts.phase {
            Phase::Completed => Some(100),
            Phase::Queued | Phase::Processing | Phase::Unclear(_) | Phase::Failed | Phase::Cancelled => {
                facts.progress.map(|progress| progress.min(100))
            }
        };
        if let Some(progress) = told {
            self.job.learned.progress = progress;
        }
    }

    fn begin_processing(&mut self, running: &Running) {
        if let State::Queued(_) = self.job.state {
            self.note("processing", "");
            self.job.state = State::Processing(running.clone());
        }
    }

    /// Puts the running task back where it was, in the state it has now.
    fn put_running(&mut self, with: Running) {
        match &mut self.job.state {
            State::Queued(running) | State::Processing(running) => *running = with,
            State::Held(hold) => hold.back_to = HeldFrom::Running(with),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Downloading(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    pub(super) fn knocked(&mut self, hint: Option<&TaskId>, quiet: bool) {
        let now = self.now();
        if !quiet {
            self.note("callback_received", hint.map_or_else(String::new, |task| format!("for task {task}")));
        }
        if let State::Succeeded { task } = self.job.state.clone()
            && planted(Bug::EndLeft)
        {
            let pace = Schedule::starting(now, now);
            self.job.state = State::Processing(Running { task, pace, missing_since: None, asked_at: None });
        }
        let first = self.job.knocked_at.is_none();
        match &mut self.job.state {
            State::Queued(running) | State::Processing(running) => {
                wake(&mut running.pace, running.asked_at, now);
                self.job.knocked_at = Some(now);
            }
            State::Held(hold) => {
                if let HeldFrom::Running(running) = &mut hold.back_to {
                    wake(&mut running.pace, running.asked_at, now);
                    self.job.knocked_at = Some(now);
                }
            }
            // The answer was overtaken: the first knock hurries the repeat, further ones must not.
            State::Submitting { pace, .. } => {
                if first {
                    pace.due = pace.due.min(now);
                }
                self.job.knocked_at = Some(now);
            }
            State::Pending { .. }
            | State::Downloading(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
    }

    pub(super) fn call_off_answered(&mut self, verdict: &CancelVerdict) {
        let (State::Queued(running) | State::Processing(running)) = self.job.state.clone() else {
            return;
        };
        if !self.job.cancel_wanted {
            return;
        }
        let now = self.now();
        let ask_now = Schedule { due: now.plus(QUERY_SPACING), tries: 0, ..running.pace };
        let pace = match verdict {
            CancelVerdict::Taken => {
                self.note("cancel_accepted", "the provider took the cancel");
                self.job.cancel_wanted = false;
                ask_now
            }
            CancelVerdict::TooLate { why } => {
                self.note("cancel_refused", why.clone());
                self.job.learned.remark = Some(format!("not cancelled: {why}"));
                self.job.cancel_wanted = false;
                ask_now
            }
            CancelVerdict::Unanswered { why, .. } if running.pace.tries >= CALL_OFF_LIMIT => {
                self.note("cancel_abandoned", format!("the provider did not answer: {why}"));
                self.job.cancel_wanted = false;
                ask_now
            }
            CancelVerdict::Unanswered { why, not_before } => {
                self.job.learned.remark = Some(why.clone());
                self.again(running.pace, Backoff::CALL_OFF, *not_before)
            }
        };
        self.put_running(Running { pace, ..running });
    }
}

fn slowly(running: Running, now: Timestamp) -> Running {
    let pace = Schedule { due: now.plus(SLOW_POLL), ..running.pace };
    Running { pace, ..running }
}

/// Due at once, but never within a second of the last question.
fn wake(pace: &mut Schedule, asked_at: Option<Timestamp>, now: Timestamp) {
    let soonest = asked_at.map_or(now, |asked| now.max(asked.plus(QUERY_SPACING)));
    pace.due = pace.due.min(soonest);
}
