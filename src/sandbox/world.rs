//! The simulated provider without a network: tasks, idempotency keys, links, balance and ledger. It does no I/O and
//! reads no clock: the same options, requests and times give the same responses, byte for byte.

mod account;
mod links;
mod submit;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::Options;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{Fault, Generation};
use crate::sandbox::http_types::{Request, Response, TransmissionEnd};
use crate::sandbox::ledger::{CallbackEntry, Ledger, RequestEntry};
use crate::sandbox::outbox::{self, Callback, Message, Outbox};
use crate::sandbox::responses;
use crate::sandbox::scheduled_fault::{ApiFault, Schedulable, ScheduledFault, fault_of_call};
use crate::sandbox::task::Task;
use crate::sandbox::task_json;
use crate::secret::Secret;
use crate::sha256::sha256_hex;

/// The simulated provider.
#[derive(Clone, Debug)]
pub struct World {
    options: Options,
    base_url: String,
    /// The run's plan.
    plan: FaultPlan,
    tasks: Vec<Task>,
    tasks_by_id: BTreeMap<String, usize>,
    keys: BTreeMap<String, KeyRecord>,
    links: BTreeMap<String, Link>,
    /// What happens to tasks by itself, by its time.
    due: BTreeSet<(Timestamp, TaskChange, usize)>,
    running: usize,
    calls: BTreeMap<CallKey, u32>,
    outbox: Outbox,
    balance: Quota,
    ledger: Ledger,
}

/// What happens to a task when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TaskChange {
    End,
    Settlement,
}

/// What calls are counted by, to find the next fault of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CallKey {
    /// Whether the schedule is the prompt's. The run's can be replaced, and its count then begins again.
    from_prompt: bool,
    call: &'static str,
    /// The idempotency key, task or file.
    subject: String,
}

#[derive(Clone, Debug)]
struct KeyRecord {
    body_sha256: String,
    first_used: Timestamp,
    /// Until then the first call is in progress.
    answered: Timestamp,
    /// `None`: a 500 is stored instead of a task.
    task: Option<usize>,
}

#[derive(Clone, Debug)]
struct Link {
    task: usize,
    file: usize,
    expires: Timestamp,
}

/// A response, and what the ledger records about it.
struct Exchange {
    response: Response,
    task: Option<usize>,
    fault: Option<String>,
}

impl From<Response> for Exchange {
    fn from(response: Response) -> Self {
        Self { response, task: None, fault: None }
    }
}

impl World {
    /// A provider without tasks. Links begin with `base_url`, which has no slash at its end.
    pub fn new(options: Options, base_url: &str) -> Self {
        Self {
            plan: options.fault_plan.clone(),
            balance: options.balance,
            base_url: base_url.to_owned(),
            options,
            tasks: Vec::new(),
            tasks_by_id: BTreeMap::new(),
            keys: BTreeMap::new(),
            links: BTreeMap::new(),
            due: BTreeSet::new(),
            running: 0,
            calls: BTreeMap::new(),
            outbox: Outbox::default(),
            ledger: Ledger::default(),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The run's plan.
    pub fn fault_plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// Replaces the run's plan. Its schedules start again.
    pub fn set_fault_plan(&mut self, plan: FaultPlan) {
        self.plan = plan;
        self.calls.retain(|key, _| key.from_prompt);
    }

    /// Returns to the initial state.
    pub fn reset(&mut self) {
        *self = Self::new(self.options.clone(), &self.base_url);
    }

    /// Handles a request that arrives at `now`. Times must not run backwards from request to request.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        self.advance(now);
        let body_sha256 = sha256_hex(&request.body);
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        let (call, exchange) = match (request.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["output", "moved", file]) => ("media", self.media(request, file, true, now)),
            ("GET" | "HEAD", ["output", file]) => ("media", self.media(request, file, false, now)),
            ("POST", ["waveapi", "quote"]) => ("quote", self.quote(request, &body_sha256, now)),
            _ if !self.is_authorized(request) => {
                ("other", responses::with_fault(&Fault::Unauthorized, responses::no_response(), now).into())
            }
            ("POST", ["v1", "tasks"]) => ("submit", self.submit(request, &body_sha256, now)),
            // An id is one segment: its slashes are encoded.
            ("GET", ["v1", "tasks", id]) => ("status", self.status(&id.replace("%2F", "/"), now)),
            ("POST", ["v1", "tasks", id, "cancel"]) => ("cancel", self.cancel(&id.replace("%2F", "/"), now)),
            ("GET", ["v1", "dashboard", "billing", "balance"]) => ("balance", self.balance(now)),
            ("GET", ["v1", "dashboard", "billing", "usage"]) => ("usage", self.usage().into()),
            ("GET", ["v1", "models"]) => ("models", self.models(now)),
            ("GET", ["v1", "models", id]) => ("model", self.model(id).into()),
            _ => ("other", responses::no_such_endpoint().into()),
        };
        let Exchange { response, task, fault } = exchange;
        self.ledger.record_request(RequestEntry {
            at: now,
            call,
            method: request.method.clone(),
            path: request.path.clone(),
            key: request.idempotency_key.clone(),
            body_sha256,
            range: request.range.clone(),
            task_id: task.and_then(|task| self.tasks.get(task)).map(|task| task.id.clone()),
            fault,
            status: (response.transmission.end != TransmissionEnd::NoResponse).then_some(response.status),
        });
        // The provider's clock, which a client may compare with its own (RFC 9110, section 6.6.1).
        match responses::date(now) {
            Some(date) => response.with("Date", date),
            None => response,
        }
    }

