//! A task that the operator names: made elsewhere, or by a submit of the job whose outcome is unknown.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::state::{HeldFrom, Hold, PendingAttempt, State};
use crate::job::step::Change;

/// Whose task it is.
enum Maker {
    /// An attempt of the job that has no task yet.
    Attempt(PendingAttempt),
    /// Somebody else, or an attempt that the database has lost.
    Unknown,
}

impl Change<'_> {
    pub(super) fn adopted(&mut self, task: &TaskId, submitted_at: Option<Timestamp>) {
        match maker(&self.job) {
            None => self.ignore(format!("task {task}: the job does not wait for one")),
            Some(Maker::Attempt(attempt)) => {
                let at = submitted_at.unwrap_or(attempt.created_at);
                self.submitted(HistoryEvent::Adopted, task, Some(at), None);
            }
            Some(Maker::Unknown) => {
                self.job.attempts = self.job.attempts.saturating_add(1);
                self.submitted(HistoryEvent::Adopted, task, submitted_at, None);
            }
        }
    }
}

/// `None` if the job waits for no task.
fn maker(job: &Job) -> Option<Maker> {
    if let Some(attempt) = job.pending_attempt() {
        return Some(Maker::Attempt(attempt));
    }
    let is_elsewhere = match &job.state {
        State::Pending { .. } => job.identity.adopted,
        State::Held(Hold { reason, held_from: HeldFrom::Pending(..), .. }) => {
            *reason == HoldReason::DatabaseRestored
        }
        State::Held(_)
        | State::Submitting { .. }
        | State::Queued(_)
        | State::Processing(_)
        | State::Downloading(_)
        | State::Succeeded { .. }
        | State::Failed { .. }
        | State::Cancelled { .. }
        | State::Expired { .. } => false,
    };
    is_elsewhere.then_some(Maker::Unknown)
}
