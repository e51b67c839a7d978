//! The ten states of a job with what each carries, and the one table of their words
//! (docs/reference.md#job-states).

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::hold::Hold;

/// The word for a state: what the database, the API, the command line and the page say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobState)]
pub enum StateName {
    /// Accepted; waiting for its turn to be submitted.
    Pending,
    /// A submit call is under way, or its outcome is not known yet.
    Submitting,
    /// At the provider, not begun.
    Queued,
    /// At the provider, under way.
    Processing,
    /// The provider completed it; not all outputs are in the library yet.
    Downloading,
    /// Every output is in the library, checked.
    Succeeded,
    /// The provider failed or refused it.
    Failed,
    /// Cancelled.
    Cancelled,
    /// A link died before its file could be stored, and no fresh one could be had.
    Expired,
    /// Waits for a person.
    Held,
}

impl StateName {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Submitting,
        Self::Queued,
        Self::Processing,
        Self::Downloading,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Held,
    ];

    /// The word itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitting => "submitting",
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Downloading => "downloading",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Held => "held",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }

    /// Whether it is an end: nothing but a person's retry leaves it.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When the next step of a state is due, how often it was tried in vain, and since when the state lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The next step is due at this time.
    pub due: Timestamp,
    /// Steps in vain since the last success: what backoff grows with.
    pub tries: u32,
    /// The state began at this time.
    pub since: Timestamp,
}

impl Schedule {
    /// A state that began at `since` and whose first step is due at `due`.
    pub const fn starting(since: Timestamp, due: Timestamp) -> Self {
        Self { due, tries: 0, since }
    }
}

/// An attempt that may be sent: its key and body are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingAttempt {
    /// 1 for the first; the key is `<job id>` for it and `<job id>.N` after.
    pub number: u32,
    /// Committed, and first sent, at this time: the key's age counts from here.
    pub frozen_at: Timestamp,
    /// Whether the outcome of any try under this key is unknown.
    pub unknown: bool,
}

/// What a running task carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The provider's id for it.
    pub task: TaskId,
    /// When to ask next.
    pub pace: Schedule,
    /// Since when the provider says it knows no such task.
    pub missing_since: Option<Timestamp>,
    /// When the status was last asked for.
    pub asked_at: Option<Timestamp>,
}

/// What a completed task carries while its outputs are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// The provider's id for it.
    pub task: TaskId,
    /// When to fetch next; its `since` is when the completion was first seen.
    pub pace: Schedule,
    /// A link was refused: ask for a fresh one before the next fetch.
    pub refresh: bool,
    /// When the status was last asked for.
    pub asked_at: Option<Timestamp>,
}

/// Where a job stands, with what that state needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for its turn. A `trial` here was refused without being executed (429, 401, 402) and may be sent again.
    Pending {
        /// When its turn may come.
        pace: Schedule,
        /// An attempt that was certainly not executed.
        trial: Option<PendingAttempt>,
    },
    /// A try is under way or its outcome unknown.
    Submitting {
        /// When to repeat.
        pace: Schedule,
        /// What to repeat.
        trial: PendingAttempt,
    },
    /// At the provider, not begun.
    Queued(Running),
    /// At the provider, under way.
    Processing(Running),
    /// Completed at the provider.
    Downloading(Fetching),
    /// All outputs stored.
    Succeeded {
        /// The task that made them.
        task: TaskId,
    },
    /// Failed or refused.
    Failed {
        /// The task, if it came so far.
        task: Option<TaskId>,
    },
    /// Cancelled.
    Cancelled {
        /// The task, if it came so far.
        task: Option<TaskId>,
    },
    /// A link died first.
    Expired {
        /// The task whose link it was.
        task: TaskId,
    },
    /// Waits for a person.
    Held(Hold),
}

impl State {
    /// The word for it.
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending { .. } => StateName::Pending,
            Self::Submitting { .. } => StateName::Submitting,
            Self::Queued(_) => StateName::Queued,
            Self::Processing(_) => StateName::Processing,
            Self::Downloading(_) => StateName::Downloading,
            Self::Succeeded { .. } => StateName::Succeeded,
            Self::Failed { .. } => StateName::Failed,
            Self::Cancelled { .. } => StateName::Cancelled,
            Self::Expired { .. } => StateName::Expired,
            Self::Held(_) => StateName::Held,
        }
    }

    /// The task it speaks of.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Pending { .. } | Self::Submitting { .. } => None,
            Self::Queued(running) | Self::Processing(running) => Some(&running.task),
            Self::Downloading(fetching) => Some(&fetching.task),
            Self::Succeeded { task } | Self::Expired { task } => Some(task),
            Self::Failed { task } | Self::Cancelled { task } => task.as_ref(),
            Self::Held(hold) => hold.back_to.task(),
        }
    }

    /// When its next step is due, by the state alone.
    pub fn pace(&self) -> Option<&Schedule> {
        match self {
            Self::Pending { pace, .. } | Self::Submitting { pace, .. } => Some(pace),
            Self::Queued(running) | Self::Processing(running) => Some(&running.pace),
            Self::Downloading(fetching) => Some(&fetching.pace),
            Self::Held(hold) => hold.back_to.pace(),
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled { .. } | Self::Expired { .. } => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_word_that_reads_back() {
        for name in StateName::ALL {
            assert_eq!(StateName::parse(name.as_str()), Some(name));
        }
        assert_eq!(StateName::parse("success"), None);
        assert_eq!(StateName::parse("Queued"), None);
    }
}
