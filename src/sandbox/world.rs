//! The simulated provider itself: tasks, keys, links, balance and the book of it all. It does no input or output and
//! reads no clock: given the same options, calls and times it gives the same answers, to the byte.

mod links;
mod submit;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::Options;
use crate::sandbox::answers;
use crate::sandbox::exchange::{Answer, End, Request};
use crate::sandbox::faults::{Fault, Flag};
use crate::sandbox::ledger::{Arrival, CallbackEntry, Ledger, Output};
use crate::sandbox::outbox::{self, Callback, Message, Outbox};
use crate::sandbox::plan::Plan;
use crate::sandbox::scheduled_fault::{ApiFault, Planned, ScheduledFault, struck};
use crate::sandbox::task::{Phase, Task};
use crate::sandbox::value::Value as _;
use crate::secret::Secret;
use crate::sha256::sha256_hex;

/// Files above this are not hashed for the ledger.
const HASHED: u64 = 8 << 20;

/// The simulated provider.
#[derive(Clone, Debug)]
pub struct World {
    options: Options,
    base_url: String,
    plan: Plan,
    tasks: Vec<Task>,
    by_id: BTreeMap<String, usize>,
    keys: BTreeMap<String, KeyRecord>,
    links: BTreeMap<String, Link>,
    /// Tasks that have not ended yet, by the time when they will.
    ends: BTreeSet<(Timestamp, usize)>,
    running: usize,
    tries: BTreeMap<Tried, u32>,
    outbox: Outbox,
    balance: Quota,
    ledger: Ledger,
}

/// What tries are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tried {
    /// Whether the prompt's plan is walked; the run's may be replaced, and is then walked anew.
    own: bool,
    call: &'static str,
    /// The key, task or file.
    about: String,
}

#[derive(Clone, Debug)]
struct KeyRecord {
    body_sha256: String,
    first: Timestamp,
    /// Until then the first call is being handled.
    answered: Timestamp,
    /// `None`: a 500 is kept instead of a task.
    task: Option<usize>,
}

#[derive(Clone, Debug)]
struct Link {
    task: usize,
    file: usize,
    expires: Timestamp,
}

/// An answer and what the ledger says about it.
struct Handled {
    answer: Answer,
    task: Option<usize>,
    fault: Option<String>,
}

impl From<Answer> for Handled {
    fn from(answer: Answer) -> Self {
        Self { answer, task: None, fault: None }
    }
}

impl World {
    /// A provider without tasks. Links begin with `base_url` (no slash at its end).
    pub fn new(options: Options, base_url: &str) -> Self {
        Self {
            plan: options.plan.clone(),
            balance: options.balance,
            base_url: base_url.to_owned(),
            options,
            tasks: Vec::new(),
            by_id: BTreeMap::new(),
            keys: BTreeMap::new(),
            links: BTreeMap::new(),
            ends: BTreeSet::new(),
            running: 0,
            tries: BTreeMap::new(),
            outbox: Outbox::default(),
            ledger: Ledger::default(),
        }
    }

