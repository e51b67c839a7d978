//! Finds the outputs of a completed task, wherever the answer lists them.

use std::collections::HashSet;

use serde_json::{Map, Value};
use tracing::warn;
use url::Url;

use crate::clock::Timestamp;
use crate::job::event::{Phase, ReportedOutput};
use crate::job::output::OutputKind;
use crate::job::retry::MAX_LINK_LIFETIME;
use crate::provider::wire::time::read_time;
use crate::secret::Secret;

/// More outputs than any task makes: a longer list is cut.
const MAX_OUTPUTS: usize = 256;

/// The keys of `result` for each kind. They are not searched for at the root, where `image_urls` repeats the request.
const LISTS: [(OutputKind, &[&str]); 3] = [
    (OutputKind::Video, &["videos", "video", "video_url", "video_urls"]),
    (OutputKind::Image, &["images", "image"]),
    (OutputKind::Audio, &["audios", "audio"]),
];
/// The keys of an entry for its link, best first.
const LINKS: [&str; 5] = ["url", "urls", "video_url", "image_url", "audio_url"];
/// The keys for the result, best first.
const RESULTS: [&str; 4] = ["result", "results", "output", "outputs"];

/// The outputs that `object` lists, each once, in the provider's order. Unusable links get an index too, so that the other
/// outputs keep theirs when the provider fixes the link.
pub(crate) fn read_outputs(
    object: &Map<String, Value>,
    phase: &Phase,
    completed_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<ReportedOutput> {
    let latest = completed_at.unwrap_or(now).plus(MAX_LINK_LIFETIME);
    let mut finder = Finder { now, latest, found: Vec::new(), next_index: [0; 3], known: HashSet::new() };
    let expires_at = finder.expiry(object, None);
    for result in RESULTS.iter().filter_map(|key| object.get(*key)) {
        finder.add_result(result, expires_at);
        if finder.found_any() {
            return finder.found;
        }
    }
    for key in ["videos", "video", "video_url", "url"] {
        if let Some(value) = object.get(key) {
            finder.add(None, value, expires_at);
        }
        if finder.found_any() {
            return finder.found;
        }
    }
    // Some gateways put the link of a completed task into `fail_reason`.
    if *phase == Phase::Completed
        && let Some(Value::String(text)) = object.get("fail_reason")
        && usable(text).is_some()
    {
        finder.add_link(None, text, expires_at);
    }
    finder.found
}

struct Finder {
    now: Timestamp,
    latest: Timestamp,
    found: Vec<ReportedOutput>,
    /// The next index of each kind.
    next_index: [u16; 3],
    known: HashSet<String>,
}

impl Finder {
    fn found_any(&self) -> bool {
        self.next_index != [0; 3]
    }

    fn add_result(&mut self, result: &Value, expires_at: Option<Timestamp>) {
        let Value::Object(lists) = result else {
            return self.add(None, result, expires_at);
        };
        let expires_at = self.expiry(lists, expires_at);
        for (kind, keys) in LISTS {
            if let Some(list) = keys.iter().find_map(|key| lists.get(*key).filter(|value| !value.is_null())) {
                self.add(Some(kind), list, expires_at);
            }
        }
        if !self.found_any() {
            self.add(None, result, expires_at);
        }
    }

    fn add(&mut self, kind: Option<OutputKind>, value: &Value, expires_at: Option<Timestamp>) {
        match value {
            Value::String(text) => self.add_link(kind, text, expires_at),
            Value::Array(items) => items.iter().for_each(|item| self.add(kind, item, expires_at)),
            Value::Object(entry) => {
                let expires_at = self.expiry(entry, expires_at);
                if let Some(link) =
                    LINKS.iter().find_map(|key| entry.get(*key).filter(|value| !value.is_null()))
                {
                    self.add(kind, link, expires_at);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add_link(&mut self, kind: Option<OutputKind>, text: &str, expires_at: Option<Timestamp>) {
        let text = text.trim();
        // The same output listed twice is one output.
        if text.is_empty() || self.known.len() == MAX_OUTPUTS || !self.known.insert(text.to_owned()) {
            return;
        }
        let address = usable(text);
        // In a list of outputs, an unusable link still counts as an output. Otherwise the job would succeed without it.
        // Anywhere else it is just text.
        if kind.is_none() && address.is_none() {
            return;
        }
        if address.is_none() {
            warn!("the link of an output is no http(s) address");
        }
        let kind = kind.unwrap_or_else(|| address.as_ref().map_or(OutputKind::Video, kind_by_extension));
        let next_index = &mut self.next_index[kind as usize];
        let index = *next_index;
        *next_index += 1;
        self.found.push(ReportedOutput { kind, index, link: Secret::new(text), expires_at });
    }

    fn expiry(&self, entry: &Map<String, Value>, outer: Option<Timestamp>) -> Option<Timestamp> {
        let found = entry.get("expires_at").and_then(|value| read_time(value, self.now));
        found.map(|time| time.min(self.latest)).or(outer)
    }
}

fn usable(text: &str) -> Option<Url> {
    let address = Url::parse(text.trim()).ok()?;
    (matches!(address.scheme(), "http" | "https") && address.has_host()).then_some(address)
}

fn kind_by_extension(address: &Url) -> OutputKind {
    let path = address.path().to_ascii_lowercase();
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "png" | "jpg" | "jpeg" | "webp" | "gif" => OutputKind::Image,
        "mp3" | "wav" | "m4a" | "aac" | "flac" | "ogg" => OutputKind::Audio,
        _ => OutputKind::Video,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutputKind::{Audio, Image, Video};

    const NOW: Timestamp = Timestamp::from_millis(1_720_000_100_000);
    const DONE: Timestamp = Timestamp::from_millis(1_720_000_030_000);

    fn found(text: &str) -> Vec<ReportedOutput> {
        let value: Value = serde_json::from_str(text).expect("JSON");
        read_outputs(value.as_object().expect("an object"), &Phase::Completed, Some(DONE), NOW)
    }

    #[test]
    fn outputs_are_found_in_every_format() {
        type Found<'a> = &'a [(OutputKind, u16, &'a str)];
        let cases: &[(&str, Found)] = &[
            (r#"{"result":{"videos":[{"url":"https://h/a.mp4"}]}}"#, &[(Video, 0, "https://h/a.mp4")]),
            (
                r#"{"result":{"videos":[{"url":["https://h/a","https://h/b"]}]}}"#,
                &[(Video, 0, "https://h/a"), (Video, 1, "https://h/b")],
            ),
            (
                r#"{"result":{"videos":[{"url":"https://h/a"},{"url":["https://h/b"]}],"images":[{"url":"https://h/c"}],"audios":["https://h/d"]}}"#,
                &[
                    (Video, 0, "https://h/a"),
                    (Video, 1, "https://h/b"),
                    (Image, 0, "https://h/c"),
                    (Audio, 0, "https://h/d"),
                ],
            ),
            (r#"{"result":{"video":{"url":"https://h/a"}}}"#, &[(Video, 0, "https://h/a")]),
            (r#"{"result":{"videos":null,"video_url":"https://h/a"}}"#, &[(Video, 0, "https://h/a")]),
            (
                r#"{"result":[{"url":"https://h/a"},"https://h/b.PNG"]}"#,
                &[(Video, 0, "https://h/a"), (Image, 0, "https://h/b.PNG")],
            ),
            (r#"{"result":{"url":"https://h/a.wav?x=1"}}"#, &[(Audio, 0, "https://h/a.wav?x=1")]),
            (r#"{"result":null,"output":"https://h/a"}"#, &[(Video, 0, "https://h/a")]),
            (r#"{"result":{},"video_url":"http://h/a"}"#, &[(Video, 0, "http://h/a")]),
            (r#"{"fail_reason":"https://h/a.mp4"}"#, &[(Video, 0, "https://h/a.mp4")]),
            // The same link twice is one output, whatever its kind.
            (
                r#"{"result":{"videos":[{"url":["https://h/a","https://h/a"]},{"url":"https://h/a"}],"images":["https://h/a"]}}"#,
                &[(Video, 0, "https://h/a")],
            ),
            // An unusable link is an output, an empty one is not.
            (
                r#"{"result":{"videos":["ftp://h/a","","https://h/b",7,null,{}]}}"#,
                &[(Video, 0, "ftp://h/a"), (Video, 1, "https://h/b")],
            ),
            // No outputs.
            (
                r#"{"urls":{"get":"https://h/get"},"image_urls":["https://h/mine.png"],"fail_reason":"no"}"#,
                &[],
            ),
            (r#"{"result":"none"}"#, &[]),
            (r#"{"result":{"videos":[7,null,{}]}}"#, &[]),
        ];
        for (text, expected) in cases {
            let found = found(text);
            let found: Vec<_> = found.iter().map(|o| (o.kind, o.index, o.link.expose())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn the_reason_of_a_failure_is_not_an_output() {
        let value: Value = serde_json::from_str(r#"{"fail_reason":"https://h/help"}"#).expect("JSON");
        assert_eq!(read_outputs(value.as_object().expect("an object"), &Phase::Failed, None, NOW), []);
    }

    #[test]
    fn links_expire_at_the_nearest_time_within_a_week() {
        let week = DONE.plus(MAX_LINK_LIFETIME).millis();
        let cases = [
            (
                r#"{"result":{"videos":[{"url":"https://h/a","expires_at":1720086400}]}}"#,
                Some(1_720_086_400_000),
            ),
            (
                r#"{"result":{"expires_at":"1720086400000","videos":["https://h/a"]}}"#,
                Some(1_720_086_400_000),
            ),
            (r#"{"expires_at":1720086400,"result":{"videos":["https://h/a"]}}"#, Some(1_720_086_400_000)),
            (
                r#"{"expires_at":1720086400,"result":{"videos":[{"url":"https://h/a","expires_at":0}]}}"#,
                Some(1_720_086_400_000),
            ),
            (r#"{"result":{"videos":[{"url":"https://h/a","expires_at":1740000000}]}}"#, Some(week)),
            (r#"{"result":{"videos":[{"url":"https://h/a","expires_at":253402300799}]}}"#, None),
            (r#"{"result":{"videos":[{"url":"https://h/a"}]}}"#, None),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text)[0].expires_at.map(Timestamp::millis), expected, "{text}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let links: Vec<_> = (0..1000).map(|n| format!("\"https://h/{n}\"")).collect();
        assert_eq!(found(&format!(r#"{{"result":{{"videos":[{}]}}}}"#, links.join(","))).len(), MAX_OUTPUTS);
    }
}
