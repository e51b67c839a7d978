//! How jobs ended, how long they took and what they cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::state::StateName;

/// The jobs that ended in a span of time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Report)]
pub struct ReportView {
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Whose midnights begin the days of `by_day`.
    pub time_zone: String,
    pub total: ReportTotals,
    pub by_model: Vec<ReportGroup>,
    /// By `KEY=VALUE`; a job counts for each of its labels.
    pub by_label: Vec<ReportGroup>,
    /// By the name of the job file, of the jobs that came in one with a name: the files whose jobs ended last.
    pub by_file: Vec<ReportGroup>,
    /// By the day of the end, newest first.
    pub by_day: Vec<ReportGroup>,
    /// Tasks that were charged and brought no video; only with `disputes=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disputes: Option<Vec<Dispute>>,
}

/// The jobs of one model, label, file or day.
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
    /// What the provider charged for all attempts of these jobs.
    pub cost_quota: i64,
    pub cost_usd: f64,
    /// From submit to end, of jobs that succeeded; without adopted ones.
    pub median_seconds: Option<f64>,
    /// 95 of 100 took at most this long.
    pub p95_seconds: Option<f64>,
}

/// A task that was charged and brought no video: what the provider needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dispute {
    /// The job.
    #[schema(value_type = String)]
    pub job: JobId,
    pub name: String,
    /// The state of the job, which may have been retried since.
    pub state: StateName,
    pub task_id: String,
    pub model: String,
    #[schema(value_type = String, format = DateTime)]
    pub submitted_at: Timestamp,
    pub charged_quota: i64,
    pub charged_usd: f64,
    /// How it ended, for people.
    pub why: String,
}
