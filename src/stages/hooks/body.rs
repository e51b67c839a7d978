//! What the placeholders of a `body` stand for, and the sentence for people.

use serde_json::{Value, json};

use crate::api::budget::BudgetView;
use crate::api::hook::{FinishedBatch, HookData};
use crate::api::job::JobView;
use crate::job::notification::JobNotification;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::settings::{BodyField, Placeholder};
use crate::stages::hooks::Message;

/// The value of a placeholder; `null` where the data has none.
pub(super) fn value_of(message: &Message, placeholder: &Placeholder) -> Value {
    let (job, batch) = match &message.data {
        HookData::Job(job) => (Some(&**job), None),
        HookData::Batch(batch) => (None, Some(&**batch)),
        HookData::MissedCallbacks { .. } | HookData::Budgets { .. } => (None, None),
    };
    let field = match placeholder {
        Placeholder::Label(key) => return json!(job.and_then(|job| job.labels.get(key))),
        Placeholder::Field(field) => field,
    };
    match field {
        BodyField::Text => json!(sentence(message)),
        BodyField::Event => json!(message.event.into_str()),
        BodyField::MessageId => json!(message.id),
        BodyField::Timestamp => json!(message.at),
        BodyField::Data => json!(message.data),
        BodyField::Id => match (job, batch) {
            (Some(job), _) => json!(job.id),
            (_, batch) => json!(batch.map(|finished| &finished.batch.id)),
        },
        BodyField::Name => match (job, batch) {
            (Some(job), _) => json!(job.name),
            (_, batch) => json!(batch.map(name_of)),
        },
        BodyField::State => json!(job.map(|job| job.state)),
        BodyField::Reason => json!(job.and_then(|job| job.reason.as_ref())),
        BodyField::Error => json!(job.and_then(|job| job.error.as_ref()).map(|error| &error.message)),
        BodyField::Model => json!(job.map(|job| &job.model)),
        BodyField::Prompt => json!(job.and_then(|job| job.prompt.as_ref())),
        BodyField::CostUsd => match (job, batch) {
            (Some(job), _) => json!(job.cost_usd),
            (_, batch) => json!(batch.map(|finished| finished.batch.cost_usd)),
        },
        BodyField::EstimateUsd => match (job, batch) {
            (Some(job), _) => json!(job.estimate_usd),
            (_, batch) => json!(batch.map(|finished| finished.batch.estimate_usd)),
        },
        BodyField::TaskId => json!(job.and_then(|job| job.task_id.as_ref())),
        BodyField::Batch => match (job, batch) {
            (Some(job), _) => json!(job.batch),
            (_, batch) => json!(batch.map(|finished| &finished.batch.id)),
        },
        BodyField::Path => match (job, batch) {
            (Some(job), _) => json!(job.files.first().map(|file| &file.path)),
            (_, batch) => json!(batch.and_then(|finished| finished.paths.first())),
        },
    }
}

/// What happened, in a sentence without a full stop.
fn sentence(message: &Message) -> String {
    match &message.data {
        HookData::Job(job) => job_sentence(message.event, job),
        HookData::Batch(batch) => batch_sentence(batch),
        HookData::MissedCallbacks { consecutive_missed_callbacks: n } => {
            format!("{n} tasks in a row finished without a callback; `dropreel doctor` checks the way")
        }
        HookData::Budgets { budgets } => {
            let line = |budget: &BudgetView| {
                let used = usd(budget.spent_usd + budget.reserved_usd);
                format!("{} of the budget of {} ({})", used, usd(budget.limit_usd), budget.budget)
            };
            format!("spent or reserved: {}", budgets.iter().map(line).collect::<Vec<_>>().join("; "))
        }
    }
}

fn job_sentence(event: JobNotification, job: &JobView) -> String {
    let name = &job.name;
    let because = match (&job.error, &job.reason) {
        (Some(error), _) => format!(": {} ({})", error.message, error.code),
        (None, Some(reason)) => format!(": {reason}"),
        (None, None) => String::new(),
    };
    let cost = job.cost_usd.map_or_else(String::new, |cost| format!(", {}", usd(cost)));
    match event {
        JobNotification::Succeeded => format!("{name} succeeded{cost}"),
        JobNotification::Failed => format!("{name} failed{because}"),
        JobNotification::Held => format!("{name} is held{because}"),
        JobNotification::Expiring => match job.expires_at {
            Some(at) => format!("{name}: a link expires at {at}, and its file is not stored yet"),
            None => format!("{name}: a link was about to expire"),
        },
        JobNotification::Expired => format!("{name} expired: a link died before its file was stored"),
        JobNotification::Cancelled => format!("{name} was cancelled"),
        JobNotification::Rated => match job.rating {
            Some(rating) => format!("{name} is rated {rating} of 5"),
            None => format!("{name} is not rated any more"),
        },
        JobNotification::BatchFinished | JobNotification::CallbacksMissing | JobNotification::Budget => {
            format!("{name} is {}", job.state)
        }
    }
}

/// "spring.jsonl finished: 31 of 40 succeeded, 4 failed, 5 cancelled, $4.10"
fn batch_sentence(finished: &FinishedBatch) -> String {
    let batch = &finished.batch;
    let count = |state| batch.states.get(&state).copied().unwrap_or(0);
    let mut parts = vec![format!("{} of {} succeeded", count(StateName::Succeeded), batch.jobs)];
    let others = batch.states.iter().filter(|(state, _)| **state != StateName::Succeeded);
    parts.extend(others.map(|(state, jobs)| format!("{jobs} {state}")));
    parts.push(usd(batch.cost_usd));
    format!("{} finished: {}", name_of(finished), parts.join(", "))
}

fn name_of(finished: &FinishedBatch) -> String {
    finished.batch.file.clone().unwrap_or_else(|| format!("batch {}", finished.batch.id))
}

/// Rounded like every amount that people see.
fn usd(value: f64) -> String {
    Quota::from_usd(value).unwrap_or_default().to_string()
}
