//! What a job needs next, and when: the state is the queue.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::retry::MAX_LINK_LIFETIME;
use crate::job::state::{HeldFrom, State};

/// What a job needs next.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum NextAction {
    /// To be submitted when there is room at the provider.
    Submit,
    /// To send its submit again: the same key, the same bytes.
    Resend,
    /// To ask the provider for its task's status.
    Poll,
    /// To cancel its task at the provider.
    Cancel,
    /// To download its outputs.
    Download,
    /// Nothing until the time comes.
    Wait,
}

/// An action and the time it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAction {
    /// What.
    pub action: NextAction,
    /// When.
    pub due: Timestamp,
}

/// What `job` needs next, or `None` at its end and while it is held.
pub fn next_action(job: &Job, now: Timestamp) -> Option<DueAction> {
    let next = |action, due| Some(DueAction { action, due });
    match job.state() {
        State::Pending { schedule, .. } if schedule.due > now => next(NextAction::Wait, schedule.due),
        State::Pending { schedule, .. } => next(NextAction::Submit, schedule.due),
        State::Submitting { schedule, .. } => next(NextAction::Resend, schedule.due),
        State::Queued(running) | State::Processing(running) => {
            let action = if job.cancel_requested() { NextAction::Cancel } else { NextAction::Poll };
            next(action, running.schedule.due)
        }
        State::Downloading(downloading) => {
            let action = if downloading.refresh_links { NextAction::Poll } else { NextAction::Download };
            next(action, downloading.schedule.due)
        }
        State::Held(hold) => match &hold.held_from {
            // The task is paid for: poll it until even the longest-lived link would have expired.
            HeldFrom::Running(running)
                if running.schedule.due <= running.schedule.since.plus(MAX_LINK_LIFETIME * 2) =>
            {
                next(NextAction::Poll, running.schedule.due)
            }
            HeldFrom::Running(_)
            | HeldFrom::Pending(_)
            | HeldFrom::Submitting(..)
            | HeldFrom::Downloading(_) => None,
        },
        State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } => {
            None
        }
    }
}

/// Whether `job` needs `action` now. Check this before acting: a list of due jobs is out of date as soon as it is read.
pub fn is_due(job: &Job, action: NextAction, now: Timestamp) -> bool {
    next_action(job, now).is_some_and(|next| next.action == action && next.due <= now)
}
