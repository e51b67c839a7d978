//! A person changes the request of a job that no attempt was made for, or hands it out to another machine.

use crate::job::event::JobEdit;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::state::{HeldFrom, Schedule, State};
use crate::job::step::{ActionReply, Change};
use crate::job::{Identity, Job};

/// The reason of a job that was handed out.
pub const MOVED: &str = "moved to another machine by `export --move`";

impl Job {
    /// Why its request cannot be changed; `None`: it can.
    pub fn edit_refusal(&self) -> Option<String> {
        if self.identity.adopted {
            return Some("its task was made elsewhere and adopted, so it has no request".into());
        }
        let again = "`dropreel again` makes a new job from its request";
        match &self.state {
            State::Pending { pending_attempt: None, .. } if self.attempts == 0 => None,
            State::Held(hold) if self.attempts == 0 => match (hold.reason, &hold.held_from) {
                (HoldReason::DatabaseRestored, _) => Some(
                    "it may have been submitted before the database was restored: release or cancel it"
                        .into(),
                ),
                (_, HeldFrom::Pending(_, None)) => None,
                _ => Some(format!("it has been submitted; {again}")),
            },
            State::Pending { .. } => Some(format!("an attempt to submit it was made; {again}")),
            State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Downloading(_)
            | State::Held(_) => Some(format!("it has been submitted; {again}")),
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => Some(format!("too late: it {}; {again}", self.past_state())),
        }
    }
}

impl Change<'_> {
    /// The job is cancelled here, for ever: a retry could buy it twice.
    pub(super) fn moved_out(&mut self) {
        if let Some(why) = self.job.edit_refusal() {
            self.reply = Some(ActionReply::Rejected(why));
            return;
        }
        self.job.facts.moved_at = Some(self.now());
        self.end(HistoryEvent::Cancelled, MOVED, State::Cancelled { task: None });
        self.reply = Some(ActionReply::Done(MOVED));
    }

    /// The job starts over with the changed request: whatever it waited or was held for is checked again.
    pub(super) fn edited(&mut self, edit: &JobEdit) {
        if let Some(why) = self.job.edit_refusal() {
            self.reply = Some(ActionReply::Rejected(why));
            return;
        }
        let JobEdit { name, model, priority, max_cost, not_before, names_pictures, before } = edit.clone();
        self.job.unattended_entries = 0;
        self.record(HistoryEvent::Edited, format!("it was {before}"));
        self.job.identity = Identity { name, model, priority, max_cost, ..self.job.identity.clone() };
        self.job.facts.status_message = None;
        self.job.budget_wait = None;
        self.job.checks_waived = false;
        self.job.unlisted_allowed = false;
        self.job.pictures_checked = names_pictures.then_some(false);
        let now = self.now();
        let due = not_before.map_or(now, |time| time.max(now));
        self.job.state = State::Pending { schedule: Schedule::starting(now, due), pending_attempt: None };
        self.reply = Some(ActionReply::Done("changed; it is checked and estimated again"));
    }
}
