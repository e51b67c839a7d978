//! Adopting tasks that were made elsewhere.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::job::JobView;

/// Most tasks in one request.
pub const MAX_ADOPTED: usize = 100;

/// The body of `POST /api/v1/adopt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// The provider's ids of 1 to 100 tasks.
    pub task_ids: Vec<String>,
    /// The name of new jobs: `NAME`, `NAME-2`, ...; default: the id of the task.
    #[serde(default)]
    pub name: Option<String>,
}

/// The jobs of the tasks, and why others were not adopted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdoptResult {
    /// The job of each adopted task, in the order of the request.
    pub jobs: Vec<JobView>,
    /// The tasks among them that had a job before.
    pub known: Vec<String>,
    pub errors: Vec<AdoptError>,
}

/// Why a task was not adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptError {
    pub task_id: String,
    pub code: AdoptErrorCode,
    /// What happened and what to do, for people.
    pub message: String,
}

/// The kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdoptErrorCode {
    /// No id of a task.
    InvalidId,
    /// The provider does not know the task.
    UnknownTask,
    /// The provider's answer cannot be read.
    Unreadable,
    /// The provider did not answer.
    NoAnswer,
    /// Calls to the provider are suspended.
    Suspended,
}
