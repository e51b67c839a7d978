//! The lenient reader of every answer shape of docs/provider.md#submit-answers and
//! docs/provider.md#status-answers, into the words of `job::event`. All the provider's words live here and
//! nowhere else.
//!
//! Bytes come in already capped at [`crate::provider::client::BODY_LIMIT`]; the nesting is capped at 128 by the JSON
//! reader. No reader panics, whatever the bytes.

pub mod error;
mod outputs;
mod phase;
pub mod status;
pub mod text;
pub mod time;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::event::Phase;
use crate::money::Quota;
pub use error::read_error;
use error::{ProviderError, error_in, word};
pub use status::read_status;
use text::begins;

/// An answer that cannot be read as what was asked for.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Unreadable {
    /// No JSON at all: an error page, a cut answer, a compressed one.
    #[error("the answer is not JSON but begins {begins:?}")]
    NotJson {
        /// Its first characters.
        begins: String,
    },
    /// An error under a status that promised success.
    #[error("the answer is an error: {0}")]
    Error(ProviderError),
    /// JSON that names no task where one is needed.
    #[error("the answer names no task")]
    NoTask,
    /// JSON without a status.
    #[error("the answer tells no status")]
    NoStatus,
    /// The facts of a task that was not asked for.
    #[error("the answer speaks of another task, {named}")]
    OtherTask {
        /// The task it speaks of.
        named: TaskId,
    },
}

/// Keys under which gateways and callbacks wrap the object that counts.
const WRAPPERS: [&str; 3] = ["data", "task", "payload"];
/// Deeper than any wrapping that was met.
const LAYERS: usize = 5;

/// Reads the answer to a submit: the task's id and the quota frozen for it, if told.
///
/// # Errors
/// When no task is named; the submit may have been executed all the same.
pub fn read_submit(bytes: &[u8]) -> Result<(TaskId, Option<Quota>), Unreadable> {
    let answer = parse(bytes)?;
    let layers = layers(&answer);
    let Some(task) = submitted_task(&layers) else {
        // The times in an error do not matter here.
        let error = layers.first().and_then(|object| error_in(object, Timestamp::from_millis(0)));
        return Err(error.map_or(Unreadable::NoTask, Unreadable::Error));
    };
    let reserved = layers.iter().find_map(|object| read_quota(object.get("pre_consumed_cost")?));
    Ok((task, reserved))
}

fn submitted_task(layers: &[&Map<String, Value>]) -> Option<TaskId> {
    if let Some(task) = layers.iter().find_map(|object| id_under(object, "task_id")) {
        return Some(task);
    }
    // A bare `id` may be a request's: it counts only beside the status of a living task.
    let living = |object: &&&Map<String, Value>| {
        word(object.get("status"))
            .is_some_and(|word| !matches!(phase::read(&word), Phase::Unclear(_) | Phase::Failed))
    };
    if let Some(task) = layers.iter().filter(living).find_map(|object| id_under(object, "id")) {
        return Some(task);
    }
    // The old shape. Under any other code the text is a message, and many a message reads as an id.
    let outer = layers.first()?;
    let good = word(outer.get("code"))
        .is_some_and(|code| ["success", "ok", "0", "200"].contains(&code.to_ascii_lowercase().as_str()));
    if good { id_under(outer, "data") } else { None }
}

/// The task that a callback's body seems to name, whatever its shape: a hint, to be proved by a status query.
pub fn task_hint(bytes: &[u8]) -> Option<TaskId> {
    let Ok(body) = parse(bytes) else {
        return url::form_urlencoded::parse(bytes)
            .find(|(key, _)| key == "task_id")
            .and_then(|(_, value)| TaskId::parse(&value));
    };
    let named = |object: &Map<String, Value>, key| id_under(object, key);
    anywhere(&body, &|object| named(object, "task_id"))
        .or_else(|| submitted_task(&layers(&body)))
        .or_else(|| layers(&body).iter().rev().find_map(|object| named(object, "id")))
}

