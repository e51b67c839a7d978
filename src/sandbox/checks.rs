//! The provider's own checks of a submit's body (docs/provider.md#submit-request).

use serde_json::{Map, Value};

use crate::sandbox::http_types::Response;
use crate::sandbox::responses;

/// The models with documented inputs.
const KNOWN_MODELS: [&str; 4] = ["wan2.5-t2v", "wan2.5-i2v", "wan2.2-i2v-flash", "wan2.2-i2v-plus"];
const ASPECTS: [&str; 5] = ["16:9", "9:16", "1:1", "4:3", "3:4"];
const RESOLUTIONS: [&str; 3] = ["480p", "720p", "1080p"];

/// The refusal of a body, if there is a reason for one. Other models accept any keys.
pub fn refusal(body: &Map<String, Value>, extra_accepted: bool) -> Option<Response> {
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    if let Some(refusal) = missing_model(body).or_else(|| refused_extra(body, extra_accepted)) {
        return Some(refusal);
    }
    if !KNOWN_MODELS.contains(&model) {
        return None;
    }
    invalid_field(body).or_else(|| missing_input(model, body))
}

/// The refusal of a body without a model, or with an address that cannot be called.
pub fn missing_model(body: &Map<String, Value>) -> Option<Response> {
    if body.get("model").and_then(Value::as_str).is_none_or(str::is_empty) {
        return invalid("model", "model is required");
    }
    match body.get("callback_url") {
        Some(url) if !is_http_url(url) => invalid("callback_url", "callback_url must be an http(s) URL"),
        _ => None,
    }
}

/// The refusal of a non-empty `extra`, unless it is accepted.
pub fn refused_extra(body: &Map<String, Value>, accepted: bool) -> Option<Response> {
    let empty = body.get("extra").and_then(Value::as_object).is_none_or(Map::is_empty);
    (!empty && !accepted).then(responses::extra_refused)
}

/// The refusal of a documented field that has no valid value.
pub fn invalid_field(body: &Map<String, Value>) -> Option<Response> {
    body.iter().find_map(|(key, value)| match key.as_str() {
        "prompt" | "action" if !value.is_string() => invalid(key, "must be a string"),
        "negative_prompt" if value.as_str().is_none_or(|text| text.chars().count() > 500) => {
            invalid(key, "must be a string of at most 500 characters")
        }
        "aspect_ratio" if !one_of(value, &ASPECTS) => {
            invalid(key, "must be one of 16:9, 9:16, 1:1, 4:3, 3:4")
        }
        "resolution" if !one_of(value, &RESOLUTIONS) => invalid(key, "must be one of 480p, 720p, 1080p"),
        "duration" if !value.as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)) => {
            invalid(key, "must be a whole number of seconds")
        }
        "seed" if value.as_u64().is_none_or(|seed| seed > 2_147_483_647) => {
            invalid(key, "must be 0 to 2147483647")
        }
        "watermark" if !value.is_boolean() => invalid(key, "must be true or false"),
        "image_urls"
            if !value.as_array().is_some_and(|urls| !urls.is_empty() && urls.iter().all(is_http_url)) =>
        {
            invalid(key, "must be a list of public http(s) URLs")
        }
        "first_frame" | "last_frame" | "first_frame_image" | "last_frame_image" if !is_http_url(value) => {
            invalid(key, "must be a public http(s) URL")
        }
        "callback_events" if !value.as_array().is_some_and(|events| events.iter().all(Value::is_string)) => {
            invalid(key, "must be a list of strings")
        }
        "extra" if !value.is_object() => invalid(key, "must be an object"),
        _ => None,
    })
}

fn missing_input(model: &str, body: &Map<String, Value>) -> Option<Response> {
    let has = |keys: &[&str]| keys.iter().any(|key| body.contains_key(*key));
    let frames = has(&["first_frame", "first_frame_image"]) && has(&["last_frame", "last_frame_image"]);
    let has_prompt =
        body.get("prompt").and_then(Value::as_str).is_some_and(|prompt| !prompt.trim().is_empty());
    if model == "wan2.5-i2v" && frames {
        None
    } else if !has_prompt {
        invalid("prompt", "prompt is required")
    } else if model != "wan2.5-t2v" && !has(&["image_urls"]) {
        invalid("image_urls", "image_urls is required")
    } else {
        None
    }
}

/// 400 `invalid_request` about `param`.
pub fn invalid(param: &str, message: &str) -> Option<Response> {
    Some(responses::error(400, "invalid_request", message, Some(param)))
}

fn one_of(value: &Value, allowed: &[&str]) -> bool {
    value.as_str().is_some_and(|text| allowed.contains(&text))
}

fn is_http_url(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_refused_for_its_invalid_key() {
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
            let param = refusal(&body, true).map(|refusal| refusal.value()["error"]["param"].clone());
            let param = param.as_ref().and_then(Value::as_str).unwrap_or_default();
            assert_eq!(param, expected, "{body:?}");
        }
        let long =
            serde_json::json!({"model": "wan2.5-t2v", "prompt": "a", "negative_prompt": "樱".repeat(501)});
        assert!(refusal(long.as_object().expect("an object"), true).is_some());
    }

    #[test]
    fn extra_is_refused_if_the_plan_says_so() {
        let body = serde_json::json!({"model": "wan2.5-t2v", "prompt": "a", "extra": {"audio": true}});
        let body = body.as_object().expect("an object");
        assert_eq!(refusal(body, true), None);
        let refusal = refusal(body, false).expect("a refusal");
        assert_eq!(refusal.value()["error"]["code"], "capability_violation");
    }
}
