//! Everything that can happen to a job.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::{JobError, TaskId};
use crate::money::Quota;
use crate::secret::Secret;

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The submit stage is about to send: a new attempt is frozen, or the frozen one sent again.
    AttemptStarted,
    /// The submit call ended so.
    SubmitAnswered(SubmitVerdict),
    /// A status query ended so.
    Asked {
        /// When it was sent: a callback that came later wants another one.
        began: Timestamp,
        /// How it ended.
        verdict: StatusVerdict,
    },
    /// A cancel call ended so.
    CancelAnswered(CancelVerdict),
    /// A callback was delivered and kept. Whatever it says, it only makes us ask; a task id in it is only noted.
    CallbackReceived {
        /// The task id the body seems to name.
        hint: Option<TaskId>,
        /// One of too many: it wakes us as any other, but leaves no line in the history.
        quiet: bool,
    },
    /// An output is in the library.
    Stored(Stored),
    /// An output could not be stored this time.
    FetchFailed {
        /// Which output.
        key: OutputKey,
        /// Why.
        failure: FetchFailure,
    },
    /// A look at the clock: the early alert before a link's death.
    TimeCame,
    /// The wall clock was set back by more than it is ever off: times that are still to come were reckoned by a wrong
    /// one.
    ClockSetBack,
    /// Something casts doubt on whether a submit was executed.
    Doubted(Doubt),
    /// A person's word.
    Person(Order),
}

/// How a submit call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitVerdict {
    /// There is a task.
    Accepted {
        /// Its id.
        task: TaskId,
        /// Quota frozen for it.
        reserved: Option<Quota>,
    },
    /// Refused for good; nothing was made and nothing billed.
    Refused(JobError),
    /// Certainly not executed; the same attempt may be sent again, not before the time given.
    NotExecuted {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// Perhaps executed: the same attempt must be sent again.
    Unknown {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// The provider will answer this key so for ever: a stored error, or a repeat refused.
    Replayed {
        /// What it answers.
        why: String,
    },
    /// There is a task, but it already belongs to another job.
    Shared {
        /// Its id.
        task: TaskId,
    },
}

/// How a status query ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusVerdict {
    /// The provider told how the task stands.
    Seen(TaskFacts),
    /// The provider knows no such task (404).
    Missing,
    /// No usable answer; ask again, not before the time given.
    Unanswered {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
}

/// How a cancel call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelVerdict {
    /// The provider took it; the next status answer says whether it came in time.
    Taken,
    /// The provider says it is too late, or will not: the task goes on.
    TooLate {
        /// In its words.
        why: String,
    },
    /// No usable answer.
    Unanswered {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
}

/// How far a task is, in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Queued,
    /// Under way.
    Processing,
    /// A word we do not know, which counts as under way.
    Unclear(String),
    /// Done.
    Completed,
    /// Failed there.
    Failed,
    /// Cancelled there.
    Cancelled,
}

/// What a status answer told about a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFacts {
    /// How far it is.
    pub phase: Phase,
    /// 0 to 100, if told.
    pub progress: Option<u8>,
    /// Quota charged, if told.
    pub cost: Option<Quota>,
    /// When it was completed, by the provider's clock, if told and plausible.
    pub completed_at: Option<Timestamp>,
    /// Why it failed, if told.
    pub error: Option<JobError>,
    /// Its outputs; no output twice.
    pub outputs: Vec<SeenOutput>,
}

impl TaskFacts {
    /// Facts that tell of nothing but the phase.
    pub fn of(phase: Phase) -> Self {
        Self { phase, progress: None, cost: None, completed_at: None, error: None, outputs: Vec::new() }
    }
}

/// An output as a status answer names it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenOutput {
    /// What it is.
    pub kind: OutputKind,
    /// Its place among its kind, from 0.
    pub index: u16,
    /// Where it lies.
    pub link: Secret,
    /// When that link dies, if told and plausible.
    pub expires_at: Option<Timestamp>,
}

/// Why an output could not be stored this time.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchFailure {
    /// The media host refused the link: not ready yet, or dead; only a fresh status answer tells.
    LinkRefused {
        /// The HTTP status.
        status: u16,
        /// Who refused.
        host: String,
    },
    /// It may work next time: network, a busy host, a cut file, a full disk.
    Passing {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// What came is not what it should be; it is kept in quarantine.
    Unfit {
        /// Why, in a sentence.
        why: String,
    },
    /// The link points where we must not go.
    Forbidden {
        /// Why, with the host but not the link.
        why: String,
    },
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkRefused { status, host } => write!(f, "{host} refused the link with HTTP {status}"),
            Self::Passing { why, .. } | Self::Unfit { why } | Self::Forbidden { why } => f.write_str(why),
        }
    }
}

/// What casts doubt on a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The clock went back, or disagrees with the provider's.
    Clock,
    /// The database is older than the last one used here.
    Restored,
}

/// What a person can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobAction)]
pub enum Order {
    /// Do not make it, if that is still possible.
    Cancel,
    /// Make it anew, under a new key; may pay again.
    Retry,
    /// Go on with a held job.
    Release,
}

impl Order {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Release => "release",
        }
    }
}
