//! Reads the answer to a submit, and the task that a callback names.

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::event::Phase;
use crate::money::Quota;
use crate::provider::wire::Unreadable;
use crate::provider::wire::error::error_in;
use crate::provider::wire::json::{field, id_under, nested_objects, parse, read_quota, word};
use crate::provider::wire::phase::read_phase;

/// Reads the answer to a submit: the task id, and the quota reserved for it if present.
///
/// # Errors
/// When it names no task. The submit may have been executed nevertheless.
pub fn read_submit(bytes: &[u8]) -> Result<(TaskId, Option<Quota>), Unreadable> {
    let answer = parse(bytes)?;
    let objects = nested_objects(&answer);
    let Some(task) = submitted_task(&objects) else {
        // The time only decides which reset times are plausible; they are not used here.
        let error = objects.first().and_then(|object| error_in(object, Timestamp::from_millis(0)));
        return Err(error.map_or(Unreadable::NoTask, Unreadable::Error));
    };
    let reserved = objects.iter().find_map(|object| read_quota(object.get("pre_consumed_cost")?));
    Ok((task, reserved))
}

fn submitted_task(objects: &[&Map<String, Value>]) -> Option<TaskId> {
    if let Some(task) = objects.iter().find_map(|object| id_under(object, "task_id")) {
        return Some(task);
    }
    // A bare `id` may be that of the request: it counts only beside the status of a task that has not failed, beside its
    // kind of object, or alone.
    let is_alive = |object: &&&Map<String, Value>| {
        let status = ["status", "task_status", "state"].iter().find_map(|key| word(field(object, key)));
        match status {
            Some(status) => !matches!(read_phase(&status), Phase::Unclear(_) | Phase::Failed),
            None => object.len() == 1 || (object.contains_key("object") && !object.contains_key("error")),
        }
    };
    if let Some(task) = objects.iter().filter(is_alive).find_map(|object| id_under(object, "id")) {
        return Some(task);
    }
    // The old format. With another code, `data` is a message, and many messages look like ids.
    let outer = objects.first()?;
    let is_success = word(outer.get("code"))
        .is_some_and(|code| ["success", "ok", "0", "200"].contains(&code.to_ascii_lowercase().as_str()));
    if is_success { id_under(outer, "data") } else { None }
}

/// The task that a callback's body seems to name, in any format: a hint that only a status query confirms.
pub fn task_hint(bytes: &[u8]) -> Option<TaskId> {
    let Ok(body) = parse(bytes) else {
        return url::form_urlencoded::parse(bytes)
            .find(|(key, _)| key == "task_id")
            .and_then(|(_, value)| TaskId::parse(&value));
    };
    let named = |object: &Map<String, Value>, key| id_under(object, key);
    find_in_objects(&body, &|object| named(object, "task_id"))
        .or_else(|| submitted_task(&nested_objects(&body)))
        .or_else(|| nested_objects(&body).iter().rev().find_map(|object| named(object, "id")))
}

