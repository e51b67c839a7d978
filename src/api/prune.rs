//! Removing old jobs and old job files.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// The body of `POST /api/v1/prune`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// An age such as `90d`; at least 31 days.
    pub older_than: String,
    /// Count without deleting.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneResult {
    /// Jobs that finished before this time.
    #[schema(value_type = String, format = DateTime)]
    pub before: Timestamp,
    pub jobs: u64,
    pub files: u64,
    /// The total size of these files.
    pub bytes: u64,
    /// How many files could not be deleted.
    pub failed: u64,
    /// Why the first of them could not be deleted.
    pub failure: Option<String>,
    /// Whether there may be more: repeat the request.
    pub more: bool,
}
