//! The provider's answers, every shape of them written out by hand: the sandbox must never share a type with the
//! daemon, or a mistake would be made on both sides at once.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::money::{QUOTA_PER_USD, Quota};
use crate::rng::Rng;
use crate::sandbox::exchange::{Answer, Body, End as Stop};
use crate::sandbox::faults::{
    CallbackShape, End, FailShape, Fault, Flag, IdShape, Kind, Progress, ResultShape, StatusShape,
    SubmitShape, Times, UrlShape, WordChoice,
};
use crate::sandbox::plan::Plan;
use crate::sandbox::task::{Phase, Task};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\n\
    <body><h1>Just a moment...</h1><p>Checking your browser.</p></body></html>\n";

/// `{"error":{"message","code","param"}}`.
pub fn error(status: u16, code: &str, message: &str, param: Option<&str>) -> Answer {
    let mut error = json!({"message": message, "code": code});
    if let Some(param) = param {
        error["param"] = param.into();
    }
    Answer::json(status, &json!({ "error": error }))
}

/// The refusal of a non-empty `extra`.
pub fn capability_violation() -> Answer {
    error(400, "capability_violation", "extra is not accepted: send its keys at the root", Some("extra"))
}

/// An HTML page under any status.
pub fn page(status: u16) -> Answer {
    Answer::text(status, "text/html; charset=utf-8", PAGE)
}

/// 429, to be tried again after `wait`.
pub fn slow_down(wait: Duration) -> Answer {
    error(429, "rate_limit_exceeded", "too many requests", None)
        .with("Retry-After", whole_seconds(wait).to_string())
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000) as u64
}

fn window(wait: Duration, now: Timestamp) -> Answer {
    let reset_at = now.plus(wait).millis().div_euclid(1000) + 1;
    let error = json!({
        "message": "quota window exceeded", "code": "quota_window_exceeded",
        "window": "5h", "used": 1_000_000, "cap": 1_000_000, "reset_at": reset_at,
    });
    Answer::json(429, &json!({ "error": error }))
}

/// An answer that never comes: the connection is reset.
pub fn nothing() -> Answer {
    let mut answer = Answer::text(500, "text/plain", "");
    answer.wire.end = Stop::Nothing;
    answer
}

/// `honest` as `fault` spoils it.
pub fn spoilt(fault: &Fault, mut honest: Answer, now: Timestamp) -> Answer {
    match fault {
        Fault::BadRequest => error(400, "invalid_request", "bad parameters", Some("prompt")),
        Fault::BadKey => error(401, "invalid_api_key", "the API key is refused", None),
        Fault::NoMoney => error(402, "insufficient_quota", "the balance is empty", None),
        Fault::Forbidden => error(403, "forbidden", "not allowed", None),
        Fault::NotFound => error(404, "task_not_found", "no such task", None),
        Fault::Conflict => in_progress(),
        Fault::SlowDown => slow_down(Duration::from_secs(1)),
        Fault::SlowDownFor(wait) => slow_down(*wait),
        Fault::Window => window(Duration::from_secs(2), now),
        Fault::WindowFor(wait) => window(*wait, now),
        Fault::Internal | Fault::Stored500 => error(500, "internal_error", "something went wrong", None),
        Fault::BadGateway => error(502, "bad_gateway", "bad gateway", None),
        Fault::Unavailable => error(503, "service_unavailable", "try again later", None),
        Fault::GatewayTimeout => error(504, "gateway_timeout", "the upstream took too long", None),
        Fault::Capability => capability_violation(),
        Fault::Price => {
            error(500, "price_not_configured", "no price is configured for this model", Some("model"))
        }
        Fault::Html200 => page(200),
        Fault::Html502 => page(502),
        Fault::Empty => Answer::text(200, "application/json", ""),
        Fault::Huge => Answer::json(200, &json!({"padding": "樱".repeat(4 * 1024 * 1024 / 3)})),
        Fault::Redirect => Answer::text(302, "text/plain", "").with("Location", "/v1/elsewhere"),
        Fault::Reset | Fault::Lost => nothing(),
        Fault::Cut => {
            let whole = honest.body.bytes();
            let half = whole[..whole.len() / 2].to_vec();
            honest.body = Body::Bytes(half.into());
            honest
        }
        Fault::Slow(delay) => {
            honest.wire.delay = *delay;
            honest
        }
        Fault::Drip(pace) => {
            honest.wire.pace = Some(pace.0);
            honest
        }
        Fault::SameId => honest,
    }
}

