//! Calls about the account and the catalogue, and what moves the balance.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sandbox::capabilities;
use crate::sandbox::catalogue_json;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::http_types::{Request, Response};
use crate::sandbox::ledger::Totals;
use crate::sandbox::plan_value::PlanValue as _;
use crate::sandbox::responses;
use crate::sandbox::scheduled_fault::{ApiFault, ScheduledFault};
use crate::sandbox::world::{Exchange, World};

impl World {
    /// What is left of the balance.
    pub fn balance_left(&self) -> Quota {
        self.balance
    }

    /// The sums of the ledger.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    pub(super) fn balance(&mut self, now: Timestamp) -> Exchange {
        let schedule = self.plan.balance.clone();
        let usual = |world: &mut Self| responses::balance(world.options.balance, world.balance, now);
        self.account_call("balance", &schedule, now, usual)
    }

    pub(super) fn usage(&self) -> Response {
        responses::usage(self.ledger.total)
    }

    pub(super) fn models(&mut self, now: Timestamp) -> Exchange {
        let schedule = self.plan.models.clone();
        let usual = |world: &mut Self| catalogue_json::list(world.is_new(&world.plan), &world.plan);
        self.account_call("models", &schedule, now, usual)
    }

    /// One model, also if it is switched off.
    pub(super) fn model(&self, id: &str) -> Response {
        catalogue_json::model(id, self.is_new(&self.plan), &self.plan)
    }

    /// The price of a body. It needs no key.
    pub(super) fn quote(&mut self, request: &Request, body_sha256: &str, now: Timestamp) -> Exchange {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&request.body) else {
            return catalogue_json::refusal(400, "invalid_request", "the body is not a JSON object").into();
        };
        let prompt = body.get("prompt").and_then(Value::as_str).unwrap_or_default();
        // A plan that is not valid is refused at the submit.
        let prompt_plan = FaultPlan::from_prompt(prompt).unwrap_or_default();
        let plan = prompt_plan.over(&self.plan);
        let run_schedule = self.plan.quote.clone();
        let fault = self.next_fault("quote", body_sha256, &prompt_plan.quote, &run_schedule);
        let response = self.execute(fault.as_ref(), now, |world| match world.is_new(&plan) {
            false => responses::no_such_endpoint(),
            true => match capabilities::refusal(&body, &plan) {
                Some(refusal) => catalogue_json::refused_quote(&refusal),
                None => catalogue_json::quote(&body, &plan),
            },
        });
        Exchange { response, task: None, fault: fault.map(|fault| fault.to_text()) }
    }

    /// A call about the account, not about a task.
    fn account_call(
        &mut self,
        call: &'static str,
        schedule: &[ScheduledFault<ApiFault>],
        now: Timestamp,
        usual: impl FnOnce(&mut Self) -> Response,
    ) -> Exchange {
        let fault = self.next_fault(call, "", &[], schedule);
        let response = self.execute(fault.as_ref(), now, usual);
        Exchange { response, task: None, fault: fault.map(|fault| fault.to_text()) }
    }

    /// Takes the price of a new task from the balance.
    pub(super) fn freeze(&mut self, now: Timestamp, task: usize, amount: Quota) {
        self.balance = self.balance.plus(Quota::new(-amount.get()));
        self.ledger.record_freeze(now, task, amount);
    }

    /// Charges the final cost of a task, and refunds the rest of what was frozen.
    pub(super) fn settle(&mut self, now: Timestamp, number: usize) {
        let Some(task) = self.tasks.get_mut(number) else { return };
        task.settled = true;
        let cost = task.cost;
        if let Some(difference) = self.ledger.record_settlement(now, number, cost) {
            self.balance = self.balance.plus(difference);
        }
    }
}
