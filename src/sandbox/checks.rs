//! What the provider itself checks in the body of a submit (docs/provider.md#submit-request).

use serde_json::{Map, Value};

use crate::sandbox::answers;
use crate::sandbox::exchange::Answer;

/// The models whose modes are documented, so that their inputs can be checked.
const KNOWN: [&str; 4] = ["wan2.5-t2v", "wan2.5-i2v", "wan2.2-i2v-flash", "wan2.2-i2v-plus"];
const ASPECTS: [&str; 5] = ["16:9", "9:16", "1:1", "4:3", "3:4"];
const RESOLUTIONS: [&str; 3] = ["480p", "720p", "1080p"];

/// The provider's refusal of a body, if it has one. Models it does not know may have any keys.
pub fn refusal(body: &Map<String, Value>, extra_accepted: bool) -> Option<Answer> {
    let model = match body.get("model") {
        Some(Value::String(model)) if !model.is_empty() => model.as_str(),
        _ => return bad("model", "model is required"),
    };
    if let Some(url) = body.get("callback_url")
        && !is_web(url)
    {
        return bad("callback_url", "callback_url must be an http(s) URL");
    }
    if let Some(Value::Object(extra)) = body.get("extra")
        && !extra.is_empty()
        && !extra_accepted
    {
        return Some(answers::capability_violation());
    }
    if !KNOWN.contains(&model) {
        return None;
    }
    wrong_field(body).or_else(|| missing_input(model, body))
}

fn wrong_field(body: &Map<String, Value>) -> Option<Answer> {
    body.iter().find_map(|(key, value)| match key.as_str() {
        "prompt" | "action" if !value.is_string() => bad(key, "must be a string"),
        "negative_prompt" if value.as_str().is_none_or(|text| text.chars().count() > 500) => {
            bad(key, "must be a string of at most 500 characters")
        }
        "aspect_ratio" if !one_of(value, &ASPECTS) => bad(key, "must be one of 16:9, 9:16, 1:1, 4:3, 3:4"),
        "resolution" if !one_of(value, &RESOLUTIONS) => bad(key, "must be one of 480p, 720p, 1080p"),
        "duration" if !value.as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)) => {
            bad(key, "must be a whole number of seconds")
        }
        "seed" if value.as_u64().is_none_or(|seed| seed > 2_147_483_647) => {
            bad(key, "must be 0 to 2147483647")
        }
        "watermark" if !value.is_boolean() => bad(key, "must be true or false"),
        "image_urls" if !value.as_array().is_some_and(|urls| !urls.is_empty() && urls.iter().all(is_web)) => {
            bad(key, "must be a list of public http(s) URLs")
        }
        "first_frame" | "last_frame" | "first_frame_image" | "last_frame_image" if !is_web(value) => {
            bad(key, "must be a public http(s) URL")
        }
        "callback_events" if !value.as_array().is_some_and(|events| events.iter().all(Value::is_string)) => {
            bad(key, "must be a list of strings")
        }
        "extra" if !value.is_object() => bad(key, "must be an object"),
        _ => None,
    })
}

fn missing_input(model: &str, body: &Map<String, Value>) -> Option<Answer> {
    let has = |keys: &[&str]| keys.iter().any(|key| body.contains_key(*key));
    let frames = has(&["first_frame", "first_frame_image"]) && has(&["last_frame", "last_frame_image"]);
    let prompted = body.get("prompt").and_then(Value::as_str).is_some_and(|prompt| !prompt.trim().is_empty());
    if model == "wan2.5-i2v" && frames {
        None
    } else if !prompted {
        bad("prompt", "prompt is required")
    } else if model != "wan2.5-t2v" && !has(&["image_urls"]) {
        bad("image_urls", "image_urls is required")
    } else {
        None
    }
}

fn bad(param: &str, message: &str) -> Option<Answer> {
    Some(answers::error(400, "invalid_request", message, Some(param)))
}

fn one_of(value: &Value, allowed: &[&str]) -> bool {
    value.as_str().is_some_and(|text| allowed.contains(&text))
}

fn is_web(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_refused_by_the_key_that_is_wrong() {
        let cases = [
            (r#"{"model":"wan2.5-t2v","prompt":"a"}"#, ""),
            (r#"{"prompt":"a"}"#, "model"),
            (r#"{"model":7,"prompt":"a"}"#, "model"),
            (r#"{"model":"wan2.5-t2v"}"#, "prompt"),
            (r#"{"model":"wan2.5-t2v","prompt":"  "}"#, "prompt"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","duration":"5"}"#, "duration"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","duration":5.5}"#, "duration"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","seed":2147483648}"#, "seed"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","seed":-1}"#, "seed"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","aspect_ratio":"2:1"}"#, "aspect_ratio"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","resolution":"4k"}"#, "resolution"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","watermark":"no"}"#, "watermark"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","callback_url":"ftp://x"}"#, "callback_url"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","callback_events":[1]}"#, "callback_events"),
            (r#"{"model":"wan2.5-i2v","prompt":"a"}"#, "image_urls"),
            (r#"{"model":"wan2.5-i2v","prompt":"a","image_urls":["file:///x.png"]}"#, "image_urls"),
            (r#"{"model":"wan2.5-i2v","first_frame":"https://a/1","last_frame":"https://a/2"}"#, ""),
            (
                r#"{"model":"wan2.2-i2v-plus","first_frame":"https://a/1","last_frame":"https://a/2"}"#,
                "prompt",
            ),
            (r#"{"model":"wan2.2-i2v-flash","prompt":"a","image_urls":["https://a/1"]}"#, ""),
            (r#"{"model":"new-model","duration":"10s","anything":[1]}"#, ""),
        ];
        for (body, expected) in cases {
            let body: Map<String, Value> = serde_json::from_str(body).expect(body);
            let param = refusal(&body, true).map(|answer| answer.value()["error"]["param"].clone());
            let param = param.as_ref().and_then(Value::as_str).unwrap_or_default();
            assert_eq!(param, expected, "{body:?}");
        }
        let long =
            serde_json::json!({"model": "wan2.5-t2v", "prompt": "a", "negative_prompt": "樱".repeat(501)});
        assert!(refusal(long.as_object().expect("an object"), true).is_some());
    }

    #[test]
    fn extra_is_refused_where_the_plan_says_so() {
        let body = serde_json::json!({"model": "wan2.5-t2v", "prompt": "a", "extra": {"audio": true}});
        let body = body.as_object().expect("an object");
        assert_eq!(refusal(body, true), None);
        let answer = refusal(body, false).expect("refused");
        assert_eq!(answer.value()["error"]["code"], "capability_violation");
    }
}
