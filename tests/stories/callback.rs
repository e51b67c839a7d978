//! Callbacks: they make polls come sooner and never change how a job ends.

use serde_json::Value;

use crate::support::{Rig, quick};

const KINDS: &[(&str, &str)] = &[
    ("lost", "callback=lost"),
    ("late", "callback=late:2s"),
    ("early", "callback=early"),
    ("copies", "callback=copies:12"),
    ("progress", "callback=progress"),
    ("stale", "callback=stale"),
    ("shuffled", "callback=shuffled callback=copies:3"),
    ("garbage", "callback=garbage"),
    ("empty", "callback=empty"),
    ("huge", "callback=huge"),
    ("forged", "callback=forged"),
    ("event", "callback-shape=event"),
    ("task", "callback-shape=task"),
    ("data", "callback-shape=data"),
];

#[tokio::test]
async fn every_job_ends_the_same_whatever_its_callbacks() {
    let mut rig = Rig::set_up("cost=75000").await;
    rig.set("POLLING__CALLBACK_GRACE", "1s");
    rig.start_daemon().await;
    for (name, plan) in KINDS {
        rig.drop(&format!("{name}.json"), quick(name, plan));
    }
    let states = rig.until_settled(KINDS.len()).await;
    for (name, _) in KINDS {
        assert_eq!(states[*name], "succeeded", "{name}");
        let job = rig.job(name).await;
        let digest = |job: &Value| (job["files"][0]["bytes"].clone(), job["cost_quota"].clone());
        assert_eq!(digest(&job).1, 75_000, "{name}");
    }
    let ledger = rig.sandbox.ledger();
    for callback in &ledger.callbacks {
        let expected: &[u16] = if callback.forged { &[404] } else { &[204, 413] };
        assert!(callback.status.is_none_or(|status| expected.contains(&status)), "{callback:?}");
    }
    // A dozen callbacks of one task cause at most one poll per second.
    let job = rig.job("copies").await;
    let task = job["task_id"].as_str().unwrap();
    let polls =
        ledger.requests.iter().filter(|r| r.call == "status" && r.task_id.as_deref() == Some(task)).count();
    assert!(polls <= 4, "{polls} polls");
    rig.finish().await;
}

#[tokio::test]
async fn callback_after_the_end_is_stored_and_changes_nothing() {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__CALLBACK_GRACE", "200ms");
    rig.start_daemon().await;
    // The callbacks are late, so a poll reports the end first.
    rig.drop("a.json", quick("a", "callback=late:3s callback=copies:2"));
    let job = rig.until("a", &["succeeded"]).await;
    let both = |ledger: &dropreel::sandbox::ledger::Ledger| {
        ledger.callbacks.iter().filter(|callback| callback.status == Some(204)).count() == 2
    };
    rig.sandbox.wait_until(both).await;
    let after = rig.job("a").await;
    assert_eq!((&after["state"], &after["files"]), (&job["state"], &job["files"]));
    rig.finish().await;
}

#[tokio::test]
async fn wrong_callback_address_gets_the_same_404_as_any_other_path() {
    let rig = Rig::start("").await;
    rig.drop("a.json", quick("a", "queue=20s"));
    let job = rig.until("a", &["queued"]).await;
    let id = job["id"].as_str().unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut answers = Vec::new();
    for path in [
        format!("/callbacks/{id}/wrong"),
        format!("/callbacks/{id}/"),
        format!("/callbacks/{id}"),
        "/callbacks/019d0000-0000-7000-8000-000000000000/AAAA".to_owned(),
        "/api/v1/jobs".to_owned(),
        "/metrics".to_owned(),
        "/".to_owned(),
    ] {
        let answer = http.post(format!("{}{path}", rig.public())).body("{}").send().await.unwrap();
        answers.push((answer.status().as_u16(), answer.text().await.unwrap()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "wrong addresses get different answers: {answers:?}");
    assert_eq!(answers[0].0, 404);
    assert_eq!(
        http.get(format!("{}/healthz", rig.public())).send().await.unwrap().text().await.unwrap(),
        "ok"
    );
    rig.finish().await;
}