/// 409: a call with this key is under way.
pub fn in_progress() -> Answer {
    error(409, "idempotency_in_progress", "a request with this Idempotency-Key is being handled", None)
        .with("Retry-After", "1")
}

/// The answer to a submit.
pub fn submitted(task: &Task, plan: &Plan) -> Answer {
    let mut object = Map::new();
    if plan.id != Some(IdShape::Absent) {
        object.insert("task_id".into(), task.id.clone().into());
    }
    object.insert("model".into(), task.model.clone().into());
    object.insert("action".into(), task.action.clone().into());
    object.insert("status".into(), word(task, Phase::Queued, plan));
    object.insert("progress".into(), 0.into());
    put(&mut object, "created_at", time(task.created, plan.times.as_ref().unwrap_or(&Times::Millis)));
    if plan.pre_cost != Some(Flag::No) {
        object.insert("pre_consumed_cost".into(), task.frozen.get().into());
    }
    let value = match plan.submit_shape {
        None | Some(SubmitShape::Plain) => Value::Object(object),
        Some(SubmitShape::Wrapped) => json!({"code": "success", "data": object}),
        Some(SubmitShape::Old) => json!({"code": "success", "data": task.id}),
    };
    Answer::json(200, &value)
}

/// A link as shown in a result.
pub struct Shown {
    /// The whole URL.
    pub url: String,
    /// When it dies.
    pub expires: Timestamp,
}

/// The status object. `seen` is how many earlier answers told that the task has ended.
pub fn status(task: &Task, plan: &Plan, phase: Phase, links: &[Shown], seen: u32, base_url: &str) -> Value {
    let mut object = Map::new();
    object.insert("task_id".into(), task.id.clone().into());
    object.insert("model".into(), task.model.clone().into());
    object.insert("action".into(), task.action.clone().into());
    object.insert("status".into(), word(task, phase, plan));
    put(&mut object, "progress", progress(phase, plan));
    let times = plan.times.as_ref().unwrap_or(&Times::Seconds);
    put(&mut object, "created_at", time(task.created, times));
    let here = format!("{base_url}/v1/tasks/{}", task.id);
    object.insert("urls".into(), json!({"cancel": format!("{here}/cancel"), "get": here}));
    if phase.is_last() {
        put(&mut object, "completed_at", task.ended.and_then(|ended| time(ended, times)));
        if plan.show_cost != Some(Flag::No) {
            object.insert("cost".into(), task.cost.get().into());
        }
    }
    match phase {
        Phase::Completed => put(&mut object, "result", result(task, plan, links, seen)),
        Phase::Failed => failure(&mut object, &task.end, plan),
        _ => {}
    }
    Value::Object(object)
}

/// The status object as a status query is answered.
pub fn status_answer(object: Value, plan: &Plan) -> Answer {
    let value = match plan.status_shape {
        None | Some(StatusShape::Plain) => object,
        Some(StatusShape::Wrapped) => json!({"code": "success", "data": object}),
    };
    Answer::json(200, &value)
}

/// The status object as a callback carries it.
pub fn callback_body(object: Value, plan: &Plan) -> Value {
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

/// A time as HTTP writes it; `None` where the calendar ends.
pub fn date(at: Timestamp) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()
}

/// The answer to a balance query.
pub fn balance(granted: Quota, left: Quota, now: Timestamp) -> Answer {
    let used = Quota::new(granted.get().saturating_sub(left.get()));
    Answer::json(
        200,
        &json!({
            "object": "credit_summary", "currency": "USD",
            "total_granted_usd": granted.usd(), "total_used_usd": used.usd(), "total_available_usd": left.usd(),
            "quota_per_usd": QUOTA_PER_USD, "as_of": now.millis().div_euclid(1000),
        }),
    )
}

/// The list of models, in the OpenAI shape.
pub fn models() -> Answer {
    let names =
        ["wan2.5-t2v", "wan2.5-i2v", "wan2.2-i2v-flash", "wan2.2-i2v-plus", "sandbox-image", "sandbox-music"];
    let data: Vec<_> =
        names.iter().map(|id| json!({"id": id, "object": "model", "owned_by": "sandbox"})).collect();
    Answer::json(200, &json!({"object": "list", "data": data}))
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(key.into(), value);
    }
}

