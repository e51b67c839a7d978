//! The ledger of the simulated provider: requests, responses and charges. Checkers read it instead of trusting the
//! daemon. It has no API keys and no callback addresses; its link signatures open nothing outside the sandbox.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::money::Quota;

/// Most requests kept, submits aside; later ones are only counted, so that a sandbox can run for weeks.
const MAX_KEPT: usize = 100_000;

/// Everything that happened, in order. `GET /sandbox/ledger` returns it as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ledger {
    /// Every request, in the order of arrival.
    pub requests: Vec<RequestEntry>,
    /// Number of requests beyond the first hundred thousand, which are not kept.
    pub requests_not_kept: u64,
    /// Number of requests by call: `submit`, `status`, ...
    pub calls: BTreeMap<&'static str, u64>,
    /// The use of each idempotency key.
    pub keys: BTreeMap<String, KeyEntry>,
    /// Every task, in the order of creation.
    pub tasks: Vec<TaskEntry>,
    /// Every charge and refund, in order.
    pub money: Vec<MoneyEntry>,
    /// Every link issued.
    pub links: Vec<LinkEntry>,
    /// Every callback sent.
    pub callbacks: Vec<CallbackEntry>,
    /// How often each fault happened, by its text in a plan (`submit=503`).
    pub faults: BTreeMap<String, u64>,
    /// Highest number of tasks queued or processing at one time.
    pub max_running: usize,
    /// All charges minus all refunds.
    pub total: Quota,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestEntry {
    /// When it arrived.
    pub at: Timestamp,
    /// `submit`, `status`, `cancel`, `balance`, `models`, `media` or `other`.
    pub call: &'static str,
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The task it names or created.
    pub task_id: Option<String>,
    /// The fault that happened, as in a plan.
    pub fault: Option<String>,
    /// The HTTP status of the response; `None`: the connection was reset.
    pub status: Option<u16>,
}

/// The use of an idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyEntry {
    /// Arrival of the first submit with it.
    pub first: Timestamp,
    /// Arrival of the last submit with it.
    pub last: Timestamp,
    /// Number of submits with it.
    pub submits: u64,
    /// SHA-256 of each distinct body sent with it; more than one is a mistake of the client.
    pub bodies: Vec<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskEntry {
    /// The provider's id.
    pub task_id: String,
    /// The idempotency key of its submit.
    pub key: Option<String>,
    /// The model.
    pub model: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// How it ended: `completed`, `failed`, `cancelled`; `None` while it runs.
    pub ended: Option<&'static str>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Charges minus refunds so far.
    pub cost: Quota,
    /// Its files.
    pub outputs: Vec<OutputEntry>,
}

/// An output of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputEntry {
    /// Its name, as in its link.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the file as it must be stored; empty for large files.
    pub sha256: String,
}

/// A charge or a refund.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MoneyEntry {
    /// When.
    pub at: Timestamp,
    /// The task.
    pub task_id: String,
    /// `charge` or `refund`.
    pub kind: &'static str,
    /// Always positive.
    pub amount: Quota,
}

/// A link issued.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkEntry {
    /// The task.
    pub task_id: String,
    /// Path and query, without scheme and host.
    pub link: String,
    /// When.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// An attempt to send a callback.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallbackEntry {
    /// The number of the callback.
    pub number: u64,
    /// The task.
    pub task_id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Whether its token was wrong.
    pub forged: bool,
    /// SHA-256 of the body.
    pub body_sha256: String,
    /// When its outcome became known.
    pub answered_at: Option<Timestamp>,
    /// The HTTP status of the answer; `None`: no answer (yet).
    pub status: Option<u16>,
}

impl Ledger {
    pub(crate) fn record_request(&mut self, entry: RequestEntry) {
        *self.calls.entry(entry.call).or_default() += 1;
        if let Some(fault) = &entry.fault {
            *self.faults.entry(format!("{}={fault}", entry.call)).or_default() += 1;
        }
        if let (Some(key), "submit") = (&entry.key, entry.call) {
            let at = entry.at;
            let uses = self.keys.entry(key.clone());
            let uses = uses.or_insert(KeyEntry { first: at, last: at, submits: 0, bodies: Vec::new() });
            uses.last = at;
            uses.submits += 1;
            if !uses.bodies.contains(&entry.body_sha256) {
                uses.bodies.push(entry.body_sha256.clone());
            }
        }
        if entry.call == "submit" || self.requests.len() < MAX_KEPT {
            self.requests.push(entry);
        } else {
            self.requests_not_kept += 1;
        }
    }

    /// Records a charge (positive), a refund (negative), or nothing (zero).
    pub(crate) fn record_money(&mut self, at: Timestamp, task: usize, amount: Quota) {
        let Some(entry) = self.tasks.get_mut(task) else { return };
        if amount == Quota::ZERO {
            return;
        }
        entry.cost = entry.cost.plus(amount);
        self.total = self.total.plus(amount);
        let kind = if amount > Quota::ZERO { "charge" } else { "refund" };
        let amount = Quota::new(amount.get().saturating_abs());
        self.money.push(MoneyEntry { at, task_id: entry.task_id.clone(), kind, amount });
    }

    /// Records how an attempt was answered; `None`: not at all.
    pub(crate) fn record_callback_outcome(
        &mut self,
        number: u64,
        attempt: u32,
        status: Option<u16>,
        at: Timestamp,
    ) {
        let mut sent = self.callbacks.iter_mut().rev();
        if let Some(entry) = sent.find(|entry| entry.number == number && entry.attempt == attempt) {
            entry.answered_at = Some(at);
            entry.status = status;
        }
    }
}