    /// The book.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the run's plan is now.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Replaces the run's plan, and counts its faults from the beginning.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.tries.retain(|tried, _| tried.own);
    }

    /// Forgets everything: as it was at the start.
    pub fn reset(&mut self) {
        *self = Self::new(self.options.clone(), &self.base_url);
    }

    /// Answers one call that arrives at `now`. Times must not run backwards from call to call.
    pub fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        self.advance(now);
        let body_sha256 = sha256_hex(&request.body);
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        let (call, handled) = match (request.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["output", "moved", file]) => ("media", self.media(request, file, true, now)),
            ("GET" | "HEAD", ["output", file]) => ("media", self.media(request, file, false, now)),
            _ if !self.is_let_in(request) => {
                ("other", answers::spoilt(&Fault::BadKey, answers::nothing(), now).into())
            }
            ("POST", ["v1", "tasks"]) => ("submit", self.submit(request, &body_sha256, now)),
            ("GET", ["v1", "tasks", id]) => ("status", self.status(id, now)),
            ("POST", ["v1", "tasks", id, "cancel"]) => ("cancel", self.cancel(id, now)),
            ("GET", ["v1", "dashboard", "billing", "balance"]) => {
                let strikes = self.plan.balance.clone();
                let honest = |world: &mut Self| answers::balance(world.options.balance, world.balance, now);
                ("balance", self.plain("balance", &strikes, now, honest))
            }
            ("GET", ["v1", "models"]) => {
                let strikes = self.plan.models.clone();
                ("models", self.plain("models", &strikes, now, |_| answers::models()))
            }
            _ => ("other", answers::error(404, "not_found", "no such endpoint", None).into()),
        };
        let Handled { answer, task, fault } = handled;
        self.ledger.arrived(Arrival {
            at: now,
            call,
            method: request.method.clone(),
            path: request.path.clone(),
            key: request.idempotency_key.clone(),
            body_sha256,
            range: request.range.clone(),
            task_id: task.and_then(|task| self.tasks.get(task)).map(|task| task.id.clone()),
            fault,
            status: (answer.wire.end != End::Nothing).then_some(answer.status),
        });
        // The provider's clock, which a client may compare with its own (RFC 9110, section 6.6.1).
        match answers::date(now) {
            Some(date) => answer.with("Date", date),
            None => answer,
        }
    }

    /// The callbacks due at `now`. Each is handed out once for each of its tries, and wants its outcome told.
    pub fn due(&mut self, now: Timestamp) -> Vec<Callback> {
        self.advance(now);
        let mut due = Vec::new();
        while let Some(waiting) = self.outbox.take(now) {
            let Some(url) = self.tasks.get(waiting.task).and_then(|task| task.callback_url.clone()) else {
                continue;
            };
            let plan = self.plan_of(waiting.task);
            let truth = answers::callback_body(self.status_object(waiting.task, &plan, now), &plan);
            let forged = waiting.message == Message::Forged;
            let url = if forged { Secret::new(outbox::wrong_token(url.expose())) } else { url };
            let body = outbox::body(waiting.message, truth);
            let task_id = self.tasks.get(waiting.task).map(|task| task.id.clone()).unwrap_or_default();
            self.ledger.callbacks.push(CallbackEntry {
                number: waiting.number,
                task_id: task_id.clone(),
                sent_at: now,
                attempt: waiting.tried,
                forged,
                body_sha256: sha256_hex(&body),
                answered_at: None,
                status: None,
            });
            due.push(Callback { number: waiting.number, attempt: waiting.tried, task_id, url, body });
        }
        due
    }

    /// How a callback was answered; `None`: not at all. Without a 2xx it is sent again, if its plan allows.
    pub fn callback_answered(&mut self, number: u64, status: Option<u16>, now: Timestamp) {
        if let Some(attempt) = self.outbox.answered(number, status, now) {
            self.ledger.answered(number, attempt, status, now);
        }
    }

    /// Whether a callback of this task has not even been tried yet.
    pub fn callback_untried(&self, task_id: &str) -> bool {
        self.by_id.get(task_id).is_some_and(|task| self.outbox.untried(*task))
    }

    /// When something happens next of itself: a task ends, or a callback is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let end = self.ends.first().map(|(at, _)| *at);
        end.into_iter().chain(self.outbox.next()).min()
    }

    fn is_let_in(&self, request: &Request) -> bool {
        let Some(authorization) = &request.authorization else { return false };
        let Some(key) = authorization.expose().strip_prefix("Bearer ") else { return false };
        match &self.options.api_key {
            Some(wanted) => wanted.matches(key),
            None => !key.trim().is_empty(),
        }
    }

    fn plan_of(&self, task: usize) -> Plan {
        self.tasks.get(task).map_or_else(|| self.plan.clone(), |task| task.own.over(&self.plan))
    }

    /// The fault that strikes now, from the prompt's list if it has one.
    fn strike<F: Planned + Clone>(
        &mut self,
        call: &'static str,
        about: &str,
        own: &[ScheduledFault<F>],
        run: &[ScheduledFault<F>],
    ) -> Option<F> {
        let (list, own) = if own.is_empty() { (run, false) } else { (own, true) };
        if list.is_empty() {
            return None;
        }
        let tries = self.tries.entry(Tried { own, call, about: about.to_owned() }).or_default();
        let fault = struck(list, *tries).cloned();
        *tries = tries.saturating_add(1);
        fault
    }

    fn plain(
        &mut self,
        call: &'static str,
        strikes: &[ScheduledFault<ApiFault>],
        now: Timestamp,
        honest: impl FnOnce(&mut Self) -> Answer,
    ) -> Handled {
        let fault = self.strike(call, "", &[], strikes);
        let answer = self.spoil(fault.as_ref(), now, honest);
        Handled { answer, task: None, fault: fault.map(|fault| fault.show()) }
    }

    /// Does what was asked unless the fault says otherwise, and answers as it says.
    fn spoil(
        &mut self,
        fault: Option<&ApiFault>,
        now: Timestamp,
        work: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        match fault {
            None => work(self),
            Some(fault) => {
                let honest = if fault.works() { work(self) } else { answers::nothing() };
                answers::spoilt(&fault.fault, honest, now)
            }
        }
    }

    fn pay(&mut self, now: Timestamp, task: usize, amount: Quota) {
        self.balance = self.balance.plus(Quota::new(-amount.get()));
        self.ledger.moved(now, task, amount);
    }

    /// Lets everything happen that is due by `now`: tasks end, are settled, and have callbacks to send.
    fn advance(&mut self, now: Timestamp) {
        while let Some((at, number)) = self.ends.first().copied().filter(|(at, _)| *at <= now) {
            self.ends.remove(&(at, number));
            self.settle(number, at);
        }
    }

    fn settle(&mut self, number: usize, at: Timestamp) {
        let plan = self.plan_of(number);
        let rng = self.dice_of(number);
        let Some(task) = self.tasks.get(number) else { return };
        let difference = Quota::new(task.cost.get() - task.frozen.get());
        let phase = task.phase(at);
        if let Some(entry) = self.ledger.tasks.get_mut(number) {
            entry.ended = Some(phase.word());
            entry.ended_at = Some(at);
            let files = if phase == Phase::Completed { task.files.as_slice() } else { &[] };
            let outputs = files.iter().map(|file| {
                let film = file.film(0);
                let sha256 = if film.len() > HASHED { String::new() } else { sha256_hex(&film.bytes()) };
                Output { file: file.name.clone(), bytes: film.len(), sha256 }
            });
            entry.outputs = outputs.collect();
        }
        self.running = self.running.saturating_sub(1);
        if task.callback_url.is_some() {
            self.outbox.ended(number, &plan, at, &rng);
        }
        self.pay(at, number, difference);
    }

    fn status(&mut self, id: &str, now: Timestamp) -> Handled {
        let number = self.by_id.get(id).copied();
        let own = number.and_then(|number| self.tasks.get(number)).map(|task| task.own.status.clone());
        let run = self.plan.status.clone();
        let fault = self.strike("status", id, &own.unwrap_or_default(), &run);
        let answer = self.spoil(fault.as_ref(), now, |world| {
            let plan = number.map(|number| world.plan_of(number)).unwrap_or_default();
            match number.filter(|number| !world.is_dead(*number, &plan, now)) {
                Some(number) => answers::status_answer(world.status_object(number, &plan, now), &plan),
                None => answers::error(404, "task_not_found", "no such task", None),
            }
        });
        Handled { answer, task: number, fault: fault.map(|fault| fault.show()) }
    }

    fn is_dead(&self, number: usize, plan: &Plan, now: Timestamp) -> bool {
        let ended = self.tasks.get(number).and_then(|task| task.ended);
        matches!((ended, plan.dies), (Some(ended), Some(dies)) if now >= ended.plus(dies))
    }

    fn cancel(&mut self, id: &str, now: Timestamp) -> Handled {
        let number = self.by_id.get(id).copied();
        let own = number.and_then(|number| self.tasks.get(number)).map(|task| task.own.cancel.clone());
        let run = self.plan.cancel.clone();
        let fault = self.strike("cancel", id, &own.unwrap_or_default(), &run);
        let answer = self.spoil(fault.as_ref(), now, |world| {
            let Some(number) = number else {
                return answers::error(404, "task_not_found", "no such task", None);
            };
            let plan = world.plan_of(number);
            let Some(task) = world.tasks.get_mut(number) else { return answers::nothing() };
            if task.phase(now) != Phase::Queued {
                let message = "only queued tasks can be cancelled";
                return answers::error(400, "task_not_cancellable", message, None);
            }
            if let Some(end) = task.ended {
                world.ends.remove(&(end, number));
            }
            task.end = crate::sandbox::faults::End::Cancelled;
            task.ended = Some(now);
            if plan.refund != Some(Flag::No) {
                task.cost = Quota::ZERO;
            }
            world.settle(number, now);
            answers::status_answer(world.status_object(number, &plan, now), &plan)
        });
        Handled { answer, task: number, fault: fault.map(|fault| fault.show()) }
    }

    /// What is true of a task now, with links as the plan hands them out.
    fn status_object(&mut self, number: usize, plan: &Plan, now: Timestamp) -> Value {
        let Some(task) = self.tasks.get(number) else { return Value::Null };
        let phase = task.phase(now);
        let (mut seen, mut links) = (0, Vec::new());
        if phase == Phase::Completed {
            let tried = Tried { own: true, call: "result", about: task.id.clone() };
            let told = self.tries.entry(tried).or_default();
            seen = *told;
            *told = told.saturating_add(1);
            links = (0..task.files.len()).filter_map(|file| self.link(number, file, plan, now)).collect();
        }
        let Some(task) = self.tasks.get(number) else { return Value::Null };
        answers::status(task, plan, phase, &links, seen, &self.base_url)
    }
}

#[cfg(test)]
mod tests;
