//! What was committed since this process began, counted: for metrics and for people, never for decisions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::job::Job;
use crate::job::event::{Event, FetchFailure, Phase, StatusVerdict, SubmitVerdict};
use crate::job::state::StateName;

/// So many models are counted by name; a user may write anything there. The others count together.
const MODELS: usize = 50;
/// The name of all the others.
const OTHER: &str = "other";
/// So many ends in a row that no callback told of are no chance any more.
pub const MISSED_IN_A_ROW: u32 = 5;

/// How something ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    /// One word.
    pub outcome: &'static str,
}

/// Which jobs.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Kind {
    /// In which state.
    pub state: &'static str,
    /// Of which model.
    pub model: String,
}

/// How the end of a task was learned.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct LearnedBy {
    /// `callback` or `poll`.
    pub learned_by: &'static str,
}

/// The counts. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Jobs taken in.
    pub accepted: Counter,
    /// Jobs that ended, by state and model.
    pub ended: Family<Kind, Counter>,
    /// Answers to submits.
    pub submits: Family<Outcome, Counter>,
    /// Answers to status queries.
    pub polls: Family<Outcome, Counter>,
    /// Callbacks kept.
    pub callbacks: Counter,
    /// Ends of tasks at the provider.
    pub completions: Family<LearnedBy, Counter>,
    /// Outputs stored, and tries that failed, by reason.
    pub fetches: Family<Outcome, Counter>,
    /// Bytes of outputs stored.
    pub stored_bytes: Counter,
    /// Quota charged for jobs that ended.
    pub charged_quota: Counter,
    /// Pieces of work committed.
    pub pieces: Counter,
    /// How long commits took, flush included, in seconds.
    pub commits: Histogram,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    models: Mutex<BTreeSet<String>>,
    missed: AtomicU32,
}

/// What is to be counted once it is committed.
#[derive(Debug)]
pub(super) enum MetricEvent {
    Accepted,
    Callback,
    Event(Box<Changed>),
}

/// An event, as far as it is counted.
#[derive(Debug)]
pub(super) struct Changed {
    submit: Option<&'static str>,
    poll: Option<&'static str>,
    fetch: Option<&'static str>,
    learned_by: Option<&'static str>,
    ended: Option<(StateName, String)>,
    bytes: u64,
    charged: u64,
}

impl MetricEvent {
    /// What of this step is counted; `None` if nothing is.
    pub fn of(event: &Event, before: &Job, after: &Job) -> Option<Self> {
        let (was, is) = (before.state_name(), after.state_name());
        let ended = (!was.is_end() && is.is_end()).then(|| (is, after.identity().model.clone()));
        let cost = after.learned().cost.filter(|_| ended.is_some()).map_or(0, |cost| cost.get());
        let (mut submit, mut poll, mut fetch, mut learned_by, mut bytes) = (None, None, None, None, 0);
        match event {
            Event::SubmitAnswered(verdict) => submit = Some(submit_word(verdict)),
            Event::Asked { verdict, .. } => {
                poll = Some(poll_word(verdict));
                let at_provider = matches!(was, StateName::Queued | StateName::Processing);
                let is_over = matches!(verdict, StatusVerdict::Seen(facts)
                    if matches!(facts.phase, Phase::Completed | Phase::Failed | Phase::Cancelled));
                let knocked = before.knocked_at().is_some();
                learned_by = (at_provider && is_over).then_some(if knocked { "callback" } else { "poll" });
            }
            Event::Stored(stored) => {
                fetch = Some("stored");
                bytes = stored.file().bytes;
            }
            Event::FetchFailed { failure, .. } => fetch = Some(fetch_word(failure)),
            _ => {}
        }
        let counts = submit.is_some() || poll.is_some() || fetch.is_some() || ended.is_some();
        let charged = cost.max(0).unsigned_abs();
        let changed = Changed { submit, poll, fetch, learned_by, ended, bytes, charged };
        counts.then(|| Self::Event(Box::new(changed)))
    }
}

