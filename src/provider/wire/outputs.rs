//! Finds the outputs of a completed task, wherever its answer lists them.

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

/// More outputs than any task makes: what a list of nonsense is cut at.
const MOST: usize = 256;

/// Where `result` lists each kind. Root keys are not searched for these: there, `image_urls` repeats the request.
const LISTS: [(OutputKind, &[&str]); 3] = [
    (OutputKind::Video, &["videos", "video", "video_url", "video_urls"]),
    (OutputKind::Image, &["images", "image"]),
    (OutputKind::Audio, &["audios", "audio"]),
];
/// Where an entry of a list keeps its link, best first.
const LINKS: [&str; 5] = ["url", "urls", "video_url", "image_url", "audio_url"];
/// Where a result is, best first.
const RESULTS: [&str; 4] = ["result", "results", "output", "outputs"];

/// The outputs that `object` lists, each once, in the provider's order. `index` counts places in that order, those of
/// unusable links too, so that an output keeps its index when a broken link before it is mended.
pub(crate) fn read(
    object: &Map<String, Value>,
    phase: &Phase,
    completed_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<ReportedOutput> {
    let latest = completed_at.unwrap_or(now).plus(MAX_LINK_LIFETIME);
    let mut finder = Finder { now, latest, found: Vec::new(), places: [0; 3], known: HashSet::new() };
    let expires_at = finder.expiry(object, None);
    for result in RESULTS.iter().filter_map(|key| object.get(*key)) {
        finder.search_result(result, expires_at);
        if finder.found_any() {
            return finder.found;
        }
    }
    for key in ["videos", "video", "video_url", "url"] {
        if let Some(value) = object.get(key) {
            finder.take(None, value, expires_at);
        }
        if finder.found_any() {
            return finder.found;
        }
    }
    // One family of gateways puts the link of a finished task where its failure would be.
    if *phase == Phase::Completed
        && let Some(Value::String(text)) = object.get("fail_reason")
        && usable(text).is_some()
    {
        finder.link(None, text, expires_at);
    }
    finder.found
}

struct Finder {
    now: Timestamp,
    latest: Timestamp,
    found: Vec<ReportedOutput>,
    places: [u16; 3],
    known: HashSet<String>,
}

impl Finder {
    fn found_any(&self) -> bool {
        self.places != [0; 3]
    }

    fn search_result(&mut self, result: &Value, expires_at: Option<Timestamp>) {
        let Value::Object(lists) = result else {
            return self.take(None, result, expires_at);
        };
        let expires_at = self.expiry(lists, expires_at);
        for (kind, keys) in LISTS {
            if let Some(list) = keys.iter().find_map(|key| lists.get(*key).filter(|value| !value.is_null())) {
                self.take(Some(kind), list, expires_at);
            }
        }
        if !self.found_any() {
            self.take(None, result, expires_at);
        }
    }

    fn take(&mut self, kind: Option<OutputKind>, value: &Value, expires_at: Option<Timestamp>) {
        match value {
            Value::String(text) => self.link(kind, text, expires_at),
            Value::Array(items) => items.iter().for_each(|item| self.take(kind, item, expires_at)),
            Value::Object(entry) => {
                let expires_at = self.expiry(entry, expires_at);
                if let Some(link) =
                    LINKS.iter().find_map(|key| entry.get(*key).filter(|value| !value.is_null()))
                {
                    self.take(kind, link, expires_at);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn link(&mut self, kind: Option<OutputKind>, text: &str, expires_at: Option<Timestamp>) {
        let text = text.trim();
        // The same output listed twice is one output.
        if text.is_empty() || self.known.len() == MOST || !self.known.insert(text.to_owned()) {
            return;
        }
        let address = usable(text);
        // In the place of an output, a link that leads nowhere is still an output: one that a person must see to,
        // or the job would succeed without it. Anywhere else it is only a text.
        if kind.is_none() && address.is_none() {
            return;
        }
        if address.is_none() {
            warn!("an output's link is no http(s) address");
        }
        let kind = kind.unwrap_or_else(|| address.as_ref().map_or(OutputKind::Video, kind_by_name));
        let place = &mut self.places[kind as usize];
        let index = *place;
        *place += 1;
        self.found.push(ReportedOutput { kind, index, link: Secret::new(text), expires_at });
    }

    fn expiry(&self, entry: &Map<String, Value>, around: Option<Timestamp>) -> Option<Timestamp> {
        let told = entry.get("expires_at").and_then(|value| read_time(value, self.now));
        told.map(|time| time.min(self.latest)).or(around)
    }
}

fn usable(text: &str) -> Option<Url> {
    let address = Url::parse(text.trim()).ok()?;
    (matches!(address.scheme(), "http" | "https") && address.has_host()).then_some(address)
}

fn kind_by_name(address: &Url) -> OutputKind {
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

    fn seen(text: &str) -> Vec<ReportedOutput> {
        let value: Value = serde_json::from_str(text).expect("JSON");
        read(value.as_object().expect("an object"), &Phase::Completed, Some(DONE), NOW)
    }

    #[test]
    fn outputs_are_found_wherever_they_are_listed() {
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
            // The same output twice is one, whatever it is called.
            (
                r#"{"result":{"videos":[{"url":["https://h/a","https://h/a"]},{"url":"https://h/a"}],"images":["https://h/a"]}}"#,
                &[(Video, 0, "https://h/a")],
            ),
            // A link that leads nowhere is an output all the same; an empty one is none.
            (
                r#"{"result":{"videos":["ftp://h/a","","https://h/b",7,null,{}]}}"#,
                &[(Video, 0, "ftp://h/a"), (Video, 1, "https://h/b")],
            ),
            // What is no output.
            (
                r#"{"urls":{"get":"https://h/get"},"image_urls":["https://h/mine.png"],"fail_reason":"no"}"#,
                &[],
            ),
            (r#"{"result":"none"}"#, &[]),
            (r#"{"result":{"videos":[7,null,{}]}}"#, &[]),
        ];
        for (text, expected) in cases {
            let found = seen(text);
            let found: Vec<_> = found.iter().map(|o| (o.kind, o.index, o.link.expose())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn a_failed_task_s_reason_is_never_an_output() {
        let value: Value = serde_json::from_str(r#"{"fail_reason":"https://h/help"}"#).expect("JSON");
        assert_eq!(read(value.as_object().expect("an object"), &Phase::Failed, None, NOW), []);
    }

    #[test]
    fn the_end_of_a_link_is_the_nearest_told_and_at_most_a_week_off() {
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
            assert_eq!(seen(text)[0].expires_at.map(Timestamp::millis), expected, "{text}");
        }
    }

    #[test]
    fn an_endless_list_is_cut() {
        let links: Vec<_> = (0..1000).map(|n| format!("\"https://h/{n}\"")).collect();
        assert_eq!(seen(&format!(r#"{{"result":{{"videos":[{}]}}}}"#, links.join(","))).len(), MOST);
    }
}