fn word(task: &Task, phase: Phase, plan: &Plan) -> Value {
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
    if plan.words != Some(WordChoice::Any) {
        return phase.word().into();
    }
    // By the task, not by the query: one task keeps its dialect.
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

fn progress(phase: Phase, plan: &Plan) -> Option<Value> {
    let percent = match phase {
        Phase::Queued => 0,
        Phase::Processing(percent) => percent,
        Phase::Completed | Phase::Failed | Phase::Cancelled => 100,
    };
    match plan.progress.as_ref().unwrap_or(&Progress::Percent) {
        Progress::Percent => Some(format!("{percent}%").into()),
        Progress::Int => Some(percent.into()),
        Progress::Float => Some(f64::from(percent).into()),
        Progress::Empty => Some("".into()),
        Progress::Absent => None,
        Progress::Null => Some(Value::Null),
        Progress::Over => Some(101.into()),
        Progress::Under => Some((-1).into()),
    }
}

fn time(at: Timestamp, times: &Times) -> Option<Value> {
    let millis = at.millis();
    Some(match times {
        Times::Seconds => millis.div_euclid(1000).into(),
        Times::Millis => millis.into(),
        Times::Micros => millis.saturating_mul(1000).into(),
        Times::Text => millis.div_euclid(1000).to_string().into(),
        Times::Iso => at.to_string().into(),
        Times::Absent => return None,
        Times::Zero => 0.into(),
        Times::Negative => (-1).into(),
        Times::Far => 253_402_300_799_i64.into(),
    })
}

fn result(task: &Task, plan: &Plan, links: &[Shown], seen: u32) -> Option<Value> {
    let key = |kind: &Kind| match kind {
        Kind::Video => "videos",
        Kind::Image => "images",
        Kind::Audio => "audios",
    };
    let key = task.files.first().map_or("videos", |file| key(&file.kind));
    match plan.result {
        Some(ResultShape::None) => return None,
        Some(ResultShape::Empty(answers)) if seen < answers => return Some(json!({ key: [] })),
        Some(ResultShape::Absent(answers)) if seen < answers => return None,
        Some(ResultShape::Null(answers)) if seen < answers => return Some(Value::Null),
        _ => {}
    }
    let times = plan.expires.as_ref().or(plan.times.as_ref()).unwrap_or(&Times::Seconds);
    let entry = |url: Value, expires: Timestamp| {
        let mut entry = Map::new();
        entry.insert("url".into(), url);
        put(&mut entry, "expires_at", time(expires, times));
        Value::Object(entry)
    };
    let mut entries: Vec<Value> = match plan.url.as_ref().unwrap_or(&UrlShape::Array) {
        UrlShape::Array => links.iter().map(|link| entry(json!([link.url]), link.expires)).collect(),
        UrlShape::Text => links.iter().map(|link| entry(json!(link.url), link.expires)).collect(),
        UrlShape::Merged => {
            let urls: Vec<_> = links.iter().map(|link| link.url.clone()).collect();
            links.first().map(|link| entry(json!(urls), link.expires)).into_iter().collect()
        }
    };
    if plan.twice == Some(Flag::Yes) {
        entries.extend(entries.clone());
    }
    Some(json!({ key: entries }))
}

fn failure(object: &mut Map<String, Value>, end: &End, plan: &Plan) {
    let (code, message) = match end {
        End::Unavailable => ("upstream_unavailable", "the model is not available at the moment"),
        End::RateLimited => ("upstream_rate_limited", "the model is busy"),
        End::BadRequest => ("upstream_bad_request", "the model does not accept this request"),
        End::Failed(code) => (code.0.as_str(), "the task failed"),
        _ => ("task_failed", "the task failed"),
    };
    match plan.fail_shape.as_ref().unwrap_or(&FailShape::Error) {
        FailShape::Error => put(object, "error", Some(json!({"code": code, "message": message}))),
        FailShape::Reason => put(object, "fail_reason", Some(format!("{code}: {message}").into())),
        FailShape::Text => put(object, "error", Some(message.into())),
        FailShape::None => {}
    }
}
