//! Everything that can happen to a job.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::clock::Timestamp;
pub use crate::job::download_failure::{DownloadFailure, ForbiddenKind};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::{JobError, Priority, TaskId};
use crate::money::Quota;
use crate::secret::Secret;

/// One thing that happened to a job.
///
/// What carries an answer names the attempt or the task it is about. Between question and answer the operator may have
/// given the job another: then the answer changes nothing but the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The submit stage is about to send: a new attempt is created, or the pending one is sent again.
    AttemptStarted,
    /// A submit call ended.
    SubmitAnswered {
        /// The number of the attempt.
        attempt: u32,
        /// How it ended.
        verdict: SubmitVerdict,
    },
    /// The operator named the task of a job: one that was made for it, or one whose submit had an unknown outcome.
    Adopted {
        task: TaskId,
        /// When the provider accepted it, if that is known.
        submitted_at: Option<Timestamp>,
    },
    /// A callback named a task that no attempt has, after the provider had refused the job's submit: a delayed copy of it
    /// was executed.
    TaskAfterRefusal {
        /// The task.
        task: TaskId,
    },
    /// A status query ended.
    StatusPolled {
        /// The task that it polled.
        task: TaskId,
        /// When the query was sent. A callback received after that requires another query.
        sent_at: Timestamp,
        /// How it ended.
        verdict: StatusVerdict,
    },
    /// A cancel call ended.
    CancelAnswered {
        /// The task to cancel.
        task: TaskId,
        /// How it ended.
        verdict: CancelVerdict,
    },
    /// A callback was committed. Whatever its body says, it only triggers a poll; the task id in it is only logged.
    CallbackReceived {
        /// The task id that the body seems to name.
        hint: Option<TaskId>,
        /// One of too many: it triggers a poll like any other but adds nothing to the history.
        quiet: bool,
    },
    /// An output is in the library.
    Stored(Stored),
    /// An output is downloaded, checked and flushed under a committed name: what is left is its upload to the bucket.
    Spooled {
        /// The task it is an output of.
        task: TaskId,
        /// Which output.
        key: OutputKey,
    },
    /// A download or an upload failed.
    DownloadFailed {
        /// The task it is an output of.
        task: TaskId,
        /// Which output.
        key: OutputKey,
        /// Why.
        failure: DownloadFailure,
    },
    /// Time has passed: the job's next action may have changed, or one of its links is about to expire.
    TimeElapsed,
    /// The wall clock was set back: times in the future were computed from a wrong clock.
    ClockSetBack,
    /// The database was restored from an older copy: what it does not know of may have been submitted since.
    DatabaseRestored,
    /// The job was about to be submitted, but does not fit into a budget: it waits.
    OverBudget {
        /// The estimated cost.
        need: Quota,
        /// Which budget, in a sentence.
        why: String,
        /// When the budget is renewed.
        until: Timestamp,
    },
    /// Money was given back, or the budgets were changed: a job that waits for a budget tries again.
    BudgetFreed,
    /// The job was about to be submitted, but costs more than is allowed at all.
    TooExpensive {
        /// The estimate and what it exceeds, in a sentence.
        why: String,
    },
    /// The job was about to be submitted, but the last list of models lacks its model. The next one decides.
    ListAwaited,
    /// The job was about to be submitted, but the provider does not list its model.
    ModelUnlisted {
        /// The listed model with the most similar name.
        nearest: Option<String>,
    },
    /// A person changed the request of a job that was not submitted.
    Edited(Box<JobEdit>),
    /// The job is handed out to another machine, if it was not submitted.
    MovedOut,
    /// The local pictures of the job were fetched from their public addresses.
    PicturesChecked,
    /// The job waits to be submitted, but a local picture of it cannot be served.
    PictureUnavailable(PictureFault),
    /// The operator asked for an action.
    Operator(OperatorAction),
}

/// What a job becomes by an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEdit {
    /// Its name.
    pub name: String,
    /// The requested model.
    pub model: String,
    /// Its priority.
    pub priority: Priority,
    /// Not submitted if its estimated cost is above this.
    pub max_cost: Option<Quota>,
    /// Not submitted before this time.
    pub not_before: Option<Timestamp>,
    /// Whether its request names local pictures now.
    pub names_pictures: bool,
    /// The text of its job file before, on one line.
    pub before: String,
}

