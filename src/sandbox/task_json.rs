//! The JSON of a task, in every shape that a plan may ask for. Written by hand: the sandbox shares no type with the
//! daemon's client, or both would make the same mistake.

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::rng::Rng;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{
    CallbackShape, FailureShape, IdShape, MediaKind, PendingCost, ProgressFormat, ResultShape, StatusShape,
    StatusWords, SubmitShape, TaskEnd, TimeFormat, UrlShape, YesNo,
};
use crate::sandbox::task::{Phase, Task};

/// The answer to a successful submit.
pub fn submit_answer(task: &Task, plan: &FaultPlan) -> Value {
    let mut object = Map::new();
    if plan.id != Some(IdShape::Absent) {
        object.insert("task_id".into(), task.id.clone().into());
    }
    object.insert("model".into(), task.model.clone().into());
    object.insert("action".into(), task.action.clone().into());
    object.insert("status".into(), status_word(task, Phase::Queued, plan));
    object.insert("progress".into(), 0.into());
    insert_some(
        &mut object,
        "created_at",
        time(task.created, plan.times.as_ref().unwrap_or(&TimeFormat::Millis)),
    );
    if plan.pre_cost != Some(YesNo::No) {
        object.insert("pre_consumed_cost".into(), task.frozen.get().into());
    }
    match plan.submit_shape {
        None | Some(SubmitShape::Plain) => Value::Object(object),
        Some(SubmitShape::Wrapped) => json!({"code": "success", "data": object}),
        Some(SubmitShape::Old) => json!({"code": "success", "data": task.id}),
    }
}

/// The answer to a status query.
pub fn status_answer(object: Value, plan: &FaultPlan) -> Value {
    match plan.status_shape {
        None | Some(StatusShape::Plain) => object,
        Some(StatusShape::Wrapped) => json!({"code": "success", "data": object}),
        Some(StatusShape::Output) => {
            let mut output = json!({"task_id": object["task_id"], "task_status": object["status"]});
            copy_some(&mut output, "video_url", &object["result"]["videos"][0]["url"]);
            copy_some(&mut output, "message", &object["error"]["message"]);
            copy_some(&mut output, "code", &object["error"]["code"]);
            json!({"output": output, "request_id": "r-1"})
        }
        Some(StatusShape::Video) => {
            let mut video = json!({"id": object["task_id"], "object": "video", "status": object["status"]});
            copy_some(&mut video, "failure_reason", &object["error"]["message"]);
            let url = &object["result"]["videos"][0]["url"];
            copy_some(&mut video, "metadata", &if url.is_null() { Value::Null } else { json!({"url": url}) });
            video
        }
    }
}

pub struct ResultLink {
    /// The whole URL.
    pub url: String,
    /// When it expires.
    pub expires: Timestamp,
}

/// The status object. `final_answers` is the number of earlier answers that said the task had ended.
pub fn status_object(
    task: &Task,
    plan: &FaultPlan,
    phase: Phase,
    links: &[ResultLink],
    final_answers: u32,
    base_url: &str,
) -> Value {
    let mut object = Map::new();
    object.insert("task_id".into(), task.id.clone().into());
    object.insert("model".into(), task.model.clone().into());
    object.insert("action".into(), task.action.clone().into());
    object.insert("status".into(), status_word(task, phase, plan));
    insert_some(&mut object, "progress", progress(phase, plan));
    let times = plan.times.as_ref().unwrap_or(&TimeFormat::Seconds);
    insert_some(&mut object, "created_at", time(task.created, times));
    let here = format!("{base_url}/v1/tasks/{}", task.id);
    object.insert("urls".into(), json!({"cancel": format!("{here}/cancel"), "get": here}));
    if phase.is_final() {
        insert_some(&mut object, "completed_at", task.ended.and_then(|ended| time(ended, times)));
        insert_some(&mut object, "cost", cost(task, plan));
    }
    if task.new_generation {
        let word = if task.settled { "settled" } else { "pending" };
        object.insert("billing_status".into(), word.into());
    }
    match phase {
        Phase::Completed => insert_some(&mut object, "result", result(task, plan, links, final_answers)),
        Phase::Failed => failure(&mut object, &task.end, plan),
        _ => {}
    }
    Value::Object(object)
}

/// The newest answer to a cancel.
pub fn cancel_answer(task: &Task, plan: &FaultPlan) -> Value {
    let refund = if task.settled { (task.frozen.get() - task.cost.get()).max(0) } else { 0 };
    json!({
        "task_id": task.id, "status": status_word(task, Phase::Cancelled, plan),
        "refunded": refund > 0, "refunded_quota": refund,
    })
}

/// The JSON of a callback.
pub fn callback_body(object: Value, plan: &FaultPlan) -> Value {
    match plan.callback_shape {
        None | Some(CallbackShape::Bare) => object,
        Some(CallbackShape::Event) => {
            let status = object["status"].as_str().unwrap_or_default();
            json!({"event": format!("task.{status}"), "data": object})
        }
        Some(CallbackShape::Task) => json!({ "task": object }),
        Some(CallbackShape::Data) => json!({"code": "success", "data": object}),
    }
}

fn copy_some(object: &mut Value, key: &str, value: &Value) {
    if !value.is_null() {
        object[key] = value.clone();
    }
}

fn insert_some(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(key.into(), value);
    }
}

