//! The `matrix` key of the `dropreel` member: the root keys that vary, each with its values.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::jobfile::cursor::Cursor;
use crate::jobfile::findings::Findings;
use crate::jobfile::json::{JsonValue, Node};

/// Root keys that no job may have of its own.
const FIXED_KEYS: &[&str] = &["dropreel", "callback_url"];

/// A root key with the values that it takes in turn, each in the user's own text.
pub struct MatrixKey<'a> {
    pub key: Cow<'a, str>,
    /// At least one.
    pub values: Vec<Node<'a>>,
}

/// Reads the matrix, its keys in the order of the file. A key with a problem is left out.
pub fn read<'a>(cursor: &Cursor<'_, 'a>, findings: &mut Findings<'_>) -> Vec<MatrixKey<'a>> {
    let Some(members) = cursor.members(findings) else { return Vec::new() };
    if members.is_empty() {
        cursor.wrong(findings, "must not be empty: it names the root keys that vary, each with its values");
    }
    let keys = members.into_iter().filter_map(|(member, cursor)| {
        if FIXED_KEYS.contains(&&*member.key) {
            cursor.wrong(findings, "must not vary");
            return None;
        }
        let values = values(&cursor, findings)?;
        Some(MatrixKey { key: member.key.clone(), values })
    });
    keys.collect()
}

fn values<'a>(cursor: &Cursor<'_, 'a>, findings: &mut Findings<'_>) -> Option<Vec<Node<'a>>> {
    let items = cursor.items("an array of the values that it takes in turn", findings)?;
    if items.is_empty() {
        cursor.wrong(findings, "must not be empty");
        return None;
    }
    let before = findings.count();
    let mut values: Vec<Node<'a>> = Vec::with_capacity(items.len());
    for item in items {
        if values.iter().any(|value| is_same(value, item.node())) {
            item.wrong(findings, "is there twice: the same job would be made, and billed, again");
        } else {
            values.push(item.node().clone());
        }
    }
    (findings.count() == before).then_some(values)
}

/// Whether two values mean the same. Numbers are compared as written.
fn is_same(one: &Node<'_>, other: &Node<'_>) -> bool {
    match (&one.value, &other.value) {
        (JsonValue::Text(one), JsonValue::Text(other)) => one == other,
        (JsonValue::Array(one), JsonValue::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (JsonValue::Object(one), JsonValue::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|member| {
                    let same_key = other.iter().find(|candidate| candidate.key == member.key);
                    same_key.is_some_and(|same| is_same(&member.value, &same.value))
                })
        }
        _ => one.text == other.text,
    }
}

/// The matrix as a JSON Schema.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "description": "Root keys, each with an array of values: one job for each combination.",
        "minProperties": 1,
        "propertyNames": { "not": { "enum": FIXED_KEYS } },
        "additionalProperties": { "type": "array", "minItems": 1, "uniqueItems": true },
    })
}
