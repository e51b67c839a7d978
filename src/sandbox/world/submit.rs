//! Submits: idempotency keys, refusals, and the creation of tasks.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::rng::Rng;
use crate::sandbox::capabilities;
use crate::sandbox::checks;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{CallbackFault, Fault, Generation, IdShape, TaskEnd, YesNo};
use crate::sandbox::http_types::{Request, Response};
use crate::sandbox::ledger::TaskEntry;
use crate::sandbox::plan_value::PlanValue as _;
use crate::sandbox::responses;
use crate::sandbox::task::{Durations, Task};
use crate::sandbox::task_json;
use crate::sandbox::world::{Exchange, KeyRecord, TaskChange, World};

/// How long the provider remembers an idempotency key (docs/provider.md#headers).
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

impl World {
    pub(super) fn submit(&mut self, request: &Request, body_sha256: &str, now: Timestamp) -> Exchange {
        let body = match serde_json::from_slice::<Value>(&request.body) {
            Ok(Value::Object(body)) => body,
            _ => {
                return responses::error(400, "invalid_request", "the body is not a JSON object", None)
                    .into();
            }
        };
        let prompt = body.get("prompt").and_then(Value::as_str).unwrap_or_default();
        let prompt_plan = match FaultPlan::from_prompt(prompt) {
            Ok(plan) => plan,
            Err(error) => {
                return responses::error(400, "sandbox_plan", &error.to_string(), Some("prompt")).into();
            }
        };
        let mut plan = prompt_plan.over(&self.plan);
        if request.lacks_picture {
            plan.end = Some(TaskEnd::BadRequest);
        }
        let key = request.idempotency_key.as_deref();
        self.keys.retain(|_, record| now.since(record.first_used) < KEY_LIFETIME);
        let record = key.and_then(|key| self.keys.get(key)).cloned();
        if let Some(record) = &record {
            if record.body_sha256 != body_sha256 {
                let message = "this Idempotency-Key was used with another body";
                let response = responses::error(422, "idempotency_key_reused", message, None);
                return Exchange { task: record.task, ..response.into() };
            }
            if now < record.answered {
                return Exchange { task: record.task, ..responses::in_progress().into() };
            }
            if record.task.is_none() {
                let response = responses::with_fault(&Fault::Stored500, responses::no_response(), now);
                return Exchange { fault: Some(Fault::Stored500.to_text()), ..response.into() };
            }
        }
        let run_schedule = self.plan.submit.clone();
        let fault = self.next_fault("submit", key.unwrap_or(body_sha256), &prompt_plan.submit, &run_schedule);
        let mut created = record.and_then(|record| record.task);
        let remember_key = |world: &mut Self, answered: Timestamp, task: Option<usize>| {
            if let Some(key) = key {
                let body_sha256 = body_sha256.to_owned();
                let record = KeyRecord { body_sha256, first_used: now, answered, task };
                world.keys.entry(key.to_owned()).or_insert(record);
            }
        };
        let kind = fault.as_ref().map(|fault| &fault.fault);
        if kind == Some(&Fault::Stored500) {
            remember_key(self, now, None);
        }
        let reuse_id = kind == Some(&Fault::SameId);
        let answered = match kind {
            Some(Fault::Slow(delay)) => now.plus(*delay),
            _ => now,
        };
        let mut response = self.execute(fault.as_ref(), now, |world| {
            let earlier = world.tasks.len().checked_sub(1).filter(|_| reuse_id);
            let task = match created.or(earlier) {
                Some(task) => task,
                None => match world.create_task(key, &body, prompt_plan, &plan, now) {
                    Ok(task) => task,
                    Err(refusal) => return *refusal,
                },
            };
            remember_key(world, answered, Some(task));
            created = Some(task);
            world.tasks.get(task).map_or_else(responses::no_response, |task| {
                Response::json(200, &task_json::submit_answer(task, &plan))
            })
        });
        if plan.callback.contains(&CallbackFault::Early)
            && let Some(task) = created.and_then(|task| self.tasks.get(task))
        {
            response.transmission.after_callback = Some(task.id.clone());
        }
        Exchange { response, task: created, fault: fault.map(|fault| fault.to_text()) }
    }

    fn create_task(
        &mut self,
        key: Option<&str>,
        body: &Map<String, Value>,
        prompt_plan: FaultPlan,
        plan: &FaultPlan,
        now: Timestamp,
    ) -> Result<usize, Box<Response>> {
        let new_generation = self.is_new(plan);
        let refusal = match new_generation {
            true => capabilities::refusal(body, plan),
            false => checks::refusal(body, plan.extra != Some(YesNo::No))
                .or_else(|| capabilities::unlisted(body, &Generation::Old, plan.unlisted != Some(YesNo::No))),
        };
        if let Some(refusal) = refusal {
            return Err(Box::new(refusal));
        }
        let number = self.tasks.len();
        let rng = self.rng_of_task(number);
        let early = plan.callback.contains(&CallbackFault::Early);
        let pick = |given: Option<Duration>, (least, most): (Duration, Duration)| match given {
            _ if early => Duration::ZERO,
            Some(given) => given,
            None => least + most.saturating_sub(least).mul_f64(rng.fraction()),
        };
        let durations = Durations {
            queue: pick(plan.queue, self.options.queue_time),
            run: pick(plan.run, self.options.run_time),
        };
        let id = self.new_id(plan, now, &rng);
        let task = Task::new(id.clone(), body, prompt_plan, plan, now, &durations, new_generation);
        if task.frozen > self.balance {
            let refusal = responses::with_fault(&Fault::PaymentRequired, responses::no_response(), now);
            return Err(Box::new(refusal));
        }
        self.ledger.tasks.push(TaskEntry {
            task_id: id.clone(),
            key: key.map(str::to_owned),
            model: task.model.clone(),
            created_at: now,
            ended: None,
            ended_at: None,
            frozen: Quota::ZERO,
            charged: None,
            refunded: Quota::ZERO,
            settled_at: None,
            pending_answers: 0,
            reported_final: false,
            cost: Quota::ZERO,
            outputs: Vec::new(),
        });
        self.freeze(now, number, task.frozen);
        self.tasks_by_id.insert(id, number);
        self.running += 1;
        self.ledger.max_running = self.ledger.max_running.max(self.running);
        if let Some(ended) = task.ended {
            self.due.insert((ended, TaskChange::End, number));
        }
        if task.callback_url.is_some() {
            self.outbox.processing_began(number, plan, task.started);
        }
        self.tasks.push(task);
        self.advance(now);
        Ok(number)
    }

    /// A generator of its own for each task: a task's numbers do not depend on the calls about other tasks.
    pub(super) fn rng_of_task(&self, task: usize) -> Rng {
        Rng::seeded(self.options.seed.wrapping_add((task as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn new_id(&self, plan: &FaultPlan, now: Timestamp, rng: &Rng) -> String {
        loop {
            let tail = rng.below(1_000_000_000);
            let id = match plan.id {
                Some(IdShape::Hostile) => format!("../../v1/tasks/{tail:09}?x=#%2e%2e"),
                Some(IdShape::Long) => {
                    format!("projects/p-{tail:09}/{}=+~", "operation/".repeat(20))
                }
                _ => format!("task-wave{}b{tail:09}", now.millis()),
            };
            if !self.tasks_by_id.contains_key(&id) {
                return id;
            }
        }
    }
}
