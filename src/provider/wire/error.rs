//! Reads errors: `{"error":{...}}` and similar formats (docs/provider.md#errors).

use std::fmt;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::job::JobError;
use crate::provider::wire::json::{field, parse, word};
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::time::read_time;

/// An error of the provider's API. All texts are cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// A short word for programs, such as `capability_violation`.
    pub code: Option<String>,
    /// Another short word, such as `invalid_request_error`: a class of errors.
    pub kind: Option<String>,
    /// A sentence for people; empty if the answer has none.
    pub message: String,
    /// The parameter of the request that is wrong.
    pub param: Option<String>,
    /// When a rate limit ends, if present and plausible.
    pub reset_at: Option<Timestamp>,
}

impl ProviderError {
    /// An error of which only the sentence is known.
    pub(crate) fn of_message(message: String) -> Self {
        Self { code: None, kind: None, message, param: None, reset_at: None }
    }

    /// As the reason why a job failed, with `code` where the provider gave none.
    pub fn into_job_error(self, code: &str) -> JobError {
        let message = self.to_string();
        JobError { code: self.code.unwrap_or_else(|| code.to_owned()), message }
    }

    /// Whether its code is one of `codes`.
    pub fn is_one_of(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code.to_ascii_lowercase().as_str()))
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, self.message.as_str()) {
            (Some(code), "") => write!(f, "{code}")?,
            (None, "") => write!(f, "no reason given")?,
            (_, message) => write!(f, "{message}")?,
        }
        match &self.param {
            Some(param) => write!(f, " (in `{param}`)"),
            None => Ok(()),
        }
    }
}

/// The error of an answer. `None` if it does not have the provider's format, such as a gateway's error page or the JSON
/// of another service.
pub fn read_error(bytes: &[u8], now: Timestamp) -> Option<ProviderError> {
    error_in(parse(bytes).ok()?.as_object()?, now)
}

/// The error in an object: under `error`, or in `code` and `message` of the object itself.
pub(crate) fn error_in(object: &Map<String, Value>, now: Timestamp) -> Option<ProviderError> {
    match object.get("error") {
        Some(Value::Object(error)) if !error.is_empty() => Some(from_object(error, object, now)),
        Some(Value::String(text)) if !text.trim().is_empty() => Some(ProviderError {
            code: word(object.get("code")),
            ..ProviderError::of_message(clean(text, SENTENCE))
        }),
        _ => {
            let is_bare = object.get("code").is_some_and(Value::is_string) && object.contains_key("message");
            let is_success =
                word(object.get("code")).is_some_and(|code| code.eq_ignore_ascii_case("success"));
            (is_bare && !is_success).then(|| from_object(object, object, now))
        }
    }
}

fn from_object(error: &Map<String, Value>, outer: &Map<String, Value>, now: Timestamp) -> ProviderError {
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(|text| clean(text, SENTENCE));
    let reset = error.get("reset_at").or_else(|| outer.get("reset_at"));
    ProviderError {
        code: word(error.get("code")),
        kind: word(error.get("type")),
        message: text("message").or_else(|| text("msg")).unwrap_or_default(),
        param: word(error.get("param")),
        reset_at: reset.and_then(|value| read_time(value, now)),
    }
}

/// The refusal in the formats of other frameworks: `detail` as text or as a list of what is wrong where, `errors`, or a
/// bare `message`. A gateway before the provider may write like this too.
pub fn read_refusal(bytes: &[u8]) -> Option<ProviderError> {
    let answer = parse(bytes).ok()?;
    let object = answer.as_object()?;
    let refusal = ["detail", "errors", "message", "msg", "title"]
        .iter()
        .find_map(|key| refusal_in(field(object, key)?));
    refusal.map(|refusal| ProviderError {
        code: word(object.get("code").filter(|code| code.is_string())),
        ..refusal
    })
}

