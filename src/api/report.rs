//! How jobs ended, how long they took and what they cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::job::JobView;
use crate::clock::Timestamp;

/// The jobs that ended in a span of time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Report)]
pub struct ReportView {
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    pub total: ReportTotals,
    pub by_model: Vec<ReportGroup>,
    pub by_label: Vec<ReportGroup>,
    pub by_day: Vec<ReportGroup>,
    /// Jobs that were charged and have no video; only with `disputes=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disputes: Option<Vec<JobView>>,
}

/// The jobs of one model, label or day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportGroup {
    pub key: String,
    #[serde(flatten)]
    pub totals: ReportTotals,
}

/// Totals of finished jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportTotals {
    pub jobs: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    /// 0 to 1; cancelled jobs are left out.
    pub success_rate: Option<f64>,
    pub cost_quota: i64,
    pub cost_usd: f64,
    pub average_seconds: Option<f64>,
    pub longest_seconds: Option<f64>,
}
