//! Callbacks: when they are due, and what they say.

use super::*;

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
