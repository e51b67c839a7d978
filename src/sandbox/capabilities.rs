//! What the newest generation of the service refuses: models that it does not list, and every key, length, resolution
//! and input that the model does not declare. None of it is billed.

use serde_json::{Map, Value};

use crate::sandbox::catalogue::{self, Limits, ListedModel, Pricing};
use crate::sandbox::checks;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{Generation, YesNo};
use crate::sandbox::http_types::Response;
use crate::sandbox::responses;

/// The root keys that every model has.
const COMMON: [&str; 11] = [
    "model",
    "action",
    "prompt",
    "negative_prompt",
    "duration",
    "resolution",
    "aspect_ratio",
    "seed",
    "watermark",
    "callback_url",
    "callback_events",
];

/// The refusal of a body by the newest generation, if there is a reason for one.
pub(crate) fn refusal(body: &Map<String, Value>, plan: &FaultPlan) -> Option<Response> {
    let extra_accepted = plan.extra == Some(YesNo::Yes);
    checks::missing_model(body)
        .or_else(|| unlisted(body, &Generation::New, plan.unlisted == Some(YesNo::Yes)))
        .or_else(|| checks::refused_extra(body, extra_accepted))
        .or_else(|| checks::invalid_field(body))
        .or_else(|| model_of(body).and_then(|model| violation(model, body)))
}

/// The refusal of a model that the list of this generation lacks.
pub(crate) fn unlisted(
    body: &Map<String, Value>,
    generation: &Generation,
    accepted: bool,
) -> Option<Response> {
    let id = body.get("model").and_then(Value::as_str).unwrap_or_default();
    let listed = catalogue::listed(generation).any(|model| model.id == id);
    (!listed && !accepted).then(|| responses::model_not_found(id))
}

fn model_of(body: &Map<String, Value>) -> Option<&'static ListedModel> {
    catalogue::model(body.get("model")?.as_str()?)
}

/// The refusal of what the model does not declare. Its message names the key.
fn violation(model: &ListedModel, body: &Map<String, Value>) -> Option<Response> {
    let limits = &model.limits;
    undeclared_key(limits, body)
        .or_else(|| wrong_length(limits, body))
        .or_else(|| wrong_picture_format(model, body))
        .or_else(|| wrong_inputs(limits, body))
        .or_else(|| missing_prompt(limits, body))
}

fn undeclared_key(limits: &Limits, body: &Map<String, Value>) -> Option<Response> {
    let is_declared = |key: &&String| {
        key.as_str() == "extra" || COMMON.contains(&key.as_str()) || limits.parameters.contains(&key.as_str())
    };
    let key = body.keys().find(|key| !is_declared(key))?;
    refuse(key, "the model has no such parameter")
}

fn wrong_length(limits: &Limits, body: &Map<String, Value>) -> Option<Response> {
    let seconds = body.get("duration").and_then(Value::as_u64)?;
    let fits = limits.seconds.iter().any(|(least, most)| (*least..=*most).contains(&seconds));
    if fits { None } else { refuse("duration", "the model does not make videos of this length") }
}

fn wrong_picture_format(model: &ListedModel, body: &Map<String, Value>) -> Option<Response> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    if let (Pricing::PerSecond(tiers), Some(resolution)) = (&model.pricing, text("resolution"))
        && !tiers.iter().any(|tier| tier.resolution == resolution)
    {
        return refuse("resolution", "the model does not have this resolution");
    }
    let ratio = text("aspect_ratio")?;
    if !model.limits.ratio_beside_images && body.contains_key("image_urls") {
        return refuse("aspect_ratio", "the ratio is that of the image");
    }
    let narrow = text("resolution") == Some("480p") && !["16:9", "9:16", "1:1"].contains(&ratio);
    if narrow { refuse("aspect_ratio", "480p has 16:9, 9:16 and 1:1 only") } else { None }
}

fn wrong_inputs(limits: &Limits, body: &Map<String, Value>) -> Option<Response> {
    let count = |key: &str| body.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let (images, clips, sounds) = (count("image_urls"), count("video_urls"), count("audio_urls"));
    let frames = body.keys().any(|key| key.starts_with("first_frame") || key.starts_with("last_frame"));
    let kinds = [images > 0, clips > 0, frames].into_iter().filter(|present| *present).count();
    if !(limits.images.0..=limits.images.1).contains(&images) {
        refuse("image_urls", "the model takes another number of images")
    } else if !(limits.clips.0..=limits.clips.1).contains(&clips) {
        refuse("video_urls", "the model takes another number of clips")
    } else if sounds > limits.sounds {
        refuse("audio_urls", "the model takes fewer sounds")
    } else if limits.one_kind_of_input && kinds > 1 {
        let key = if images > 0 { "image_urls" } else { "video_urls" };
        refuse(key, "frames, images and clips exclude each other")
    } else if limits.action.is_some_and(|action| body.get("action").and_then(Value::as_str) != Some(action)) {
        refuse("action", "the model has another action")
    } else {
        None
    }
}

fn missing_prompt(limits: &Limits, body: &Map<String, Value>) -> Option<Response> {
    let has_input = body.keys().any(|key| key.ends_with("_urls") || key.contains("_frame"));
    let prompt = body.get("prompt").and_then(Value::as_str).unwrap_or_default();
    let needed = limits.always_needs_prompt || !has_input;
    if needed && prompt.trim().is_empty() { checks::invalid("prompt", "prompt is required") } else { None }
}

