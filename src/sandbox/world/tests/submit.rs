//! Submits: idempotency keys, faults, the forms of the answer.

use super::*;

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