fn status_word(task: &Task, phase: Phase, plan: &FaultPlan) -> Value {
    let (chosen, synonyms): (_, &[&str]) = match phase {
        Phase::Queued => (&plan.queued, &["queued", "not_start", "submitted", "pending"]),
        Phase::Processing(_) => (&plan.processing, &["processing", "in_progress", "running"]),
        Phase::Completed => (&plan.completed, &["completed", "succeeded", "success", "done"]),
        Phase::Failed => (&plan.failed, &["failed", "error", "failure"]),
        Phase::Cancelled => (&plan.cancelled, &["cancelled", "canceled"]),
    };
    if let Some(chosen) = chosen {
        return chosen.0.clone().into();
    }
    if plan.words != Some(StatusWords::Any) {
        return phase.into_str().into();
    }
    // Chosen by the task id, so that a task keeps its word from answer to answer.
    let sum = task.id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let rng = Rng::seeded(sum);
    let synonym = synonyms[rng.below(synonyms.len() as u64) as usize];
    match rng.below(3) {
        0 => synonym.to_owned(),
        1 => synonym.to_uppercase(),
        _ => synonym[..1].to_uppercase() + &synonym[1..],
    }
    .into()
}

/// The cost in a final status.
fn cost(task: &Task, plan: &FaultPlan) -> Option<Value> {
    let cost = match plan.pending_cost {
        _ if plan.show_cost == Some(YesNo::No) => return None,
        _ if task.settled => task.cost,
        None | Some(PendingCost::Frozen) => task.frozen,
        Some(PendingCost::Absent) => return None,
        Some(PendingCost::Zero) => Quota::ZERO,
    };
    Some(cost.get().into())
}

fn progress(phase: Phase, plan: &FaultPlan) -> Option<Value> {
    let percent = match phase {
        Phase::Queued => 0,
        Phase::Processing(percent) => percent,
        Phase::Completed | Phase::Failed | Phase::Cancelled => 100,
    };
    match plan.progress.as_ref().unwrap_or(&ProgressFormat::Percent) {
        ProgressFormat::Percent => Some(format!("{percent}%").into()),
        ProgressFormat::Int => Some(percent.into()),
        ProgressFormat::Float => Some(f64::from(percent).into()),
        ProgressFormat::Empty => Some("".into()),
        ProgressFormat::Absent => None,
        ProgressFormat::Null => Some(Value::Null),
        ProgressFormat::Over => Some(101.into()),
        ProgressFormat::Under => Some((-1).into()),
    }
}

fn time(at: Timestamp, times: &TimeFormat) -> Option<Value> {
    let millis = at.millis();
    Some(match times {
        TimeFormat::Seconds => millis.div_euclid(1000).into(),
        TimeFormat::Millis => millis.into(),
        TimeFormat::Micros => millis.saturating_mul(1000).into(),
        TimeFormat::Text => millis.div_euclid(1000).to_string().into(),
        TimeFormat::Iso => at.to_string().into(),
        TimeFormat::Absent => return None,
        TimeFormat::Zero => 0.into(),
        TimeFormat::Negative => (-1).into(),
        TimeFormat::Far => 253_402_300_799_i64.into(),
    })
}

fn result(task: &Task, plan: &FaultPlan, links: &[ResultLink], final_answers: u32) -> Option<Value> {
    let key = |kind: &MediaKind| match kind {
        MediaKind::Video => "videos",
        MediaKind::Image => "images",
        MediaKind::Audio => "audios",
    };
    let key = task.files.first().map_or("videos", |file| key(&file.kind));
    match plan.result {
        Some(ResultShape::None) => return None,
        Some(ResultShape::Empty(answers)) if final_answers < answers => return Some(json!({ key: [] })),
        Some(ResultShape::Absent(answers)) if final_answers < answers => return None,
        Some(ResultShape::Null(answers)) if final_answers < answers => return Some(Value::Null),
        _ => {}
    }
    let times = plan.expires.as_ref().or(plan.times.as_ref()).unwrap_or(&TimeFormat::Seconds);
    let entry = |url: Value, expires: Timestamp| {
        let mut entry = Map::new();
        entry.insert("url".into(), url);
        insert_some(&mut entry, "expires_at", time(expires, times));
        Value::Object(entry)
    };
    let mut entries: Vec<Value> = match plan.url.as_ref().unwrap_or(&UrlShape::Array) {
        UrlShape::Array => links.iter().map(|link| entry(json!([link.url]), link.expires)).collect(),
        UrlShape::Text => links.iter().map(|link| entry(json!(link.url), link.expires)).collect(),
        UrlShape::Relative => {
            let path = |url: &str| url.find("/output/").map(|at| url[at..].to_owned());
            links.iter().map(|link| entry(json!(path(&link.url)), link.expires)).collect()
        }
        UrlShape::Merged => {
            let urls: Vec<_> = links.iter().map(|link| link.url.clone()).collect();
            links.first().map(|link| entry(json!(urls), link.expires)).into_iter().collect()
        }
    };
    if plan.twice == Some(YesNo::Yes) {
        entries.extend(entries.clone());
    }
    Some(json!({ key: entries }))
}

fn failure(object: &mut Map<String, Value>, end: &TaskEnd, plan: &FaultPlan) {
    let (code, message) = match end {
        TaskEnd::Unavailable => ("upstream_unavailable", "the model is not available at the moment"),
        TaskEnd::RateLimited => ("upstream_rate_limited", "the model is busy"),
        TaskEnd::BadRequest => ("upstream_bad_request", "the model does not accept this request"),
        TaskEnd::Failed(code) => (code.0.as_str(), "the task failed"),
        _ => ("task_failed", "the task failed"),
    };
    match plan.fail_shape.as_ref().unwrap_or(&FailureShape::Error) {
        FailureShape::Error => insert_some(object, "error", Some(json!({"code": code, "message": message}))),
        FailureShape::Reason => insert_some(object, "fail_reason", Some(format!("{code}: {message}").into())),
        FailureShape::Text => insert_some(object, "error", Some(message.into())),
        FailureShape::None => {}
    }
}
