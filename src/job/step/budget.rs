//! Jobs that may not be submitted for their cost.

use crate::clock::Timestamp;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::state::{HeldFrom, State};
use crate::job::step::Change;
use crate::money::Quota;

impl Change<'_> {
    pub(super) fn over_budget(&mut self, need: Quota, why: &str, until: Timestamp) {
        let State::Pending { schedule, .. } = &mut self.job.state else { return };
        schedule.due = until;
        self.job.facts.status_message = Some(why.to_owned());
        if self.job.budget_wait.replace(need).is_none() {
            self.record(HistoryEvent::OverBudget, why);
        }
    }

    pub(super) fn budget_freed(&mut self) {
        let now = self.now();
        if let State::Pending { schedule, .. } = &mut self.job.state
            && self.job.budget_wait.is_some()
        {
            schedule.due = schedule.due.min(now);
        }
    }

    pub(super) fn too_expensive(&mut self, why: &str) {
        if let State::Pending { schedule, pending_attempt } = self.job.state {
            self.hold(HoldReason::TooExpensive, why, HeldFrom::Pending(schedule, pending_attempt));
        }
    }
}
