//! A stored request as a job file again: with a `dropreel` member, and with values that a person sets. Every byte that is
//! not set stays as it was.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jobfile::Form;
use crate::jobfile::body::with_member;
use crate::jobfile::findings::{Findings, quoted};
use crate::jobfile::json::{self, JsonValue, Node};
use crate::money::Quota;

/// The values of a `dropreel` member. Those that are absent or have their default are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OwnValues {
    /// The name of the job.
    pub name: String,
    /// Higher first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i8,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The user's own key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Not submitted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The most that the job may cost.
    #[serde(rename = "max_cost_usd", serialize_with = "usd", skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Quota>,
}

/// Why a value cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetError {
    /// The path is empty, or has an empty part.
    #[error("`set` has the key {0}: name a key, or a path below one such as `extra.audio`")]
    NoKey(String),
    /// The path leads through a value that is no object.
    #[error("{key} cannot be set: {outer} is {what}, and only an object has keys")]
    NoObject {
        /// The path.
        key: String,
        /// What the path leads through.
        outer: String,
        /// What that is.
        what: &'static str,
    },
    /// The text to set values in is no JSON.
    #[error("the text is no JSON, so nothing can be set in it")]
    NoJson,
}

/// The job file whose only object is the request `body`, with these values in its `dropreel` member.
pub fn job_file(body: &str, own: &OwnValues) -> String {
    // Strings and numbers always have a JSON form.
    let own = serde_json::to_string(own).unwrap_or_default();
    with_member(body, "dropreel", &own)
}

/// The job file on one line: JSON has line breaks between its tokens only.
pub fn on_one_line(job_file: &str) -> String {
    job_file.trim().replace(['\n', '\r'], " ")
}

/// The object `text` with the JSON text `value` at `path`: a key, or keys with a dot between them for a value below the root.
/// Objects on the way are made where they are missing.
///
/// # Errors
/// See [`SetError`].
pub fn with_value(text: &str, path: &str, value: &RawValue) -> Result<String, SetError> {
    if path.split('.').any(str::is_empty) {
        return Err(SetError::NoKey(quoted(path)));
    }
    let mut findings = Findings::new(text, 1);
    let root = json::read(text, Form::Document, &mut findings).map_err(|_| SetError::NoJson)?;
    let (mut node, mut rest) = (&root, path);
    loop {
        let JsonValue::Object(members) = &node.value else {
            let outer = path[..path.len() - rest.len()].trim_end_matches('.');
            let outer = if outer.is_empty() { "the job".to_owned() } else { quoted(outer) };
            return Err(SetError::NoObject { key: quoted(path), outer, what: node.value.what() });
        };
        // A key may itself have a dot.
        if let Some(member) = members.iter().find(|member| member.key == rest) {
            return Ok(replaced(text, &member.value, value.get()));
        }
        let (key, below) = rest.split_once('.').map_or((rest, None), |(key, below)| (key, Some(below)));
        match (members.iter().find(|member| member.key == key), below) {
            (Some(member), Some(below)) => (node, rest) = (&member.value, below),
            _ => {
                let value = below.map_or_else(|| value.get().to_owned(), |below| nested(below, value.get()));
                return Ok(replaced(text, node, &with_member(node.text, key, &value)));
            }
        }
    }
}

fn replaced(text: &str, node: &Node<'_>, with: &str) -> String {
    format!("{}{with}{}", &text[..node.at], &text[node.at + node.text.len()..])
}

/// `{"a":{"b":VALUE}}` for `a.b`.
fn nested(path: &str, value: &str) -> String {
    path.rsplit('.').fold(value.to_owned(), |value, key| with_member("{}", key, &value))
}

fn is_zero(priority: &i8) -> bool {
    *priority == 0
}

