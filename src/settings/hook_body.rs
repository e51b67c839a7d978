//! `body` of a hook: the text that is posted to its address, with placeholders such as `{name}` (docs/hooks.md).
//!
//! In a body that is JSON, a placeholder inside a string becomes the inside of a string, and one outside a whole value: no
//! name and no message of a provider can break out of its place.

use std::fmt;

use serde_json::Value;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::settings::reader::words;

/// The longest template, in bytes.
const MAX_BYTES: usize = 16 << 10;
/// The most characters of a value inside a text: what is posted is for people, and the receivers have limits.
const MAX_CHARS: usize = 1_000;

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placeholder {
    Field(BodyField),
    /// `{labels.KEY}`
    Label(String),
}

/// The fixed placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum BodyField {
    /// What happened, in a sentence.
    Text,
    /// The word of `on`.
    Event,
    /// The same for every try.
    MessageId,
    Timestamp,
    /// All data, as JSON.
    Data,
    Id,
    Name,
    State,
    Reason,
    Error,
    Model,
    Prompt,
    CostUsd,
    EstimateUsd,
    TaskId,
    Batch,
    /// Of the first file.
    Path,
}

/// A parsed template.
#[derive(Clone, PartialEq)]
pub struct BodyTemplate {
    parts: Vec<Part>,
    is_json: bool,
}

#[derive(Clone, PartialEq)]
enum Part {
    Literal(String),
    Value(Placeholder, Place),
}

/// Where a placeholder stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    PlainText,
    JsonString,
    JsonValue,
}

/// A template can hold a token.
impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyTemplate")
    }
}

impl BodyTemplate {
    /// Reads a template. The error quotes nothing of it but the placeholder.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("`body` must be at most {} KiB", MAX_BYTES >> 10));
        }
        let is_json = looks_like_json(text);
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let (mut rest, mut in_string) = (text, false);
        while let Some(next) = rest.chars().next() {
            if let Some(word) = placeholder(rest) {
                let place = match (is_json, in_string) {
                    (false, _) => Place::PlainText,
                    (true, true) => Place::JsonString,
                    (true, false) => Place::JsonValue,
                };
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                parts.push(Part::Value(known(word)?, place));
                rest = &rest[word.len() + 2..];
                continue;
            }
            if let Some(field) = unclosed(rest) {
                let field = field.into_str();
                return Err(format!("`body` has `{{{field}` without its `}}`: write `{{{field}}}`"));
            }
            let escaped = usize::from(is_json && in_string && next == '\\');
            in_string ^= is_json && next == '"';
            let taken: String = rest.chars().take(1 + escaped).collect();
            rest = &rest[taken.len()..];
            literal.push_str(&taken);
        }
        parts.push(Part::Literal(literal));
        let template = Self { parts, is_json };
        if is_json {
            let sample = template.render(|_| Value::from("x"));
            serde_json::from_str::<serde::de::IgnoredAny>(&sample)
                .map_err(|error| format!("`body` begins like JSON, but is not: {error}"))?;
        }
        Ok(template)
    }

    pub fn content_type(&self) -> &'static str {
        if self.is_json { "application/json" } else { "text/plain; charset=utf-8" }
    }

    /// The body with these values.
    pub fn render(&self, value: impl Fn(&Placeholder) -> Value) -> String {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => body.push_str(text),
                Part::Value(placeholder, place) => {
                    let value = value(placeholder);
                    match place {
                        Place::PlainText => body.push_str(&plain(&value)),
                        Place::JsonValue => body.push_str(&value.to_string()),
                        Place::JsonString => {
                            let quoted = Value::from(plain(&value)).to_string();
                            body.push_str(&quoted[1..quoted.len() - 1]);
                        }
                    }
                }
            }
        }
        body
    }
}

/// The value inside a text.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

/// The word of the placeholder that `text` begins with: letters and `_`, and for a label its key after a dot.
fn placeholder(text: &str) -> Option<&str> {
    let (word, _) = text.strip_prefix('{')?.split_once('}')?;
    let (name, key) = word.split_once('.').unwrap_or((word, "x"));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_key = !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '"'));
    (is_name && is_key).then_some(word)
}

