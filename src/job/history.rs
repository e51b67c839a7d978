//! The history of a job: the words for what happened to it.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// What happened. The word of each is stored in the database and shown by the API.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HistoryEvent {
    /// The job file was ingested.
    Accepted,
    /// An attempt is sent, for the first time or again.
    Submitting,
    /// The job does not fit into a budget and waits.
    OverBudget,
    /// A local picture does not come through its public address; the job waits.
    PictureUnreachable,
    /// The provider certainly did not execute the submit.
    SubmitNotExecuted,
    /// The submit may have been executed.
    SubmitOutcomeUnknown,
    /// The provider created a task.
    Submitted,
    /// The job got its task from the operator.
    Adopted,
    /// The provider started the task.
    Processing,
    /// A callback was received.
    CallbackReceived,
    /// The provider does not know the task.
    TaskMissing,
    /// The provider knows the task again; the job leaves `held`.
    TaskFound,
    /// A callback named the task of an earlier attempt, whose outcome was unknown; it is polled for its cost.
    EarlierTask,
    /// The task of a held job finished after all.
    TaskFinished,
    /// The provider completed the task.
    Completed,
    /// The media host refused a link.
    LinkRefused,
    /// A link expired before its file was stored.
    LinkExpired,
    /// A link expires soon and its file is not stored yet.
    Expiring,
    /// A download was not the media it should be; it was moved to quarantine.
    Quarantined,
    /// An output is downloaded and waits for its upload to the bucket.
    Spooled,
    /// An output is in the library.
    Stored,
    /// The operator asked to cancel the task.
    CancelRequested,
    /// The provider accepted the cancel request.
    CancelAccepted,
    /// The provider refused the cancel request, or it came too late.
    CancelRefused,
    /// The provider did not answer the cancel request; dropreel stopped trying.
    CancelAbandoned,
    /// The job waits for the operator.
    Held,
    /// The operator let a held job continue.
    Released,
    /// The operator asked for a new attempt.
    Retried,
    /// A person took it off the list of what needs one.
    Dismissed,
    /// A person put it back on that list.
    Undismissed,
    /// A person rated its outputs, or one of them.
    Rated,
    /// A person changed its labels.
    Labelled,
    /// A person changed its request; the detail is the job file before.
    Edited,
    /// Something happened that does not apply to the job in its state; the detail says what and why.
    Ignored,
    /// The job succeeded.
    Succeeded,
    /// The job failed.
    Failed,
    /// The job was cancelled.
    Cancelled,
    /// An output of the job is lost.
    Expired,
}

impl HistoryEvent {
    /// Whether it ends the job.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

/// An entry for a job's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// What happened.
    pub event: HistoryEvent,
    /// Details for people. No secret, no control character.
    pub detail: String,
}
