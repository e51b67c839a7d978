//! Tasks after their submit: the end, status queries, cancels.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{StatusShape, TaskEnd, YesNo};
use crate::sandbox::http_types::Response;
use crate::sandbox::ledger::OutputEntry;
use crate::sandbox::plan_value::PlanValue as _;
use crate::sandbox::responses;
use crate::sandbox::task::Phase;
use crate::sandbox::task_json;
use crate::sandbox::world::{CallKey, Exchange, TaskChange, World};
use crate::sha256::sha256_hex;

/// Largest file that the ledger hashes, in bytes.
const MAX_HASHED: u64 = 8 << 20;

impl World {
    /// Ends and settles all tasks that are due by `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(due) = self.due.first().copied().filter(|(at, _, _)| *at <= now) {
            self.due.remove(&due);
            match due {
                (at, TaskChange::End, number) => self.end_task(number, at),
                (at, TaskChange::Settlement, number) => self.settle(at, number),
            }
        }
    }

    fn end_task(&mut self, number: usize, at: Timestamp) {
        let plan = self.effective_plan(number);
        let rng = self.rng_of_task(number);
        let Some(task) = self.tasks.get(number) else { return };
        let (settles_after, new_generation) = (task.settles_after, task.new_generation);
        let phase = task.phase(at);
        if let Some(entry) = self.ledger.tasks.get_mut(number) {
            entry.ended = Some(phase.into_str());
            entry.ended_at = Some(at);
            let files = if phase == Phase::Completed { task.files.as_slice() } else { &[] };
            let outputs = files.iter().map(|file| {
                let clip = file.clip(0);
                let sha256 = if clip.len() > MAX_HASHED { String::new() } else { sha256_hex(&clip.bytes()) };
                OutputEntry { file: file.name.clone(), bytes: clip.len(), sha256 }
            });
            entry.outputs = outputs.collect();
        }
        self.running = self.running.saturating_sub(1);
        if task.callback_url.is_some() {
            // The newest generation sends it once the task is settled.
            let delay = settles_after.filter(|_| new_generation).unwrap_or_default();
            self.outbox.task_ended(number, &plan, at.plus(delay), &rng);
        }
        match settles_after {
            None => {}
            Some(Duration::ZERO) => self.settle(at, number),
            Some(delay) => {
                self.due.insert((at.plus(delay), TaskChange::Settlement, number));
            }
        }
    }

    pub(super) fn status(&mut self, id: &str, now: Timestamp) -> Exchange {
        let number = self.tasks_by_id.get(id).copied();
        let task = number.and_then(|number| self.tasks.get(number));
        let prompt_schedule = task.map(|task| task.prompt_plan.status.clone()).unwrap_or_default();
        let run_schedule = self.plan.status.clone();
        let fault = self.next_fault("status", id, &prompt_schedule, &run_schedule);
        let response = self.execute(fault.as_ref(), now, |world| {
            let plan = number.map(|number| world.effective_plan(number)).unwrap_or_default();
            match number.filter(|number| !world.is_forgotten(*number, &plan, now)) {
                Some(number) => world.status_response(number, &plan, now),
                None => task_not_found(),
            }
        });
        if let Some(number) = number.filter(|_| fault.is_none() && response.status == 200) {
            self.record_report(number, now);
        }
        Exchange { response, task: number, fault: fault.map(|fault| fault.to_text()) }
    }

    /// Records what a status answer said about the cost of a task.
    fn record_report(&mut self, number: usize, now: Timestamp) {
        let plan = self.effective_plan(number);
        let (Some(task), Some(entry)) = (self.tasks.get(number), self.ledger.tasks.get_mut(number)) else {
            return;
        };
        if !task.phase(now).is_final() {
            return;
        }
        if task.settled {
            let has_cost = !matches!(plan.status_shape, Some(StatusShape::Output | StatusShape::Video));
            entry.reported_final |= has_cost && plan.show_cost != Some(YesNo::No);
        } else if task.new_generation {
            entry.pending_answers += 1;
        }
    }

    /// Whether the id of a task answers 404 by now (`dies=`).
    fn is_forgotten(&self, number: usize, plan: &FaultPlan, now: Timestamp) -> bool {
        let ended = self.tasks.get(number).and_then(|task| task.ended);
        matches!((ended, plan.dies), (Some(ended), Some(dies)) if now >= ended.plus(dies))
    }

    pub(super) fn cancel(&mut self, id: &str, now: Timestamp) -> Exchange {
        let number = self.tasks_by_id.get(id).copied();
        let task = number.and_then(|number| self.tasks.get(number));
        let prompt_schedule = task.map(|task| task.prompt_plan.cancel.clone()).unwrap_or_default();
        let run_schedule = self.plan.cancel.clone();
        let fault = self.next_fault("cancel", id, &prompt_schedule, &run_schedule);
        let response = self.execute(fault.as_ref(), now, |world| {
            let Some(number) = number else { return task_not_found() };
            let plan = world.effective_plan(number);
            let Some(task) = world.tasks.get_mut(number) else { return responses::no_response() };
            if task.phase(now) != Phase::Queued {
                let message = "only queued tasks can be cancelled";
                return responses::error(400, "task_not_cancellable", message, None);
            }
            if let Some(end) = task.ended {
                world.due.remove(&(end, TaskChange::End, number));
            }
            task.end = TaskEnd::Cancelled;
            task.ended = Some(now);
            if plan.refund != Some(YesNo::No) {
                task.cost = Quota::ZERO;
            }
            let new_generation = task.new_generation;
            if new_generation && plan.settle.is_none() {
                task.settles_after = Some(Duration::ZERO);
            }
            world.end_task(number, now);
            match world.tasks.get(number).filter(|_| new_generation) {
                Some(task) => Response::json(200, &task_json::cancel_answer(task, &plan)),
                None => world.status_response(number, &plan, now),
            }
        });
        Exchange { response, task: number, fault: fault.map(|fault| fault.to_text()) }
    }

    fn status_response(&mut self, number: usize, plan: &FaultPlan, now: Timestamp) -> Response {
        Response::json(200, &task_json::status_answer(self.status_object(number, plan, now), plan))
    }

    /// The status object of a task, with the links that the plan wants.
    pub(super) fn status_object(&mut self, number: usize, plan: &FaultPlan, now: Timestamp) -> Value {
        let Some(task) = self.tasks.get(number) else { return Value::Null };
        let phase = task.phase(now);
        let (mut final_answers, mut links) = (0, Vec::new());
        if phase == Phase::Completed {
            let (subject, files) = (task.id.clone(), task.files.len());
            final_answers = self.count_call(CallKey { from_prompt: true, call: "result", subject });
            links = (0..files).filter_map(|file| self.link(number, file, plan, now)).collect();
        }
        let Some(task) = self.tasks.get(number) else { return Value::Null };
        task_json::status_object(task, plan, phase, &links, final_answers, &self.base_url)
    }
}

fn task_not_found() -> Response {
    responses::error(404, "task_not_found", "no such task", None)
}
