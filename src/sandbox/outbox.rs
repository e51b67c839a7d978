//! The outbox: callbacks to send, when, and how often to retry them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::rng::Rng;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::CallbackFault;
use crate::secret::Secret;

/// A POST to send now. Report its outcome to [`World::callback_answered`](crate::sandbox::world::World).
#[derive(Clone, Debug)]
pub struct Callback {
    /// Identifies it in the ledger and when its outcome is reported.
    pub number: u64,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The task it is about.
    pub task_id: String,
    /// The address, with the receiver's token.
    pub url: Secret,
    pub body: Vec<u8>,
}

/// The content of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The status at the time of sending.
    Genuine,
    /// `processing`, whatever the status is.
    Processing,
    /// `failed`, under a wrong token.
    Forged,
    Garbage,
    Empty,
    Huge,
}

#[derive(Clone, Debug)]
pub(crate) struct PendingCallback {
    pub number: u64,
    pub task: usize,
    pub message: Message,
    pub attempts: u32,
    pub max_attempts: u32,
}

/// The callbacks of all tasks: those to send, and those sent and not answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    waiting: BTreeMap<(Timestamp, u64), PendingCallback>,
    in_flight: BTreeMap<u64, PendingCallback>,
    last_number: u64,
}

impl Outbox {
    /// Schedules the callbacks of a task that ended at `at`, as its plan says.
    pub fn task_ended(&mut self, task: usize, plan: &FaultPlan, at: Timestamp, rng: &Rng) {
        let has = |fault: CallbackFault| plan.callback.contains(&fault);
        if has(CallbackFault::Lost) {
            return;
        }
        let (mut delay, mut copies) = (Duration::ZERO, 1);
        for fault in &plan.callback {
            match fault {
                CallbackFault::Late(time) => delay = *time,
                CallbackFault::Copies(count) => copies = *count,
                _ => {}
            }
        }
        let shuffled = || match has(CallbackFault::Shuffled) {
            true => Duration::from_millis(rng.below(5000)),
            false => Duration::ZERO,
        };
        let message = match () {
            () if has(CallbackFault::Garbage) => Message::Garbage,
            () if has(CallbackFault::Empty) => Message::Empty,
            () if has(CallbackFault::Huge) => Message::Huge,
            () => Message::Genuine,
        };
        let at = at.plus(delay);
        if has(CallbackFault::Forged) {
            self.schedule(task, Message::Forged, at, 1);
        }
        for _ in 0..copies {
            self.schedule(task, message, at.plus(shuffled()), plan.callback_tries.unwrap_or(3));
        }
        if has(CallbackFault::Stale) {
            self.schedule(task, Message::Processing, at.plus(Duration::from_millis(50)).plus(shuffled()), 1);
        }
    }

    /// Schedules the callback of a task whose processing begins at `at`, if its plan asks for one.
    pub fn processing_began(&mut self, task: usize, plan: &FaultPlan, at: Timestamp) {
        if plan.callback.contains(&CallbackFault::Progress) {
            self.schedule(task, Message::Genuine, at, 1);
        }
    }

    fn schedule(&mut self, task: usize, message: Message, at: Timestamp, max_attempts: u32) {
        self.last_number += 1;
        let number = self.last_number;
        self.waiting
            .insert((at, number), PendingCallback { number, task, message, attempts: 0, max_attempts });
    }

    /// Takes the next callback due at `now`. It is in flight until [`Outbox::record_outcome`].
    pub fn take_due(&mut self, now: Timestamp) -> Option<PendingCallback> {
        let entry = self.waiting.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let mut due = entry.remove();
        due.attempts += 1;
        self.in_flight.insert(due.number, due.clone());
        Some(due)
    }

    /// Records how a callback was answered; without a 2xx it is sent again after 1, 2, 4, ... seconds. Returns the
    /// number of the attempt.
    pub fn record_outcome(&mut self, number: u64, status: Option<u16>, now: Timestamp) -> Option<u32> {
        let sent = self.in_flight.remove(&number)?;
        let attempt = sent.attempts;
        let accepted = status.is_some_and(|status| (200..300).contains(&status));
        if !accepted && attempt < sent.max_attempts {
            let wait = Duration::from_secs(1 << (attempt - 1).min(10));
            self.waiting.insert((now.plus(wait), number), sent);
        }
        Some(attempt)
    }

