//! What a provider would refuse unbilled, ignore, cut or bill for nothing in a request. These are warnings: none of them
//! rejects a job, for the table of models may be out of date.

use crate::jobfile::field::FIELDS;
use crate::jobfile::findings::{Findings, below, list_words, quoted};
use crate::jobfile::json::{JsonValue, Member};
use crate::jobfile::resembling::warn_about_resembling;
use crate::pricing::models::{COMMON_KEYS, MAX_PROMPT, Model, Sound};

/// Parameters that older hosts expect in `extra`, the newest at the root.
const PARAMETERS: &[&str] = &["prompt_extend", "audio"];
/// The frames of the first/last frame mode.
const FRAMES: &[&str] = &["first_frame", "first_frame_image", "last_frame", "last_frame_image"];
/// Endings of files that are no pictures for these models.
const OTHER_MEDIA: &[&str] = &[
    "gif", "svg", "heic", "heif", "avif", "tif", "tiff", "psd", "pdf", "ico", "mp4", "mov", "webm", "mp3",
    "wav",
];

/// A request for a known model.
struct Request<'n, 'a> {
    members: &'n [Member<'a>],
    model: &'static Model,
    newest_host: bool,
}

/// Warnings about root keys: the key, and the message without it.
type Warnings = Vec<(&'static str, String)>;

/// The rules for known models.
const RULES: &[fn(&Request<'_, '_>) -> Warnings] = &[
    wrong_length,
    wrong_resolution,
    wrong_ratio,
    ratio_beside_picture,
    long_prompt,
    unread_extra,
    parameters_at_the_root,
    inputs_of_other_models,
    sound_without_effect,
    too_many_inputs,
    frames_and_pictures,
    wrong_kind_of_picture,
    wrong_action,
    missing_clip,
];

/// Adds the warnings about the object with these members at `pointer`.
pub(super) fn warn(
    model: Option<&'static Model>,
    members: &[Member<'_>],
    pointer: &str,
    newest_host: bool,
    findings: &mut Findings<'_>,
) {
    if let Some(model) = model {
        let request = Request { members, model, newest_host };
        for (key, message) in RULES.iter().flat_map(|rule| rule(&request)) {
            if let Some(member) = find(members, key) {
                findings.warn(&below(pointer, key), member.value.at, format!("`{key}` {message}"));
            }
        }
    } else if newest_host && let Some(member) = find(members, "extra").filter(|member| !is_empty(member)) {
        let message = "`extra` is refused by this service, unbilled: put its keys at the root";
        findings.warn(&below(pointer, "extra"), member.value.at, message);
    }
    for member in members.iter().filter(|member| member.key.starts_with("extra.")) {
        let message = format!(
            "{} is sent as a root key of that name, and never read: write an object `extra`, or on the newest service its key alone",
            quoted(&member.key)
        );
        findings.warn(&below(pointer, &member.key), member.key_at, message);
    }
    let takes = model.map_or(&[][..], |model| model.keys);
    warn_about_resembling(members, &[COMMON_KEYS, takes, &["dropreel"]], model.is_some(), pointer, findings);
    if let (Some(_), Some(JsonValue::Object(extra))) =
        (model, find(members, "extra").map(|member| &member.value.value))
    {
        warn_about_resembling(extra, &[PARAMETERS], true, &below(pointer, "extra"), findings);
    }
}

fn find<'n, 'a>(members: &'n [Member<'a>], key: &str) -> Option<&'n Member<'a>> {
    members.iter().find(|member| member.key == key)
}

fn is_empty(member: &Member<'_>) -> bool {
    match &member.value.value {
        JsonValue::Object(members) => members.is_empty(),
        JsonValue::Null => true,
        _ => false,
    }
}

impl<'n, 'a> Request<'n, 'a> {
    fn value(&self, key: &str) -> Option<&'n JsonValue<'a>> {
        find(self.members, key).map(|member| &member.value.value)
    }

    fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn text(&self, key: &str) -> Option<&'n str> {
        match self.value(key)? {
            JsonValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A flag at the root or in `extra`, with the root key that it is found under.
    fn flag(&self, key: &'static str) -> Option<(&'static str, bool)> {
        let flag = |value: &JsonValue<'_>| if let JsonValue::Flag(flag) = value { Some(*flag) } else { None };
        if let Some(found) = self.value(key).and_then(flag) {
            return Some((key, found));
        }
        let JsonValue::Object(extra) = self.value("extra")? else { return None };
        find(extra, key).and_then(|member| flag(&member.value.value)).map(|found| ("extra", found))
    }

    fn items(&self, key: &str) -> usize {
        match self.value(key) {
            Some(JsonValue::Array(items)) => items.len(),
            _ => 0,
        }
    }

    fn has_frames(&self) -> bool {
        FRAMES.iter().any(|key| self.has(key))
    }
}

fn wrong_length(request: &Request<'_, '_>) -> Warnings {
    let given = find(request.members, "duration").and_then(|member| member.value.text.parse().ok());
    let lengths = request.model.lengths;
    let wrong = given.filter(|seconds| !lengths.allow(*seconds)).map(|seconds| {
        let name = request.model.name;
        (
            "duration",
            format!(
                "is {seconds}: {name} makes {lengths}, and the provider refuses or changes another length"
            ),
        )
    });
    wrong.into_iter().collect()
}

fn wrong_resolution(request: &Request<'_, '_>) -> Warnings {
    let Some(given) = request.text("resolution") else { return Vec::new() };
    if request.model.resolution(given).is_some() {
        return Vec::new();
    }
    let known: Vec<&str> = request.model.resolutions.iter().map(|resolution| resolution.name).collect();
    let (name, known) = (request.model.name, list_words(&known, "or"));
    vec![(
        "resolution",
        format!(
            "is {}: {name} makes {known}, and the provider refuses or changes another one",
            quoted(given)
        ),
    )]
}

fn wrong_ratio(request: &Request<'_, '_>) -> Warnings {
    let (Some(given), Some(resolution)) = (request.text("aspect_ratio"), request.text("resolution")) else {
        return Vec::new();
    };
    let ratios = request.model.resolution(resolution).map_or(&[][..], |resolution| resolution.ratios);
    if ratios.is_empty() || ratios.contains(&given) {
        return Vec::new();
    }
    let allowed = list_words(ratios, "or");
    vec![("aspect_ratio", format!("is {}: at {resolution} it can only be {allowed}", quoted(given)))]
}

fn ratio_beside_picture(request: &Request<'_, '_>) -> Warnings {
    let has_picture = request.items("image_urls") > 0 || request.has_frames();
    if !request.model.picture_decides_ratio || !has_picture {
        return Vec::new();
    }
    let message = "has no effect beside a picture, which decides the shape, and the newest service refuses it: leave it out";
    vec![("aspect_ratio", message.to_owned())]
}

fn long_prompt(request: &Request<'_, '_>) -> Warnings {
    let chars = request.text("prompt").map_or(0, |prompt| prompt.chars().count());
    if chars <= MAX_PROMPT {
        return Vec::new();
    }
    let message = format!(
        "has {chars} characters: providers cut it without notice, some after {MAX_PROMPT}, and bill all of it"
    );
    vec![("prompt", message)]
}

fn unread_extra(request: &Request<'_, '_>) -> Warnings {
    let is_read = request.model.takes("extra") && !request.newest_host;
    if is_read || find(request.members, "extra").is_none_or(is_empty) {
        return Vec::new();
    }
    let name = request.model.name;
    let message =
        format!("is refused by the newest service, unbilled: {name} takes its parameters at the root");
    vec![("extra", message)]
}

fn parameters_at_the_root(request: &Request<'_, '_>) -> Warnings {
    if request.newest_host || !request.model.takes("extra") {
        return Vec::new();
    }
    let message = "is ignored at the root by this service: put it into `extra`";
    PARAMETERS.iter().filter(|key| request.has(key)).map(|key| (*key, message.to_owned())).collect()
}

fn inputs_of_other_models(request: &Request<'_, '_>) -> Warnings {
    let other =
        FIELDS.iter().map(|field| field.key).filter(|key| *key != "extra" && !request.model.takes(key));
    let given = other.filter(|key| request.has(key));
    let name = request.model.name;
    given.map(|key| (key, format!("is no input of {name}: it is ignored, or refused unbilled"))).collect()
}

fn sound_without_effect(request: &Request<'_, '_>) -> Warnings {
    let (name, asked) =
        (request.model.name, request.flag("generate_audio").or_else(|| request.flag("audio")));
    match (request.model.sound, asked) {
        (Sound::Never, Some((key, true))) => {
            vec![(key, format!("asks for sound, and {name} makes silent videos only"))]
        }
        (Sound::Always, Some((key, false))) => {
            vec![(key, format!("switches sound off, and {name} always makes and bills it"))]
        }
        _ => Vec::new(),
    }
}

fn too_many_inputs(request: &Request<'_, '_>) -> Warnings {
    let model = request.model;
    let inputs = [
        ("image_urls", "picture", model.max_images),
        ("video_urls", "clip", model.max_clips),
        ("audio_urls", "sound", model.max_sounds),
    ];
    let too_many = inputs.into_iter().filter_map(|(key, what, most)| {
        let given = request.items(key);
        let s = |number: usize| if number == 1 { "" } else { "s" };
        // A model that takes none has a warning about the key.
        (most > 0 && given > most).then(|| {
            let message = format!(
                "has {given} {what}{}: {} takes at most {most} {what}{}",
                s(given),
                model.name,
                s(most)
            );
            (key, message)
        })
    });
    too_many.collect()
}

fn frames_and_pictures(request: &Request<'_, '_>) -> Warnings {
    if !request.model.frames_or_images || !request.has("image_urls") || !request.has_frames() {
        return Vec::new();
    }
    let name = request.model.name;
    vec![("image_urls", format!("excludes frames: {name} takes either frames or pictures"))]
}

fn wrong_kind_of_picture(request: &Request<'_, '_>) -> Warnings {
    let of = |key: &'static str| {
        let items = match request.value(key)? {
            JsonValue::Array(items) => items.iter().map(|item| &item.value).collect(),
            value => vec![value],
        };
        let endings = items.iter().filter_map(|value| match value {
            JsonValue::Text(address) => ending(address),
            _ => None,
        });
        let wrong = endings.into_iter().find(|ending| OTHER_MEDIA.contains(&ending.as_str()))?;
        let kinds = "JPEG, PNG without transparency, BMP or WEBP";
        Some((key, format!("has a `.{wrong}` file: {} takes pictures as {kinds}", request.model.name)))
    };
    FRAMES.iter().chain(&["image_urls"]).filter_map(|key| of(key)).collect()
}

/// The ending of the file that an address names, in lower case.
fn ending(address: &str) -> Option<String> {
    let (_, path) = address.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?;
    let file = path.rsplit('/').next()?;
    file.rsplit_once('.').map(|(_, ending)| ending.to_lowercase())
}

fn wrong_action(request: &Request<'_, '_>) -> Warnings {
    let Some(action) = request.model.action.filter(|action| request.text("action") != Some(action)) else {
        return Vec::new();
    };
    let key = if request.has("action") { "action" } else { "model" };
    vec![(key, format!("needs another action: {} knows only `\"action\": \"{action}\"`", request.model.name))]
}

/// The key for clips is not published: any undocumented key may be it.
fn missing_clip(request: &Request<'_, '_>) -> Warnings {
    let may_be_clip = |member: &Member<'_>| {
        member.key != "dropreel"
            && !COMMON_KEYS.contains(&&*member.key)
            && !FIELDS.iter().any(|field| field.key == member.key)
    };
    if request.model.action != Some("edit") || request.members.iter().any(may_be_clip) {
        return Vec::new();
    }
    vec![("model", format!("needs a clip to edit: the request for {} names none", request.model.name))]
}
