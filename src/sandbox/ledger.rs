//! The provider's own book: what arrived, what was answered, and where the money went. A checker reads this and never
//! asks the daemon. It holds no API key and no callback address; link signatures are the sandbox's own and worth nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::money::Quota;

/// Requests other than submits kept one by one; later ones are only counted, so that a sandbox may run for weeks.
const KEPT: usize = 100_000;

/// Everything that happened, in order. Serialises to what `GET /sandbox/ledger` shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ledger {
    /// Every request, in the order of arrival.
    pub requests: Vec<Arrival>,
    /// Requests that were counted but not kept, after a hundred thousand.
    pub requests_not_kept: u64,
    /// Requests by call: `submit`, `status`, ...
    pub calls: BTreeMap<&'static str, u64>,
    /// By idempotency key: when it was first and last used.
    pub keys: BTreeMap<String, KeyUse>,
    /// Every task, in the order of creation.
    pub tasks: Vec<TaskEntry>,
    /// Every movement of money, in order.
    pub money: Vec<Movement>,
    /// Every link handed out.
    pub links: Vec<LinkEntry>,
    /// Every callback sent.
    pub callbacks: Vec<CallbackEntry>,
    /// How often each fault struck, as `submit=503`.
    pub faults: BTreeMap<String, u64>,
    /// The most tasks that were queued or processing at one time.
    pub max_running: usize,
    /// All charges less all refunds.
    pub total: Quota,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arrival {
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
    /// The task it was about or made.
    pub task_id: Option<String>,
    /// The fault that struck, as in a plan.
    pub fault: Option<String>,
    /// The HTTP status answered; `None`: the connection was reset instead.
    pub status: Option<u16>,
}

/// The use of an idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyUse {
    /// First arrival of a submit with it.
    pub first: Timestamp,
    /// Last arrival of a submit with it.
    pub last: Timestamp,
    /// How many there were.
    pub submits: u64,
    /// The distinct bodies sent under it, as SHA-256: more than one is a client's mistake.
    pub bodies: Vec<String>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskEntry {
    /// The provider's id.
    pub task_id: String,
    /// The idempotency key it was made under.
    pub key: Option<String>,
    /// The model.
    pub model: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it ended: `completed`, `failed`, `cancelled`; `None` while it runs.
    pub ended: Option<&'static str>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Charges less refunds so far.
    pub cost: Quota,
    /// Its files.
    pub outputs: Vec<Output>,
}

/// A file of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    /// As in its link.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the file as it should be stored; empty above 64 MiB.
    pub sha256: String,
}

/// Money moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Movement {
    /// When.
    pub at: Timestamp,
    /// For which task.
    pub task_id: String,
    /// `charge` or `refund`.
    pub kind: &'static str,
    /// Above zero, whatever the kind.
    pub amount: Quota,
}

/// A link handed out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkEntry {
    /// The task.
    pub task_id: String,
    /// Path and query, without scheme and host.
    pub link: String,
    /// When.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
}

/// A callback sent, or tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallbackEntry {
    /// Its number.
    pub number: u64,
    /// The task.
    pub task_id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Which try of this callback, from 1.
    pub attempt: u32,
    /// Whether it went to a wrong token.
    pub forged: bool,
    /// SHA-256 of the body.
    pub body_sha256: String,
    /// When its outcome was known.
    pub answered_at: Option<Timestamp>,
    /// The HTTP status it got; `None`: none (yet).
    pub status: Option<u16>,
}

impl Ledger {
    /// A request has arrived and its answer is known.
    pub(crate) fn arrived(&mut self, arrival: Arrival) {
        *self.calls.entry(arrival.call).or_default() += 1;
        if let Some(fault) = &arrival.fault {
            *self.faults.entry(format!("{}={fault}", arrival.call)).or_default() += 1;
        }
        if let (Some(key), "submit") = (&arrival.key, arrival.call) {
            let at = arrival.at;
            let uses = self.keys.entry(key.clone());
            let uses = uses.or_insert(KeyUse { first: at, last: at, submits: 0, bodies: Vec::new() });
            uses.last = at;
            uses.submits += 1;
            if !uses.bodies.contains(&arrival.body_sha256) {
                uses.bodies.push(arrival.body_sha256.clone());
            }
        }
        if arrival.call == "submit" || self.requests.len() < KEPT {
            self.requests.push(arrival);
        } else {
            self.requests_not_kept += 1;
        }
    }

    /// Money is taken (above zero) or given back (below); zero moves nothing.
    pub(crate) fn moved(&mut self, at: Timestamp, task: usize, amount: Quota) {
        let Some(entry) = self.tasks.get_mut(task) else { return };
        if amount == Quota::ZERO {
            return;
        }
        entry.cost = entry.cost.plus(amount);
        self.total = self.total.plus(amount);
        let kind = if amount > Quota::ZERO { "charge" } else { "refund" };
        let amount = Quota::new(amount.get().saturating_abs());
        self.money.push(Movement { at, task_id: entry.task_id.clone(), kind, amount });
    }

    /// A callback was answered, or could not be delivered (`None`).
    pub(crate) fn answered(&mut self, number: u64, attempt: u32, status: Option<u16>, at: Timestamp) {
        let mut sent = self.callbacks.iter_mut().rev();
        if let Some(entry) = sent.find(|entry| entry.number == number && entry.attempt == attempt) {
            entry.answered_at = Some(at);
            entry.status = status;
        }
    }
}