/// The field that `text` begins with as a placeholder does, but for its end.
fn unclosed(text: &str) -> Option<BodyField> {
    let word = text.strip_prefix('{')?.split(|c: char| !c.is_ascii_lowercase() && c != '_').next()?;
    word.parse().ok()
}

/// An object or an array: no text for people begins so, but with a placeholder it may.
fn looks_like_json(text: &str) -> bool {
    let text = text.trim_start();
    let is_object = |text: &str| text.starts_with('{') && placeholder(text).is_none();
    match text.strip_prefix('[') {
        Some(inner) => is_object(inner.trim_start()) || inner.trim_start().starts_with(['"', '[', ']']),
        None => is_object(text),
    }
}

fn known(word: &str) -> Result<Placeholder, String> {
    if let Some(key) = word.strip_prefix("labels.") {
        return Ok(Placeholder::Label(key.to_owned()));
    }
    word.parse().map(Placeholder::Field).map_err(|_| {
        let nearest = BodyField::VARIANTS
            .iter()
            .map(BodyField::into_str)
            .min_by_key(|known| strsim::osa_distance(known, word));
        format!(
            "`body` has an unknown placeholder `{{{word}}}`; did you mean `{{{}}}`? Valid placeholders: {}, labels.KEY",
            nearest.unwrap_or_default(),
            words::<BodyField>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, value: &str) -> String {
        BodyTemplate::parse(template).unwrap().render(|_| Value::from(value))
    }

    #[test]
    fn value_cannot_break_out_of_its_place() {
        let hostile = "a\"}\\\n{name} \u{202e}樱花";
        for template in [
            r#"{"text": "{name}"}"#,
            r#"{"text": {name}}"#,
            r#"{"a\"b": "x {name} y", "c": [1, {"d": "{labels.project}"}]}"#,
            "  [ \"{name}\" ]",
            r#"[{"text": "{name}"}]"#,
        ] {
            let body = render(template, hostile);
            let value: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
            assert!(value.to_string().contains(&Value::from(hostile).to_string()[1..10]), "{body}");
            assert_eq!(BodyTemplate::parse(template).unwrap().content_type(), "application/json");
        }
        assert_eq!(render("{name}: [{event}] {\"}", hostile), format!("{hostile}: [{hostile}] {{\"}}"));
        assert_eq!(render("[{event}] {name}", "x"), "[x] x");
        assert_eq!(render("{text}", &"樱".repeat(1_200)).chars().count(), 1_001);
    }

    #[test]
    fn values_keep_their_type_outside_strings() {
        let template =
            BodyTemplate::parse(r#"{"cost": {cost_usd}, "text": "{cost_usd}", "none": {task_id}}"#);
        let value = |placeholder: &Placeholder| match placeholder {
            Placeholder::Field(BodyField::CostUsd) => Value::from(0.15),
            _ => Value::Null,
        };
        assert_eq!(template.unwrap().render(value), r#"{"cost": 0.15, "text": "0.15", "none": null}"#);
    }

    #[test]
    fn bad_template_is_refused_without_quoting_it() {
        for (template, why) in [
            (r#"{"token": "canary", "text": "{nmae}"}"#, "did you mean `{name}`?"),
            ("canary {labels}", "did you mean"),
            (r#"{"token": "canary", "text": {text}"#, "not: EOF while parsing"),
            (r#"{"token": "canary" "text": "{text}"}"#, "column"),
            (r#"[{"token": "canary"}"#, "begins like JSON"),
            ("canary {text and {name}", "write `{text}`"),
            (r#"{"token": "canary", "text": "{text"}"#, "write `{text}`"),
            (&format!("canary{}", "x".repeat(17_000)), "at most 16 KiB"),
        ] {
            let error = BodyTemplate::parse(template).unwrap_err();
            assert!(error.contains(why) && !error.contains("canary"), "{template}: {error}");
        }
        let shown = format!("{:?}", BodyTemplate::parse("canary {text}").unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}
