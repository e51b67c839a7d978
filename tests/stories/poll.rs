//! Status answers in every shape the provider is known to send, and tasks that end badly.

use crate::support::{Rig, quick};

/// Name, sandbox plan, expected final state.
const SHAPES: &[(&str, &str, &str)] = &[
    ("plain", "", "succeeded"),
    ("wrapped", "status-shape=wrapped", "succeeded"),
    ("any-words", "words=any", "succeeded"),
    ("success", "completed=SUCCESS", "succeeded"),
    ("done", "completed=done", "succeeded"),
    ("not-start", "queued=NOT_START", "succeeded"),
    ("in-progress", "processing=In_Progress", "succeeded"),
    ("unknown-word", "processing=pondering", "succeeded"),
    ("progress-int", "progress=int", "succeeded"),
    ("progress-float", "progress=float", "succeeded"),
    ("progress-empty", "progress=empty", "succeeded"),
    ("progress-absent", "progress=absent", "succeeded"),
    ("progress-null", "progress=null", "succeeded"),
    ("progress-over", "progress=101", "succeeded"),
    ("progress-under", "progress=-1", "succeeded"),
    ("times-ms", "times=ms expires=ms", "succeeded"),
    ("times-us", "times=us expires=us", "succeeded"),
    ("times-text", "times=string expires=string", "succeeded"),
    ("times-iso", "times=iso expires=iso", "succeeded"),
    ("times-absent", "times=absent expires=absent", "succeeded"),
    ("times-zero", "times=zero expires=zero", "succeeded"),
    ("times-negative", "times=negative expires=negative", "succeeded"),
    ("times-far", "times=far expires=far", "succeeded"),
    ("url-text", "url=string", "succeeded"),
    ("url-merged", "url=merged outputs=3", "succeeded"),
    ("result-late", "result=empty:2", "succeeded"),
    ("result-absent", "result=absent:2", "succeeded"),
    ("result-null", "result=null:2", "succeeded"),
    ("no-cost", "show-cost=no", "succeeded"),
    ("status-404", "status=404x2", "succeeded"),
    ("status-500", "status=500x2", "succeeded"),
    ("status-502", "status=html502", "succeeded"),
    ("status-html", "status=html200x2", "succeeded"),
    ("status-empty", "status=empty", "succeeded"),
    ("status-cut", "status=cut", "succeeded"),
    ("status-reset", "status=reset", "succeeded"),
    ("status-huge", "status=huge", "succeeded"),
    ("failed", "end=task_failed", "failed"),
    ("failed-upstream", "end=upstream_unavailable", "failed"),
    ("failed-reason", "end=upstream_bad_request fail-shape=reason failed=FAILURE", "failed"),
    ("failed-text", "end=task_failed fail-shape=text failed=error", "failed"),
    ("failed-mute", "end=task_failed fail-shape=none", "failed"),
    ("cancelled", "end=cancelled cancelled=canceled", "cancelled"),
];

async fn all_shapes(rig: &Rig) {
    for (name, plan, _) in SHAPES {
        rig.drop(&format!("{name}.json"), quick(name, plan));
    }
    let states = rig.until_settled(SHAPES.len()).await;
    for (name, plan, expected) in SHAPES {
        assert_eq!(states[*name], *expected, "{name} ({plan}): {:#}", rig.job(name).await);
    }
    assert_eq!(rig.job("failed").await["error"]["code"], "task_failed");
    assert_eq!(rig.job("failed").await["cost_quota"], 0, "refunded");
}

#[tokio::test]
async fn every_status_shape_is_read_with_callbacks() {
    let rig = Rig::start("").await;
    all_shapes(&rig).await;
    rig.finish().await;
}

#[tokio::test]
async fn every_status_shape_is_read_by_polling_alone() {
    let mut rig = Rig::set_up("").await;
    rig.set("CALLBACKS__PUBLIC_URL", "");
    rig.start_daemon().await;
    all_shapes(&rig).await;
    rig.finish().await;
}

#[tokio::test]
async fn empty_balance_does_not_suspend_polls() {
    let mut rig = Rig::set_up("status=402x2").await;
    rig.set("CALLBACKS__PUBLIC_URL", "");
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn endless_task_is_held_and_can_be_given_more_time() {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__GIVE_UP", "1s");
    rig.start_daemon().await;
    rig.drop("slow.json", quick("slow", "end=never"));
    let job = rig.until("slow", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("dropreel release"), "{job:#}");
    assert!(job["task_id"].is_string());
    let (status, _) = rig.post("/api/v1/jobs/slow/release", serde_json::json!({})).await;
    assert_eq!(status, 200);
    rig.until("slow", &["held"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn cancel_ends_a_queued_task_and_not_a_running_one() {
    let rig = Rig::start("").await;
    rig.drop("queued.json", quick("queued", "queue=30s"));
    rig.drop("running.json", quick("running", "run=12s callback=progress"));
    rig.until("queued", &["queued"]).await;
    assert_eq!(rig.post("/api/v1/jobs/queued/cancel", serde_json::json!({})).await.0, 200);
    let job = rig.until("queued", &["cancelled"]).await;
    assert_eq!(job["cost_quota"], 0, "{job:#}");
    rig.until("running", &["processing"]).await;
    assert_eq!(rig.post("/api/v1/jobs/running/cancel", serde_json::json!({})).await.0, 200);
    let job = rig.until("running", &["succeeded"]).await;
    let events: Vec<_> = job["history"].as_array().unwrap().iter().map(|line| &line["event"]).collect();
    assert!(events.contains(&&serde_json::json!("cancel_refused")), "{job:#}");
    rig.finish().await;
}
