//! The history of a job: the words for what happened to it.

/// What happened. The word of each is stored in the database and shown by the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistoryEvent {
    /// The job file was ingested.
    Accepted,
    /// An attempt is sent, for the first time or again.
    Submitting,
    /// The provider certainly did not execute the submit.
    SubmitNotExecuted,
    /// The submit may have been executed.
    SubmitOutcomeUnknown,
    /// The provider created a task.
    Submitted,
    /// The provider started the task.
    Processing,
    /// A callback was received.
    CallbackReceived,
    /// The provider does not know the task.
    TaskMissing,
    /// The provider knows the task again; the job leaves `held`.
    TaskFound,
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
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Submitting => "submitting",
            Self::SubmitNotExecuted => "submit_not_executed",
            Self::SubmitOutcomeUnknown => "submit_outcome_unknown",
            Self::Submitted => "submitted",
            Self::Processing => "processing",
            Self::CallbackReceived => "callback_received",
            Self::TaskMissing => "task_missing",
            Self::TaskFound => "task_found",
            Self::TaskFinished => "task_finished",
            Self::Completed => "completed",
            Self::LinkRefused => "link_refused",
            Self::LinkExpired => "link_expired",
            Self::Expiring => "expiring",
            Self::Quarantined => "quarantined",
            Self::Stored => "stored",
            Self::CancelRequested => "cancel_requested",
            Self::CancelAccepted => "cancel_accepted",
            Self::CancelRefused => "cancel_refused",
            Self::CancelAbandoned => "cancel_abandoned",
            Self::Held => "held",
            Self::Released => "released",
            Self::Retried => "retried",
            Self::Ignored => "ignored",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
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
