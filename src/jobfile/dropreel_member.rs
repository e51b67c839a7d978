//! The `dropreel` member of an object, which is never sent (docs/reference.md#job-files).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::jobfile::cursor::{Cursor, HOLDS_NUL};
use crate::jobfile::findings::{Findings, below, list_words, quoted};
use crate::jobfile::json::Member;
use crate::jobfile::matrix::{self, MatrixKey};
use crate::jobfile::{MAX_EXPANSION, MAX_NAME_CHARS};
use crate::money::Quota;

pub use crate::jobfile::field::DROPREEL_KEY;

/// The keys that this version knows.
const KEYS: &[&str] =
    &["name", "priority", "labels", "key", "again", "not_before", "max_cost_usd", "repeat", "matrix"];

const MAX_KEY: usize = 200;
/// How many labels a job may have.
pub const MAX_LABELS: usize = 50;
/// How many characters the key of a label may have.
pub const MAX_LABEL_KEY: usize = 64;
/// The longest value of a label, in bytes: longer than the path of any folder in the inbox. An entry of an index of
/// PostgreSQL holds 2,704 bytes, and one of ours has a label and the id of a model.
pub const MAX_LABEL_BYTES: usize = 2_048;

/// The member's values, with defaults for absent keys.
#[derive(Default)]
pub struct DropreelMember<'a> {
    /// `None`: the file's stem.
    pub name: Option<String>,
    /// -100 to 100.
    pub priority: i8,
    pub labels: BTreeMap<String, String>,
    /// See [`Draft::key`](crate::jobfile::Draft::key).
    pub key: Option<String>,
    /// See [`Draft::again`](crate::jobfile::Draft::again).
    pub again: bool,
    pub not_before: Option<Timestamp>,
    pub max_cost: Option<Quota>,
    /// How many jobs, with different seeds.
    pub repeat: Option<u64>,
    pub matrix: Vec<MatrixKey<'a>>,
}

/// Reads the member; `outer` points at its object.
pub fn read<'a>(member: &Member<'a>, outer: &str, findings: &mut Findings<'_>) -> DropreelMember<'a> {
    let mut values = DropreelMember::default();
    let pointer = below(outer, &member.key);
    let own = Cursor::of(member, outer);
    for (member, cursor) in own.members(findings).unwrap_or_default() {
        match &*member.key {
            "name" => values.name = name(&cursor, findings),
            "priority" => {
                values.priority =
                    cursor.whole(-100, 100, findings).and_then(|n| n.try_into().ok()).unwrap_or(0);
            }
            "labels" => values.labels = labels(&cursor, findings),
            "key" => values.key = cursor.filled_text(MAX_KEY, findings).map(str::to_owned),
            "again" => values.again = cursor.flag(findings).unwrap_or(false),
            "not_before" => values.not_before = not_before(&cursor, findings),
            "max_cost_usd" => values.max_cost = cursor.usd(findings),
            "repeat" => {
                values.repeat =
                    cursor.whole(1, MAX_EXPANSION.into(), findings).and_then(|n| n.try_into().ok());
            }
            "matrix" => values.matrix = matrix::read(&cursor, findings),
            other => {
                findings.add(&below(&pointer, other), member.key_at, unknown_key(other).unwrap_or_default());
            }
        }
    }
    values
}

/// The member as a JSON Schema.
pub fn schema() -> Value {
    let text = |most: usize| json!({ "type": "string", "pattern": "\\S", "maxLength": most });
    let with = |mut what: Value, description: &str| {
        what["description"] = description.into();
        what
    };
    let labels = json!({
        "type": "object",
        "maxProperties": MAX_LABELS,
        "propertyNames": { "minLength": 1, "maxLength": MAX_LABEL_KEY },
        "additionalProperties": { "type": "string", "maxLength": MAX_LABEL_BYTES },
    });
    json!({
        "type": "object",
        "description": "dropreel's own; never sent to the provider.",
        "additionalProperties": false,
        "properties": {
            "name": with(text(MAX_NAME_CHARS), "Used in file names and lists; default: the file's name."),
            "priority": { "type": "integer", "minimum": -100, "maximum": 100, "description": "Higher first; default 0." },
            "labels": with(labels, "To filter by, and for folders (library.layout)."),
            "key": with(text(MAX_KEY), "A job whose key was seen before is never run again."),
            "again": { "type": "boolean", "description": "Run although the same file was dropped within 24 hours." },
            "not_before": {
                "type": "string", "format": "date-time",
                "description": "Waits until then; RFC 3339, such as 2026-12-24T20:00:00+08:00.",
            },
            "repeat": {
                "type": "integer", "minimum": 1, "maximum": MAX_EXPANSION,
                "description": "The number of jobs made of this object, with different seeds.",
            },
            "matrix": matrix::schema(),
            "max_cost_usd": {
                "type": "number", "minimum": 0,
                "description": "Not submitted if its estimated cost is above this many US dollars.",
            },
        },
    })
}

fn name(cursor: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<String> {
    let name = cursor.filled_text(MAX_NAME_CHARS, findings)?;
    if name.chars().any(char::is_control) {
        cursor.wrong(findings, "must not hold control characters, such as a line break");
    }
    Some(name.to_owned())
}

/// What is wrong with a label, as what follows its key.
pub fn label_problem(key: &str, value: &str) -> Option<String> {
    if !(1..=MAX_LABEL_KEY).contains(&key.chars().count()) {
        return Some(format!("is too long or empty: label keys have 1 to {MAX_LABEL_KEY} characters"));
    }
    if value.len() > MAX_LABEL_BYTES {
        return Some(format!("has {} bytes: labels have at most {MAX_LABEL_BYTES}", value.len()));
    }
    // Not every database takes it, or finds the label then.
    [key, value].iter().any(|text| text.contains('\0')).then(|| HOLDS_NUL.to_owned())
}

fn labels(cursor: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let members = cursor.members(findings).unwrap_or_default();
    if members.len() > MAX_LABELS {
        cursor.wrong(findings, &format!("has {} entries: at most {MAX_LABELS} are allowed", members.len()));
    }
    for (member, label) in members {
        if let Some(text) = label.text(findings) {
            if let Some(problem) = label_problem(&member.key, text) {
                label.wrong(findings, &problem);
            }
            labels.insert(member.key.clone().into_owned(), text.to_owned());
        }
    }
    labels
}

fn not_before(cursor: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<Timestamp> {
    let moment = Timestamp::parse_rfc3339(cursor.text(findings)?);
    if moment.is_none() {
        cursor
            .wrong(findings, "must be an RFC 3339 time with an offset, such as `2026-11-23T08:00:00+08:00`");
    }
    moment
}

/// What is wrong with a key that this version does not know; `None` for one that it knows.
pub fn unknown_key(key: &str) -> Option<String> {
    if KEYS.contains(&key) {
        return None;
    }
    let shown = quoted(key);
    let known = list_words(KEYS, "and");
    let likeness = |known: &str| strsim::jaro_winkler(known, &key.to_lowercase());
    let nearest = KEYS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = nearest.map_or_else(String::new, |nearest| format!(": did you mean `{nearest}`?"));
    Some(format!("{shown} is unknown{meant} `dropreel` knows {known}"))
}
