//! New jobs from the request of an old one, and changes of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::action::ActionResult;
use crate::api::estimate::EstimateView;

/// What the new jobs have in place of the old one's values.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Again)]
pub struct AgainRequest {
    /// The whole text of a job file, one object, as `GET /api/v1/jobs/{job}` has it in `text`; by default, that of the job.
    /// A `dropreel.name` of its own is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Values by key; with dots below the root, as in `extra.audio`. `dropreel.priority` and its like are set, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub set: BTreeMap<String, Box<RawValue>>,
    /// Give each job a seed of its own.
    #[serde(default)]
    pub new_seed: bool,
    /// What local pictures that `set` names by their paths are called by `POST /api/v1/pictures`. Those of the old job need none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pictures: BTreeMap<String, String>,
    /// How many jobs; 1 by default.
    #[serde(default = "once")]
    #[schema(minimum = 1, maximum = 1000)]
    pub times: u32,
    /// Check and estimate only.
    #[serde(default)]
    pub dry_run: bool,
}

/// A change of a job that has not been submitted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Edit)]
pub struct EditRequest {
    /// The whole text of its job file, one object; by default, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// As in `again`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub set: BTreeMap<String, Box<RawValue>>,
    /// Draw a new seed.
    #[serde(default)]
    pub new_seed: bool,
    /// As in `again`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pictures: BTreeMap<String, String>,
    /// Check and estimate only.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an edit would make of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct EditPreview {
    /// The text of its job file.
    pub text: String,
    #[serde(flatten)]
    pub estimate: EstimateView,
}

/// The answer to an edit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EditAnswer {
    /// The job is changed.
    Done(Box<ActionResult>),
    /// Of a dry run.
    Preview(EditPreview),
}

fn once() -> u32 {
    1
}
