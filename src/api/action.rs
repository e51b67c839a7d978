//! An operator's actions on jobs, one at a time or on all that match a filter, and their results.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::job::JobView;
use crate::api::list::JobFilter;
use crate::job::JobId;
use crate::job::event::OperatorAction;
use crate::job::label::Label;
use crate::job::state::StateName;

/// The result of an action.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ActionResult {
    pub job: JobView,
    /// What was done, for people.
    pub message: String,
}

/// An action and the filter that selects its jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkAction)]
pub struct BulkActionRequest {
    pub action: OperatorAction,
    /// Required, so that no request acts on every job by mistake.
    pub state: StateName,
    /// `KEY=VALUE`; a job must have all of them.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub label: Vec<Label>,
    /// Text to find in name or prompt, or a task id.
    #[serde(default)]
    pub q: Option<String>,
    /// Count the jobs without acting on them.
    #[serde(default)]
    pub dry_run: bool,
    /// The number of jobs a dry run counted; if it differs by now, nothing is done.
    #[serde(default)]
    pub expect: Option<usize>,
}

/// The result of a bulk action.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkActionResult {
    /// How many jobs match the filter.
    pub jobs: usize,
    /// What these jobs have cost so far, as far as it is known.
    pub cost_quota: i64,
    pub cost_usd: f64,
    /// What `retry` or `release` of these jobs would probably cost, as far as they are billed again; 0 for `cancel`.
    #[serde(default)]
    pub estimate_usd: f64,
    /// How many jobs the action was applied to; 0 in a dry run.
    pub done: usize,
    /// The first jobs that rejected the action.
    pub rejected: Vec<RejectedAction>,
    /// What was done, for people.
    pub message: String,
}

/// A job whose state does not allow the action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectedAction {
    #[schema(value_type = String, format = "uuid")]
    pub job: JobId,
    pub name: String,
    pub reason: String,
}

impl BulkActionRequest {
    /// The jobs it is meant for.
    pub fn filter(&self) -> JobFilter {
        JobFilter {
            state: Some(self.state),
            labels: self.label.clone(),
            text: self.q.clone().filter(|text| !text.is_empty()),
            rating: None,
        }
    }
}
