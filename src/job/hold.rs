//! Why a job waits for a person, and what to tell them.

use crate::clock::Timestamp;
use crate::job::state::{Fetching, PendingAttempt, Running, Schedule, State, StateName};
use crate::job::{JobId, TaskId};

/// A job that waits for a person: why, and where `release` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// What exactly, in words: an HTTP status, a host, the other job.
    pub detail: String,
    /// Where it stood, with all that state carried.
    pub back_to: HeldFrom,
}

/// The states a job can be held from: all that are not an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldFrom {
    /// Was waiting for its turn.
    Pending(Schedule),
    /// Had an attempt out.
    Submitting(Schedule, PendingAttempt),
    /// Was running at the provider, `Queued` or `Processing` as last told.
    Running(Running),
    /// Was being fetched.
    Downloading(Fetching),
}

impl HeldFrom {
    /// The state held from, as it was.
    pub fn state(&self) -> State {
        match self {
            Self::Pending(pace) => State::Pending { pace: *pace, trial: None },
            Self::Submitting(pace, trial) => State::Submitting { pace: *pace, trial: *trial },
            Self::Running(running) => State::Processing(running.clone()),
            Self::Downloading(fetching) => State::Downloading(fetching.clone()),
        }
    }

    /// The word for the state held from.
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending(_) => StateName::Pending,
            Self::Submitting(..) => StateName::Submitting,
            Self::Running(_) => StateName::Processing,
            Self::Downloading(_) => StateName::Downloading,
        }
    }

    /// The task, if the job had one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Pending(_) | Self::Submitting(..) => None,
            Self::Running(running) => Some(&running.task),
            Self::Downloading(fetching) => Some(&fetching.task),
        }
    }

    /// Its pace.
    pub fn pace(&self) -> Option<&Schedule> {
        match self {
            Self::Pending(pace) | Self::Submitting(pace, _) => Some(pace),
            Self::Running(running) => Some(&running.pace),
            Self::Downloading(fetching) => Some(&fetching.pace),
        }
    }
}

/// Why a job is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldReason {
    /// The key is older than 23 hours and it is not known whether the submit was executed.
    OutcomeUnknown,
    /// The provider answers every repeat of the key with the same stored error, or refuses the repeat.
    ErrorReplayed,
    /// The provider gave this job a task that belongs to another job.
    TaskShared,
    /// The clock cannot be trusted, so the key's age is not known.
    ClockDoubted,
    /// The database is older than one this folder has already had: its keys may have been used since.
    DatabaseRestored,
    /// Not finished within `polling.give_up`. Still asked about now and then.
    Slow,
    /// The provider has not known the task for a quarter of an hour.
    TaskMissing,
    /// Completed, but without any output.
    NoOutput,
    /// The output's address is one that the policy forbids.
    MediaForbidden,
    /// What was downloaded, again and again, is not what it should be; kept in `quarantine/`.
    OutputUnfit,
}

impl HoldReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OutcomeUnknown,
        Self::ErrorReplayed,
        Self::TaskShared,
        Self::ClockDoubted,
        Self::DatabaseRestored,
        Self::Slow,
        Self::TaskMissing,
        Self::NoOutput,
        Self::MediaForbidden,
        Self::OutputUnfit,
    ];

    /// The word for programs and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => "outcome_unknown",
            Self::ErrorReplayed => "error_replayed",
            Self::TaskShared => "duplicate_task",
            Self::ClockDoubted => "clock_unreliable",
            Self::DatabaseRestored => "database_restored",
            Self::Slow => "timed_out",
            Self::TaskMissing => "task_missing",
            Self::NoOutput => "no_output",
            Self::MediaForbidden => "address_forbidden",
            Self::OutputUnfit => "invalid_output",
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Whether `release` may lead to a second charge.
    pub const fn release_may_pay(self) -> bool {
        match self {
            Self::OutcomeUnknown | Self::ErrorReplayed | Self::TaskShared | Self::DatabaseRestored => true,
            Self::ClockDoubted => false,
            Self::Slow | Self::TaskMissing | Self::NoOutput | Self::MediaForbidden | Self::OutputUnfit => {
                false
            }
        }
    }
}

impl Hold {
    /// What happened, for a person.
    pub fn what(&self) -> String {
        let what = match self.reason {
            HoldReason::OutcomeUnknown => {
                "it is not known whether the provider took this submit, and its key is too old to ask again"
            }
            HoldReason::ErrorReplayed => {
                "the provider answers every repeat of this submit with the same error"
            }
            HoldReason::TaskShared => "the provider answered with a task that belongs to another job",
            HoldReason::ClockDoubted => {
                "the clock cannot be trusted, so the age of the submit's key is not known"
            }
            HoldReason::DatabaseRestored => {
                "the database is older than the last one used here, so this job may have been submitted since"
            }
            HoldReason::Slow => "the task was not finished in time; it is still asked about now and then",
            HoldReason::TaskMissing => "the provider no longer knows the task",
            HoldReason::NoOutput => "the provider says completed but names no output",
            HoldReason::MediaForbidden => "the output lies at an address that is not allowed",
            HoldReason::OutputUnfit => "what the provider's link delivers is not the output; see quarantine/",
        };
        if self.detail.is_empty() { what.to_owned() } else { format!("{what} ({})", self.detail) }
    }

    /// What to tell a person: what happened, and which command does what.
    pub fn sentence(&self, id: JobId) -> String {
        let release = match self.reason {
            HoldReason::OutcomeUnknown | HoldReason::ErrorReplayed | HoldReason::TaskShared => {
                format!(
                    "look for it in your provider's task list; `dropreel release {id}` submits it again and may pay a second time, `dropreel cancel {id}` gives it up"
                )
            }
            HoldReason::ClockDoubted => {
                format!(
                    "set the clock, then `dropreel release {id}` repeats the same submit, billed once while its key is young"
                )
            }
            HoldReason::DatabaseRestored => {
                format!(
                    "look for it in your provider's task list; `dropreel release {id}` submits it if it was never made, `dropreel cancel {id}` gives it up"
                )
            }
            HoldReason::Slow => format!(
                "`dropreel release {id}` gives it more time, `dropreel cancel {id}` asks the provider to stop, `dropreel retry {id}` pays for a new one"
            ),
            HoldReason::TaskMissing | HoldReason::NoOutput => {
                format!("`dropreel release {id}` asks again, `dropreel retry {id}` pays for a new one")
            }
            HoldReason::MediaForbidden => {
                format!(
                    "if that host is to be trusted, set `downloads.allow_private_addresses`; `dropreel release {id}` fetches again"
                )
            }
            HoldReason::OutputUnfit => {
                format!("`dropreel release {id}` fetches again, `dropreel retry {id}` pays for a new one")
            }
        };
        format!("{}: {release}", self.what())
    }

    /// Since when the state it was held from had lasted.
    pub fn since(&self) -> Option<Timestamp> {
        self.back_to.pace().map(|pace| pace.since)
    }
}
