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
    /// Every amount frozen, charged or refunded, in order.
    pub money: Vec<MoneyEntry>,
    /// Every link issued.
    pub links: Vec<LinkEntry>,
    /// Every callback sent.
    pub callbacks: Vec<CallbackEntry>,
    /// How often each fault happened, by its text in a plan (`submit=503`).
    pub faults: BTreeMap<String, u64>,
    /// Highest number of tasks queued or processing at one time.
    pub max_running: usize,
    /// What the balance is short of: what is frozen, and what was charged.
    pub total: Quota,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestEntry {
    /// When it arrived.
    pub at: Timestamp,
    /// `submit`, `status`, `cancel`, `balance`, `usage`, `models`, `model`, `quote`, `media` or `other`.
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskEntry {
    /// The provider's id.
    pub task_id: String,
    /// The idempotency key of its submit.
    pub key: Option<String>,
    pub model: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// How it ended: `completed`, `failed`, `cancelled`; `None` while it runs.
    pub ended: Option<&'static str>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Taken from the balance by its submit.
    pub frozen: Quota,
    /// The final cost; `None`: not settled.
    pub charged: Option<Quota>,
    /// Given back of what was frozen.
    pub refunded: Quota,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// What the balance is short of because of it: `frozen`, once settled `charged`.
    pub cost: Quota,
    /// How many status answers said after its end that billing is not settled yet.
    pub pending_answers: u32,
    /// Whether a status answer named the final cost.
    pub reported_final: bool,
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

/// An amount frozen at a submit, charged in the end, or refunded. The balance changes by `freeze` and `refund`, and by
/// what a `charge` exceeds the task's freeze.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MoneyEntry {
    /// When.
    pub at: Timestamp,
    pub task_id: String,
    /// The idempotency key of its submit.
    pub key: Option<String>,
    /// `freeze`, `charge` or `refund`.
    pub kind: &'static str,
    /// Always positive.
    pub amount: Quota,
}

/// Sums of the ledger, in quota. `GET /sandbox/totals` returns them as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Of all tasks.
    pub all: Amounts,
    /// By the UTC day of the submit, whenever a task was settled.
    pub by_day: BTreeMap<String, Amounts>,
}

/// Sums over tasks. `frozen` plus what settlements added is `charged` plus `refunded` plus `pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Number of tasks.
    pub tasks: u64,
    /// Frozen by submits.
    pub frozen: Quota,
    /// Frozen for tasks that are not settled.
    pub pending: Quota,
    /// Final costs.
    pub charged: Quota,
    /// Given back of what was frozen.
    pub refunded: Quota,
}

impl Amounts {
    fn add(&mut self, task: &TaskEntry) {
        self.tasks += 1;
        self.frozen = self.frozen.plus(task.frozen);
        self.refunded = self.refunded.plus(task.refunded);
        match task.charged {
            Some(charged) => self.charged = self.charged.plus(charged),
            None => self.pending = self.pending.plus(task.frozen),
        }
    }
}

/// A link issued.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkEntry {
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

    /// Records what a submit froze.
    pub(crate) fn record_freeze(&mut self, at: Timestamp, task: usize, amount: Quota) {
        let Some(entry) = self.tasks.get_mut(task) else { return };
        entry.frozen = amount;
        entry.cost = amount;
        self.total = self.total.plus(amount);
        self.record_money(at, task, "freeze", amount);
    }

    /// Records the final cost of a task, and what it refunds of the freeze. Returns by how much the balance changes;
    /// `None`: the task was settled before.
    pub(crate) fn record_settlement(&mut self, at: Timestamp, task: usize, charged: Quota) -> Option<Quota> {
        let entry = self.tasks.get_mut(task).filter(|entry| entry.charged.is_none())?;
        let difference = entry.frozen.plus(Quota::new(-charged.get()));
        let refunded = difference.max(Quota::ZERO);
        entry.charged = Some(charged);
        entry.refunded = refunded;
        entry.settled_at = Some(at);
        entry.cost = charged;
        self.total = self.total.plus(Quota::new(-difference.get()));
        self.record_money(at, task, "charge", charged);
        self.record_money(at, task, "refund", refunded);
        Some(difference)
    }

    fn record_money(&mut self, at: Timestamp, task: usize, kind: &'static str, amount: Quota) {
        let Some(entry) = self.tasks.get(task).filter(|_| amount != Quota::ZERO) else { return };
        let (task_id, key) = (entry.task_id.clone(), entry.key.clone());
        self.money.push(MoneyEntry { at, task_id, key, kind, amount });
    }

    /// The sums, in all and by the day of the submit.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for task in &self.tasks {
            totals.all.add(task);
            totals.by_day.entry(task.created_at.date()).or_default().add(task);
        }
        totals
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
