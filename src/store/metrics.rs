//! Counts of what this process committed, for `GET /metrics` and for operators; nothing is decided by them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::job::Job;
use crate::job::event::{DownloadFailure, Event, Phase, StatusVerdict, SubmitVerdict};
use crate::job::state::StateName;

/// Most models counted by name: job files may name any model, and each name is a time series.
const MAX_MODELS: usize = 50;
/// The label of all further models.
const OTHER: &str = "other";
/// Consecutive tasks without a callback from which on chance is ruled out.
pub const MISSED_CALLBACKS_THRESHOLD: u32 = 5;

/// How a call ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// A word such as `accepted` or `transient`.
    pub outcome: &'static str,
}

/// A group of jobs.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct JobLabels {
    /// The state, as the API spells it.
    pub state: &'static str,
    /// The model, or `other`.
    pub model: String,
}

/// What reported the end of a task first.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceLabel {
    /// `callback`, `poll`, or `watched`: polled before its time because somebody watches.
    pub source: &'static str,
}

/// The counters since the start of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Jobs accepted.
    pub accepted_jobs: Counter,
    /// Jobs that reached a final state.
    pub finished_jobs: Family<JobLabels, Counter>,
    /// Submit calls that ended.
    pub submits: Family<OutcomeLabel, Counter>,
    /// Status queries that ended.
    pub polls: Family<OutcomeLabel, Counter>,
    /// Callbacks stored.
    pub callbacks: Counter,
    /// Tasks that finished at the provider.
    pub finished_tasks: Family<SourceLabel, Counter>,
    /// Download attempts that ended.
    pub downloads: Family<OutcomeLabel, Counter>,
    /// Bytes of stored outputs.
    pub stored_bytes: Counter,
    /// Quota charged.
    pub charged_quota: Counter,
    /// Charges above their estimates.
    pub charges_above_estimate: Counter,
    /// Writes committed; a commit is a batch of them.
    pub commit_batch_writes: Counter,
    /// Duration of a commit with its flush, in seconds.
    pub commit_durations: Histogram,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    models: Mutex<BTreeSet<String>>,
    /// Consecutive tasks that finished without a callback.
    missed_callbacks: AtomicU32,
}

/// What a write adds to the counters once it is committed.
#[derive(Debug)]
pub(super) enum MetricEvent {
    Accepted,
    Callback,
    /// So much quota more than before, whenever it becomes known.
    Charged(u64),
    ChargedAboveEstimate,
    Event(Box<CountedEvent>),
}

/// The counted effects of an event.
#[derive(Debug, Default)]
pub(super) struct CountedEvent {
    submit: Option<&'static str>,
    poll: Option<&'static str>,
    download: Option<&'static str>,
    finished_task: Option<&'static str>,
    finished_job: Option<(StateName, String)>,
    stored_bytes: u64,
}

impl MetricEvent {
    /// The counted effects of a step; `None` if it has none.
    pub fn of(event: &Event, before: &Job, after: &Job) -> Option<Self> {
        let (from, to) = (before.state_name(), after.state_name());
        let finished_job = (!from.is_end() && to.is_end()).then(|| (to, after.identity().model.clone()));
        let mut counted = CountedEvent { finished_job, ..CountedEvent::default() };
        match event {
            Event::SubmitAnswered { verdict, .. } => counted.submit = Some(submit_outcome(verdict)),
            Event::StatusPolled { verdict, sent_at, .. } => {
                counted.poll = Some(poll_outcome(verdict));
                let was_running = matches!(from, StateName::Queued | StateName::Processing);
                let is_finished = matches!(verdict, StatusVerdict::Answered(facts)
                    if matches!(facts.phase, Phase::Completed | Phase::Failed | Phase::Cancelled));
                // Polled before its time because somebody watches: the callback may be on its way.
                let is_early = before.state().schedule().is_some_and(|schedule| schedule.due > *sent_at);
                let source = match before.callback_at() {
                    Some(_) => "callback",
                    None if is_early => "watched",
                    None => "poll",
                };
                // The callback of an adopted task went elsewhere.
                let is_counted = was_running && is_finished && !after.identity().adopted;
                counted.finished_task = is_counted.then_some(source);
            }
            Event::Stored(stored) => {
                counted.download = Some("stored");
                counted.stored_bytes = stored.file().bytes;
            }
            Event::DownloadFailed { failure, .. } => counted.download = Some(download_outcome(failure)),
            _ => {}
        }
        let has_effects = counted.submit.is_some()
            || counted.poll.is_some()
            || counted.download.is_some()
            || counted.finished_job.is_some();
        has_effects.then(|| Self::Event(Box::new(counted)))
    }
}

