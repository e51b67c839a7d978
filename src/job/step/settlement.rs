//! The final cost of a task, which the provider may settle after the task has ended.

use crate::clock::Timestamp;
use crate::job::event::{StatusVerdict, TaskFacts};
use crate::job::retry::{Backoff, MAX_SETTLEMENT_TRIES, MIN_POLL_SPACING};
use crate::job::state::Settlement;
use crate::job::step::Change;

impl Change<'_> {
    /// A status answer says that the task has ended.
    pub(super) fn note_settlement(&mut self, facts: &TaskFacts) {
        if !facts.cost_pending {
            self.job.facts.cost = facts.cost.or(self.job.facts.cost);
            self.job.settlement = None;
            return;
        }
        let tries = self.job.settlement.map_or(0, |settlement| settlement.tries);
        let due = self.now().plus(self.backoff(Backoff::SETTLEMENT, tries));
        self.job.settlement =
            (tries < MAX_SETTLEMENT_TRIES).then_some(Settlement { due, tries: tries.saturating_add(1) });
    }

    /// A status query after the end of the job.
    pub(super) fn polled_ended(&mut self, verdict: &StatusVerdict) {
        match verdict {
            StatusVerdict::Answered(facts) if facts.phase.is_end() => self.note_settlement(facts),
            // No answer about the cost: asked again like one that is not final.
            StatusVerdict::Answered(_) | StatusVerdict::Missing => self.postpone_settlement(None),
            StatusVerdict::Unanswered { not_before, .. } | StatusVerdict::Unreadable { not_before, .. } => {
                self.postpone_settlement(*not_before);
            }
        }
    }

    fn postpone_settlement(&mut self, not_before: Option<Timestamp>) {
        let Some(Settlement { tries, .. }) = self.job.settlement else { return };
        let due = self.now().plus(self.backoff(Backoff::SETTLEMENT, tries));
        let due = not_before.map_or(due, |time| due.max(time));
        self.job.settlement =
            (tries < MAX_SETTLEMENT_TRIES).then_some(Settlement { due, tries: tries.saturating_add(1) });
    }

    /// Any poll asks for the cost too, so the next one for the cost alone is later.
    pub(super) fn space_settlement(&mut self) {
        if let Some(Settlement { tries, .. }) = self.job.settlement {
            let due = self.now().plus(self.backoff(Backoff::SETTLEMENT, tries));
            self.job.settlement = Some(Settlement { due, tries });
        }
    }

    /// A callback is sent once billing is settled.
    pub(super) fn settlement_soon(&mut self) {
        let now = self.now();
        if let Some(settlement) = &mut self.job.settlement {
            settlement.due = settlement.due.min(now.plus(MIN_POLL_SPACING));
        }
    }
}
