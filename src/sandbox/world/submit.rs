//! Submits: keys, refusals, and how a task comes to be.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::rng::Rng;
use crate::sandbox::answers;
use crate::sandbox::checks;
use crate::sandbox::exchange::{Answer, Request};
use crate::sandbox::faults::{CallbackFault, Fault, Flag, IdShape};
use crate::sandbox::ledger::TaskEntry;
use crate::sandbox::plan::Plan;
use crate::sandbox::task::{Schedule, Task};
use crate::sandbox::value::Value as _;
use crate::sandbox::world::{Handled, KeyRecord, World};

/// How long an idempotency key is remembered (docs/provider.md#headers).
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

impl World {
    pub(super) fn submit(&mut self, request: &Request, body_sha256: &str, now: Timestamp) -> Handled {
        let body = match serde_json::from_slice::<Value>(&request.body) {
            Ok(Value::Object(body)) => body,
            _ => return answers::error(400, "invalid_request", "the body is not a JSON object", None).into(),
        };
        let prompt = body.get("prompt").and_then(Value::as_str).unwrap_or_default();
        let own = match Plan::in_prompt(prompt) {
            Ok(own) => own,
            Err(error) => {
                return answers::error(400, "sandbox_plan", &error.to_string(), Some("prompt")).into();
            }
        };
        let plan = own.over(&self.plan);
        let key = request.idempotency_key.as_deref();
        self.keys.retain(|_, record| now.since(record.first) < KEY_LIFETIME);
        let record = key.and_then(|key| self.keys.get(key)).cloned();
        if let Some(record) = &record {
            if record.body_sha256 != body_sha256 {
                let message = "this Idempotency-Key was used with another body";
                let answer = answers::error(422, "idempotency_key_reused", message, None);
                return Handled { task: record.task, ..answer.into() };
            }
            if now < record.answered {
                return Handled { task: record.task, ..answers::in_progress().into() };
            }
            if record.task.is_none() {
                let answer = answers::spoilt(&Fault::Stored500, answers::nothing(), now);
                return Handled { fault: Some(Fault::Stored500.show()), ..answer.into() };
            }
        }
        let run = self.plan.submit.clone();
        let fault = self.strike("submit", key.unwrap_or(body_sha256), &own.submit, &run);
        let mut made = record.and_then(|record| record.task);
        let remember = |world: &mut Self, answered: Timestamp, task: Option<usize>| {
            if let Some(key) = key {
                let record = KeyRecord { body_sha256: body_sha256.to_owned(), first: now, answered, task };
                world.keys.entry(key.to_owned()).or_insert(record);
            }
        };
        if fault.as_ref().is_some_and(|fault| fault.fault == Fault::Stored500) {
            remember(self, now, None);
        }
        let same = fault.as_ref().is_some_and(|fault| fault.fault == Fault::SameId);
        let answered = match fault.as_ref().map(|fault| &fault.fault) {
            Some(Fault::Slow(delay)) => now.plus(*delay),
            _ => now,
        };
        let early = plan.callback.contains(&CallbackFault::Early);
        let mut answer = self.spoil(fault.as_ref(), now, |world| {
            let earlier = world.tasks.len().checked_sub(1).filter(|_| same);
            let task = match made.or(earlier) {
                Some(task) => task,
                None => match world.create(key, &body, own, &plan, now) {
                    Ok(task) => task,
                    Err(refusal) => return *refusal,
                },
            };
            remember(world, answered, Some(task));
            made = Some(task);
            world.tasks.get(task).map_or_else(answers::nothing, |task| answers::submitted(task, &plan))
        });
        if early && let Some(task) = made.and_then(|task| self.tasks.get(task)) {
            answer.wire.after_callback = Some(task.id.clone());
        }
        Handled { answer, task: made, fault: fault.map(|fault| fault.show()) }
    }

    fn create(
        &mut self,
        key: Option<&str>,
        body: &Map<String, Value>,
        own: Plan,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<usize, Box<Answer>> {
        if let Some(refusal) = checks::refusal(body, plan.extra != Some(Flag::No)) {
            return Err(Box::new(refusal));
        }
        let number = self.tasks.len();
        let rng = self.dice_of(number);
        let early = plan.callback.contains(&CallbackFault::Early);
        let rolled = |given: Option<Duration>, (least, most): (Duration, Duration)| match given {
            _ if early => Duration::ZERO,
            Some(given) => given,
            None => least + most.saturating_sub(least).mul_f64(rng.fraction()),
        };
        let pace = Schedule {
            queue: rolled(plan.queue, self.options.queue_time),
            run: rolled(plan.run, self.options.run_time),
        };
        let id = self.new_id(plan, now, &rng);
        let task = Task::new(id.clone(), body, own, plan, now, &pace);
        if task.frozen > self.balance {
            return Err(Box::new(answers::spoilt(&Fault::NoMoney, answers::nothing(), now)));
        }
        self.ledger.tasks.push(TaskEntry {
            task_id: id.clone(),
            key: key.map(str::to_owned),
            model: task.model.clone(),
            created_at: now,
            ended: None,
            ended_at: None,
            cost: Quota::ZERO,
            outputs: Vec::new(),
        });
        self.pay(now, number, task.frozen);
        self.by_id.insert(id, number);
        self.running += 1;
        self.ledger.max_running = self.ledger.max_running.max(self.running);
        if let Some(ended) = task.ended {
            self.ends.insert((ended, number));
        }
        if task.callback_url.is_some() {
            self.outbox.begun(number, plan, task.started);
        }
        self.tasks.push(task);
        self.advance(now);
        Ok(number)
    }

    /// Each task has its own chance: what one gets does not hang on how often another is asked about.
    pub(super) fn dice_of(&self, task: usize) -> Rng {
        Rng::seeded(self.options.seed.wrapping_add((task as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn new_id(&self, plan: &Plan, now: Timestamp, rng: &Rng) -> String {
        loop {
            let tail = rng.below(1_000_000_000);
            let id = match plan.id {
                Some(IdShape::Hostile) => format!("../../v1/tasks/{tail:09}?x=#%2e%2e"),
                _ => format!("task-wave{}b{tail:09}", now.millis()),
            };
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}
