//! A task of the simulated provider. Its schedule, end and outputs are fixed when it is created; its status follows from
//! the time.

use std::time::Duration;

use serde_json::{Map, Value};
use strum::IntoStaticStr;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::clip::{self, Clip};
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{MediaKind, TaskEnd, YesNo};
use crate::secret::Secret;
use crate::sha256::sha256_hex;

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub id: String,
    pub model: String,
    pub action: String,
    /// The plan in the prompt, which precedes the run's.
    pub prompt_plan: FaultPlan,
    pub callback_url: Option<Secret>,
    pub created: Timestamp,
    pub started: Timestamp,
    /// When it ends; `None`: never.
    pub ended: Option<Timestamp>,
    pub end: TaskEnd,
    pub reserved: Quota,
    /// The final cost.
    pub cost: Quota,
    pub files: Vec<File>,
}

/// An output of a task.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub name: String,
    pub kind: MediaKind,
    pub aspect: String,
    pub choice: u64,
    pub size: Option<u64>,
    /// The signature of the link issued last.
    pub link: Option<String>,
}

/// The status of a task at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Phase {
    Queued,
    /// With its progress in percent, 1 to 99.
    Processing(u8),
    Completed,
    Failed,
    Cancelled,
}

/// How long a task is queued and processed.
pub(crate) struct Durations {
    pub queue: Duration,
    pub run: Duration,
}

impl Task {
    /// A task for the request `body`. `plan` is the effective plan, `prompt_plan` the part of it in the prompt.
    pub fn new(
        id: String,
        body: &Map<String, Value>,
        prompt_plan: FaultPlan,
        plan: &FaultPlan,
        now: Timestamp,
        durations: &Durations,
    ) -> Self {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let model = text("model").unwrap_or_default().to_owned();
        let end = plan.end.clone().unwrap_or(TaskEnd::Completed);
        let started = now.plus(durations.queue);
        let ended = (end != TaskEnd::Never).then(|| started.plus(durations.run));
        let reserved = price(&model, body);
        let refunded = plan.refund != Some(YesNo::No);
        let cost = match end {
            TaskEnd::Completed => plan.cost.map_or(reserved, |cost| Quota::new(i64::from(cost))),
            _ if refunded => Quota::ZERO,
            _ => reserved,
        };
        Self {
            files: files(&id, &model, body, plan),
            action: text("action").unwrap_or("generate").to_owned(),
            callback_url: text("callback_url").map(Secret::new),
            id,
            model,
            prompt_plan,
            created: now,
            started,
            ended,
            end,
            reserved,
            cost,
        }
    }

    pub fn phase(&self, now: Timestamp) -> Phase {
        match self.ended {
            Some(ended) if now >= ended => match self.end {
                TaskEnd::Completed => Phase::Completed,
                TaskEnd::Cancelled => Phase::Cancelled,
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
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Processing(_))
    }
}

impl File {
    /// Its content. Another `version` selects another clip.
    pub fn clip(&self, version: u32) -> Clip {
        Clip::choose(&self.kind, &self.aspect, self.choice.wrapping_add(u64::from(version)), self.size)
    }
}

fn files(id: &str, model: &str, body: &Map<String, Value>, plan: &FaultPlan) -> Vec<File> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = plan.kind.clone().unwrap_or_else(|| kind_of(model));
    let outputs = plan.outputs.unwrap_or(if model.ends_with("-multi") { 2 } else { 1 });
    let hash = sha256_hex(text("prompt").as_bytes());
    let choice = u64::from_str_radix(&hash[..8], 16).unwrap_or_default();
    let (extension, _) = clip::extension_and_type(&kind);
    // Only the digits of the id: a hostile id must not make a hostile file name.
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    (1..=outputs.min(100))
        .map(|n| File {
            name: format!("{digits}-{n}.{extension}"),
            kind: kind.clone(),
            aspect: text("aspect_ratio").to_owned(),
            choice: choice.wrapping_add(u64::from(n)),
            size: plan.size.map(|size| size.0),
            link: None,
        })
        .collect()
}

fn kind_of(model: &str) -> MediaKind {
    let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
    if has(&["image", "t2i", "banana", "flux", "seedream"]) {
        MediaKind::Image
    } else if has(&["audio", "music", "tts", "speech", "suno"]) {
        MediaKind::Audio
    } else {
        MediaKind::Video
    }
}

/// A plausible price, by the second for videos (75,000 quota, or $0.15, for five seconds of `wan2.5-t2v` at 720p), by the
/// file for images and audio.
fn price(model: &str, body: &Map<String, Value>) -> Quota {
    let seconds = body.get("duration").and_then(Value::as_i64).unwrap_or(5).clamp(1, 600);
    let per_second = match (kind_of(model), model) {
        (MediaKind::Image, _) => return Quota::new(20_000),
        (MediaKind::Audio, _) => return Quota::new(5500),
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