fn submit_word(verdict: &SubmitVerdict) -> &'static str {
    match verdict {
        SubmitVerdict::Accepted { .. } => "accepted",
        SubmitVerdict::Refused(_) => "refused",
        SubmitVerdict::NotExecuted { .. } => "not_executed",
        SubmitVerdict::Unknown { .. } => "unknown",
        SubmitVerdict::Replayed { .. } => "replayed",
        SubmitVerdict::Shared { .. } => "shared",
    }
}

fn poll_word(verdict: &StatusVerdict) -> &'static str {
    match verdict {
        StatusVerdict::Seen(_) => "seen",
        StatusVerdict::Missing => "missing",
        StatusVerdict::Unanswered { .. } => "unanswered",
    }
}

fn fetch_word(failure: &FetchFailure) -> &'static str {
    match failure {
        FetchFailure::LinkRefused { .. } => "link_refused",
        FetchFailure::Passing { .. } => "passing",
        FetchFailure::Unfit { .. } => "unfit",
        FetchFailure::Forbidden { .. } => "forbidden",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From a RAM disk to a disk that is about to die.
        let seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
        Self {
            accepted: Counter::default(),
            ended: Family::default(),
            submits: Family::default(),
            polls: Family::default(),
            callbacks: Counter::default(),
            completions: Family::default(),
            fetches: Family::default(),
            stored_bytes: Counter::default(),
            charged_quota: Counter::default(),
            pieces: Counter::default(),
            commits: Histogram::new(seconds),
            shared: Arc::default(),
        }
    }
}

impl Metrics {
    /// How many ends in a row no callback told of; 0 after each that one did.
    pub fn missed_in_a_row(&self) -> u32 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// The model as it is counted.
    pub fn model(&self, model: &str) -> String {
        let mut models = self.shared.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) || models.len() < MODELS {
            models.insert(model.to_owned());
            return model.to_owned();
        }
        OTHER.to_owned()
    }

    pub(super) fn committed(&self, pieces: usize, took: Duration, counted: Vec<MetricEvent>) {
        self.pieces.inc_by(pieces as u64);
        self.commits.observe(took.as_secs_f64());
        for one in counted {
            match one {
                MetricEvent::Accepted => drop(self.accepted.inc()),
                MetricEvent::Callback => drop(self.callbacks.inc()),
                MetricEvent::Event(changed) => self.count(*changed),
            }
        }
    }

    fn count(&self, changed: Changed) {
        let add = |family: &Family<Outcome, Counter>, outcome: Option<&'static str>| {
            if let Some(outcome) = outcome {
                family.get_or_create(&Outcome { outcome }).inc();
            }
        };
        add(&self.submits, changed.submit);
        add(&self.polls, changed.poll);
        add(&self.fetches, changed.fetch);
        if let Some(learned_by) = changed.learned_by {
            self.completions.get_or_create(&LearnedBy { learned_by }).inc();
            match learned_by {
                "callback" => self.shared.missed.store(0, Ordering::Relaxed),
                _ => drop(self.shared.missed.fetch_add(1, Ordering::Relaxed)),
            }
        }
        if let Some((state, model)) = changed.ended {
            let kind = Kind { state: state.as_str(), model: self.model(&model) };
            self.ended.get_or_create(&kind).inc();
        }
        self.stored_bytes.inc_by(changed.bytes);
        self.charged_quota.inc_by(changed.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_do_not_grow_without_end() {
        let tally = Metrics::default();
        let names: BTreeSet<String> =
            (0..1000).map(|number| tally.model(&format!("model-{number}"))).collect();
        assert_eq!(names.len(), MODELS + 1);
        assert_eq!((tally.model("model-3").as_str(), tally.model("new").as_str()), ("model-3", OTHER));
    }

    #[test]
    fn callbacks_that_do_not_come_are_counted_until_one_comes() {
        let tally = Metrics::default();
        let learned = |learned_by| Changed {
            learned_by: Some(learned_by),
            submit: None,
            poll: Some("seen"),
            fetch: None,
            ended: None,
            bytes: 0,
            charged: 0,
        };
        for _ in 0..3 {
            tally.count(learned("poll"));
        }
        assert_eq!(tally.missed_in_a_row(), 3);
        tally.count(learned("callback"));
        assert_eq!(tally.missed_in_a_row(), 0);
    }
}
