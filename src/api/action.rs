//! An operator's actions on jobs, one at a time or on all that match a filter, and their results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::batch::batch_number;
use crate::api::job::JobView;
use crate::api::list::{JobFilter, RatingError};
use crate::api::problem::Candidate;
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

/// What to do with some jobs: an action, or a change of labels. Names the jobs, or a filter that selects them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkAction)]
pub struct BulkActionRequest {
    /// Without it, and without `set_labels`, a dry run says what the jobs allow. A `retry` leaves out jobs that are held,
    /// submitting or downloading, which may be paid for, unless `state` is theirs, and dismissed jobs, unless `jobs` names
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<OperatorAction>,
    /// Labels to set, instead of an action; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub set_labels: LabelChanges,
    /// The ids of the jobs; at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub jobs: Vec<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// `KEY=VALUE`; a job must have all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub label: Vec<Label>,
    /// Words, as in the list of jobs; so are the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Only jobs that need a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs: bool,
    /// Only jobs that need a person for this cause, such as `task_failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Only jobs of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Count the jobs without acting on them.
    #[serde(default)]
    pub dry_run: bool,
    /// The number of jobs a dry run counted; if it differs by now, nothing is done. Required without any filter, so that no
    /// request acts on every job by mistake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<usize>,
    /// The `estimate_usd` of a dry run; if the action costs more by now, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub max_cost_usd: Option<f64>,
}

/// The new values of labels; `None` removes one.
pub type LabelChanges = BTreeMap<String, Option<String>>;

/// The result of a bulk action.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkActionResult {
    /// How many of the jobs allow the action.
    pub jobs: usize,
    /// How many jobs were named, or match the filter.
    pub matched: usize,
    /// What these jobs have cost so far, as far as it is known.
    pub cost_quota: i64,
    pub cost_usd: f64,
    /// What `retry` or `release` of these jobs would probably cost, as far as they are billed again; 0 for others.
    #[serde(default)]
    pub estimate_usd: f64,
    /// In a dry run of an action: the first 20 of the jobs that allow it.
    #[serde(default)]
    pub first_jobs: Vec<Candidate>,
    /// How many jobs the action was applied to; 0 in a dry run.
    pub done: usize,
    /// The first jobs that rejected the action.
    pub rejected: Vec<RejectedAction>,
    /// In a dry run without an action: what the jobs allow.
    #[serde(default)]
    pub possible: Vec<PossibleBulkAction>,
    /// Of `dismiss`: the jobs that it took off the list, for `undismiss`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dismissed: Vec<JobId>,
    /// What was done, for people.
    pub message: String,
}

/// An action that some of the jobs allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PossibleBulkAction {
    pub action: OperatorAction,
    /// How many of them.
    pub jobs: usize,
    /// What it would probably cost.
    pub estimate_usd: f64,
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
    /// The jobs it is meant for, if it names none.
    ///
    /// # Errors
    /// A text that is no rating.
    pub fn filter(&self) -> Result<JobFilter, RatingError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(JobFilter {
            state: self.state,
            labels: self.label.clone(),
            text: given(&self.q),
            rating: given(&self.rating).map(|text| text.parse()).transpose()?,
            file: given(&self.file),
            folder: given(&self.folder),
            // No batch has the number 0.
            batch: given(&self.batch).map(|id| batch_number(&id).unwrap_or(0)),
            needs: self.needs,
            cause: given(&self.cause),
            model: given(&self.model),
        })
    }
}
