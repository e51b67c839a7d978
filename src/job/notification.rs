//! The notifications that hooks can subscribe to: the words of `[[hooks]] on` (docs/hooks.md).

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::job::Job;
use crate::job::history::{HistoryEntry, HistoryEvent};
use crate::job::state::StateName;

/// A notification for hooks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum JobNotification {
    /// Every output is in the library.
    Succeeded,
    /// The provider failed or refused the job.
    Failed,
    /// The job needs the operator.
    Held,
    /// A link expires soon and its file is not stored yet.
    Expiring,
    /// A link expired before its file was stored.
    Expired,
    /// The job was cancelled.
    Cancelled,
    /// A person rated its outputs, or one of them.
    Rated,
    /// All jobs of a batch have ended. Not about a single job.
    BatchFinished,
    /// Several tasks in a row finished without a callback. Not about a single job.
    CallbacksMissing,
    /// A budget is nearly spent, or spent. Not about a single job.
    Budget,
}

impl JobNotification {
    /// The notification that a step causes.
    pub fn of(before: &Job, after: &Job, history: &[HistoryEntry]) -> Option<Self> {
        let (was, is) = (before.state_name(), after.state_name());
        let reached = (was != is).then_some(match is {
            StateName::Succeeded => Some(Self::Succeeded),
            StateName::Failed => Some(Self::Failed),
            StateName::Held => Some(Self::Held),
            StateName::Expired => Some(Self::Expired),
            StateName::Cancelled => Some(Self::Cancelled),
            StateName::Pending
            | StateName::Submitting
            | StateName::Queued
            | StateName::Processing
            | StateName::Downloading => None,
        });
        let expiring = history.iter().any(|entry| entry.event == HistoryEvent::Expiring);
        reached.flatten().or(expiring.then_some(Self::Expiring))
    }
}