fn refusal_in(value: &Value) -> Option<ProviderError> {
    match value {
        Value::String(text) => {
            Some(ProviderError::of_message(clean(text, SENTENCE))).filter(|error| !error.message.is_empty())
        }
        Value::Array(items) => {
            let found: Vec<ProviderError> = items.iter().filter_map(refusal_in).collect();
            match found.as_slice() {
                [] => None,
                [only] => Some(only.clone()),
                several => {
                    let texts: Vec<String> = several.iter().map(ToString::to_string).collect();
                    Some(ProviderError::of_message(clean(&texts.join("; "), SENTENCE)))
                }
            }
        }
        Value::Object(object) => {
            let message =
                ["msg", "message", "detail", "reason"].iter().find_map(|key| object.get(*key)?.as_str())?;
            // FastAPI names the place as a path below `body`.
            let path = object.get("loc").and_then(Value::as_array);
            let names =
                path.into_iter().flatten().filter_map(|name| word(Some(name))).filter(|name| name != "body");
            let param = names.collect::<Vec<_>>().join(".");
            Some(ProviderError {
                param: Some(param).filter(|param| !param.is_empty()).or_else(|| word(object.get("param"))),
                ..ProviderError::of_message(clean(message, SENTENCE))
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_200_000);

    #[test]
    fn errors_are_read_in_every_format() {
        let cases: &[(&str, Option<&str>, &str)] = &[
            (
                r#"{"error":{"message":"bad","code":"capability_violation","param":"extra"}}"#,
                Some("capability_violation"),
                "bad (in `extra`)",
            ),
            (r#"{"error":{"message":"bad","code":1002,"param":null}}"#, Some("1002"), "bad"),
            (r#"{"error":{"code":"x"}}"#, Some("x"), "x"),
            (r#"{"error":{"message":"m","type":"invalid_request_error","code":""}}"#, None, "m"),
            (r#"{"error":"no such thing"}"#, None, "no such thing"),
            (r#"{"error":{"param":3}}"#, None, "no reason given (in `3`)"),
            (r#"{"code":"task_not_exist","message":"gone","data":null}"#, Some("task_not_exist"), "gone"),
            (r#"{"error":{"message":"see\nhttps://h/secret"}}"#, None, "see https://h/..."),
        ];
        for (text, code, shown) in cases {
            let error = read_error(text.as_bytes(), NOW).unwrap_or_else(|| panic!("unread: {text}"));
            assert_eq!((error.code.as_deref(), error.to_string().as_str()), (*code, *shown), "{text}");
        }
    }

    #[test]
    fn other_answers_are_not_read_as_errors() {
        for text in [
            "",
            "<html>502</html>",
            "[]",
            "null",
            "{}",
            r#"{"message":"no Route matched"}"#,
            r#"{"detail":"Not Found"}"#,
            r#"{"error":null}"#,
            r#"{"error":""}"#,
            r#"{"error":{}}"#,
            r#"{"code":"success","message":""}"#,
            r#"{"code":404,"message":"x"}"#,
        ] {
            assert_eq!(read_error(text.as_bytes(), NOW), None, "{text}");
        }
    }

    #[test]
    fn refusals_of_other_frameworks_are_read() {
        let cases = [
            (r#"{"detail":"Unsupported resolution"}"#, Some("Unsupported resolution")),
            (
                r#"{"detail":[{"loc":["body","duration"],"msg":"not an integer"}]}"#,
                Some("not an integer (in `duration`)"),
            ),
            (
                r#"{"detail":[{"loc":["body","a",0],"msg":"bad"},{"loc":[],"msg":"worse"}]}"#,
                Some("bad (in `a.0`); worse"),
            ),
            (r#"{"detail":{"message":"too long","param":"prompt"}}"#, Some("too long (in `prompt`)")),
            (r#"{"errors":["one","two"]}"#, Some("one; two")),
            (r#"{"errors":[{"message":"bad","param":"x"}]}"#, Some("bad (in `x`)")),
            (r#"{"code":400,"message":"bad size"}"#, Some("bad size")),
            (r#"{"title":"Bad","detail":"see https://h/secret"}"#, Some("see https://h/...")),
            (r#"{"detail":""}"#, None),
            (r#"{"detail":[]}"#, None),
            ("[1]", None),
            ("<html>", None),
        ];
        for (text, shown) in cases {
            assert_eq!(
                read_refusal(text.as_bytes()).map(|error| error.to_string()).as_deref(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn reset_times_are_read_in_any_unit() {
        let reset = Some(Timestamp::from_millis(1_775_288_800_000));
        for text in [
            r#"{"error":{"code":"quota_window_exceeded","window":"day","used":5,"cap":5,"reset_at":1775288800}}"#,
            r#"{"error":{"code":"quota_window_exceeded","reset_at":1775288800000}}"#,
            r#"{"error":{"code":"quota_window_exceeded","reset_at":"2026-04-04T07:46:40Z"}}"#,
            r#"{"error":{"code":"quota_window_exceeded"},"reset_at":"1775288800"}"#,
        ] {
            assert_eq!(read_error(text.as_bytes(), NOW).and_then(|error| error.reset_at), reset, "{text}");
        }
    }
}
