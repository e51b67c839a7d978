//! Callbacks waiting to be sent: which, when, and how often again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::rng::Rng;
use crate::sandbox::faults::CallbackFault;
use crate::sandbox::plan::Plan;
use crate::secret::Secret;

/// One POST to be made now; its outcome is due at [`World::callback_answered`](crate::sandbox::world::World).
#[derive(Clone, Debug)]
pub struct Callback {
    /// Names it in the ledger and in its outcome.
    pub number: u64,
    /// Which try of it this is, from 1.
    pub attempt: u32,
    /// The task it is about.
    pub task_id: String,
    /// Where to; carries the receiver's token.
    pub url: Secret,
    /// What.
    pub body: Vec<u8>,
}

/// What a callback says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The status at the time of sending.
    Truth,
    /// `processing`, whatever is true.
    Processing,
    /// `failed`, under a wrong token.
    Forged,
    Garbage,
    Empty,
    Huge,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub number: u64,
    pub task: usize,
    pub message: Message,
    /// Tries so far.
    pub tried: u32,
    /// Tries allowed.
    pub allowed: u32,
}

/// The callbacks of all tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    waiting: BTreeMap<(Timestamp, u64), Waiting>,
    under_way: BTreeMap<u64, Waiting>,
    made: u64,
}

impl Outbox {
    /// A task has ended: what its plan makes of that.
    pub fn ended(&mut self, task: usize, plan: &Plan, at: Timestamp, rng: &Rng) {
        let has = |fault: CallbackFault| plan.callback.contains(&fault);
        if has(CallbackFault::Lost) {
            return;
        }
        let (mut late, mut copies) = (Duration::ZERO, 1);
        for fault in &plan.callback {
            match fault {
                CallbackFault::Late(by) => late = *by,
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
            () => Message::Truth,
        };
        let at = at.plus(late);
        if has(CallbackFault::Forged) {
            self.post(task, Message::Forged, at, 1);
        }
        for _ in 0..copies {
            self.post(task, message, at.plus(shuffled()), plan.callback_tries.unwrap_or(3));
        }
        if has(CallbackFault::Stale) {
            self.post(task, Message::Processing, at.plus(Duration::from_millis(50)).plus(shuffled()), 1);
        }
    }

    /// A task's processing begins at `at`.
    pub fn begun(&mut self, task: usize, plan: &Plan, at: Timestamp) {
        if plan.callback.contains(&CallbackFault::Progress) {
            self.post(task, Message::Truth, at, 1);
        }
    }

    fn post(&mut self, task: usize, message: Message, at: Timestamp, allowed: u32) {
        self.made += 1;
        let number = self.made;
        self.waiting.insert((at, number), Waiting { number, task, message, tried: 0, allowed });
    }

    /// The next callback due at `now`, now under way.
    pub fn take(&mut self, now: Timestamp) -> Option<Waiting> {
        let entry = self.waiting.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let mut due = entry.remove();
        due.tried += 1;
        self.under_way.insert(due.number, due.clone());
        Some(due)
    }

    /// One that was under way has its outcome; without a 2xx it is tried again after 1, 2, 4, ... seconds.
    pub fn answered(&mut self, number: u64, status: Option<u16>, now: Timestamp) -> Option<u32> {
        let sent = self.under_way.remove(&number)?;
        let tried = sent.tried;
        let well = status.is_some_and(|status| (200..300).contains(&status));
        if !well && tried < sent.allowed {
            let wait = Duration::from_secs(1 << (tried - 1).min(10));
            self.waiting.insert((now.plus(wait), number), sent);
        }
        Some(tried)
    }

    /// Whether a first try for this task is still to come or under way.
    pub fn untried(&self, task: usize) -> bool {
        let waiting = self.waiting.values().any(|waiting| waiting.task == task && waiting.tried == 0);
        waiting || self.under_way.values().any(|sent| sent.task == task && sent.tried == 1)
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }
}

/// What a message carries, given the true status object as a callback tells it.
pub(crate) fn body(message: Message, mut truth: Value) -> Vec<u8> {
    match message {
        Message::Truth => truth.to_string().into_bytes(),
        Message::Processing => {
            restate(&mut truth, "processing");
            truth.to_string().into_bytes()
        }
        Message::Forged => {
            restate(&mut truth, "failed");
            truth.to_string().into_bytes()
        }
        Message::Garbage => b"\xff\xfe{\"task_id\": <not json".to_vec(),
        Message::Empty => Vec::new(),
        Message::Huge => format!("{{\"padding\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes(),
    }
}

fn restate(value: &mut Value, status: &str) {
    let Some(object) = value.as_object_mut() else { return };
    if object.contains_key("status") {
        object.insert("status".to_owned(), status.into());
        for key in ["result", "completed_at", "cost"] {
            object.remove(key);
        }
    }
    for inner in ["data", "task"] {
        if let Some(inner) = object.get_mut(inner) {
            restate(inner, status);
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
        outbox.ended(0, &Plan::parse(plan).expect(plan), at(100), &Rng::seeded(1));
        let keys: Vec<_> = outbox.waiting.keys().map(|(at, _)| at.millis() - 100_000).collect();
        let messages = std::iter::from_fn(|| outbox.take(at(1000))).map(|waiting| waiting.message);
        messages.zip(keys).collect()
    }

    #[test]
    fn a_plan_decides_what_is_sent_and_when() {
        assert_eq!(sent(""), [(Message::Truth, 0)]);
        assert_eq!(sent("callback=lost"), []);
        assert_eq!(sent("callback=late:5s callback=garbage"), [(Message::Garbage, 5000)]);
        assert_eq!(sent("callback=copies:10").len(), 10);
        assert_eq!(
            sent("callback=forged callback=stale"),
            [(Message::Forged, 0), (Message::Truth, 0), (Message::Processing, 50)]
        );
        let times: std::collections::BTreeSet<_> =
            sent("callback=copies:10 callback=shuffled").into_iter().map(|(_, at)| at).collect();
        assert!(times.len() > 5 && times.iter().all(|at| *at < 5000));
    }

    #[test]
    fn a_callback_is_tried_again_until_it_is_answered_well_or_the_tries_are_up() {
        let mut outbox = Outbox::default();
        outbox.ended(7, &Plan::default(), at(0), &Rng::seeded(1));
        for (attempt, due, next) in [(1, 0, Some(1)), (2, 1, Some(3)), (3, 3, None)] {
            assert!(attempt == 1 || outbox.take(at(due - 1)).is_none());
            let waiting = outbox.take(at(due)).expect("due");
            assert_eq!(waiting.tried, attempt);
            assert_eq!(outbox.untried(7), attempt == 1);
            assert_eq!(outbox.answered(waiting.number, Some(503), at(due)), Some(attempt));
            assert_eq!(outbox.next(), next.map(at));
        }
        outbox.ended(8, &Plan::default(), at(0), &Rng::seeded(1));
        let waiting = outbox.take(at(0)).expect("due");
        outbox.answered(waiting.number, Some(204), at(0));
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn a_wrong_token_differs_only_in_the_token() {
        assert_eq!(wrong_token("http://h/callbacks/id/token"), "http://h/callbacks/id/Aoken");
        assert_eq!(wrong_token("http://h/callbacks/id/Atoken?a=/b"), "http://h/callbacks/id/Btoken?a=/b");
    }
}
