//! The rating of an output.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The best rating. 0 rejects.
pub const MAX_RATING: u8 = 5;

/// A rating for one output of a job, or for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rating)]
pub struct RatingRequest {
    /// 0 to 5; 0: rejected. `null` clears.
    // Required: a forgotten rating must not clear one.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, minimum = 0, maximum = 5)]
    pub rating: Option<u8>,
    /// Which output, such as `video-0`; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}
