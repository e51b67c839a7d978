//! A job as lists, events and hooks show it, and in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Timestamp;
#[allow(unused_imports, reason = "named by the schema")]
use crate::job::event::OperatorAction;
use crate::job::needs::{Effect, Need};
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::job::step::possible::PossibleAction;
use crate::job::{JobError, JobId, Labels, UsedDefault};
#[allow(unused_imports, reason = "named by the schema")]
use crate::money::estimate::EstimateSource;

/// A job. `attempts`, `again_as`, `actions`, `history`, `defaults` and `request` are present only when one job is read.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    pub name: String,
    pub state: StateName,
    /// What the job waits for; for a held job, why it is held and which command continues it.
    pub reason: Option<String>,
    pub task_id: Option<String>,
    pub model: String,
    pub prompt: Option<String>,
    /// 0 to 100, as last reported by the provider.
    #[schema(maximum = 100)]
    pub progress: u8,
    /// How many seconds tasks like this one usually take from submit to completion: half of them at most the first number,
    /// nine of ten the second, 99 of 100 the third. `null`: not learned, or the job has no task at the provider.
    #[serde(default)]
    #[schema(value_type = Option<Vec<u64>>, min_items = 3, max_items = 3)]
    pub usual_seconds: Option<[u64; 3]>,
    /// Higher first.
    #[schema(value_type = i32, minimum = -100, maximum = 100)]
    pub priority: i8,
    pub labels: Labels,
    /// 0 to 5, of its best output; 0: rejected. `null`: not rated.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 5)]
    pub rating: Option<u8>,
    /// What a person can do about it, for a job that needs one: a held one, or one that failed or expired and was not
    /// dismissed.
    #[serde(default)]
    pub needs: Option<NeedView>,
    /// The id of its batch: the jobs of one job file, paste or call.
    #[serde(default)]
    pub batch: String,
    /// The job whose request it runs again (`again`). That job may be pruned.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub again_of: Option<JobId>,
    /// Not submitted if the estimated cost is above this.
    pub max_cost_usd: Option<f64>,
    /// What the newest attempt was estimated at; before the first one, what the job will probably cost.
    #[serde(default)]
    pub estimate_usd: Option<f64>,
    /// What all its attempts were charged, in quota; 500,000 quota are one US dollar.
    pub cost_quota: Option<i64>,
    pub cost_usd: Option<f64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub submitted_at: Option<Timestamp>,
    /// When the provider completed the task.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// When the job finished here.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When the first link expires, while an output is still missing.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When a person took it off the list of what needs one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub dismissed_at: Option<Timestamp>,
    pub files: Vec<FileView>,
    /// What the provider would refuse unbilled, ignore, cut or bill for nothing, by what was known when the job was accepted.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub error: Option<JobError>,
    /// Its billable submits, the first one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub attempts: Option<Vec<AttemptView>>,
    /// The jobs that run its request again, the newest first; at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    pub again_as: Option<Vec<JobId>>,
    /// What a person can do with it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub actions: Option<Vec<PossibleActionView>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub history: Option<Vec<HistoryView>>,
    /// What it has from defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub defaults: Option<Vec<UsedDefault>>,
    /// The request in the user's own text, with what it has from defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub request: Option<Box<RawValue>>,
    /// The job file that makes it: its request, and what `dropreel` adds. `again` and `edit` take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// The local pictures that its request names: by their paths, what `POST /api/v1/pictures` answers for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pictures: Option<BTreeMap<String, String>>,
}

/// An action that a job allows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PossibleAction)]
pub struct PossibleActionView {
    /// A word, so that a client may be older than an action.
    #[schema(value_type = OperatorAction)]
    pub action: String,
    /// Whether the provider may bill the job again.
    pub may_be_billed_again: bool,
}

impl From<PossibleAction> for PossibleActionView {
    fn from(possible: PossibleAction) -> Self {
        let PossibleAction { action, may_be_billed_again } = possible;
        Self { action: action.into_str().to_owned(), may_be_billed_again }
    }
}

/// Why a job needs a person, and what each action would do and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Need)]
pub struct NeedView {
    /// The reason why it is held, or the code of its error.
    pub cause: String,
    /// The most likely first.
    pub actions: Vec<NeedActionView>,
}

/// An action, and what it would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NeedAction)]
pub struct NeedActionView {
    /// A word, so that a client may be older than an action.
    #[schema(value_type = OperatorAction)]
    pub action: String,
    /// What it does, in a few words.
    pub does: String,
    /// What it will probably cost; 0: nothing; `null`: not known.
    pub cost_usd: Option<f64>,
    /// Whether the provider may bill the job a second time.
    pub may_be_billed_again: bool,
}

impl NeedView {
    /// `cost` is what the next attempt will probably cost.
    pub fn new(need: Need, cost: Option<f64>) -> Self {
        let action = |(possible, effect): (PossibleAction, Effect)| NeedActionView {
            action: possible.action.into_str().to_owned(),
            does: effect.description().to_owned(),
            cost_usd: if effect.is_billed() { cost } else { Some(0.0) },
            may_be_billed_again: possible.may_be_billed_again,
        };
        Self { cause: need.cause, actions: need.actions.into_iter().map(action).collect() }
    }
}

/// A billable submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Where it was sent.
    pub base_url: Option<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub estimate_usd: Option<f64>,
    /// A word, so that a client may be older than a source.
    #[schema(value_type = Option<EstimateSource>)]
    pub estimate_source: Option<String>,
    /// What the provider has frozen for it.
    pub frozen_quota: Option<i64>,
    /// What the provider has charged for it; 0 after a refund.
    pub charged_quota: Option<i64>,
}

/// A file in the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OutputFile)]
pub struct FileView {
    /// Its whole path, or its address in a bucket: `s3://BUCKET/KEY`.
    pub path: String,
    pub kind: OutputKind,
    /// Which output of its task, as `video-0`.
    #[serde(default)]
    pub output: String,
    /// 0 to 5; 0: rejected. `null`: not rated.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 5)]
    pub rating: Option<u8>,
    pub bytes: u64,
    pub sha256: String,
    /// The host it was downloaded from.
    pub url_host: String,
}

/// An entry of the job's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HistoryEntry)]
pub struct HistoryView {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub event: String,
    pub detail: String,
}

impl JobView {
    /// Whether the job no longer changes by itself: it ended, or is held.
    pub fn is_settled(&self) -> bool {
        self.state.is_end() || self.state == StateName::Held
    }
}