fn usd<S: serde::Serializer>(quota: &Option<Quota>, serializer: S) -> Result<S::Ok, S::Error> {
    // Without an exponent, which the reader of job files refuses; six decimal places hold every amount of quota.
    let amount = quota.map(|quota| format!("{:.6}", quota.usd()));
    let amount =
        amount.as_deref().map(|amount| amount.trim_end_matches('0').trim_end_matches('.').to_owned());
    amount.map(RawValue::from_string).transpose().map_err(serde::ser::Error::custom)?.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jobfile::{JobFileLimits, read_document};
    use crate::rng::Rng;

    fn set(text: &str, path: &str, value: &str) -> Result<String, SetError> {
        with_value(text, path, &RawValue::from_string(value.to_owned()).unwrap())
    }

    #[test]
    fn value_is_set_in_place_and_the_rest_is_unchanged() {
        let cases = [
            (r#"{"seed": 1.10, "a":"é"}"#, "seed", "7", r#"{"seed": 7, "a":"é"}"#),
            (r#"{ "a" : 1.10 }"#, "seed", "7", r#"{ "a" : 1.10,"seed":7 }"#),
            (
                r#"{"extra": {"audio" : false,"x":[1, 2]}}"#,
                "extra.audio",
                "true",
                r#"{"extra": {"audio" : true,"x":[1, 2]}}"#,
            ),
            (r#"{"extra": {}}"#, "extra.audio", "true", r#"{"extra": {"audio":true}}"#),
            (
                "{\"a\":1\n}",
                "extra.audio.level",
                "\"hi\"",
                "{\"a\":1,\"extra\":{\"audio\":{\"level\":\"hi\"}}\n}",
            ),
            (r#"{"a.b": 1, "a": {"b": 2}}"#, "a.b", "3", r#"{"a.b": 3, "a": {"b": 2}}"#),
            (r#"{"p": "say \"}\" 🌸"}"#, "q", "null", r#"{"p": "say \"}\" 🌸","q":null}"#),
        ];
        for (text, path, value, expected) in cases {
            assert_eq!(set(text, path, value).unwrap(), expected, "{text} {path}");
        }
    }

    #[test]
    fn value_below_no_object_is_refused_with_its_place() {
        let message = |text, path| set(text, path, "1").unwrap_err().to_string();
        assert_eq!(
            message(r#"{"duration": 5}"#, "duration.a"),
            "`duration.a` cannot be set: `duration` is a number, and only an object has keys"
        );
        assert!(message(r#"{"extra": {"a": []}}"#, "extra.a.b").contains("`extra.a` is an array"));
        assert!(message("[]", "a").contains("the job is an array"));
        for path in ["", ".", "a.", ".a", "a..b"] {
            assert!(matches!(set("{}", path, "1"), Err(SetError::NoKey(_))), "{path}");
        }
    }

    #[test]
    fn job_file_has_what_is_not_default_and_reads_back() {
        let own = OwnValues {
            name: "sakura \"2\"".into(),
            priority: -3,
            labels: [("project".to_owned(), "春".to_owned())].into(),
            key: Some("k".into()),
            not_before: Some(Timestamp::from_millis(1_775_285_160_000)),
            max_cost: Some(Quota::new(1)),
        };
        let text = job_file("{\"model\": \"m\",\r\n\"seed\": 1.10\n}\n", &own);
        assert_eq!(
            on_one_line(&text),
            concat!(
                r#"{"model": "m",  "seed": 1.10,"dropreel":{"name":"sakura \"2\"","priority":-3,"labels":{"project":"春"},"#,
                r#""key":"k","not_before":"2026-04-04T06:46:00.000Z","max_cost_usd":0.000002} }"#,
            )
        );
        let drafts = read_document(text.as_bytes(), "x", &JobFileLimits::default(), &Rng::seeded(1)).unwrap();
        let draft = &drafts[0];
        assert_eq!((&draft.name, draft.priority, draft.max_cost), (&own.name, -3, own.max_cost));
        assert_eq!((&draft.labels, &draft.key, draft.not_before), (&own.labels, &own.key, own.not_before));
        assert_eq!(
            job_file("{\"model\":\"m\"}", &OwnValues { name: "a".into(), ..OwnValues::default() }),
            r#"{"model":"m","dropreel":{"name":"a"}}"#
        );
    }

    proptest! {
        /// Requests as `jobfile` stores them, with white space anywhere between tokens.
        #[test]
        fn request_is_unchanged_by_the_way_through_a_job_file(
            blanks in prop::collection::vec("[ \n\r\t]{0,3}", 8),
            prompt in "[^\"\\\\\u{0}-\u{1f}]{1,20}",
            number in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,9})?",
        ) {
            let b = &blanks;
            let body = format!(
                "{}{{{}\"model\"{}:{}\"m\"{},\"x\":{number},{}\"prompt\":\"{prompt}\"{}}}{}",
                "", b[1], b[2], b[3], b[4], b[5], b[6], ""
            );
            let own = OwnValues { name: "n".into(), ..OwnValues::default() };
            let text = job_file(&body, &own);
            let limits = JobFileLimits::default();
            if let Ok(drafts) = read_document(text.as_bytes(), "x", &limits, &Rng::seeded(1)) {
                prop_assert_eq!(&drafts[0].body, &body);
            }
            let line = on_one_line(&text);
            prop_assert!(!line.contains(['\n', '\r']));
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(value(&line), value(&text));
        }
    }
}