    /// Takes the callbacks due at `now`. Each must be sent, and its outcome reported to [`World::callback_answered`].
    pub fn take_due_callbacks(&mut self, now: Timestamp) -> Vec<Callback> {
        self.advance(now);
        let mut due = Vec::new();
        while let Some(pending) = self.outbox.take_due(now) {
            let Some(url) = self.tasks.get(pending.task).and_then(|task| task.callback_url.clone()) else {
                continue;
            };
            let plan = self.effective_plan(pending.task);
            let genuine = task_json::callback_body(self.status_object(pending.task, &plan, now), &plan);
            let forged = pending.message == Message::Forged;
            let url = if forged { Secret::new(outbox::wrong_token(url.expose())) } else { url };
            let body = outbox::body(pending.message, genuine);
            let task_id = self.tasks.get(pending.task).map(|task| task.id.clone()).unwrap_or_default();
            self.ledger.callbacks.push(CallbackEntry {
                number: pending.number,
                task_id: task_id.clone(),
                sent_at: now,
                attempt: pending.attempts,
                forged,
                body_sha256: sha256_hex(&body),
                answered_at: None,
                status: None,
            });
            due.push(Callback { number: pending.number, attempt: pending.attempts, task_id, url, body });
        }
        due
    }

    /// Records how a callback was answered; `None`: not at all. Without a 2xx it is sent again, if its plan allows.
    pub fn callback_answered(&mut self, number: u64, status: Option<u16>, now: Timestamp) {
        if let Some(attempt) = self.outbox.record_outcome(number, status, now) {
            self.ledger.record_callback_outcome(number, attempt, status, now);
        }
    }

    /// Whether the first attempt of a callback for this task is still to come or in flight.
    pub fn awaits_first_callback(&self, task_id: &str) -> bool {
        self.tasks_by_id.get(task_id).is_some_and(|task| self.outbox.awaits_first_attempt(*task))
    }

    /// When something happens next without a request: a task ends or is settled, or a callback is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let change = self.due.first().map(|(at, _, _)| *at);
        change.into_iter().chain(self.outbox.next_due()).min()
    }

    fn is_authorized(&self, request: &Request) -> bool {
        let Some(authorization) = &request.authorization else { return false };
        let Some(key) = authorization.expose().strip_prefix("Bearer ") else { return false };
        match &self.options.api_key {
            Some(expected) => expected.matches(key),
            None => !key.trim().is_empty(),
        }
    }

    /// The prompt's plan of a task over the run's.
    fn effective_plan(&self, task: usize) -> FaultPlan {
        self.tasks.get(task).map_or_else(|| self.plan.clone(), |task| task.prompt_plan.over(&self.plan))
    }

    /// Whether the newest generation of the service answers under this plan.
    fn is_new(&self, plan: &FaultPlan) -> bool {
        plan.generation.as_ref().unwrap_or(&self.options.generation) == &Generation::New
    }

    /// The fault of this call, from the prompt's schedule if there is one, and counts the call.
    fn next_fault<F: Schedulable + Clone>(
        &mut self,
        call: &'static str,
        subject: &str,
        prompt_schedule: &[ScheduledFault<F>],
        run_schedule: &[ScheduledFault<F>],
    ) -> Option<F> {
        let from_prompt = !prompt_schedule.is_empty();
        let schedule = if from_prompt { prompt_schedule } else { run_schedule };
        if schedule.is_empty() {
            return None;
        }
        let earlier_calls = self.count_call(CallKey { from_prompt, call, subject: subject.to_owned() });
        fault_of_call(schedule, earlier_calls).cloned()
    }

    /// Counts a call and returns how many preceded it.
    fn count_call(&mut self, key: CallKey) -> u32 {
        let count = self.calls.entry(key).or_default();
        let earlier = *count;
        *count = count.saturating_add(1);
        earlier
    }

    /// Executes a call, unless its fault prevents that, and returns what the caller sees.
    fn execute(
        &mut self,
        fault: Option<&ApiFault>,
        now: Timestamp,
        call: impl FnOnce(&mut Self) -> Response,
    ) -> Response {
        match fault {
            None => call(self),
            Some(fault) => {
                let usual = if fault.executes() { call(self) } else { responses::no_response() };
                responses::with_fault(&fault.fault, usual, now)
            }
        }
    }
}

#[cfg(test)]
mod tests;
