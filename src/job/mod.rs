//! The job state machine: what a job is, what can happen to it, and what it needs next. Pure: no I/O, no clock or
//! randomness of its own, and none of the provider's spelling.
//!
//! Only [`step`](step::step) changes a job; [`next_action`](next_action::next_action) says what it needs. The store
//! persists the result, the stages do the work.

pub mod adoption;
pub mod attempt;
pub mod budget;
pub mod download_failure;
pub mod event;
pub mod history;
pub mod hold;
pub mod id;
pub mod label;
pub mod needs;
pub mod next_action;
pub mod notification;
pub mod output;
pub mod policy;
pub mod record;
pub mod retry;
pub mod scheduling;
pub mod state;
pub mod step;
pub mod suspension;
pub mod usual_time;
pub mod waiting;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::money::Quota;
pub use id::{JobId, TaskId};
use output::Output;
use state::{HeldFrom, PendingAttempt, Schedule, Settlement, State, StateName};

/// -100 to 100, higher first, default 0 (docs/reference.md#job-files).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Priority(i8);

impl Priority {
    /// `None` outside -100 to 100.
    pub fn new(value: i64) -> Option<Self> {
        (-100..=100).contains(&value).then(|| i8::try_from(value).ok().map(Self)).flatten()
    }

    /// -100 to 100.
    pub const fn get(self) -> i8 {
        self.0
    }
}

/// The user's labels on a job, for filters and file names.
pub type Labels = BTreeMap<String, String>;

/// A value that a job has from the defaults of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedDefault {
    /// `duration`, `dropreel.priority`, `dropreel.labels.project`.
    pub key: String,
    /// Its JSON text, if it is short and no address.
    pub value: Option<String>,
    /// Whose default it is.
    pub file: String,
}

impl fmt::Display for UsedDefault {
    /// "duration 5 from spring/defaults.json".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().map_or_else(String::new, |value| format!(" {value}"));
        write!(f, "{}{value} from {}", self.key, self.file)
    }
}

/// Why a job failed. Whoever makes it removes control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// A word for programs, such as `task_failed`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What identifies a job, and what its job file says of it. An edit before the first attempt may change the latter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: JobId,
    /// For lists and file names.
    pub name: String,
    /// The requested model.
    pub model: String,
    /// Its priority.
    pub priority: Priority,
    /// Not submitted if its estimated cost is above this.
    pub max_cost: Option<Quota>,
    /// Made for a task that was not submitted here: there is no request to submit.
    pub adopted: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// What was learned about a job on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFacts {
    /// 0 to 100, as the provider last reported.
    pub progress: u8,
    /// Quota reserved at submit.
    pub reserved: Option<Quota>,
    /// Quota charged at the end; zero after a refund.
    pub cost: Option<Quota>,
    /// When the provider accepted the task.
    pub submitted_at: Option<Timestamp>,
    /// When the provider finished the task, by its clock if it says so.
    pub completed_at: Option<Timestamp>,
    /// When the job ended here.
    pub finished_at: Option<Timestamp>,
    /// When the first link expires.
    pub expires_at: Option<Timestamp>,
    /// When it was cancelled here to be run on another machine.
    pub moved_at: Option<Timestamp>,
    /// When a person took it off the list of what needs one. A change of its state puts it back.
    pub dismissed_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What the job waits for, or the last thing that went wrong, in a sentence.
    pub status_message: Option<String>,
}

/// One job. Its state is private: only [`step::step`] makes states, and [`Job::restore`] reads them back for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    identity: Identity,
    facts: JobFacts,
    state: State,
    /// The number of the newest attempt; 0 before the first.
    attempts: u32,
    /// The operator asked to cancel it and the provider has not answered yet.
    cancel_requested: bool,
    /// The alert that a link expires soon has been given.
    expiry_alerted: bool,
    /// The last callback that no status query has followed yet.
    callback_at: Option<Timestamp>,
    /// How many history entries were written since the operator last acted.
    unattended_entries: u32,
    /// What it needs of a budget that it waits for.
    budget_wait: Option<Quota>,
    /// The cost of its task is not final yet.
    settlement: Option<Settlement>,
    /// The operator has released it although it is too expensive: that check is skipped until an attempt is accepted.
    checks_waived: bool,
    /// The operator has released it although its model is not listed: the next attempt is made all the same.
    unlisted_allowed: bool,
    /// Whether its local pictures were fetched from their public addresses; `None`: it names none.
    pictures_checked: Option<bool>,
    outputs: Vec<Output>,
}

impl Job {
    /// A new job, to be submitted from `not_before` on.
    pub fn accept(identity: Identity, not_before: Option<Timestamp>) -> Self {
        let due = not_before.map_or(identity.created_at, |time| time.max(identity.created_at));
        let schedule = Schedule::starting(identity.created_at, due);
        let state = State::Pending { schedule, pending_attempt: None };
        Self {
            identity,
            facts: JobFacts::default(),
            state,
            attempts: 0,
            cancel_requested: false,
            expiry_alerted: false,
            callback_at: None,
            unattended_entries: 0,
            budget_wait: None,
            settlement: None,
            checks_waived: false,
            unlisted_allowed: false,
            pictures_checked: None,
            outputs: Vec::new(),
        }
    }

    /// A new job whose request names local pictures: they are fetched from their public addresses before it is submitted.
    #[must_use]
    pub fn with_local_pictures(self) -> Self {
        Self { pictures_checked: Some(false), ..self }
    }

    /// Whether its request names local pictures.
    pub fn names_pictures(&self) -> bool {
        self.pictures_checked.is_some()
    }

    /// What identifies it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.identity.id
    }

    /// What is known about it.
    pub fn facts(&self) -> &JobFacts {
        &self.facts
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The word for its state.
    pub fn state_name(&self) -> StateName {
        self.state.name()
    }

    /// The number of its newest attempt; 0 before the first.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a cancel request still waits for the provider's answer.
    pub fn cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// The last callback that no status query has followed yet.
    pub fn callback_at(&self) -> Option<Timestamp> {
        self.callback_at
    }

    /// What it needs of a budget that it waits for, or has waited for.
    pub fn budget_wait(&self) -> Option<Quota> {
        self.budget_wait
    }

    /// Whether it waits for a first submit that its model must be listed for.
    pub fn needs_listed_model(&self) -> bool {
        !self.unlisted_allowed && matches!(self.state, State::Pending { pending_attempt: None, .. })
    }

    /// When its task is polled for its final cost, after its end.
    pub fn settlement(&self) -> Option<Settlement> {
        self.settlement
    }

    /// Whether it skips the check for too expensive jobs.
    pub fn checks_waived(&self) -> bool {
        self.checks_waived
    }

    /// The attempt that may have to be sent again: a task that nobody knows may be of this one.
    pub fn pending_attempt(&self) -> Option<PendingAttempt> {
        match &self.state {
            State::Pending { pending_attempt, .. } => *pending_attempt,
            State::Submitting { pending_attempt, .. } => Some(*pending_attempt),
            State::Held(hold) => match hold.held_from {
                HeldFrom::Pending(_, pending_attempt) => pending_attempt,
                HeldFrom::Submitting(_, pending_attempt) => Some(pending_attempt),
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

    /// The attempt that the provider refused, after which it failed.
    pub fn refused_attempt(&self) -> Option<PendingAttempt> {
        match self.state {
            State::Failed { refused, .. } => refused,
            _ => None,
        }
    }

    /// Its task at the provider, once there is one.
    pub fn task(&self) -> Option<&TaskId> {
        self.state.task()
    }

    /// Its outputs, in the provider's order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}
