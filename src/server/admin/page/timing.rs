//! How long a task has been running, how long that usually takes, and a bar of its progress.

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::job::usual_time::{TimeRange, TimeUnit, UsualTime, stopwatch};
use crate::server::admin::page::messages::Messages;
use crate::store::details::JobDetails;

/// The time of a task at the provider. `times.js` keeps it current.
pub(super) struct Timing {
    /// When it was submitted.
    pub since: String,
    /// "0:31".
    pub elapsed: String,
    /// "usually 40–70 s"; empty: not learned.
    pub usual: String,
    /// Whether it takes unusually long.
    pub is_long: bool,
    /// The 90th and the 99th percentile in seconds, for scripts.
    pub usual_seconds: Option<[u64; 2]>,
}

/// A progress bar.
pub(super) struct ProgressBar {
    pub percent: u8,
    /// Made from the time so far: the provider does not say.
    pub is_estimate: bool,
}

impl Timing {
    /// `None` unless the task is at the provider.
    pub(super) fn of(details: &JobDetails, m: &Messages, now: Timestamp) -> Option<Self> {
        let submitted_at = details.job.facts().submitted_at.filter(|_| is_at_provider(details))?;
        let elapsed = now.since(submitted_at);
        Some(Self {
            since: submitted_at.to_string(),
            elapsed: stopwatch(elapsed),
            usual: details.usual.map_or_else(String::new, |usual| usual_text(m, usual)),
            is_long: details.usual.is_some_and(|usual| elapsed > usual.long),
            usual_seconds: details.usual.map(|usual| {
                let [_, p90, long] = usual.seconds();
                [p90, long]
            }),
        })
    }
}

impl ProgressBar {
    /// What the provider reports; else, of a task whose usual time is learned, an estimate.
    pub(super) fn of(details: &JobDetails, now: Timestamp) -> Option<Self> {
        let (facts, state) = (details.job.facts(), details.job.state_name());
        let reported = Self { percent: facts.progress, is_estimate: false };
        match state {
            StateName::Downloading => Some(reported),
            StateName::Queued | StateName::Processing if facts.progress == 0 => {
                let estimate = details.usual.zip(facts.submitted_at).map(|(usual, submitted_at)| Self {
                    percent: usual.progress(now.since(submitted_at)),
                    is_estimate: true,
                });
                estimate.or((state == StateName::Processing).then_some(reported))
            }
            StateName::Queued | StateName::Processing => Some(reported),
            _ => None,
        }
    }
}

fn is_at_provider(details: &JobDetails) -> bool {
    matches!(details.job.state_name(), StateName::Queued | StateName::Processing)
}

fn usual_text(m: &Messages, usual: UsualTime) -> String {
    let TimeRange { low, high, unit } = usual.range();
    let unit = match unit {
        TimeUnit::Seconds => m.unit_s,
        TimeUnit::Minutes => m.unit_min,
        TimeUnit::Hours => m.unit_h,
    };
    let range = if low == high { format!("{high}{unit}") } else { format!("{low}–{high}{unit}") };
    m.timing.usually.replace("{range}", &range)
}
