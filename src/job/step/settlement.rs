//! The final cost of a task, which the provider may settle after the task has ended, and after its job has another.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::event::{StatusVerdict, TaskFacts};
use crate::job::retry::{Backoff, MAX_SETTLEMENT_TRIES, MIN_POLL_SPACING};
use crate::job::state::{HeldFrom, Hold, Settlement, State};
use crate::job::step::{Change, Moment};

impl Settlement {
    /// The first poll for the cost.
    pub fn first(moment: Moment<'_>) -> Self {
        Self { due: due_after(0, moment), tries: 0 }
    }

    /// The poll after `tries` polls; `None` after the last.
    fn after(tries: u32, not_before: Option<Timestamp>, moment: Moment<'_>) -> Option<Self> {
        let due = due_after(tries, moment);
        let due = not_before.map_or(due, |time| due.max(time));
        (tries < MAX_SETTLEMENT_TRIES).then_some(Self { due, tries: tries.saturating_add(1) })
    }

    /// The poll after one with this verdict; `None` if it was the last.
    pub fn polled(self, verdict: &StatusVerdict, moment: Moment<'_>) -> Option<Self> {
        match verdict {
            StatusVerdict::Answered(facts) if facts.phase.is_end() && !facts.cost_pending => None,
            // No answer about the cost: asked again like one that is not final.
            StatusVerdict::Answered(_) | StatusVerdict::Missing => Self::after(self.tries, None, moment),
            StatusVerdict::Unanswered { not_before, .. } | StatusVerdict::Unreadable { not_before, .. } => {
                Self::after(self.tries, *not_before, moment)
            }
        }
    }

    /// The next poll, brought forward by a callback: it is sent once billing is settled.
    pub fn hurried(self, now: Timestamp) -> Self {
        Self { due: self.due.min(now.plus(MIN_POLL_SPACING)), ..self }
    }
}

fn due_after(tries: u32, moment: Moment<'_>) -> Timestamp {
    moment.now.plus(Backoff::SETTLEMENT.after(tries, moment.jitter))
}

impl Job {
    /// When its task is to be polled for the final cost once the job no longer has it; `None` if the cost is final.
    pub fn settlement_once_left(&self, moment: Moment<'_>) -> Option<Settlement> {
        if self.is_task_unfinished() { Some(Settlement::first(moment)) } else { self.settlement }
    }

    /// Whether no answer has said yet that its task has ended.
    pub fn is_task_unfinished(&self) -> bool {
        matches!(
            self.state,
            State::Queued(_)
                | State::Processing(_)
                | State::Held(Hold { held_from: HeldFrom::Running(_), .. })
        )
    }
}

impl Change<'_> {
    /// The job leaves its task to itself. It may be billed all the same.
    pub(super) fn expect_settlement(&mut self) {
        self.job.settlement = Some(Settlement::first(self.moment));
    }

    /// A status answer says that the task has ended.
    pub(super) fn note_settlement(&mut self, facts: &TaskFacts) {
        if !facts.cost_pending {
            self.job.facts.cost = facts.cost.or(self.job.facts.cost);
            self.job.settlement = None;
            return;
        }
        let tries = self.job.settlement.map_or(0, |settlement| settlement.tries);
        self.job.settlement = Settlement::after(tries, None, self.moment);
    }

    /// A status query after the end of the job.
    pub(super) fn polled_ended(&mut self, verdict: &StatusVerdict) {
        if let StatusVerdict::Answered(facts) = verdict
            && facts.phase.is_end()
        {
            return self.note_settlement(facts);
        }
        self.job.settlement =
            self.job.settlement.and_then(|settlement| settlement.polled(verdict, self.moment));
    }

    /// Any poll asks for the cost too, so the next one for the cost alone is later.
    pub(super) fn space_settlement(&mut self) {
        if let Some(Settlement { tries, .. }) = self.job.settlement {
            self.job.settlement = Some(Settlement { due: due_after(tries, self.moment), tries });
        }
    }

    /// A callback came.
    pub(super) fn settlement_soon(&mut self) {
        let now = self.now();
        self.job.settlement = self.job.settlement.map(|settlement| settlement.hurried(now));
    }
}
