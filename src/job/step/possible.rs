//! Which actions of a person a job allows. A step decides, so that what is offered and what is accepted never differ.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::event::{Event, OperatorAction};
use crate::job::policy::PollingPolicy;
use crate::job::state::State;
use crate::job::step::{ActionReply, Moment, step};

/// An action that a job allows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PossibleAction {
    pub action: OperatorAction,
    /// Whether the provider may bill the job again.
    pub may_be_billed_again: bool,
}

/// The actions that `job` allows, the most likely first.
pub fn possible_actions(job: &Job, now: Timestamp) -> Vec<PossibleAction> {
    let actions = [
        OperatorAction::Release,
        OperatorAction::Retry,
        OperatorAction::Cancel,
        OperatorAction::Dismiss,
        OperatorAction::Undismiss,
    ];
    let is_possible =
        |action: &OperatorAction| !is_repetition(job, *action) && rejection(job, *action, now).is_none();
    let possible = actions.into_iter().filter(is_possible).map(|action| PossibleAction {
        action,
        may_be_billed_again: match (action, &job.state) {
            (OperatorAction::Retry, _) => true,
            (OperatorAction::Release, State::Held(hold)) => hold.reason.release_may_pay(),
            _ => false,
        },
    });
    possible.collect()
}

/// Why `job` rejects `action` now; `None`: it does not.
pub fn rejection(job: &Job, action: OperatorAction, now: Timestamp) -> Option<String> {
    let moment = Moment { now, jitter: 0.0, policy: &PollingPolicy::DEFAULT };
    match step(job, &Event::Operator(action), moment).reply {
        Some(ActionReply::Rejected(why)) => Some(why),
        _ => None,
    }
}

/// Whether `action` is accepted, but does nothing: the job is dismissed already, or was not.
pub fn is_repetition(job: &Job, action: OperatorAction) -> bool {
    match action {
        OperatorAction::Dismiss => job.facts.dismissed_at.is_some(),
        OperatorAction::Undismiss => {
            let may_be_dismissed = matches!(job.state, State::Failed { .. } | State::Expired { .. });
            may_be_dismissed && job.facts.dismissed_at.is_none()
        }
        OperatorAction::Cancel | OperatorAction::Retry | OperatorAction::Release => false,
    }
}
