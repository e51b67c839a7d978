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
mod catalogue;

#[test]
fn task_is_queued_then_processed_then_completed() {
    let mut provider = Provider::with_faults("progress=int");
    let id = provider.task("a");
    let mut seen = Vec::new();
    for _ in 0..5 {
        let status = provider.status(&id);
        seen.push(format!("{} {}", status["status"].as_str().expect("a status word"), status["progress"]));
        provider.advance(5);
    }
    assert_eq!(seen, ["queued 0", "queued 0", "processing 1", "processing 50", "completed 100"]);
    assert_eq!(provider.status("task-of-nobody")["error"]["code"], "task_not_found");
}

#[test]
fn idempotency_key_makes_one_task_a_day() {
    let mut provider = Provider::with_faults("");
    let id = provider.task("a");
    provider.advance(24 * 3600 - 1);
    assert_eq!(provider.task("a"), id);
    assert_eq!(provider.world.ledger().total, Quota::new(75_000));
    let changed = provider.submit_with("a", json!({"seed": 1}));
    assert_eq!((changed.status, code(&changed).as_str()), (422, "idempotency_key_reused"));
    provider.advance(1);
    assert_ne!(provider.task("a"), id);
    assert_eq!(provider.world.ledger().total, Quota::new(150_000));
    let uses = &provider.world.ledger().keys["a"];
    assert_eq!((uses.submits, uses.bodies.len()), (4, 2));
    assert_eq!(uses.last.millis() - uses.first.millis(), 24 * HOUR);
}

#[test]
fn repeated_submit_is_refused_while_the_first_is_in_progress() {
    let mut provider = Provider::with_faults("submit=slow:30s");
    let first = provider.submit("a");
    assert_eq!(first.transmission.delay, Duration::from_secs(30));
    provider.advance(29);
    assert_eq!((provider.submit("a").status, provider.world.ledger().tasks.len()), (409, 1));
    provider.advance(1);
    assert_eq!(provider.task("a"), id_of(&first));
}

#[test]
fn submit_faults_create_a_task_or_not_as_documented() {
    // The fault; the status of the first submit; whether it created a task; the status of the second.
    for (fault, status, made, again) in [
        ("400", 400, false, 400),
        ("401", 401, false, 401),
        ("402", 402, false, 402),
        ("403", 403, false, 403),
        ("404", 404, false, 200),
        ("409", 409, false, 200),
        ("429", 429, false, 200),
        ("429:30s", 429, false, 200),
        ("429-reset", 429, false, 200),
        ("429-reset:1h", 429, false, 200),
        ("500", 500, false, 200),
        ("502", 502, false, 200),
        ("503", 503, false, 200),
        ("504", 504, false, 200),
        ("504-done", 504, true, 200),
        ("html502-done", 502, true, 200),
        ("503x2", 503, false, 503),
        ("capability", 400, false, 400),
        ("price", 500, false, 500),
        ("stored500", 500, false, 500),
        ("html200", 200, false, 200),
        ("empty", 200, false, 200),
        ("cut", 200, true, 200),
        ("huge", 200, false, 200),
        ("redirect", 302, false, 302),
        ("reset", 0, false, 200),
        ("lost", 0, true, 200),
        ("slow:0ms", 200, true, 200),
        ("drip:10", 200, true, 200),
        ("same-id", 200, true, 200),
    ] {
        let mut provider = Provider::with_faults(&format!("submit={fault}"));
        let seen = |answer: Response| if answer.is_complete() { answer.status } else { 0 };
        assert_eq!(seen(provider.submit("a")), status, "{fault}");
        assert_eq!(provider.world.ledger().tasks.len(), usize::from(made), "{fault}");
        assert_eq!(seen(provider.submit("a")), again, "{fault}, the second submit");
        let name = fault.trim_end_matches("x2");
        assert!(
            provider.world.ledger().faults.keys().any(|known| known.starts_with(&format!("submit={name}")))
        );
        let (made, again) = (u64::from(made), u64::from(again == 200));
        assert_eq!(provider.world.ledger().total, Quota::new(75_000 * (made.max(again) as i64)), "{fault}");
    }
}

#[test]
fn stored_500_outlives_the_plan_that_caused_it() {
    let mut provider = Provider::with_faults("submit=stored500");
    provider.submit("a");
    provider.world.set_fault_plan(FaultPlan::default());
    assert_eq!((provider.submit("a").status, provider.submit("b").status), (500, 200));
    provider.advance(24 * 3600);
    assert_eq!(provider.submit("a").status, 200);
}

