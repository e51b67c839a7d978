//! JSON as the provider and the gateways before it write it.

use serde_json::{Map, Value};

use crate::job::TaskId;
use crate::money::Quota;
use crate::provider::wire::Unreadable;
use crate::provider::wire::text::{WORD, beginning, clean};

/// Keys under which gateways and callbacks nest the task.
const WRAPPERS: [&str; 3] = ["data", "task", "payload"];
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
        next = WRAPPERS.iter().find_map(|key| object_of(object.get(*key)?));
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

/// The task id under `key`, from text or an integer.
pub(crate) fn id_under(object: &Map<String, Value>, key: &str) -> Option<TaskId> {
    match object.get(key)? {
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

/// Parses JSON, even with a byte order mark, invalid UTF-8 or half of a surrogate pair, which services on the way may have
/// caused: a paid video must not be lost to that.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&replace_lone_surrogates(text)))
        .map_err(|_| Unreadable::NotJson { beginning: beginning(text) })
}

/// Replaces each surrogate escape without its other half by the replacement character.
fn replace_lone_surrogates(text: &str) -> String {
    let escape = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let mut replaced = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        replaced.push_str(&text[at..at + found]);
        at += found;
        let length = match (escape(at), escape(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                replaced.push('\u{fffd}');
                at += 6;
                continue;
            }
            // Skips the escaped character too: in `\\ud800`, it is a backslash.
            _ => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        replaced.push_str(&text[at..at + length]);
        at += length;
    }
    replaced.push_str(&text[at..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d b""#, "\"a\u{fffd} b\""),
            (r#""\ude00\ud83d""#, "\"\u{fffd}\u{fffd}\""),
            (r#""\\ud83d \n\u0041""#, r#""\\ud83d \n\u0041""#),
            ("\\", "\\"),
            ("\\樱\\ud8", "\\樱\\ud8"),
        ];
        for (given, expected) in cases {
            assert_eq!(replace_lone_surrogates(given), expected);
        }
    }
}
