//! One task of the simulated provider: what was asked, how it will go and end. All of that is decided when the task
//! is made; time only uncovers it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::clip::{self, Clip};
use crate::sandbox::faults::{End, Flag, Kind};
use crate::sandbox::plan::Plan;
use crate::secret::Secret;
use crate::sha256::sha256_hex;

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub id: String,
    pub model: String,
    pub action: String,
    /// From the prompt; it wins over the run's.
    pub own: Plan,
    pub callback_url: Option<Secret>,
    pub created: Timestamp,
    pub started: Timestamp,
    /// `None`: it never ends.
    pub ended: Option<Timestamp>,
    pub end: End,
    pub frozen: Quota,
    /// What it costs in the end.
    pub cost: Quota,
    pub files: Vec<File>,
}

/// An output of a task.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub name: String,
    pub kind: Kind,
    pub aspect: String,
    pub choice: u64,
    pub size: Option<u64>,
    /// The signature of the link last handed out.
    pub link: Option<String>,
}

/// Where a task stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    /// With its progress, 1 to 99.
    Processing(u8),
    Completed,
    Failed,
    Cancelled,
}

/// The two waits of a task.
pub(crate) struct Schedule {
    pub queue: Duration,
    pub run: Duration,
}

impl Task {
    /// A task as asked for by `body`, under `plan` (the prompt's over the run's) of which `own` is the prompt's part.
    pub fn new(
        id: String,
        body: &Map<String, Value>,
        own: Plan,
        plan: &Plan,
        now: Timestamp,
        pace: &Schedule,
    ) -> Self {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let model = text("model").unwrap_or_default().to_owned();
        let end = plan.end.clone().unwrap_or(End::Completed);
        let started = now.plus(pace.queue);
        let ended = (end != End::Never).then(|| started.plus(pace.run));
        let frozen = price(&model, body);
        let refunded = plan.refund != Some(Flag::No);
        let cost = match end {
            End::Completed => plan.cost.map_or(frozen, |cost| Quota::new(i64::from(cost))),
            _ if refunded => Quota::ZERO,
            _ => frozen,
        };
        Self {
            files: files(&id, &model, body, plan),
            action: text("action").unwrap_or("generate").to_owned(),
            callback_url: text("callback_url").map(Secret::new),
            id,
            model,
            own,
            created: now,
            started,
            ended,
            end,
            frozen,
            cost,
        }
    }

    /// Where it stands.
    pub fn phase(&self, now: Timestamp) -> Phase {
        match self.ended {
            Some(ended) if now >= ended => match self.end {
                End::Completed => Phase::Completed,
                End::Cancelled => Phase::Cancelled,
                _ => Phase::Failed,
            },
            _ if now < self.started => Phase::Queued,
            Some(ended) => {
                let (done, all) = (now.since(self.started), ended.since(self.started));
                let percent = done.as_millis() * 100 / all.as_millis().max(1);
                Phase::Processing(percent.clamp(1, 99) as u8)
            }
            None => Phase::Processing(now.since(self.started).as_secs().clamp(1, 99) as u8),
        }
    }
}

impl Phase {
    /// The documented word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing(_) => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    pub fn is_last(self) -> bool {
        !matches!(self, Self::Queued | Self::Processing(_))
    }
}

impl File {
    /// Its content; another `version` is another film.
    pub fn film(&self, version: u32) -> Clip {
        Clip::choose(&self.kind, &self.aspect, self.choice.wrapping_add(u64::from(version)), self.size)
    }
}

fn files(id: &str, model: &str, body: &Map<String, Value>, plan: &Plan) -> Vec<File> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = plan.kind.clone().unwrap_or_else(|| kind_of(model));
    let outputs = plan.outputs.unwrap_or(if model.ends_with("-multi") { 2 } else { 1 });
    let hash = sha256_hex(text("prompt").as_bytes());
    let choice = u64::from_str_radix(&hash[..8], 16).unwrap_or_default();
    let (extension, _) = clip::names(&kind);
    // The tail of the id, so that a hostile id makes no hostile file name: those are the media plan's to give.
    let tail: String = id.chars().filter(char::is_ascii_digit).collect();
    (1..=outputs.min(100))
        .map(|n| File {
            name: format!("{tail}-{n}.{extension}"),
            kind: kind.clone(),
            aspect: text("aspect_ratio").to_owned(),
            choice: choice.wrapping_add(u64::from(n)),
            size: plan.size.map(|size| size.0),
            link: None,
        })
        .collect()
}

fn kind_of(model: &str) -> Kind {
    let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
    if has(&["image", "t2i", "banana", "flux", "seedream"]) {
        Kind::Image
    } else if has(&["audio", "music", "tts", "speech", "suno"]) {
        Kind::Audio
    } else {
        Kind::Video
    }
}

/// A plausible price: by the second for videos (75,000 quota, fifteen cents, for five seconds of `wan2.5-t2v` at 720p),
/// by the piece for the rest.
fn price(model: &str, body: &Map<String, Value>) -> Quota {
    let seconds = body.get("duration").and_then(Value::as_i64).unwrap_or(5).clamp(1, 600);
    let per_second = match (kind_of(model), model) {
        (Kind::Image, _) => return Quota::new(20_000),
        (Kind::Audio, _) => return Quota::new(5500),
        (_, model) if model.contains("flash") => 5000,
        (_, model) if model.contains("wan2.2") => 10_000,
        _ => 15_000,
    };
    let eighths = match body.get("resolution").and_then(Value::as_str) {
        Some("480p") => 4,
        Some("1080p") => 16,
        _ => 8,
    };
    Quota::new(per_second * seconds * eighths / 8)
}
