//! Reads the answer to a status query, or a callback's body in the same format (docs/provider.md#status-answers).

use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::job::event::{Phase, TaskFacts};
use crate::job::{JobError, TaskId};
use crate::provider::wire::Unreadable;
use crate::provider::wire::error::error_in;
use crate::provider::wire::json::{field, id_under, nested_objects, parse, read_quota, word};
use crate::provider::wire::outputs::{OutputContext, read_outputs};
use crate::provider::wire::phase::{is_end, read_phase};
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::time::read_time;

/// The code of a failure without one.
const NO_CODE: &str = "task_failed";
/// The keys for the reason of a failure besides `error`, best first.
const REASONS: [&str; 10] = [
    "fail_reason",
    "failure_reason",
    "task_status_msg",
    "error_message",
    "error_msg",
    "failure",
    "message",
    "reason",
    "msg",
    "detail",
];

/// What an answer says about `task`. Relative links are resolved against `base`, the provider's address.
///
/// # Errors
/// When it cannot be trusted: no JSON, no status, the end of an unnamed task, or another task.
pub fn read_status(
    bytes: &[u8],
    task: &TaskId,
    now: Timestamp,
    base: Option<&Url>,
) -> Result<TaskFacts, Unreadable> {
    let answer = parse(bytes)?;
    let objects = nested_objects(&answer);
    let is_named = |object: &Map<String, Value>| {
        ["task_id", "id"].iter().any(|key| id_under(object, key).as_ref() == Some(task))
    };
    let named = objects.iter().any(|object| is_named(object));
    if !named && let Some(other) = objects.iter().find_map(|object| id_under(object, "task_id")) {
        return Err(Unreadable::OtherTask { named: other });
    }
    let Some((object, status)) = find_status(&objects, is_named) else {
        let error = objects.first().and_then(|object| error_in(object, now));
        return Err(error.map_or(Unreadable::NoStatus, Unreadable::Error));
    };
    let phase = read_phase(&status);
    let ended = is_end(&phase);
    let completed_at = ["completed_at", "finished_at", "finish_time"]
        .iter()
        .find_map(|key| read_time(field(object, key)?, now))
        .filter(|_| ended);
    let billing = word(object.get("billing_status"));
    let cost_pending =
        ended && billing.is_some_and(|word| BILLING_PENDING.contains(&word.to_lowercase().as_str()));
    let outputs = read_outputs(object, &objects, &OutputContext { phase: &phase, completed_at, now, base });
    // A gateway's own `"status":"error"` or `"success"` is not the status of a task that it does not name.
    if ended && !named && outputs.is_empty() {
        let error = error_in(object, now);
        return Err(error.map_or(Unreadable::NoTask, Unreadable::Error));
    }
    Ok(TaskFacts {
        progress: object.get("progress").and_then(read_progress),
        cost: object.get("cost").and_then(read_quota).filter(|_| ended && !cost_pending),
        cost_pending,
        completed_at,
        error: read_failure(object, &objects, &phase, &status),
        outputs,
        phase,
    })
}

/// Words of `billing_status` before the cost is final. Every other one, and none, means that it is: an unknown word must
/// not keep a charge out of the books.
const BILLING_PENDING: &[&str] = &["pending", "processing", "unsettled", "settling", "frozen", "reserved"];

/// The object with the task's status, and that status. Objects that name the task come first, because envelopes have a
/// status too.
fn find_status<'a>(
    objects: &[&'a Map<String, Value>],
    is_named: impl Fn(&Map<String, Value>) -> bool,
) -> Option<(&'a Map<String, Value>, String)> {
    let text = |object: &Map<String, Value>| {
        ["status", "task_status", "state"]
            .iter()
            .find_map(|key| word(field(object, key).filter(|value| value.is_string())))
    };
    let of_named = objects.iter().filter(|object| is_named(object)).find_map(|object| {
        // Beside the task's id, a number counts as a status too, if an unknown one.
        Some((*object, text(object).or_else(|| word(object.get("status")))?))
    });
    of_named.or_else(|| objects.iter().rev().find_map(|object| Some((*object, text(object)?))))
}

/// 0 to 100, from an integer, a float or text such as `"45%"`, clamped. Unreadable ones count as absent.
fn read_progress(value: &Value) -> Option<u8> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().trim_end_matches('%').trim_end().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100 first")]
    number.is_finite().then(|| number.clamp(0.0, 100.0) as u8)
}

/// Why a task failed, from the object with its status or another one of the answer. Without a reason, a status that says
/// more than that it failed.
fn read_failure(
    object: &Map<String, Value>,
    objects: &[&Map<String, Value>],
    phase: &Phase,
    status: &str,
) -> Option<JobError> {
    match phase {
        Phase::Failed | Phase::Cancelled => {}
        Phase::Queued | Phase::Processing | Phase::Unclear(_) | Phase::Completed => return None,
    }
    let others = objects.iter().rev().filter(|other| !std::ptr::eq(**other, object));
    let reason = std::iter::once(&object).chain(others).find_map(|object| failure_in(object));
    let says_more = ["expired", "timeout", "timed_out", "time_out", "rejected"]
        .iter()
        .any(|word| status.to_ascii_lowercase().ends_with(word));
    reason.or_else(|| {
        says_more.then(|| JobError {
            code: NO_CODE.to_owned(),
            message: format!("the provider reports the task as {status:?}, without a reason"),
        })
    })
}

fn failure_in(object: &Map<String, Value>) -> Option<JobError> {
    // The time only decides which reset times are plausible; they are not used here.
    let read = |object: &Map<String, Value>| error_in(object, Timestamp::from_millis(0));
    if let Some(error) = object.get("error").and_then(|_| read(object)) {
        return Some(error.into_job_error(NO_CODE));
    }
    let says_nothing = |text: &String| ["", "ok", "success"].contains(&text.to_ascii_lowercase().as_str());
    let message = REASONS.iter().find_map(|key| {
        match field(object, key)? {
            Value::Object(inner) => read(inner)
                .map(|error| error.to_string())
                .or_else(|| Some(clean(inner.get("message")?.as_str()?, SENTENCE))),
            text => Some(clean(text.as_str()?, SENTENCE)),
        }
        .filter(|text| !says_nothing(text))
    })?;
    // The code of an envelope says that the call succeeded.
    let is_code = |code: &String| !["success", "ok"].contains(&code.to_ascii_lowercase().as_str());
    let code = ["error_code", "fail_code", "code"]
        .iter()
        .find_map(|key| word(field(object, key).filter(|code| code.is_string())).filter(is_code));
    let code = code.or_else(|| word(object.get("error_code")));
    Some(JobError { code: code.unwrap_or_else(|| NO_CODE.to_owned()), message })
}

#[cfg(test)]
mod tests;