/// The first result of `find` in any object, outer objects first.
fn find_in_objects(value: &Value, find: &dyn Fn(&Map<String, Value>) -> Option<TaskId>) -> Option<TaskId> {
    match value {
        Value::Object(object) => {
            find(object).or_else(|| object.values().find_map(|inner| find_in_objects(inner, find)))
        }
        Value::Array(items) => items.iter().find_map(|inner| find_in_objects(inner, find)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).expect("a task id")
    }

    #[test]
    fn submit_answers_are_read_in_every_format() {
        let cases: &[(&str, &str, Option<i64>)] = &[
            (
                r#"{"task_id":"task-wave1775285160b950328499","model":"wan2.5-t2v","action":"generate","status":"queued","created_at":1775285160040,"progress":0}"#,
                "task-wave1775285160b950328499",
                None,
            ),
            (r#"{"task_id":"t-1","pre_consumed_cost":5500}"#, "t-1", Some(5500)),
            (r#"{"task_id":"t-1","pre_consumed_cost":"5500.0"}"#, "t-1", Some(5500)),
            (r#"{"task_id":"t-1","pre_consumed_cost":-3}"#, "t-1", None),
            (r#"{"task_id":"t-1","pre_consumed_cost":123456789012345678901234567890}"#, "t-1", None),
            (
                r#"{"code":"success","data":"task-wave17486161910001884721"}"#,
                "task-wave17486161910001884721",
                None,
            ),
            (r#"{"code":200,"data":"task-1"}"#, "task-1", None),
            (r#"{"code":"success","data":{"task_id":"t-2","pre_consumed_cost":7}}"#, "t-2", Some(7)),
            (r#"{"data":{"task":{"task_id":"t-3"}}}"#, "t-3", None),
            (r#"{"task":{"task_id":"t-3"}}"#, "t-3", None),
            (r#"[{"task_id":"t-4"}]"#, "t-4", None),
            (r#"{"id":"req-9","task_id":"t-5"}"#, "t-5", None),
            (r#"{"id":"t-6","status":"QUEUED"}"#, "t-6", None),
            (r#"{"id":"t-6"}"#, "t-6", None),
            (r#"{"id":"t-6","object":"video","model":"m"}"#, "t-6", None),
            (r#"{"request_id":"r","output":{"task_id":"t-6","task_status":"PENDING"}}"#, "t-6", None),
            (r#"{"id":"t-6","state":"pending"}"#, "t-6", None),
            (r#"{"task_id":123456}"#, "123456", None),
            ("\u{feff}{\"task_id\":\"t-7\"}", "t-7", None),
            (r#"{"task_id":"t-8","prompt":"cut \ud83d"}"#, "t-8", None),
            (r#"{"task_id":"t-9","error":{"message":"later"}}"#, "t-9", None),
        ];
        for (text, task, reserved) in cases {
            assert_eq!(read_submit(text.as_bytes()), Ok((id(task), reserved.map(Quota::new))), "{text}");
        }
    }

    #[test]
    fn answers_without_a_task_are_unreadable() {
        for text in [
            "",
            "<html>ok</html>",
            "null",
            "7",
            "\"task-1\"",
            "[]",
            "{}",
            "[[]]",
            r#"{"task_id":""}"#,
            r#"{"task_id":null}"#,
            r#"{"task_id":"../../etc"}"#,
            r#"{"task_id":1.5}"#,
            r#"{"code":"error","data":"unauthorized"}"#,
            r#"{"data":"unauthorized"}"#,
            r#"{"id":"req-1","error":{"message":"no"}}"#,
            r#"{"id":"req-1","status":"error"}"#,
            r#"{"id":"req-1","object":"error","error":{"message":"no"}}"#,
            r#"{"id":"req-1","message":"queued"}"#,
            r#"{"code":"fail_to_fetch_task","message":"busy","data":null}"#,
            r#"{"task_id":"t-1""#,
        ] {
            assert!(read_submit(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read_submit(deep.as_bytes()), Err(Unreadable::NotJson { .. })));
    }

    #[test]
    fn unreadable_answers_are_quoted_without_addresses() {
        let page = read_submit(b"<html>\n<a href=https://h/secret>Bad gateway</a>").expect_err("unreadable");
        let text = page.to_string();
        assert!(text.contains("<html>") && !text.contains("secret"), "{text}");
        let error = read_submit(br#"{"error":{"code":"x","message":"busy"}}"#).expect_err("unreadable");
        assert_eq!(error.to_string(), "the answer is an error: busy");
    }

    #[test]
    fn the_task_of_a_callback_is_found_in_any_format() {
        let cases: &[(&str, Option<&str>)] = &[
            (r#"{"task_id":"t-1","status":"completed"}"#, Some("t-1")),
            (r#"{"event":"task.completed","data":{"task_id":"t-1"}}"#, Some("t-1")),
            (r#"{"task":{"id":"t-1","status":"completed"}}"#, Some("t-1")),
            (r#"{"a":[{"b":{"task_id":"t-1"}}]}"#, Some("t-1")),
            (r#"{"event":"x","data":{"id":"t-1"}}"#, Some("t-1")),
            (r#"{"code":"success","data":"t-1"}"#, Some("t-1")),
            ("status=done&task_id=t-1", Some("t-1")),
            ("", None),
            ("\u{0}\u{1}garbage", None),
            (r#"{"task_id":"a b"}"#, None),
            (r#"{"task_id":{}}"#, None),
        ];
        for (body, task) in cases {
            assert_eq!(task_hint(body.as_bytes()), task.map(id), "{body}");
        }
    }
}
