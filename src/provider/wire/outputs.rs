//! Finds the outputs of a completed task, wherever the answer lists them.

use std::collections::HashSet;

use serde_json::{Map, Value};
use tracing::warn;
use url::Url;

use crate::clock::Timestamp;
use crate::job::event::{Phase, ReportedOutput};
use crate::job::output::OutputKind;
use crate::job::retry::MAX_LINK_LIFETIME;
use crate::provider::wire::json::field;
use crate::provider::wire::media_link::{Resolved, kind_of, only_media_link, resolve};
use crate::provider::wire::time::read_time;
use crate::secret::Secret;

/// More outputs than any task makes: a longer list is cut.
const MAX_OUTPUTS: usize = 256;

/// The keys of `result` for each kind. They are not searched for at the root, where `image_urls` repeats the request.
const LISTS: [(OutputKind, &[&str]); 3] = [
    (OutputKind::Video, &["videos", "video", "video_url", "video_urls"]),
    (OutputKind::Image, &["images", "image", "image_url", "image_urls"]),
    (OutputKind::Audio, &["audios", "audio", "audio_url", "audio_urls"]),
];
/// The keys of an entry for its link, best first.
const LINKS: [&str; 8] =
    ["url", "urls", "video_url", "image_url", "audio_url", "result_url", "download_url", "uri"];
/// The keys for the result, best first.
const RESULTS: [&str; 6] = ["result", "results", "output", "outputs", "task_result", "content"];
/// The keys for outputs beside the status, best first.
const AT_ROOT: [&str; 9] = [
    "videos",
    "video",
    "video_url",
    "video_urls",
    "result_url",
    "unsigned_urls",
    "download_url",
    "url",
    "metadata",
];

/// What the outputs of an answer depend on besides the answer.
pub(crate) struct OutputContext<'a> {
    pub(crate) phase: &'a Phase,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) now: Timestamp,
    /// What relative links are relative to; without it, an answer with relative links has no outputs.
    pub(crate) base: Option<&'a Url>,
}

/// The outputs that the object with the status lists, each once, in the provider's order; for a completed task that
/// lists none there, those of the other `objects` of the answer, else the only media link anywhere in it. Unusable links
/// get an index too, so that the other outputs keep theirs when the provider fixes the link.
pub(crate) fn read_outputs(
    object: &Map<String, Value>,
    objects: &[&Map<String, Value>],
    context: &OutputContext<'_>,
) -> Vec<ReportedOutput> {
    let mut finder = Finder::new(context);
    finder.add_listed(object);
    if *context.phase == Phase::Completed {
        for other in objects.iter().rev().filter(|other| !std::ptr::eq(**other, object)) {
            if !finder.found_any() {
                finder.add_listed(other);
            }
        }
        // Some gateways put the link of a completed task into `fail_reason`.
        if let Some(Value::String(text)) = field(object, "fail_reason").filter(|_| !finder.found_any()) {
            finder.add_link(None, text, finder.expiry(object, None));
        }
        if let Some(link) =
            objects.first().filter(|_| !finder.found_any()).and_then(|all| only_media_link(all))
        {
            finder.add_link(None, &link, finder.expiry(object, None));
        }
    }
    if finder.is_unresolved { Vec::new() } else { finder.found }
}

struct Finder<'a> {
    now: Timestamp,
    latest: Timestamp,
    base: Option<&'a Url>,
    found: Vec<ReportedOutput>,
    /// The next index of each kind.
    next_index: [u16; 3],
    known: HashSet<String>,
    /// A link is relative, and it is not known to what.
    is_unresolved: bool,
}

impl<'a> Finder<'a> {
    fn new(context: &OutputContext<'a>) -> Self {
        Self {
            now: context.now,
            latest: context.completed_at.unwrap_or(context.now).plus(MAX_LINK_LIFETIME),
            base: context.base,
            found: Vec::new(),
            next_index: [0; 3],
            known: HashSet::new(),
            is_unresolved: false,
        }
    }

    fn found_any(&self) -> bool {
        self.next_index != [0; 3]
    }

    fn add_listed(&mut self, object: &Map<String, Value>) {
        let expires_at = self.expiry(object, None);
        for result in RESULTS.iter().filter_map(|key| field(object, key)) {
            self.add_result(result, expires_at);
            if self.found_any() {
                return;
            }
        }
        for value in AT_ROOT.iter().filter_map(|key| field(object, key)) {
            self.add(None, value, expires_at);
            if self.found_any() {
                return;
            }
        }
    }

    fn add_result(&mut self, result: &Value, expires_at: Option<Timestamp>) {
        let Value::Object(lists) = result else {
            return self.add(None, result, expires_at);
        };
        let expires_at = self.expiry(lists, expires_at);
        for (kind, keys) in LISTS {
            let found = self.found.len();
            for list in keys.iter().filter_map(|key| field(lists, key)) {
                if self.found.len() == found {
                    self.add(Some(kind), list, expires_at);
                }
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
                    LINKS.iter().find_map(|key| field(entry, key).filter(|value| !value.is_null()))
                {
                    self.add(kind, link, expires_at);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add_link(&mut self, kind: Option<OutputKind>, text: &str, expires_at: Option<Timestamp>) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let (link, address) = match resolve(text, self.base) {
            Resolved::Link(address) if address.scheme() == "data" => (text.to_owned(), Some(address)),
            // As written: a signature may cover the spelling.
            Resolved::Link(address) if text.contains("://") => (text.to_owned(), Some(address)),
            Resolved::Link(address) => (address.as_str().to_owned(), Some(address)),
            Resolved::Relative => {
                self.is_unresolved |= kind.is_some();
                return;
            }
            Resolved::Unusable => (text.to_owned(), None),
        };
        // In a list of outputs, an unusable link still counts as an output. Otherwise the job would succeed without it.
        // Anywhere else it is just text.
        if kind.is_none() && address.is_none() {
            return;
        }
        // The same output listed twice is one output.
        if self.known.len() == MAX_OUTPUTS || !self.known.insert(link.clone()) {
            return;
        }
        if address.is_none() {
            warn!("the link of an output is no http(s) address");
        }
        let kind = kind.or_else(|| kind_of(address.as_ref()?)).unwrap_or(OutputKind::Video);
        let next_index = &mut self.next_index[kind as usize];
        let index = *next_index;
        *next_index += 1;
        self.found.push(ReportedOutput { kind, index, link: Secret::new(link), expires_at });
    }

    fn expiry(&self, entry: &Map<String, Value>, outer: Option<Timestamp>) -> Option<Timestamp> {
        let found = field(entry, "expires_at").and_then(|value| read_time(value, self.now));
        found.map(|time| time.min(self.latest)).or(outer)
    }
}

#[cfg(test)]
mod tests;