    /// Whether the first attempt of a callback for this task is still to come or in flight.
    pub fn awaits_first_attempt(&self, task: usize) -> bool {
        let waiting = self.waiting.values().any(|waiting| waiting.task == task && waiting.attempts == 0);
        waiting || self.in_flight.values().any(|sent| sent.task == task && sent.attempts == 1)
    }

    /// When the next callback is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }
}

/// The body of a callback, made from the genuine one.
pub(crate) fn body(message: Message, mut genuine: Value) -> Vec<u8> {
    match message {
        Message::Genuine => genuine.to_string().into_bytes(),
        Message::Processing => {
            replace_status(&mut genuine, "processing");
            genuine.to_string().into_bytes()
        }
        Message::Forged => {
            replace_status(&mut genuine, "failed");
            genuine.to_string().into_bytes()
        }
        Message::Garbage => b"\xff\xfe{\"task_id\": <not json".to_vec(),
        Message::Empty => Vec::new(),
        Message::Huge => format!("{{\"padding\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes(),
    }
}

fn replace_status(value: &mut Value, status: &str) {
    let Some(object) = value.as_object_mut() else { return };
    if object.contains_key("status") {
        object.insert("status".to_owned(), status.into());
        for key in ["result", "completed_at", "cost"] {
            object.remove(key);
        }
    }
    for inner in ["data", "task"] {
        if let Some(inner) = object.get_mut(inner) {
            replace_status(inner, status);
        }
    }
}

/// `url` with another first character in its last path segment, where receivers keep their token.
pub(crate) fn wrong_token(url: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let at = path.rfind('/').map_or(0, |slash| slash + 1);
    let mut token = path[at..].chars();
    let other = if token.next() == Some('A') { 'B' } else { 'A' };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{other}{}{query}", &path[..at], token.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn sent(plan: &str) -> Vec<(Message, i64)> {
        let mut outbox = Outbox::default();
        outbox.task_ended(0, &FaultPlan::parse(plan).expect(plan), at(100), &Rng::seeded(1));
        let keys: Vec<_> = outbox.waiting.keys().map(|(at, _)| at.millis() - 100_000).collect();
        let messages = std::iter::from_fn(|| outbox.take_due(at(1000))).map(|waiting| waiting.message);
        messages.zip(keys).collect()
    }

    #[test]
    fn plan_decides_what_is_sent_and_when() {
        assert_eq!(sent(""), [(Message::Genuine, 0)]);
        assert_eq!(sent("callback=lost"), []);
        assert_eq!(sent("callback=late:5s callback=garbage"), [(Message::Garbage, 5000)]);
        assert_eq!(sent("callback=copies:10").len(), 10);
        assert_eq!(
            sent("callback=forged callback=stale"),
            [(Message::Forged, 0), (Message::Genuine, 0), (Message::Processing, 50)]
        );
        let times: std::collections::BTreeSet<_> =
            sent("callback=copies:10 callback=shuffled").into_iter().map(|(_, at)| at).collect();
        assert!(times.len() > 5 && times.iter().all(|at| *at < 5000));
    }

    #[test]
    fn callback_is_retried_until_accepted_or_out_of_attempts() {
        let mut outbox = Outbox::default();
        outbox.task_ended(7, &FaultPlan::default(), at(0), &Rng::seeded(1));
        for (attempt, due, next) in [(1, 0, Some(1)), (2, 1, Some(3)), (3, 3, None)] {
            assert!(attempt == 1 || outbox.take_due(at(due - 1)).is_none());
            let waiting = outbox.take_due(at(due)).expect("due");
            assert_eq!(waiting.attempts, attempt);
            assert_eq!(outbox.awaits_first_attempt(7), attempt == 1);
            assert_eq!(outbox.record_outcome(waiting.number, Some(503), at(due)), Some(attempt));
            assert_eq!(outbox.next_due(), next.map(at));
        }
        outbox.task_ended(8, &FaultPlan::default(), at(0), &Rng::seeded(1));
        let waiting = outbox.take_due(at(0)).expect("due");
        outbox.record_outcome(waiting.number, Some(204), at(0));
        assert_eq!(outbox.next_due(), None);
    }

    #[test]
    fn wrong_token_differs_only_in_the_token() {
        assert_eq!(wrong_token("http://h/callbacks/id/token"), "http://h/callbacks/id/Aoken");
        assert_eq!(wrong_token("http://h/callbacks/id/Atoken?a=/b"), "http://h/callbacks/id/Btoken?a=/b");
    }
}
