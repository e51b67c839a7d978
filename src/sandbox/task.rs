//! A task of the simulated provider. Its schedule, end and outputs are fixed when it is created; its status follows from
//! the time.

use std::time::Duration;

use serde_json::{Map, Value};
use strum::IntoStaticStr;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::clip::{self, Clip};
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{MediaKind, SettlementTime, TaskEnd, YesNo};
use crate::sandbox::price;
use crate::secret::Secret;
use crate::sha256::sha256_hex;

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
    /// Whether the newest generation of the service made it.
    pub new_generation: bool,
    pub frozen: Quota,
    /// The final cost.
    pub cost: Quota,
    /// How long after its end it is settled; `None`: never.
    pub settles_after: Option<Duration>,
    pub settled: bool,
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

/// How long the newest generation takes to settle a task that ended.
const SETTLEMENT_DELAY: Duration = Duration::from_secs(2);

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
        new_generation: bool,
    ) -> Self {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let model = text("model").unwrap_or_default().to_owned();
        let end = plan.end.clone().unwrap_or(TaskEnd::Completed);
        let started = now.plus(durations.queue);
        let ended = (end != TaskEnd::Never).then(|| started.plus(durations.run));
        let frozen = price::of_request(body, &kind_of(&model)).total();
        let refunded = plan.refund != Some(YesNo::No);
        let percent = plan.cost_percent.map_or(100, i64::from);
        let usual = Quota::new(frozen.get() * percent / 100);
        let cost = match end {
            TaskEnd::Completed => plan.cost.map_or(usual, |cost| Quota::new(i64::from(cost))),
            _ if refunded => Quota::ZERO,
            _ => usual,
        };
        let settles_after = match plan.settle {
            Some(SettlementTime::Never) => None,
            Some(SettlementTime::After(delay)) => Some(delay),
            None if new_generation => Some(SETTLEMENT_DELAY),
            None => Some(Duration::ZERO),
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
            new_generation,
            frozen,
            cost,
            settles_after,
            settled: false,
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

/// The kind of file that a model makes.
pub(crate) fn kind_of(model: &str) -> MediaKind {
    let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
    if has(&["image", "t2i", "banana", "flux", "seedream"]) {
        MediaKind::Image
    } else if has(&["audio", "music", "tts", "speech", "suno"]) {
        MediaKind::Audio
    } else {
        MediaKind::Video
    }
}