/// Why a local picture cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureFault {
    /// It does not come through its public address: perhaps next time.
    Unreachable {
        /// Why, in a sentence, without the address.
        why: String,
    },
    /// Its copy is lost, and the original is not there either.
    Missing {
        /// Which picture, and where it was.
        why: String,
    },
}

/// How a submit call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitVerdict {
    /// The provider created a task.
    Accepted {
        /// Its id.
        task: TaskId,
        /// Quota reserved for it.
        reserved: Option<Quota>,
    },
    /// Refused for good; nothing was created or billed.
    Refused(JobError),
    /// Certainly not executed, for a reason that concerns all jobs: calls are suspended. The same attempt may be sent
    /// again.
    Suspended {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// Certainly not executed: the same attempt may be sent again.
    NotExecuted {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// Something else than the provider answered, such as a firewall with its page: certainly not executed. It may be
    /// about this one job, so the job backs off.
    Blocked {
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
    /// The provider will always answer this key like this: a stored error, or it refuses to see the key again.
    Replayed {
        /// The answer.
        why: String,
    },
    /// The provider answered with a task that belongs to another job.
    DuplicateTask {
        /// Its id.
        task: TaskId,
    },
}

impl SubmitVerdict {
    /// Whether this call created nothing and billed nothing.
    pub const fn is_not_executed(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Suspended { .. } | Self::NotExecuted { .. } | Self::Blocked { .. } => {
                true
            }
            Self::Accepted { .. }
            | Self::Unknown { .. }
            | Self::Replayed { .. }
            | Self::DuplicateTask { .. } => false,
        }
    }
}

/// How a status query ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusVerdict {
    /// The provider reported the task's status.
    Answered(TaskFacts),
    /// The provider does not know the task (404).
    Missing,
    /// No usable answer: poll again.
    Unanswered {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// The provider answered with success, but the answer cannot be read: poll again.
    Unreadable {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
}

/// How a cancel call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelVerdict {
    /// The provider accepted the request; the next status answer says whether it came in time.
    Accepted,
    /// Too late, or refused: the task continues.
    TooLate {
        /// The provider's words.
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

/// The status of a task, independent of the provider's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    Queued,
    /// Running.
    Processing,
    /// A word that dropreel does not know; it counts as running.
    Unclear(String),
    /// Done.
    Completed,
    /// Failed at the provider.
    Failed,
    /// Cancelled at the provider.
    Cancelled,
}

impl Phase {
    /// Whether the task has ended.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Unclear(word) => word,
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// What a status answer says about a task. A field is `None` where the answer does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFacts {
    /// Its status.
    pub phase: Phase,
    /// 0 to 100.
    pub progress: Option<u8>,
    /// Quota charged. `None` while it is not final.
    pub cost: Option<Quota>,
    /// The task has ended, but the provider says that its cost is not final yet.
    pub cost_pending: bool,
    /// When it was completed, by the provider's clock, if plausible.
    pub completed_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// Its outputs, without duplicates.
    pub outputs: Vec<ReportedOutput>,
}

impl TaskFacts {
    /// An answer that says nothing but the phase.
    pub fn of(phase: Phase) -> Self {
        Self {
            phase,
            progress: None,
            cost: None,
            cost_pending: false,
            completed_at: None,
            error: None,
            outputs: Vec::new(),
        }
    }
}

/// An output as a status answer names it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedOutput {
    /// Video, image or audio.
    pub kind: OutputKind,
    /// Its position among the outputs of that kind, from 0.
    pub index: u16,
    /// Where to download it.
    pub link: Secret,
    /// When the link expires, if plausible.
    pub expires_at: Option<Timestamp>,
}

/// What the operator can do to a job.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobAction)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum OperatorAction {
    /// Cancel it, if that is still possible.
    Cancel,
    /// Submit it again under a new key; it may be billed again.
    Retry,
    /// Let a held job continue.
    Release,
    /// Take a failed or expired job off the list of what needs a person.
    Dismiss,
    /// Put a dismissed job back on that list.
    Undismiss,
}
