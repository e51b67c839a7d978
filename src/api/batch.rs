//! A batch: the jobs of one job file, paste or call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::state::StateName;

/// The longest page of a list of batches.
pub const MAX_BATCH_PAGE: u32 = 100;

/// A batch, with what became of its jobs so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    /// As in the field `batch` of its jobs.
    pub id: String,
    /// The name of its job file; `null` where it had none.
    pub file: Option<String>,
    /// How many jobs it was accepted with.
    pub jobs: u64,
    /// Its jobs by state. Those whose records were pruned are missing.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub states: BTreeMap<StateName, u64>,
    /// What its jobs were charged so far.
    pub cost_usd: f64,
    /// What all its jobs will probably cost in all: the estimate of the newest attempt of each, or of the job if it has none,
    /// and what earlier attempts were charged.
    #[serde(default)]
    pub estimate_usd: f64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the last of its jobs ended; `null` while one has not. `held` is no end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When its running and waiting jobs will probably have ended, by the times of earlier jobs of their models; `null`
    /// while that is not known.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub eta_at: Option<Timestamp>,
}

impl BatchView {
    /// The number in its id.
    pub fn number(&self) -> Option<i64> {
        batch_number(&self.id)
    }
}

/// A page of a list of batches.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchList)]
pub struct BatchPage {
    pub batches: Vec<BatchView>,
    /// `cursor` of the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// The id of the batch with this number.
pub fn batch_id(number: i64) -> String {
    format!("b{number}")
}

/// The number of the batch with this id.
pub fn batch_number(id: &str) -> Option<i64> {
    id.strip_prefix('b').and_then(|number| number.parse().ok())
}
