//! The provider without a wire: time is moved by hand.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::sandbox::exchange::Body;

const HOUR: i64 = 3_600_000;

/// A world and its time.
struct Story {
    world: World,
    now: Timestamp,
}

impl Story {
    fn of(plan: &str) -> Self {
        Self::with(Options { plan: Plan::parse(plan).expect(plan), ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let steady = (Duration::from_secs(10), Duration::from_secs(10));
        let options = Options { queue_time: steady, run_time: steady, ..options };
        let world = World::new(options, "http://127.0.0.1:1");
        Self { world, now: Timestamp::from_millis(1_775_285_160_000) }
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.world.answer(request, self.now)
    }

    fn submit(&mut self, key: &str) -> Answer {
        self.submit_with(key, json!({}))
    }

    fn submit_with(&mut self, key: &str, more: Value) -> Answer {
        let mut body = json!({"model": "wan2.5-t2v", "prompt": "a cat"});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.ask(&Request::submit(key, body.to_string()))
    }

    fn status(&mut self, id: &str) -> Value {
        self.ask(&Request::status(id)).value()
    }

    /// The id of a new task.
    fn task(&mut self, key: &str) -> String {
        id_of(&self.submit(key))
    }

    /// The link of a completed task, as its status tells it now.
    fn link(&mut self, id: &str) -> String {
        self.status(id)["result"]["videos"][0]["url"][0].as_str().expect("a link").to_owned()
    }
}

fn id_of(answer: &Answer) -> String {
    answer.value()["task_id"].as_str().expect("a task id").to_owned()
}

fn code(answer: &Answer) -> String {
    answer.value()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_task_is_queued_then_processed_then_completed() {
    let mut story = Story::of("progress=int");
    let id = story.task("a");
    let mut seen = Vec::new();
    for _ in 0..5 {
        let status = story.status(&id);
        seen.push(format!("{} {}", status["status"].as_str().expect("a word"), status["progress"]));
        story.later(5);
    }
    assert_eq!(seen, ["queued 0", "queued 0", "processing 1", "processing 50", "completed 100"]);
    assert_eq!(story.status("task-of-nobody")["error"]["code"], "task_not_found");
}

#[test]
fn a_key_makes_one_task_within_a_day_and_another_after_it() {
    let mut story = Story::of("");
    let id = story.task("a");
    story.later(24 * 3600 - 1);
    assert_eq!(story.task("a"), id);
    assert_eq!(story.world.ledger().total, Quota::new(75_000));
    let changed = story.submit_with("a", json!({"seed": 1}));
    assert_eq!((changed.status, code(&changed).as_str()), (422, "idempotency_key_reused"));
    story.later(1);
    assert_ne!(story.task("a"), id);
    assert_eq!(story.world.ledger().total, Quota::new(150_000));
    let uses = &story.world.ledger().keys["a"];
    assert_eq!((uses.submits, uses.bodies.len()), (4, 2));
    assert_eq!(uses.last.millis() - uses.first.millis(), 24 * HOUR);
}

#[test]
fn a_repeat_while_the_first_is_being_handled_is_told_to_wait() {
    let mut story = Story::of("submit=slow:30s");
    let first = story.submit("a");
    assert_eq!(first.wire.delay, Duration::from_secs(30));
    story.later(29);
    assert_eq!((story.submit("a").status, story.world.ledger().tasks.len()), (409, 1));
    story.later(1);
    assert_eq!(story.task("a"), id_of(&first));
}

#[test]
fn each_submit_fault_does_the_work_or_leaves_it_as_it_says() {
    // The fault; what the first try gets; whether it made a task; what a second try gets.
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
        let mut story = Story::of(&format!("submit={fault}"));
        let seen = |answer: Answer| if answer.arrives() { answer.status } else { 0 };
        assert_eq!(seen(story.submit("a")), status, "{fault}");
        assert_eq!(story.world.ledger().tasks.len(), usize::from(made), "{fault}");
        assert_eq!(seen(story.submit("a")), again, "{fault}, the second try");
        let name = fault.trim_end_matches("x2");
        assert!(story.world.ledger().faults.keys().any(|known| known.starts_with(&format!("submit={name}"))));
        let (made, again) = (u64::from(made), u64::from(again == 200));
        assert_eq!(story.world.ledger().total, Quota::new(75_000 * (made.max(again) as i64)), "{fault}");
    }
}

#[test]
fn a_stored_500_outlives_the_plan_that_made_it() {
    let mut story = Story::of("submit=stored500");
    story.submit("a");
    story.world.set_plan(Plan::default());
    assert_eq!((story.submit("a").status, story.submit("b").status), (500, 200));
    story.later(24 * 3600);
    assert_eq!(story.submit("a").status, 200);
}

#[test]
fn waits_are_told_in_the_documented_forms() {
    let mut story = Story::of("submit=429:30s submit=429-reset:1h");
    assert_eq!(story.submit("a").header("Retry-After"), Some("30"));
    let error = story.submit("a").value()["error"].clone();
    assert_eq!(error["code"], "quota_window_exceeded");
    let wait = error["reset_at"].as_i64().expect("a time") - story.now.millis() / 1000;
    assert!((3600..=3601).contains(&wait), "{wait}");
}

#[test]
fn an_id_can_be_handed_out_twice() {
    let mut story = Story::of("");
    let first = story.task("a");
    story.world.set_plan(Plan::parse("submit=same-id").expect("a plan"));
    assert_eq!((story.task("b"), story.task("b")), (first.clone(), first));
    assert_eq!(story.world.ledger().tasks.len(), 1);
}

#[test]
fn submits_are_answered_in_every_shape() {
    for (plan, pointer) in [
        ("", "/task_id"),
        ("submit-shape=wrapped", "/data/task_id"),
        ("submit-shape=old", "/data"),
        ("id=hostile", "/task_id"),
    ] {
        let answer = Story::of(plan).submit("a").value();
        assert!(answer.pointer(pointer).is_some_and(Value::is_string), "{plan}: {answer}");
    }
    assert!(Story::of("id=hostile").task("a").starts_with("../"));
    assert_eq!(Story::of("id=absent").submit("a").value().get("task_id"), None);
    assert_eq!(Story::of("pre-cost=no").submit("a").value().get("pre_consumed_cost"), None);
    let refused = Story::of("extra=no").submit_with("a", json!({"extra": {"audio": true}}));
    assert_eq!((refused.status, code(&refused).as_str()), (400, "capability_violation"));
}

#[test]
fn a_status_is_told_in_every_shape() {
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
        let mut story = Story::of(plan);
        let id = story.task("a");
        story.later(20);
        let status = story.status(&id);
        assert_eq!(status.pointer(pointer).unwrap_or(&Value::Null), &expected, "{plan}: {status}");
    }
}

#[test]
fn a_late_result_comes_after_as_many_answers_as_said() {
    let mut story = Story::of("result=empty:2");
    let id = story.task("a");
    story.later(20);
    let counts: Vec<_> =
        (0..3).map(|_| story.status(&id)["result"]["videos"].as_array().map_or(9, Vec::len)).collect();
    assert_eq!(counts, [0, 0, 1]);
}

#[test]
fn synonyms_are_of_the_right_state_and_of_many_kinds() {
    let mut seen = BTreeSet::new();
    let mut story = Story::of("words=any");
    for n in 0..60 {
        let id = story.task(&format!("{n}"));
        story.later(20);
        let word = story.status(&id)["status"].as_str().expect("a word").to_owned();
        assert!(
            ["completed", "succeeded", "success", "done"].contains(&word.to_lowercase().as_str()),
            "{word}"
        );
        seen.insert(word);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn outputs_are_as_many_and_as_written_as_planned() {
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
        let mut story = Story::of(plan);
        let id = id_of(&story.submit_with("a", json!({"model": model})));
        story.later(20);
        let status = story.status(&id);
        let outputs = status.pointer(pointer).and_then(Value::as_array);
        assert_eq!(outputs.map(Vec::len), Some(count), "{plan} {model}: {status}");
    }
    let mut story = Story::of("url=string");
    let id = story.task("a");
    story.later(20);
    assert!(story.status(&id)["result"]["videos"][0]["url"].is_string());
}

#[test]
fn money_frozen_is_settled_refunded_and_runs_out() {
    let mut story = Story::with(Options { balance: Quota::new(200_000), ..Options::default() });
    let queued = story.task("a");
    let cancelled = story.ask(&Request::cancel(&queued));
    assert_eq!((cancelled.status, cancelled.value()["status"].as_str()), (200, Some("cancelled")));
    assert_eq!(story.world.ledger().total, Quota::ZERO);
    let running = story.task("b");
    story.later(15);
    assert_eq!(code(&story.ask(&Request::cancel(&running))), "task_not_cancellable");
    story.world.set_plan(Plan::parse("cost=1").expect("a plan"));
    story.task("c");
    assert_eq!(story.submit("d").status, 402);
    story.later(20);
    let balance = story.ask(&Request::get("/v1/dashboard/billing/balance")).value();
    let moved: Vec<_> =
        story.world.ledger().money.iter().map(|moved| (moved.kind, moved.amount.get())).collect();
    assert_eq!(
        moved,
        [("charge", 75_000), ("refund", 75_000), ("charge", 75_000), ("charge", 75_000), ("refund", 74_999)]
    );
    assert_eq!(balance["total_available_usd"], 124_999.0 / 500_000.0);
    assert_eq!(story.world.ledger().max_running, 2);
    let each: i64 = story.world.ledger().tasks.iter().map(|task| task.cost.get()).sum();
    assert_eq!(each, story.world.ledger().total.get());
}

#[test]
fn a_dead_link_stays_dead_and_a_fresh_one_is_handed_out_as_planned() {
    for (plan, dead, fresh) in [
        ("link=30s", 403, 200),
        ("link=30s expired=410", 410, 200),
        ("link=30s links=same", 403, 403),
        ("link=30s links=fresh", 403, 200),
    ] {
        let mut story = Story::of(plan);
        let id = story.task("a");
        story.later(20);
        let link = story.link(&id);
        assert_eq!(story.link(&id) == link, !plan.contains("fresh"), "{plan}");
        assert_eq!(story.ask(&Request::media(&link, None)).status, 200, "{plan}");
        story.later(30);
        assert_eq!(story.ask(&Request::media(&link, None)).status, dead, "{plan}");
        let next = story.link(&id);
        assert_eq!(story.ask(&Request::media(&next, None)).status, fresh, "{plan}");
    }
}

#[test]
fn a_link_opens_its_own_file_only_once_ready_and_only_for_those_let_in() {
    let mut story = Story::of("ready=60s media-key=yes outputs=2");
    let id = story.task("a");
    story.later(20);
    let status = story.status(&id);
    let link = |n: usize| status["result"]["videos"][n]["url"][0].as_str().expect("a link").to_owned();
    assert_eq!(story.ask(&Request::media(&link(0), None)).status, 401);
    let with_key =
        |link: &str| Request { authorization: Some(Secret::new("Bearer sk")), ..Request::media(link, None) };
    assert_eq!(story.ask(&with_key(&link(0))).status, 404);
    story.later(60);
    let answer = story.ask(&with_key(&link(0)));
    let output = story.world.ledger().tasks[0].outputs[0].clone();
    assert_eq!((answer.status, sha256_hex(&answer.body.bytes())), (200, output.sha256));
    let (path, _) =
        link(0).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    let (_, other) =
        link(1).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    assert_eq!(story.ask(&with_key(&format!("{path}?{other}"))).status, 403);
    assert_eq!(story.ask(&with_key(&path)).status, 403);
}

#[test]
fn only_the_right_key_is_let_in() {
    let mut story = Story::with(Options { api_key: Some(Secret::new("sk-right")), ..Options::default() });
    for (authorization, status) in
        [(None, 401), (Some("Bearer sk-wrong"), 401), (Some("sk-right"), 401), (Some("Bearer sk-right"), 200)]
    {
        let authorization = authorization.map(Secret::new);
        let request = Request { authorization, ..Request::get("/v1/models") };
        assert_eq!(story.ask(&request).status, status);
    }
    assert_eq!(story.world.ledger().calls.get("models"), Some(&1));
}

#[test]
fn every_call_can_go_wrong_by_its_own_word() {
    let mut story = Story::of("status=500 cancel=lost balance=404 models=html200");
    let id = story.task("a");
    assert_eq!(story.ask(&Request::status(&id)).status, 500);
    assert!(!story.ask(&Request::cancel(&id)).arrives());
    assert_eq!(story.status(&id)["status"], "cancelled", "a lost cancel is done");
    assert_eq!(story.ask(&Request::get("/v1/dashboard/billing/balance")).status, 404);
    let page = story.ask(&Request::get("/v1/models"));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let faults: Vec<_> = story.world.ledger().faults.keys().cloned().collect();
    assert_eq!(faults, ["balance=404", "cancel=lost", "models=html200", "status=500"]);
}

#[test]
fn a_new_plan_is_walked_from_its_beginning_and_a_prompts_own_goes_on() {
    let mut story = Story::of("submit=503x2");
    let own = || json!({"prompt": "[sandbox: submit=502x2]"});
    let tries = |story: &mut Story| [story.submit("a").status, story.submit_with("b", own()).status];
    assert_eq!(tries(&mut story), [503, 502]);
    story.world.set_plan(Plan::parse("submit=504x2").expect("a plan"));
    assert_eq!(
        [tries(&mut story), tries(&mut story), tries(&mut story)],
        [[504, 502], [504, 200], [200, 200]]
    );
}

#[test]
fn a_plan_in_the_prompt_wins_and_a_wrong_one_is_refused() {
    let mut story = Story::of("submit=503x9");
    let body = |prompt: &str| json!({"prompt": prompt});
    assert!(!story.submit_with("a", body("cat [sandbox: submit=lost run=1s]")).arrives());
    assert_eq!(story.submit_with("a", body("cat [sandbox: submit=lost run=1s]")).status, 200);
    assert_eq!(story.submit_with("b", body("cat")).status, 503);
    let wrong = story.submit_with("c", body("cat [sandbox: rnu=1s]"));
    assert_eq!((wrong.status, code(&wrong).as_str()), (400, "sandbox_plan"));
    assert!(wrong.value()["error"]["message"].as_str().is_some_and(|message| message.ends_with("`run`")));
}

#[test]
fn callbacks_fall_due_with_the_end_of_the_task_and_tell_its_status() {
    for (plan, pointer) in [
        ("", "/status"),
        ("callback-shape=event", "/data/status"),
        ("callback-shape=task", "/task/status"),
        ("callback-shape=data", "/data/status"),
    ] {
        let mut story = Story::of(plan);
        let more = json!({"callback_url": "http://127.0.0.1:9/callbacks/job/token"});
        let id = id_of(&story.submit_with("a", more));
        assert_eq!(story.world.next_due(), Some(story.now.plus(Duration::from_secs(20))));
        story.later(19);
        assert!(story.world.due(story.now).is_empty());
        story.later(1);
        let due = story.world.due(story.now);
        let body: Value = serde_json::from_slice(&due[0].body).expect("JSON");
        assert_eq!((due.len(), body.pointer(pointer)), (1, Some(&json!("completed"))), "{plan}: {body}");
        assert_eq!(due[0].task_id, id);
        assert!(story.world.due(story.now).is_empty(), "handed out once");
        story.world.callback_answered(due[0].number, Some(204), story.now);
        assert_eq!((story.world.next_due(), story.world.ledger().callbacks[0].status), (None, Some(204)));
    }
}

#[test]
fn lying_callbacks_lie() {
    let mut story = Story::of("callback=forged callback=stale callback=progress callback-shape=event");
    story.submit_with("a", json!({"callback_url": "http://127.0.0.1:9/callbacks/job/token"}));
    let mut seen = Vec::new();
    for _ in 0..30 {
        story.later(1);
        for callback in story.world.due(story.now) {
            let body: Value = serde_json::from_slice(&callback.body).expect("JSON");
            let status = body["data"]["status"].as_str().expect("a word").to_owned();
            seen.push((status, callback.url.expose().ends_with("/token")));
            assert_eq!(body["data"].get("result").is_some(), body["data"]["status"] == "completed");
        }
    }
    let told = |status: &str, genuine| (status.to_owned(), genuine);
    assert_eq!(
        seen,
        [told("processing", true), told("failed", false), told("completed", true), told("processing", true)]
    );
}

#[test]
fn an_early_callback_holds_the_answer_back() {
    let mut story = Story::of("callback=early");
    let answer = story.submit_with("a", json!({"callback_url": "http://127.0.0.1:9/x"}));
    let id = id_of(&answer);
    assert_eq!(answer.wire.after_callback.as_deref(), Some(id.as_str()));
    assert!(story.world.callback_untried(&id));
    let due = story.world.due(story.now);
    assert!(story.world.callback_untried(&id), "under way is not tried yet");
    story.world.callback_answered(due[0].number, None, story.now);
    assert!(!story.world.callback_untried(&id));
}

#[test]
fn the_same_seed_and_calls_give_the_same_book() {
    let run = |seed: u64| {
        let plan = Plan::parse("submit=503 media=reset:100 callback=shuffled callback=copies:3 words=any");
        let mut world =
            World::new(Options { seed, plan: plan.expect("a plan"), ..Options::default() }, "http://h");
        let mut now = Timestamp::from_millis(1_775_285_160_000);
        let mut answers = Vec::new();
        for n in 0..20 {
            let body = json!({"model": "wan2.5-t2v", "prompt": n.to_string(), "callback_url": "http://127.0.0.1:9/x"});
            for _ in 0..2 {
                answers.push(world.answer(&Request::submit(&n.to_string(), body.to_string()), now));
            }
            now = now.plus(Duration::from_millis(700));
            for callback in world.due(now) {
                world.callback_answered(callback.number, Some(503), now);
            }
        }
        let link = world.ledger().links.first().map(|link| link.link.clone()).expect("a link");
        answers.push(world.answer(&Request::media(&link, None), now));
        (serde_json::to_string(world.ledger()).expect("JSON"), answers)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_reset_world_remembers_nothing() {
    let mut story = Story::of("submit=401");
    story.submit("a");
    story.world.set_plan(Plan::default());
    story.submit("a");
    story.world.reset();
    assert_eq!((story.world.ledger(), story.world.next_due()), (&Ledger::default(), None));
    assert_eq!(story.submit("a").status, 401, "the plan of the start is back");
}

#[test]
fn a_large_film_is_no_burden() {
    let mut story = Story::of("size=3GiB");
    let id = story.task("a");
    story.later(20);
    let link = story.link(&id);
    let answer = story.ask(&Request::media(&link, Some((3 << 30) - 10)));
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert!(matches!(answer.body, Body::Clip(..)));
}
