//! What hooks are sent (docs/hooks.md).

use serde::Serialize;

use crate::api::budget::BudgetView;
use crate::api::job::JobView;
use crate::clock::Timestamp;

/// The data of a notification: a program's standard input, and `data` of a webhook.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum HookData {
    /// The job as `GET /api/v1/jobs` lists it.
    Job(Box<JobView>),
    /// Consecutive tasks that finished without a callback.
    MissedCallbacks { consecutive_missed_callbacks: u32 },
    /// All budgets as they are now.
    Budgets { budgets: Vec<BudgetView> },
}

/// The body of a webhook (standardwebhooks.com).
#[derive(Clone, Debug, Serialize)]
pub struct WebhookBody<'a> {
    /// `job.` or `dropreel.` and the event.
    pub r#type: String,
    pub timestamp: Timestamp,
    pub data: &'a HookData,
}
