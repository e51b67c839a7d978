//! A task that an operator names, as the provider answers about it.

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::event::TaskFacts;

/// A task that the provider knows.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundTask {
    /// Its id.
    pub task: TaskId,
    /// What it was asked for.
    pub description: TaskDescription,
    /// Its status.
    pub facts: TaskFacts,
    /// When the status query was sent.
    pub sent_at: Timestamp,
}

/// What an answer says about the request of a task. A field is `None` where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDescription {
    /// The provider's id of the model.
    pub model: Option<String>,
    pub prompt: Option<String>,
    /// When the provider accepted it, if plausible.
    pub created_at: Option<Timestamp>,
}
