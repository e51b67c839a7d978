//! I21: hooks, as the simulated receiver and the database see them. Each end or hold of a job has one message, written with
//! it, and `batch_finished` one each time the last job of a batch ends; each message is received, at least once, whatever
//! crashes; and those of one job are first sent in the order of its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::job::notification::JobNotification;
use dropreel::rng::Rng;
use dropreel::secret::Secret;
use dropreel::settings::{Hook, HookTarget};

use crate::checker::{Row, Snapshot};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The events of a job that change its state: its history names them alike.
const OF_JOBS: [JobNotification; 5] = [
    JobNotification::Succeeded,
    JobNotification::Failed,
    JobNotification::Held,
    JobNotification::Expired,
    JobNotification::Cancelled,
];

/// How the receiver of hooks misbehaves while there are faults, as probabilities.
#[derive(Clone, Debug)]
pub struct HookFaults {
    pub failing: f64,
    pub answer_lost: f64,
    pub slow: f64,
    /// From when, and for how long, it cannot be reached, also after all other faults have ended.
    pub down: Option<(Duration, Duration)>,
}

/// The receiver of hooks.
pub struct Receiver {
    faults: HookFaults,
    rng: Rng,
    begin: Timestamp,
    /// The ids of messages, in the order in which each was first sent.
    sent: Vec<String>,
    known: BTreeSet<String>,
    received: BTreeSet<String>,
}

/// The answer to a message: after how long it comes, and its status, or the error if none comes.
pub struct Reception {
    pub wait: Duration,
    pub answer: Result<u16, String>,
    pub fault: Option<&'static str>,
}

/// The hook that the receiver is called by.
pub fn hook() -> Hook {
    let url = Secret::new("http://hooks.example/receiver");
    Hook {
        name: "receiver".into(),
        on: OF_JOBS.into_iter().chain([JobNotification::BatchFinished]).collect(),
        target: HookTarget::Url { url, host: "hooks.example".into(), secret: None, body: None },
        timeout: TIMEOUT,
        at_once: 4,
    }
}

impl Receiver {
    pub fn new(faults: HookFaults, seed: u64, begin: Timestamp) -> Self {
        Self {
            faults,
            // Numbers of its own: everything else of a seed is as it would be with another receiver.
            rng: Rng::seeded(seed ^ 0x400c_0000),
            begin,
            sent: Vec::new(),
            known: BTreeSet::new(),
            received: BTreeSet::new(),
        }
    }

    /// Receives a message, or does not.
    pub fn receive(&mut self, id: &str, now: Timestamp, are_faults_over: bool) -> Reception {
        if self.known.insert(id.to_owned()) {
            self.sent.push(id.to_owned());
        }
        let wait = Duration::from_millis(1 + self.rng.below(300));
        let reception = |wait, answer, fault| Reception { wait, answer, fault: Some(fault) };
        let is_down = |(from, lasts): (Duration, Duration)| {
            let after = now.since(self.begin);
            after >= from && after < from + lasts
        };
        if self.faults.down.is_some_and(is_down) {
            return reception(wait, Err("cannot be reached".into()), "hook receiver down");
        }
        let chance = |share: f64| !are_faults_over && share > 0.0 && self.rng.fraction() < share;
        if chance(self.faults.failing) {
            let status = [500, 503, 429, 404][usize::try_from(self.rng.below(4)).unwrap()];
            return reception(wait, Ok(status), "hook failing");
        }
        let (is_lost, is_slow) = (chance(self.faults.answer_lost), chance(self.faults.slow));
        self.received.insert(id.to_owned());
        if is_lost {
            return reception(wait, Err("connection reset".into()), "hook answer lost");
        }
        if is_slow {
            return reception(TIMEOUT * 2, Ok(200), "hook answer slow");
        }
        Reception { wait, answer: Ok(200), fault: None }
    }