#[test]
fn rate_limits_have_the_documented_forms() {
    let mut provider = Provider::with_faults("submit=429:30s submit=429-reset:1h");
    assert_eq!(provider.submit("a").header("Retry-After"), Some("30"));
    let error = provider.submit("a").value()["error"].clone();
    assert_eq!(error["code"], "quota_window_exceeded");
    let wait = error["reset_at"].as_i64().expect("a time") - provider.now.millis() / 1000;
    assert!((3600..=3601).contains(&wait), "{wait}");
}

#[test]
fn task_id_can_be_returned_twice() {
    let mut provider = Provider::with_faults("");
    let first = provider.task("a");
    provider.world.set_fault_plan(FaultPlan::parse("submit=same-id").expect("a plan"));
    assert_eq!((provider.task("b"), provider.task("b")), (first.clone(), first));
    assert_eq!(provider.world.ledger().tasks.len(), 1);
}

#[test]
fn submit_answer_has_every_shape() {
    for (plan, pointer) in [
        ("", "/task_id"),
        ("submit-shape=wrapped", "/data/task_id"),
        ("submit-shape=old", "/data"),
        ("id=hostile", "/task_id"),
    ] {
        let answer = Provider::with_faults(plan).submit("a").value();
        assert!(answer.pointer(pointer).is_some_and(Value::is_string), "{plan}: {answer}");
    }
    assert!(Provider::with_faults("id=hostile").task("a").starts_with("../"));
    assert_eq!(Provider::with_faults("id=absent").submit("a").value().get("task_id"), None);
    assert_eq!(Provider::with_faults("pre-cost=no").submit("a").value().get("pre_consumed_cost"), None);
    let refused = Provider::with_faults("extra=no").submit_with("a", json!({"extra": {"audio": true}}));
    assert_eq!((refused.status, code(&refused).as_str()), (400, "capability_violation"));
}

#[test]
fn status_has_every_shape() {
    let absent = Value::Null;
    for (plan, pointer, expected) in [
        ("", "/progress", json!("100%")),
        ("progress=int", "/progress", json!(100)),
        ("progress=float", "/progress", json!(100.0)),
        ("progress=empty", "/progress", json!("")),
        ("progress=null", "/progress", Value::Null),
        ("progress=absent", "/progress", absent.clone()),
        ("progress=101", "/progress", json!(101)),
        ("progress=-1", "/progress", json!(-1)),
        ("", "/completed_at", json!(1_775_285_180)),
        ("times=ms", "/completed_at", json!(1_775_285_180_000_i64)),
        ("times=us", "/completed_at", json!(1_775_285_180_000_000_i64)),
        ("times=string", "/completed_at", json!("1775285180")),
        ("times=iso", "/completed_at", json!("2026-04-04T06:46:20.000Z")),
        ("times=zero", "/completed_at", json!(0)),
        ("times=negative", "/completed_at", json!(-1)),
        ("times=far", "/completed_at", json!(253_402_300_799_i64)),
        ("times=absent", "/completed_at", absent.clone()),
        ("link=30s", "/result/videos/0/expires_at", json!(1_775_285_210)),
        ("expires=ms link=30s", "/result/videos/0/expires_at", json!(1_775_285_210_000_i64)),
        ("expires=absent", "/result/videos/0/expires_at", absent.clone()),
        ("completed=SUCCESS", "/status", json!("SUCCESS")),
        ("completed=upscaling", "/status", json!("upscaling")),
        ("status-shape=wrapped", "/data/status", json!("completed")),
        ("cost=80000", "/cost", json!(80_000)),
        ("show-cost=no", "/cost", absent.clone()),
        ("result=none", "/result", absent.clone()),
        ("result=null:1", "/result", Value::Null),
        ("result=empty:1", "/result", json!({"videos": []})),
        ("end=upstream_unavailable", "/error/code", json!("upstream_unavailable")),
        ("end=upstream_rate_limited", "/error/code", json!("upstream_rate_limited")),
        ("end=upstream_bad_request", "/error/code", json!("upstream_bad_request")),
        ("end=task_failed", "/status", json!("failed")),
        ("end=failed:odd failed=Failure", "/status", json!("Failure")),
        ("end=failed:odd fail-shape=reason", "/fail_reason", json!("odd: the task failed")),
        ("end=failed:odd fail-shape=text", "/error", json!("the task failed")),
        ("end=failed:odd fail-shape=none", "/error", absent.clone()),
        ("end=failed:odd", "/cost", json!(0)),
        ("end=failed:odd refund=no", "/cost", json!(75_000)),
        ("end=cancelled", "/status", json!("cancelled")),
        ("end=never", "/status", json!("processing")),
        ("dies=0s", "/error/code", json!("task_not_found")),
        ("status=404x3", "/error/code", json!("task_not_found")),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let status = provider.status(&id);
        assert_eq!(status.pointer(pointer).unwrap_or(&Value::Null), &expected, "{plan}: {status}");
    }
}

