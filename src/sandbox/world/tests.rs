//! The provider without a network; the tests advance the time.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::http_types::Body;

const HOUR: i64 = 3_600_000;

/// A world and its clock.
struct Provider {
    world: World,
    now: Timestamp,
}

impl Provider {
    fn with_faults(plan: &str) -> Self {
        Self::with_options(Options { fault_plan: FaultPlan::parse(plan).expect(plan), ..Options::default() })
    }

    fn with_options(options: Options) -> Self {
        let steady = (Duration::from_secs(10), Duration::from_secs(10));
        let options = Options { queue_time: steady, run_time: steady, ..options };
        let world = World::new(options, "http://127.0.0.1:1");
        Self { world, now: Timestamp::from_millis(1_775_285_160_000) }
    }

    fn advance(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn request(&mut self, request: &Request) -> Response {
        self.world.handle(request, self.now)
    }

    fn submit(&mut self, key: &str) -> Response {
        self.submit_with(key, json!({}))
    }

    fn submit_with(&mut self, key: &str, more: Value) -> Response {
        let mut body = json!({"model": "wan2.5-t2v", "prompt": "a cat"});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.request(&Request::submit(key, body.to_string()))
    }

    fn status(&mut self, id: &str) -> Value {
        self.request(&Request::status(id)).value()
    }

    /// The id of a new task.
    fn task(&mut self, key: &str) -> String {
        id_of(&self.submit(key))
    }

    /// The link in the status of a completed task.
    fn link(&mut self, id: &str) -> String {
        self.status(id)["result"]["videos"][0]["url"][0].as_str().expect("a link").to_owned()
    }
}

fn id_of(answer: &Response) -> String {
    answer.value()["task_id"].as_str().expect("a task id").to_owned()
}

fn code(answer: &Response) -> String {
    answer.value()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

mod billing;
mod callbacks;
mod catalogue;
mod links;
mod submit;
mod tasks;

#[test]
fn only_the_right_api_key_is_accepted() {
    let mut provider =
        Provider::with_options(Options { api_key: Some(Secret::new("sk-right")), ..Options::default() });
    for (authorization, status) in
        [(None, 401), (Some("Bearer sk-wrong"), 401), (Some("sk-right"), 401), (Some("Bearer sk-right"), 200)]
    {
        let authorization = authorization.map(Secret::new);
        let request = Request { authorization, ..Request::get("/v1/models") };
        assert_eq!(provider.request(&request).status, status);
    }
    assert_eq!(provider.world.ledger().calls.get("models"), Some(&1));
}

#[test]
fn every_call_has_faults_of_its_own() {
    let mut provider = Provider::with_faults("status=500 cancel=lost balance=404 models=html200");
    let id = provider.task("a");
    assert_eq!(provider.request(&Request::status(&id)).status, 500);
    assert!(!provider.request(&Request::cancel(&id)).is_complete());
    assert_eq!(provider.status(&id)["status"], "cancelled", "a lost cancel is executed");
    assert_eq!(provider.request(&Request::get("/v1/dashboard/billing/balance")).status, 404);
    let page = provider.request(&Request::get("/v1/models"));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let faults: Vec<_> = provider.world.ledger().faults.keys().cloned().collect();
    assert_eq!(faults, ["balance=404", "cancel=lost", "models=html200", "status=500"]);
}

#[test]
fn new_plan_starts_again_and_a_prompt_plan_continues() {
    let mut provider = Provider::with_faults("submit=503x2");
    let own = || json!({"prompt": "[sandbox: submit=502x2]"});
    let tries =
        |provider: &mut Provider| [provider.submit("a").status, provider.submit_with("b", own()).status];
    assert_eq!(tries(&mut provider), [503, 502]);
    provider.world.set_fault_plan(FaultPlan::parse("submit=504x2").expect("a plan"));
    assert_eq!(
        [tries(&mut provider), tries(&mut provider), tries(&mut provider)],
        [[504, 502], [504, 200], [200, 200]]
    );
}

#[test]
fn prompt_plan_takes_precedence_and_must_be_valid() {
    let mut provider = Provider::with_faults("submit=503x9");
    let body = |prompt: &str| json!({"prompt": prompt});
    assert!(!provider.submit_with("a", body("cat [sandbox: submit=lost run=1s]")).is_complete());
    assert_eq!(provider.submit_with("a", body("cat [sandbox: submit=lost run=1s]")).status, 200);
    assert_eq!(provider.submit_with("b", body("cat")).status, 503);
    let wrong = provider.submit_with("c", body("cat [sandbox: rnu=1s]"));
    assert_eq!((wrong.status, code(&wrong).as_str()), (400, "sandbox_plan"));
    assert!(wrong.value()["error"]["message"].as_str().is_some_and(|message| message.ends_with("`run`")));
}

#[test]
fn same_seed_and_requests_give_the_same_ledger() {
    let run = |seed: u64| {
        let plan =
            FaultPlan::parse("submit=503 media=reset:100 callback=shuffled callback=copies:3 words=any");
        let mut world =
            World::new(Options { seed, fault_plan: plan.expect("a plan"), ..Options::default() }, "http://h");
        let mut now = Timestamp::from_millis(1_775_285_160_000);
        let mut answers = Vec::new();
        for n in 0..20 {
            let body = json!({"model": "wan2.5-t2v", "prompt": n.to_string(), "callback_url": "http://127.0.0.1:9/x"});
            for _ in 0..2 {
                answers.push(world.handle(&Request::submit(&n.to_string(), body.to_string()), now));
            }
            now = now.plus(Duration::from_millis(700));
            for callback in world.take_due_callbacks(now) {
                world.callback_answered(callback.number, Some(503), now);
            }
        }
        let link = world.ledger().links.first().map(|link| link.link.clone()).expect("a link");
        answers.push(world.handle(&Request::media(&link, None), now));
        (serde_json::to_string(world.ledger()).expect("JSON"), answers)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn reset_world_is_as_at_the_start() {
    let mut provider = Provider::with_faults("submit=401");
    provider.submit("a");
    provider.world.set_fault_plan(FaultPlan::default());
    provider.submit("a");
    provider.world.reset();
    assert_eq!((provider.world.ledger(), provider.world.next_due()), (&Ledger::default(), None));
    assert_eq!(provider.submit("a").status, 401, "the initial plan applies again");
}
