//! The ten states of a job, the data each needs, and their words (docs/reference.md#job-states).

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::hold::HoldReason;
use crate::job::id::{JobId, TaskId};

/// The word for a state, the same in the database, the API, the command line and the page.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobState)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum StateName {
    /// Accepted, waiting to be submitted.
    #[default]
    Pending,
    /// A submit call is in progress, or its outcome is unknown.
    Submitting,
    /// At the provider, not started.
    Queued,
    /// At the provider, running.
    Processing,
    /// Completed at the provider; not all outputs are in the library yet.
    Downloading,
    /// Every output is in the library, checked.
    Succeeded,
    /// The provider failed or refused it.
    Failed,
    /// Cancelled.
    Cancelled,
    /// A link expired before its file was stored, and there was no fresh one.
    Expired,
    /// Needs the operator.
    Held,
}

impl StateName {
    /// Whether it is an end: only the operator's `retry` leaves it.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }
}

/// When the next step of a state is due, how often it has been tried, and when the state began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The time of the next step.
    pub due: Timestamp,
    /// Tries since the last success; the backoff grows with it.
    pub tries: u32,
    /// Start of the state.
    pub since: Timestamp,
    /// Since when this job's own calls fail, without a success in between. What concerns all jobs, such as an empty
    /// balance, does not count.
    pub failing_since: Option<Timestamp>,
}

impl Schedule {
    /// A state that began at `since` with its first step at `due`.
    pub const fn starting(since: Timestamp, due: Timestamp) -> Self {
        Self { due, tries: 0, since, failing_since: None }
    }
}

/// The cost of a task that has ended is not final yet: the provider is asked again, also after the job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// When to poll next.
    pub due: Timestamp,
    /// Polls so far.
    pub tries: u32,
}

/// An attempt that may be sent (again): its key and body are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingAttempt {
    /// 1 for the first; its key is `<job id>`, later ones are `<job id>.N`.
    pub number: u32,
    /// When it was committed and first sent: the age of the key counts from here.
    pub created_at: Timestamp,
    /// Whether any send under this key may have been executed.
    pub outcome_unknown: bool,
}

/// A task at the provider, queued or processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningTask {
    /// The provider's id.
    pub task: TaskId,
    /// When to poll next.
    pub schedule: Schedule,
    /// The last status query.
    pub polled_at: Option<Timestamp>,
}

/// A completed task whose outputs are being downloaded. Each output has its own schedule of downloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloading {
    /// The provider's id.
    pub task: TaskId,
    /// When to poll for fresh links next: soon if a download failed, else when the first link expires. Its `since` is
    /// when the completion was first seen.
    pub schedule: Schedule,
    /// The last status query.
    pub polled_at: Option<Timestamp>,
}

/// The state of a job, with the data it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting to be submitted. A pending attempt was certainly not executed and may be sent again.
    Pending {
        /// The earliest time to submit.
        schedule: Schedule,
        /// An attempt that was certainly not executed.
        pending_attempt: Option<PendingAttempt>,
    },
    /// A submit call is in progress, or its outcome is unknown.
    Submitting {
        /// When to resend.
        schedule: Schedule,
        /// What to resend.
        pending_attempt: PendingAttempt,
    },
    /// At the provider, not started.
    Queued(RunningTask),
    /// At the provider, running.
    Processing(RunningTask),
    /// Completed at the provider.
    Downloading(Downloading),
    /// All outputs stored.
    Succeeded {
        /// The task that made them.
        task: TaskId,
    },
    /// Failed or refused.
    Failed {
        /// The task, if there was one.
        task: Option<TaskId>,
        /// The attempt that the provider refused. A copy of its submit may be executed later all the same.
        refused: Option<PendingAttempt>,
    },
    /// Cancelled.
    Cancelled {
        /// The task, if there was one.
        task: Option<TaskId>,
    },
    /// A link expired before its file was stored.
    Expired {
        /// The task whose link it was.
        task: TaskId,
    },
    /// Needs the operator.
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

    /// The job's task, if there is one.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Pending { .. } | Self::Submitting { .. } => None,
            Self::Queued(running) | Self::Processing(running) => Some(&running.task),
            Self::Downloading(downloading) => Some(&downloading.task),
            Self::Succeeded { task } | Self::Expired { task } => Some(task),
            Self::Failed { task, .. } | Self::Cancelled { task } => task.as_ref(),
            Self::Held(hold) => hold.held_from.task(),
        }
    }

    /// The schedule of its next step; an end has none.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Pending { schedule, .. } | Self::Submitting { schedule, .. } => Some(schedule),
            Self::Queued(running) | Self::Processing(running) => Some(&running.schedule),
            Self::Downloading(downloading) => Some(&downloading.schedule),
            Self::Held(hold) => Some(hold.held_from.schedule()),
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled { .. } | Self::Expired { .. } => {
                None
            }
        }
    }
}

/// A job that needs the operator: why, and where `release` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Details: an HTTP status, a host, the other job.
    pub detail: String,
    /// The state before, with its data.
    pub held_from: HeldFrom,
}

impl Hold {
    /// What happened.
    pub fn description(&self) -> String {
        let description = self.reason.description();
        if self.detail.is_empty() {
            description.to_owned()
        } else {
            format!("{description} ({})", self.detail)
        }
    }

    /// What happened, and which command does what; `retry` only if the job has a request to submit again.
    pub fn explanation(&self, id: JobId, can_retry: bool) -> String {
        format!("{}: {}", self.description(), self.reason.remedy(id, can_retry))
    }
}

/// The states a job can be held from: every one that is not an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldFrom {
    /// Waiting to be submitted, perhaps again.
    Pending(Schedule, Option<PendingAttempt>),
    /// A submit was in progress.
    Submitting(Schedule, PendingAttempt),
    /// `Queued` or `Processing`.
    Running(RunningTask),
    /// Its outputs were being downloaded.
    Downloading(Downloading),
}

impl HeldFrom {
    /// The word for the state before.
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending(..) => StateName::Pending,
            Self::Submitting(..) => StateName::Submitting,
            Self::Running(_) => StateName::Processing,
            Self::Downloading(_) => StateName::Downloading,
        }
    }

    fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Pending(..) | Self::Submitting(..) => None,
            Self::Running(running) => Some(&running.task),
            Self::Downloading(downloading) => Some(&downloading.task),
        }
    }

    fn schedule(&self) -> &Schedule {
        match self {
            Self::Pending(schedule, _) | Self::Submitting(schedule, _) => schedule,
            Self::Running(running) => &running.schedule,
            Self::Downloading(downloading) => &downloading.schedule,
        }
    }
}