#[test]
fn late_result_appears_after_the_planned_number_of_answers() {
    let mut provider = Provider::with_faults("result=empty:2");
    let id = provider.task("a");
    provider.advance(20);
    let counts: Vec<_> =
        (0..3).map(|_| provider.status(&id)["result"]["videos"].as_array().map_or(9, Vec::len)).collect();
    assert_eq!(counts, [0, 0, 1]);
}

#[test]
fn synonyms_fit_the_status_and_vary() {
    let mut seen = BTreeSet::new();
    let mut provider = Provider::with_faults("words=any");
    for n in 0..60 {
        let id = provider.task(&format!("{n}"));
        provider.advance(20);
        let word = provider.status(&id)["status"].as_str().expect("a status word").to_owned();
        assert!(
            ["completed", "succeeded", "success", "done"].contains(&word.to_lowercase().as_str()),
            "{word}"
        );
        seen.insert(word);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn outputs_have_the_planned_number_and_shape() {
    for (plan, model, pointer, count) in [
        ("", "wan2.5-t2v", "/result/videos", 1),
        ("", "dance-multi", "/result/videos", 2),
        ("outputs=3", "wan2.5-t2v", "/result/videos", 3),
        ("outputs=3 url=merged", "wan2.5-t2v", "/result/videos/0/url", 3),
        ("outputs=0", "wan2.5-t2v", "/result/videos", 0),
        ("twice=yes", "wan2.5-t2v", "/result/videos", 2),
        ("", "some-image", "/result/images", 1),
        ("kind=audio", "wan2.5-t2v", "/result/audios", 1),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = id_of(&provider.submit_with("a", json!({"model": model})));
        provider.advance(20);
        let status = provider.status(&id);
        let outputs = status.pointer(pointer).and_then(Value::as_array);
        assert_eq!(outputs.map(Vec::len), Some(count), "{plan} {model}: {status}");
    }
    let mut provider = Provider::with_faults("url=string");
    let id = provider.task("a");
    provider.advance(20);
    assert!(provider.status(&id)["result"]["videos"][0]["url"].is_string());
}

#[test]
fn expired_link_stays_expired_and_may_be_renewed() {
    for (plan, dead, fresh) in [
        ("link=30s", 403, 200),
        ("link=30s expired=410", 410, 200),
        ("link=30s links=same", 403, 403),
        ("link=30s links=fresh", 403, 200),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let link = provider.link(&id);
        assert_eq!(provider.link(&id) == link, !plan.contains("fresh"), "{plan}");
        assert_eq!(provider.request(&Request::media(&link, None)).status, 200, "{plan}");
        provider.advance(30);
        assert_eq!(provider.request(&Request::media(&link, None)).status, dead, "{plan}");
        let next = provider.link(&id);
        assert_eq!(provider.request(&Request::media(&next, None)).status, fresh, "{plan}");
    }
}

#[test]
fn link_opens_its_own_file_once_ready_for_authorized_clients() {
    let mut provider = Provider::with_faults("ready=60s media-key=yes outputs=2");
    let id = provider.task("a");
    provider.advance(20);
    let status = provider.status(&id);
    let link = |n: usize| status["result"]["videos"][n]["url"][0].as_str().expect("a link").to_owned();
    assert_eq!(provider.request(&Request::media(&link(0), None)).status, 401);
    let with_key =
        |link: &str| Request { authorization: Some(Secret::new("Bearer sk")), ..Request::media(link, None) };
    assert_eq!(provider.request(&with_key(&link(0))).status, 404);
    provider.advance(60);
    let answer = provider.request(&with_key(&link(0)));
    let output = provider.world.ledger().tasks[0].outputs[0].clone();
    assert_eq!((answer.status, sha256_hex(&answer.body.bytes())), (200, output.sha256));
    let (path, _) =
        link(0).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    let (_, other) =
        link(1).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    assert_eq!(provider.request(&with_key(&format!("{path}?{other}"))).status, 403);
    assert_eq!(provider.request(&with_key(&path)).status, 403);
}

#[test]
fn media_faults_of_one_output_leave_the_others_alone() {
    for (plan, statuses) in [
        ("media=410 outputs=3 media-output=1", [200, 410, 200]),
        ("media=410 outputs=3", [410, 410, 410]),
        ("media-host=dead.example outputs=3 media-output=2", [200, 200, 0]),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let status = provider.status(&id);
        let found = [0, 1, 2].map(|n: usize| {
            let link = status["result"]["videos"][n]["url"][0].as_str().expect("a link");
            let here = !link.contains("dead.example");
            if here { provider.request(&Request::media(link, None)).status } else { 0 }
        });
        assert_eq!(found, statuses, "{plan}");
    }
}

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
fn callback_with_the_status_is_due_when_the_task_ends() {
    for (plan, pointer) in [
        ("", "/status"),
        ("callback-shape=event", "/data/status"),
        ("callback-shape=task", "/task/status"),
        ("callback-shape=data", "/data/status"),
    ] {
        let mut provider = Provider::with_faults(plan);
        let more = json!({"callback_url": "http://127.0.0.1:9/callbacks/job/token"});
        let id = id_of(&provider.submit_with("a", more));
        assert_eq!(provider.world.next_due(), Some(provider.now.plus(Duration::from_secs(20))));
        provider.advance(19);
        assert!(provider.world.take_due_callbacks(provider.now).is_empty());
        provider.advance(1);
        let due = provider.world.take_due_callbacks(provider.now);
        let body: Value = serde_json::from_slice(&due[0].body).expect("JSON");
        assert_eq!((due.len(), body.pointer(pointer)), (1, Some(&json!("completed"))), "{plan}: {body}");
        assert_eq!(due[0].task_id, id);
        assert!(provider.world.take_due_callbacks(provider.now).is_empty(), "taken once");
        provider.world.callback_answered(due[0].number, Some(204), provider.now);
        assert_eq!(
            (provider.world.next_due(), provider.world.ledger().callbacks[0].status),
            (None, Some(204))
        );
    }
}

#[test]
fn forged_and_stale_callbacks_have_a_false_status() {
    let mut provider =
        Provider::with_faults("callback=forged callback=stale callback=progress callback-shape=event");
    provider.submit_with("a", json!({"callback_url": "http://127.0.0.1:9/callbacks/job/token"}));
    let mut seen = Vec::new();
    for _ in 0..30 {
        provider.advance(1);
        for callback in provider.world.take_due_callbacks(provider.now) {
            let body: Value = serde_json::from_slice(&callback.body).expect("JSON");
            let status = body["data"]["status"].as_str().expect("a status word").to_owned();
            seen.push((status, callback.url.expose().ends_with("/token")));
            assert_eq!(body["data"].get("result").is_some(), body["data"]["status"] == "completed");
        }
    }
    let callback = |status: &str, token_is_right| (status.to_owned(), token_is_right);
    assert_eq!(
        seen,
        [
            callback("processing", true),
            callback("failed", false),
            callback("completed", true),
            callback("processing", true)
        ]
    );
}

#[test]
fn early_callback_delays_the_answer() {
    let mut provider = Provider::with_faults("callback=early");
    let answer = provider.submit_with("a", json!({"callback_url": "http://127.0.0.1:9/x"}));
    let id = id_of(&answer);
    assert_eq!(answer.transmission.after_callback.as_deref(), Some(id.as_str()));
    assert!(provider.world.awaits_first_callback(&id));
    let due = provider.world.take_due_callbacks(provider.now);
    assert!(provider.world.awaits_first_callback(&id), "in flight");
    provider.world.callback_answered(due[0].number, None, provider.now);
    assert!(!provider.world.awaits_first_callback(&id));
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

#[test]
fn large_clip_is_never_in_memory() {
    let mut provider = Provider::with_faults("size=3GiB");
    let id = provider.task("a");
    provider.advance(20);
    let link = provider.link(&id);
    let answer = provider.request(&Request::media(&link, Some((3 << 30) - 10)));
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert!(matches!(answer.body, Body::Clip(..)));
}