fn refuse(param: &str, message: &str) -> Option<Response> {
    Some(responses::capability_violation(param, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undeclared_parameters_are_refused_by_name() {
        let picture = r#""image_urls":["https://a/1"]"#;
        let cases = [
            (r#""model":"wan2.6","duration":5,"resolution":"1080p","prompt_extend":false"#.to_owned(), ""),
            (r#""model":"wan2.6","extra":{"audio":true}"#.to_owned(), "extra"),
            (r#""model":"wan2.6","extra":{}"#.to_owned(), ""),
            (r#""model":"wan2.6","quality":"high""#.to_owned(), "quality"),
            (r#""model":"wan2.6","video_urls":["https://a/1"]"#.to_owned(), "video_urls"),
            (r#""model":"wan2.6","duration":7"#.to_owned(), "duration"),
            (r#""model":"wan2.6","duration":"7""#.to_owned(), "duration"),
            (r#""model":"wan2.6","resolution":"480p""#.to_owned(), "resolution"),
            (format!(r#""model":"wan2.6","aspect_ratio":"16:9",{picture}"#), "aspect_ratio"),
            (r#""model":"wan2.5-preview","generate_audio":true"#.to_owned(), "generate_audio"),
            (
                r#""model":"wan2.5-preview","resolution":"480p","aspect_ratio":"4:3""#.to_owned(),
                "aspect_ratio",
            ),
            (r#""model":"wan2.5-preview","resolution":"480p","aspect_ratio":"1:1""#.to_owned(), ""),
            (r#""model":"wan2.6-i2v""#.to_owned(), "image_urls"),
            (r#""model":"wan2.6-i2v","image_urls":["https://a/1","https://a/2"]"#.to_owned(), "image_urls"),
            (
                format!(r#""model":"wan2.6-i2v-flash","audio_urls":["https://a/1","https://a/2"],{picture}"#),
                "audio_urls",
            ),
            (format!(r#""model":"wan2.6-i2v-flash","generate_audio":true,{picture}"#), ""),
            (format!(r#""model":"wan2.7","video_urls":["https://a/1"],{picture}"#), "image_urls"),
            (format!(r#""model":"wan2.7","first_frame":"https://a/1",{picture}"#), "image_urls"),
            (r#""model":"wan2.7","first_frame":"https://a/1","last_frame":"https://a/2""#.to_owned(), ""),
            (r#""model":"wan2.7-videoedit","action":"edit","video_urls":["https://a/1"]"#.to_owned(), ""),
            (r#""model":"wan2.7-videoedit","video_urls":["https://a/1"]"#.to_owned(), "action"),
            (r#""model":"wan2.7-videoedit","action":"edit""#.to_owned(), "video_urls"),
            (r#""model":"wan3.0-video","duration":30"#.to_owned(), ""),
            (r#""model":"wan3.0-video","duration":31"#.to_owned(), "duration"),
            (r#""model":"wan2.5-t2v""#.to_owned(), "model"),
            (r#""model":"some-model""#.to_owned(), "model"),
            (r#""callback_url":"https://a/1""#.to_owned(), "model"),
        ];
        for (keys, expected) in cases {
            let text = format!(r#"{{"prompt":"a",{keys}}}"#);
            let body: Map<String, Value> = serde_json::from_str(&text).expect(&text);
            let refused = refusal(&body, &FaultPlan::default()).map(|refusal| refusal.value());
            let param = refused.as_ref().and_then(|refused| refused["error"]["param"].as_str());
            assert_eq!(param.unwrap_or_default(), expected, "{text}: {refused:?}");
        }
    }

    #[test]
    fn missing_prompt_is_refused_where_nothing_replaces_it() {
        let cases = [
            (r#"{"model":"wan2.6"}"#, true),
            (r#"{"model":"wan2.6","image_urls":["https://a/1"]}"#, false),
            (r#"{"model":"wan2.7-r2v","image_urls":["https://a/1"]}"#, true),
        ];
        for (text, refused) in cases {
            let body: Map<String, Value> = serde_json::from_str(text).expect(text);
            assert_eq!(refusal(&body, &FaultPlan::default()).is_some(), refused, "{text}");
        }
    }

    #[test]
    fn plan_may_accept_extra_and_unlisted_models() {
        let plan = FaultPlan::parse("extra=yes unlisted=yes").expect("a plan");
        let cases = [
            (r#"{"model":"wan2.5-t2v","prompt":"a","extra":{"audio":true}}"#, ""),
            (r#"{"model":"wan2.5-t2v","prompt":"a","image_urls":["https://a/1"]}"#, "image_urls"),
            (r#"{"model":"wan2.5-t2v","prompt":"a","audio":true,"prompt_extend":false}"#, ""),
            (r#"{"model":"some-model","anything":1}"#, ""),
        ];
        for (text, expected) in cases {
            let body: Map<String, Value> = serde_json::from_str(text).expect(text);
            let refused = refusal(&body, &plan).map(|refusal| refusal.value());
            let param = refused.as_ref().and_then(|refused| refused["error"]["param"].as_str());
            assert_eq!(param.unwrap_or_default(), expected, "{text}");
        }
    }
}