fn submit_outcome(verdict: &SubmitVerdict) -> &'static str {
    match verdict {
        SubmitVerdict::Accepted { .. } => "accepted",
        SubmitVerdict::Refused(_) => "rejected",
        SubmitVerdict::Suspended { .. } => "suspended",
        SubmitVerdict::NotExecuted { .. } => "not_executed",
        SubmitVerdict::Blocked { .. } => "blocked",
        SubmitVerdict::Unknown { .. } => "unknown",
        SubmitVerdict::Replayed { .. } => "replayed",
        SubmitVerdict::DuplicateTask { .. } => "duplicate_task",
    }
}

fn poll_outcome(verdict: &StatusVerdict) -> &'static str {
    match verdict {
        StatusVerdict::Answered(_) => "answered",
        StatusVerdict::Missing => "not_found",
        StatusVerdict::Unanswered { .. } => "unanswered",
        StatusVerdict::Unreadable { .. } => "unreadable",
    }
}

fn download_outcome(failure: &DownloadFailure) -> &'static str {
    match failure {
        DownloadFailure::LinkRefused { .. } => "link_rejected",
        DownloadFailure::Transient { .. } => "transient",
        DownloadFailure::Invalid { .. } => "invalid",
        DownloadFailure::Forbidden { .. } => "forbidden",
        DownloadFailure::NotUploaded { .. } => "not_uploaded",
        DownloadFailure::NotSpooled { .. } => "not_spooled",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From a RAM disk to a failing disk.
        let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
        Self {
            accepted_jobs: Counter::default(),
            finished_jobs: Family::default(),
            submits: Family::default(),
            polls: Family::default(),
            callbacks: Counter::default(),
            finished_tasks: Family::default(),
            downloads: Family::default(),
            stored_bytes: Counter::default(),
            charged_quota: Counter::default(),
            charges_above_estimate: Counter::default(),
            commit_batch_writes: Counter::default(),
            commit_durations: Histogram::new(buckets),
            shared: Arc::default(),
        }
    }
}

impl Metrics {
    /// Consecutive tasks that finished without a callback; a callback resets it to 0.
    pub fn missed_callbacks(&self) -> u32 {
        self.shared.missed_callbacks.load(Ordering::Relaxed)
    }

    pub fn model_label(&self, model: &str) -> String {
        let mut models = self.shared.models.lock();
        if models.contains(model) || models.len() < MAX_MODELS {
            models.insert(model.to_owned());
            return model.to_owned();
        }
        OTHER.to_owned()
    }

    pub(super) fn record_commit(&self, writes: usize, duration: Duration, events: Vec<MetricEvent>) {
        self.commit_batch_writes.inc_by(writes as u64);
        self.commit_durations.observe(duration.as_secs_f64());
        for event in events {
            match event {
                MetricEvent::Accepted => drop(self.accepted_jobs.inc()),
                MetricEvent::Callback => drop(self.callbacks.inc()),
                MetricEvent::Charged(quota) => drop(self.charged_quota.inc_by(quota)),
                MetricEvent::ChargedAboveEstimate => drop(self.charges_above_estimate.inc()),
                MetricEvent::Event(counted) => self.record_event(*counted),
            }
        }
    }

    fn record_event(&self, counted: CountedEvent) {
        let add = |family: &Family<OutcomeLabel, Counter>, outcome: Option<&'static str>| {
            if let Some(outcome) = outcome {
                family.get_or_create(&OutcomeLabel { outcome }).inc();
            }
        };
        add(&self.submits, counted.submit);
        add(&self.polls, counted.poll);
        add(&self.downloads, counted.download);
        if let Some(source) = counted.finished_task {
            self.finished_tasks.get_or_create(&SourceLabel { source }).inc();
            match source {
                "callback" => self.shared.missed_callbacks.store(0, Ordering::Relaxed),
                "poll" => drop(self.shared.missed_callbacks.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
        }
        if let Some((state, model)) = counted.finished_job {
            let labels = JobLabels { state: state.into_str(), model: self.model_label(&model) };
            self.finished_jobs.get_or_create(&labels).inc();
        }
        self.stored_bytes.inc_by(counted.stored_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_model_labels_is_limited() {
        let metrics = Metrics::default();
        let labels: BTreeSet<String> =
            (0..1000).map(|number| metrics.model_label(&format!("model-{number}"))).collect();
        assert_eq!(labels.len(), MAX_MODELS + 1);
        let labels = ["model-3", "new"].map(|model| metrics.model_label(model));
        assert_eq!(labels, ["model-3", OTHER]);
    }

    #[test]
    fn missed_callbacks_are_counted_until_a_callback_comes() {
        let metrics = Metrics::default();
        let finished = |source| CountedEvent {
            finished_task: Some(source),
            poll: Some("answered"),
            ..CountedEvent::default()
        };
        for _ in 0..3 {
            metrics.record_event(finished("poll"));
        }
        assert_eq!(metrics.missed_callbacks(), 3);
        metrics.record_event(finished("callback"));
        assert_eq!(metrics.missed_callbacks(), 0);
    }
}
