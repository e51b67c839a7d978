//! What hooks are sent (docs/hooks.md).

use serde::Serialize;

use crate::api::batch::BatchView;
use crate::api::budget::BudgetView;
use crate::api::job::JobView;
use crate::clock::Timestamp;

/// The data of a notification: a program's standard input, and `data` of a webhook.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum HookData {
    /// The job as `GET /api/v1/jobs` lists it.
    Job(Box<JobView>),
    /// The batch as `GET /api/v1/batches` lists it, and where its files lie.
    Batch(Box<FinishedBatch>),
    /// Consecutive tasks that finished without a callback.
    MissedCallbacks { consecutive_missed_callbacks: u32 },
    /// All budgets as they are now.
    Budgets { budgets: Vec<BudgetView> },
}

/// The data of `batch_finished`.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedBatch {
    #[serde(flatten)]
    pub batch: BatchView,
    /// The first of its files in the library.
    pub paths: Vec<String>,
}

/// The body of a webhook (standardwebhooks.com).
#[derive(Clone, Debug, Serialize)]
pub struct WebhookBody<'a> {
    /// `job.` or `dropreel.` and the event.
    pub r#type: String,
    pub timestamp: Timestamp,
    pub data: &'a HookData,
}
