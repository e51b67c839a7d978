//! What a text that stands for an output leads to, and the search for one where no known key lists it.

use serde_json::{Map, Value};
use url::Url;

use crate::job::output::OutputKind;

/// How many times JSON may be quoted inside JSON.
const MAX_QUOTED: u32 = 3;
/// Parts of keys whose links belong to the request, or are beside the output.
const NO_OUTPUT: [&str; 15] = [
    "imageurl",
    "firstframe",
    "lastframe",
    "reference",
    "callback",
    "input",
    "request",
    "param",
    "prompt",
    "cover",
    "thumb",
    "poster",
    "preview",
    "logo",
    "icon",
];

/// What a text leads to.
pub(crate) enum Resolved {
    /// An http(s) address, or the content itself (`data:`).
    Link(Url),
    /// A path on the provider's host, which is not known here.
    Relative,
    /// Anything else.
    Unusable,
}

/// Resolves a link, as browsers would on a page of `base`. A host without a scheme is taken to be on https.
pub(crate) fn resolve(text: &str, base: Option<&Url>) -> Resolved {
    let text = text.trim();
    let resolved = if text.starts_with("//") {
        Url::parse(&format!("https:{text}")).ok()
    } else if text.starts_with('/') {
        let Some(base) = base else { return Resolved::Relative };
        base.join(text).ok()
    } else if is_host_and_path(text) {
        Url::parse(&format!("https://{text}")).ok()
    } else {
        Url::parse(text).ok()
    };
    let is_usable = |address: &Url| match address.scheme() {
        "http" | "https" => address.has_host(),
        scheme => scheme == "data",
    };
    resolved.filter(is_usable).map_or(Resolved::Unusable, Resolved::Link)
}

fn is_host_and_path(text: &str) -> bool {
    let Some((host, path)) = text.split_once('/') else { return false };
    let is_top_level = |label: &str| label.len() >= 2 && label.bytes().all(|b| b.is_ascii_alphabetic());
    let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    is_host && !path.is_empty() && host.rsplit_once('.').is_some_and(|(_, last)| is_top_level(last))
}

/// The kind of a link by its extension or media type, if it has one that is known.
pub(crate) fn kind_of(address: &Url) -> Option<OutputKind> {
    let path = address.path().to_ascii_lowercase();
    if address.scheme() == "data" {
        return match path.split_once('/')?.0 {
            "image" => Some(OutputKind::Image),
            "audio" => Some(OutputKind::Audio),
            "video" => Some(OutputKind::Video),
            _ => None,
        };
    }
    match path.rsplit_once('.')?.1 {
        "mp4" | "mov" | "m4v" | "webm" | "mkv" | "avi" => Some(OutputKind::Video),
        "png" | "jpg" | "jpeg" | "webp" | "gif" => Some(OutputKind::Image),
        "mp3" | "wav" | "m4a" | "aac" | "flac" | "ogg" => Some(OutputKind::Audio),
        _ => None,
    }
}

/// The link to a media file, if the whole answer has exactly one outside of what repeats the request.
pub(crate) fn only_media_link(answer: &Map<String, Value>) -> Option<String> {
    let mut links = Vec::new();
    collect_in(answer, MAX_QUOTED, &mut links);
    links.dedup();
    <[String; 1]>::try_from(links).ok().map(|[link]| link)
}

fn collect_in(object: &Map<String, Value>, quoted: u32, links: &mut Vec<String>) {
    for (key, value) in object {
        let key = key.to_ascii_lowercase().replace(['_', '-'], "");
        if !NO_OUTPUT.iter().any(|part| key.contains(part)) {
            collect(value, quoted, links);
        }
    }
}

fn collect(value: &Value, quoted: u32, links: &mut Vec<String>) {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) && quoted > 0 => {
            if let Ok(inner) = serde_json::from_str::<Value>(text) {
                collect(&inner, quoted - 1, links);
            }
        }
        Value::String(text) => {
            let address = Url::parse(text.trim()).ok().filter(|address| address.has_host());
            if address.is_some_and(|address| kind_of(&address).is_some()) {
                links.push(text.trim().to_owned());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, quoted, links)),
        Value::Object(object) => collect_in(object, quoted, links),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
