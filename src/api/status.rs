//! The daemon's status: jobs by state, and what is paused or suspended.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::budget::BudgetView;
use crate::api::slots::SlotsView;
use crate::job::state::StateName;
use crate::job::suspension::Suspension;

/// The answer of `GET /api/v1/status`, and the data of a `status` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusView {
    pub version: String,
    /// Jobs by state; all ten states, in the order of a job's life.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counts: BTreeMap<StateName, u64>,
    /// The places at the provider, and what waits for one.
    #[serde(default)]
    pub slots: SlotsView,
    pub suspensions: Vec<Suspension>,
    /// What is suspended and why, in one sentence; `null` when nothing is.
    pub message: Option<String>,
    /// The budgets of the configuration, with what has been spent of each.
    #[serde(default)]
    pub budgets: Vec<BudgetView>,
    /// What the pending jobs will probably cost.
    #[serde(default)]
    pub waiting_usd: f64,
    /// The balance of the account as last read; `null`: not known.
    #[serde(default)]
    pub balance_usd: Option<f64>,
}

/// The body of `pause`; without `what` both activities are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<PauseTarget>,
}

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PauseTarget {
    /// New tasks at the provider.
    Submits,
    /// Downloads of finished files.
    Downloads,
}

/// The body of `resume`; without `what` everything is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<ResumeTarget>,
}

/// What can be resumed. Each of them also tries suspended calls to the provider at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ResumeTarget {
    /// New tasks at the provider.
    Submits,
    /// Downloads of finished files.
    Downloads,
    /// Suspended calls to the provider; what is paused stays paused.
    Provider,
    /// Submitting, from this machine alone: a daemon elsewhere that used a newer state of the database is gone for good.
    Takeover,
}

/// The result of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationResult {
    pub rotated: bool,
}

impl StatusView {
    /// The number of jobs in one state.
    pub fn count(&self, state: StateName) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}
