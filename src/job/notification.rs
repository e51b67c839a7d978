//! What happens to jobs that somebody else may want to be told of: the words of `[[hooks]] on`
//! (docs/hooks.md).

use crate::job::Job;
use crate::job::state::StateName;
use crate::job::step::HistoryLine;

/// Something worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobNotification {
    /// Every output is in the library.
    Succeeded,
    /// The provider failed or refused it.
    Failed,
    /// It waits for a person.
    Held,
    /// A link dies soon, and its file is not stored yet.
    Expiring,
    /// A link died before its file could be stored.
    Expired,
    /// It was cancelled.
    Cancelled,
    /// Task after task ends without a callback. Of no single job.
    CallbacksMissing,
}

impl JobNotification {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::Held,
        Self::Expiring,
        Self::Expired,
        Self::Cancelled,
        Self::CallbacksMissing,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::CallbacksMissing => "callbacks_missing",
        }
    }

    /// What is meant by that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notable| notable.as_str() == word)
    }

    /// What of this step is worth telling.
    pub fn of(before: &Job, after: &Job, history: &[HistoryLine]) -> Option<Self> {
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
        let alerted = history.iter().any(|line| line.event == "expiring");
        reached.flatten().or(alerted.then_some(Self::Expiring))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_word_of_its_own() {
        for notable in JobNotification::ALL {
            assert_eq!(JobNotification::parse(notable.as_str()), Some(notable));
        }
        assert_eq!(JobNotification::parse("done"), None);
    }
}