    /// What is wrong. After the clock was wrong, `keeps_order` is false.
    pub fn check(&self, data_dir: &Path, keeps_order: bool, is_final: bool) -> Vec<String> {
        // The checker says what is wrong with a database that cannot be read.
        let Ok(snapshot) = Snapshot::take(data_dir) else { return Vec::new() };
        let calls = calls(&snapshot);
        let mut wrong = Vec::new();
        for Call { id, outcome, .. } in &calls {
            let is_delivered = outcome == "delivered";
            if is_delivered && !self.received.contains(id) {
                wrong.push(format!("I21: {id} is called delivered, but was not received"));
            }
            if is_final && !is_delivered {
                wrong.push(format!("I21: {id} was not delivered: {outcome}"));
            }
        }
        wrong.extend(differences(&calls, &snapshot));
        if keeps_order {
            wrong.extend(self.disorder());
        }
        wrong
    }

    /// A message that was first sent before an earlier one of its job or batch.
    fn disorder(&self) -> Vec<String> {
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        let mut wrong = Vec::new();
        for id in &self.sent {
            let mut parts = id.rsplit('.');
            let number: i64 = parts.next().unwrap().parse().unwrap();
            let subject = id.split('.').next().unwrap_or_default();
            let before = newest.insert(subject, number);
            if before.is_some_and(|before| before > number) {
                wrong.push(format!("I21: {id} was first sent after {}", before.unwrap_or_default()));
            }
        }
        wrong
    }
}

/// A message as the database has it.
struct Call {
    id: String,
    /// The job or batch, and the event.
    about: (String, String),
    outcome: String,
}

fn calls(snapshot: &Snapshot) -> Vec<Call> {
    let rows = snapshot.others.iter().filter(|(table, _)| table == "hook_calls");
    let call = |(_, row): &(String, Row)| {
        let event = row.text("event").to_owned();
        let job = row.number("job").and_then(|job| snapshot.job(job)).map(|job| job.text("id").to_owned());
        let batch = row.number("batch").map(|batch| format!("b{batch}"));
        let subject = job.or(batch).unwrap_or_default();
        let id = format!("{subject}.{event}.{}", row.count("nr"));
        Call { id, about: (subject, event), outcome: row.text("outcome").to_owned() }
    };
    rows.map(call).collect()
}

/// Where the number of messages is not what the histories of the jobs ask for.
fn differences(calls: &[Call], snapshot: &Snapshot) -> Vec<String> {
    let mut counts: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for call in calls {
        counts.entry(call.about.clone()).or_default().0 += 1;
    }
    for asked in asked_for(snapshot) {
        counts.entry(asked).or_default().1 += 1;
    }
    counts.retain(|_, (written, asked)| written != asked);
    let describe = |((subject, event), (written, asked))| {
        format!("I21: {subject} became {event} {asked} times, and {written} messages say so")
    };
    counts.into_iter().map(describe).collect()
}

/// Job or batch and event of each message that the histories ask for.
fn asked_for(snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut open: BTreeMap<i64, i64> =
        snapshot.batches.iter().map(|batch| (batch.count("nr"), batch.count("jobs"))).collect();
    let mut ended = BTreeSet::new();
    let mut asked = Vec::new();
    for entry in &snapshot.history {
        let Some(job) = snapshot.job(entry.count("job")) else { continue };
        let (id, event, batch) = (job.text("id"), entry.text("event"), job.count("batch"));
        let left = open.entry(batch).or_default();
        match event {
            "succeeded" | "failed" | "expired" | "cancelled" if ended.insert(id) => {
                *left -= 1;
                if *left == 0 {
                    asked.push((format!("b{batch}"), "batch_finished".to_owned()));
                }
            }
            "retried" | "held" if ended.remove(id) => *left += 1,
            _ => {}
        }
        if OF_JOBS.iter().any(|one| one.into_str() == event) {
            asked.push((id.to_owned(), event.to_owned()));
        }
    }
    asked
}
