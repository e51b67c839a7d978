//! Why a job needs a person, and what each action would do about it.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::event::OperatorAction;
use crate::job::hold::HoldReason;
use crate::job::state::State;
use crate::job::step::possible::{PossibleAction, possible_actions};

/// What an action does to a job that needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new task under a new key, billed once more.
    SubmitsAgain,
    /// The submit that was not made yet.
    Submits,
    /// The same submit under the same key, which is billed once.
    RepeatsSubmit,
    Polls,
    Downloads,
    GivesUp,
    TakesOffTheList,
    PutsBackOnTheList,
}

impl Effect {
    pub const ALL: [Self; 8] = [
        Self::SubmitsAgain,
        Self::Submits,
        Self::RepeatsSubmit,
        Self::Polls,
        Self::Downloads,
        Self::GivesUp,
        Self::TakesOffTheList,
        Self::PutsBackOnTheList,
    ];

    /// "it ..."
    pub const fn description(self) -> &'static str {
        match self {
            Self::SubmitsAgain => "submits it as a new task",
            Self::Submits => "submits it all the same",
            Self::RepeatsSubmit => "repeats the same submit, billed once",
            Self::Polls => "polls it again",
            Self::Downloads => "downloads it again",
            Self::GivesUp => "gives it up",
            Self::TakesOffTheList => "takes it off the list",
            Self::PutsBackOnTheList => "puts it back on the list",
        }
    }

    /// Whether the provider bills it.
    pub const fn is_billed(self) -> bool {
        matches!(self, Self::SubmitsAgain | Self::Submits | Self::RepeatsSubmit)
    }
}

/// Why a job needs a person, and what that person can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The reason why it is held, or the code of its error.
    pub cause: String,
    /// The most likely first.
    pub actions: Vec<(PossibleAction, Effect)>,
}

/// Why a job needs a person, in one word. `None` if nobody is needed: also for a job that failed and was dismissed.
pub fn cause(job: &Job) -> Option<&str> {
    let facts = job.facts();
    match job.state() {
        State::Held(hold) => Some(hold.reason.into_str()),
        State::Failed { .. } | State::Expired { .. } if facts.dismissed_at.is_none() => {
            Some(facts.error.as_ref().map_or(job.state_name().into_str(), |error| &error.code))
        }
        _ => None,
    }
}

impl Need {
    /// `None` if nobody is needed.
    pub fn of(job: &Job, now: Timestamp) -> Option<Self> {
        let cause = cause(job)?.to_owned();
        let actions = possible_actions(job, now).into_iter();
        Some(Self {
            cause,
            actions: actions.map(|possible| (possible, effect(job, possible.action))).collect(),
        })
    }
}

/// What an action does to a job.
pub fn effect(job: &Job, action: OperatorAction) -> Effect {
    match (action, job.state()) {
        (OperatorAction::Retry, _) => Effect::SubmitsAgain,
        (OperatorAction::Cancel, _) => Effect::GivesUp,
        (OperatorAction::Dismiss, _) => Effect::TakesOffTheList,
        (OperatorAction::Undismiss, _) => Effect::PutsBackOnTheList,
        (OperatorAction::Release, State::Held(hold)) => release(hold.reason),
        (OperatorAction::Release, State::Pending { .. }) => Effect::Submits,
        (OperatorAction::Release, State::Submitting { .. }) => Effect::RepeatsSubmit,
        (OperatorAction::Release, State::Downloading(_)) => Effect::Downloads,
        (OperatorAction::Release, _) => Effect::Polls,
    }
}

fn release(reason: HoldReason) -> Effect {
    match reason {
        HoldReason::OutcomeUnknown
        | HoldReason::ErrorReplayed
        | HoldReason::TaskAfterRefusal
        | HoldReason::DuplicateTask
        | HoldReason::SubmitBlocked
        | HoldReason::SubmitFailing => Effect::RepeatsSubmit,
        HoldReason::TooExpensive
        | HoldReason::UnknownModel
        | HoldReason::PictureUnreachable
        | HoldReason::PictureMissing
        | HoldReason::DatabaseRestored => Effect::Submits,
        HoldReason::TimedOut
        | HoldReason::TaskMissing
        | HoldReason::StatusUnreadable
        | HoldReason::NoOutput => Effect::Polls,
        HoldReason::OutputUnreachable
        | HoldReason::UploadFailing
        | HoldReason::AddressForbidden
        | HoldReason::HostNotAllowed
        | HoldReason::PlainHttpForbidden
        | HoldReason::LinkUnusable
        | HoldReason::FileTooLarge
        | HoldReason::InvalidOutput => Effect::Downloads,
    }
}
