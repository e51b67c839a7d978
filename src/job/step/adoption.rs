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
    match &job.state {
        State::Pending { pending_attempt: None, .. } => job.identity.adopted.then_some(Maker::Unknown),
        State::Pending { pending_attempt: Some(attempt), .. }
        | State::Submitting { pending_attempt: attempt, .. } => Some(Maker::Attempt(*attempt)),
        State::Held(Hold { reason, held_from, .. }) => match held_from {
            HeldFrom::Pending(_, Some(attempt)) | HeldFrom::Submitting(_, attempt) => {
                Some(Maker::Attempt(*attempt))
            }
            HeldFrom::Pending(_, None) => (*reason == HoldReason::DatabaseRestored).then_some(Maker::Unknown),
            HeldFrom::Running(_) | HeldFrom::Downloading(_) => None,
        },
        State::Queued(_)
        | State::Processing(_)
        | State::Downloading(_)
        | State::Succeeded { .. }
        | State::Failed { .. }
        | State::Cancelled { .. }
        | State::Expired { .. } => None,
    }
}