/// The first find in any object, outer ones before inner ones.
fn anywhere(value: &Value, find: &dyn Fn(&Map<String, Value>) -> Option<TaskId>) -> Option<TaskId> {
    match value {
        Value::Object(object) => {
            find(object).or_else(|| object.values().find_map(|inner| anywhere(inner, find)))
        }
        Value::Array(items) => items.iter().find_map(|inner| anywhere(inner, find)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The outermost object and those wrapped in it, outermost first.
pub(crate) fn layers(answer: &Value) -> Vec<&Map<String, Value>> {
    let mut found = Vec::new();
    let mut next = object_of(answer);
    while let Some(object) = next
        && found.len() < LAYERS
    {
        found.push(object);
        next = WRAPPERS.iter().find_map(|key| object_of(object.get(*key)?));
    }
    found
}

/// An object, or the only one of a list.
fn object_of(value: &Value) -> Option<&Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(items) if items.len() == 1 => items[0].as_object(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// A task id under `key`: text or a whole number.
pub(crate) fn id_under(object: &Map<String, Value>, key: &str) -> Option<TaskId> {
    match object.get(key)? {
        Value::String(text) => TaskId::parse(text.trim()),
        Value::Number(number) if number.is_u64() => TaskId::parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An amount of quota: integer, float or text; negative and unreadable ones count as absent.
pub(crate) fn read_quota(value: &Value) -> Option<Quota> {
    let amount = match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => return (whole >= 0).then(|| Quota::new(whole)),
            None => number.as_f64()?,
        },
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // Up to 2^53 every whole number has its own float; no account holds more.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    (0.0..=9_007_199_254_740_992.0).contains(&amount).then(|| Quota::new(amount.round() as i64))
}

/// JSON, forgiving what some service along the way may have done to a text in it: a byte order mark, broken UTF-8,
/// an emoji cut in half. A paid film must not be lost to that.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&without_half_characters(text)))
        .map_err(|_| Unreadable::NotJson { begins: begins(text) })
}

/// Replaces each `\uD8xx` that lacks its `\uDCxx`, and the other way round, by the replacement character.
fn without_half_characters(text: &str) -> String {
    let escape = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let mut whole = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        whole.push_str(&text[at..at + found]);
        at += found;
        let taken = match (escape(at), escape(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push('\u{fffd}');
                at += 6;
                continue;
            }
            // The escaped character goes along: in `\\ud800` it is the second backslash that is escaped.
            _ => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        whole.push_str(&text[at..at + taken]);
        at += taken;
    }
    whole.push_str(&text[at..]);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).expect("a task id")
    }

    #[test]
    fn a_submit_answer_is_read_in_every_shape() {
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
    fn an_answer_that_names_no_task_is_not_taken_for_one() {
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
            r#"{"code":"fail_to_fetch_task","message":"busy","data":null}"#,
            r#"{"task_id":"t-1""#,
        ] {
            assert!(read_submit(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read_submit(deep.as_bytes()), Err(Unreadable::NotJson { .. })));
    }

    #[test]
    fn an_unreadable_answer_says_what_came_instead() {
        let page = read_submit(b"<html>\n<a href=https://h/secret>Bad gateway</a>").expect_err("unreadable");
        let text = page.to_string();
        assert!(text.contains("<html>") && !text.contains("secret"), "{text}");
        let error = read_submit(br#"{"error":{"code":"x","message":"busy"}}"#).expect_err("unreadable");
        assert_eq!(error.to_string(), "the answer is an error: busy");
    }

    #[test]
    fn a_callback_s_task_is_found_in_any_shape() {
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

    #[test]
    fn half_characters_are_replaced_and_nothing_else() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d b""#, "\"a\u{fffd} b\""),
            (r#""\ude00\ud83d""#, "\"\u{fffd}\u{fffd}\""),
            (r#""\\ud83d \n\u0041""#, r#""\\ud83d \n\u0041""#),
            ("\\", "\\"),
            ("\\樱\\ud8", "\\樱\\ud8"),
        ];
        for (given, expected) in cases {
            assert_eq!(without_half_characters(given), expected);
        }
    }

    mod properties {
        use super::super::*;
        use proptest::prelude::*;

        fn json() -> impl Strategy<Value = String> {
            let leaf = prop_oneof![
                Just("null".to_owned()),
                any::<f64>().prop_map(|n| n.to_string()),
                any::<i64>().prop_map(|n| n.to_string()),
                ".{0,12}".prop_map(|s| Value::String(s).to_string()),
                prop::sample::select(vec![
                    r#""completed""#,
                    r#""FAILED""#,
                    r#""45%""#,
                    r#""https://h/x""#,
                    r#""\ud800""#,
                    "1e999",
                    r#""t-1""#,
                ])
                .prop_map(str::to_owned),
            ];
            let key = prop::sample::select(vec![
                "task_id",
                "id",
                "status",
                "progress",
                "data",
                "task",
                "result",
                "videos",
                "url",
                "error",
                "code",
                "message",
                "cost",
                "completed_at",
                "expires_at",
                "fail_reason",
                "reset_at",
            ]);
            leaf.prop_recursive(6, 64, 6, move |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..4)
                        .prop_map(|items| format!("[{}]", items.join(","))),
                    prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                        let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                        format!("{{{}}}", pairs.join(","))
                    }),
                ]
            })
        }

        fn read_all(bytes: &[u8], now: Timestamp) {
            let asked = TaskId::parse("t-1").expect("a task id");
            let _ = read_submit(bytes);
            let _ = task_hint(bytes);
            let _ = read_error(bytes, now);
            if let Ok(facts) = read_status(bytes, &asked, now) {
                assert!(facts.progress.is_none_or(|progress| progress <= 100));
                assert!(facts.cost.is_none_or(|cost| cost >= Quota::ZERO));
            }
        }

        proptest! {
            #[test]
            fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), now in any::<i64>()) {
                read_all(&bytes, Timestamp::from_millis(now));
            }

            #[test]
            fn no_json_makes_the_readers_panic(text in json(), cut in any::<prop::sample::Index>()) {
                let now = Timestamp::from_millis(1_775_285_200_000);
                read_all(text.as_bytes(), now);
                read_all(&text.as_bytes()[..cut.index(text.len() + 1)], now);
            }
        }
    }
}
