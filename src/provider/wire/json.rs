//! JSON as the provider and the gateways before it write it.

use serde_json::{Map, Value};

use crate::job::TaskId;
use crate::money::Quota;
use crate::provider::wire::Unreadable;
use crate::provider::wire::compression::{BODY_LIMIT, decompressed};
use crate::provider::wire::repair::repaired;
use crate::provider::wire::text::{WORD, beginning, clean};

/// Keys under which gateways and callbacks nest the task.
const WRAPPERS: [&str; 3] = ["data", "task", "payload"];
/// Keys under which some services nest the task, and others its result, which names no task.
const TASK_OR_RESULT: [&str; 3] = ["output", "result", "response"];
/// Deeper than any nesting seen so far.
const MAX_NESTING: usize = 5;

/// The outermost object and those nested in it, outermost first.
pub(crate) fn nested_objects(answer: &Value) -> Vec<&Map<String, Value>> {
    let mut found = Vec::new();
    let mut next = object_of(answer);
    while let Some(object) = next
        && found.len() < MAX_NESTING
    {
        found.push(object);
        let names_task = |inner: &&Map<String, Value>| {
            field(inner, "task_id").is_some() || field(inner, "task_status").is_some()
        };
        next = WRAPPERS.iter().find_map(|key| object_of(object.get(*key)?)).or_else(|| {
            TASK_OR_RESULT.iter().find_map(|key| object_of(object.get(*key)?).filter(names_task))
        });
    }
    found
}

/// An object, or the only one in an array.
fn object_of(value: &Value) -> Option<&Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(items) if items.len() == 1 => items[0].as_object(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// The value under `key`, in whatever style it is written: `task_id`, `taskId`, `TaskID`.
pub(crate) fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let letters = |text: &'a str| text.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase());
    let is_same = |other: &'a str| {
        letters(other).eq(key.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()))
    };
    object.get(key).or_else(|| object.iter().find(|(other, _)| is_same(other)).map(|(_, value)| value))
}

/// The task id under `key`, from text or an integer.
pub(crate) fn id_under(object: &Map<String, Value>, key: &str) -> Option<TaskId> {
    match field(object, key)? {
        Value::String(text) => TaskId::parse(text.trim()),
        Value::Number(number) if number.is_u64() => TaskId::parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A short word, from text or a number. An empty one counts as absent.
pub(crate) fn word(value: Option<&Value>) -> Option<String> {
    let word = match value? {
        Value::String(text) => clean(text, WORD),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!word.is_empty()).then_some(word)
}

/// An amount of quota, from an integer, a float or text. Negative and unreadable ones count as absent.
pub(crate) fn read_quota(value: &Value) -> Option<Quota> {
    let amount = match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => return (whole >= 0).then(|| Quota::new(whole)),
            None => number.as_f64()?,
        },
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // 2^53: integers above it have no exact float, and no account holds that much.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    (0.0..=9_007_199_254_740_992.0).contains(&amount).then(|| Quota::new(amount.round() as i64))
}

/// Parses JSON, even compressed, with a byte order mark, invalid UTF-8 or what [`repaired`] repairs: services on the way
/// may have caused it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    let plain = decompressed(bytes, BODY_LIMIT);
    let text = String::from_utf8_lossy(&plain);
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&repaired(text)))
        .map_err(|_| Unreadable::NotJson { beginning: beginning(text) })
}

/// The answer as JSON, if it is.
pub fn read_json(bytes: &[u8]) -> Option<Value> {
    parse(bytes).ok()
}

/// What is left of the balance, in US dollars.
pub fn read_balance(answer: &Map<String, Value>) -> Option<f64> {
    let inner = answer.get("data").and_then(Value::as_object).unwrap_or(answer);
    let balance: f64 = match field(inner, "total_available_usd")? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    balance.is_finite().then_some(balance)
}
