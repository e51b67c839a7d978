//! Money: budgets, limits of jobs, and tasks that stay where they were paid.

use std::time::Duration;

use dropreel::clock::Clock;
use dropreel::sandbox::{Options, Sandbox};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Rig, files_below, quick};

/// A job of $0.45 by the list: 5 seconds of wan2.7 in 720p.
fn listed(name: &str, plan: &str, own: Value) -> String {
    let mut job: Value = serde_json::from_str(&quick(name, plan)).unwrap();
    job["model"] = "wan2.7".into();
    job["resolution"] = "720p".into();
    for (key, value) in own.as_object().unwrap() {
        job["dropreel"][key] = value.clone();
    }
    job.to_string()
}

async fn another_sandbox() -> Sandbox {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    dropreel::sandbox::start(listener, Options::default(), Clock::machine()).await.unwrap()
}

#[tokio::test]
async fn task_is_polled_where_it_was_submitted() {
    let mut rig = Rig::start("callback=lost").await;
    rig.drop("a.json", quick("a", "run=3s"));
    rig.until("a", &["queued", "processing"]).await;
    rig.stop().await;
    let other = another_sandbox().await;
    rig.set("PROVIDER__BASE_URL", &other.base_url());
    rig.start_daemon().await;
    rig.drop("b.json", quick("b", ""));
    for job in ["a", "b"] {
        assert_eq!(rig.until(job, &["succeeded"]).await["state"], "succeeded");
    }
    assert_eq!(other.ledger().tasks.len(), 1, "only the new job is submitted to the new address");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1);
    rig.kill();
}

#[tokio::test]
async fn jobs_over_the_budget_wait_until_it_is_raised_by_a_reload() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.write_private("config.toml", "[budget]\nper_day_usd = 1.0\ntime_zone = \"Asia/Shanghai\"\n");
    rig.start_daemon().await;
    let jobs: Vec<String> = (0..5).map(|number| listed(&format!("job-{number}"), "", json!({}))).collect();
    rig.drop("jobs.jsonl", jobs.join("\n"));
    for name in ["job-0", "job-1"] {
        rig.until(name, &["succeeded"]).await;
    }
    let waiting = rig.job("job-4").await;
    assert_eq!(waiting["state"], "pending");
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("of today's $1.00, $0.90 are used or reserved"), "{reason}");
    assert!(reason.ends_with("continues at 00:00 Asia/Shanghai"), "{reason}");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2);
    let status = rig.get("/api/v1/status").await.1;
    assert_eq!(status["budgets"][0]["limit_usd"], 1.0);
    rig.write_private("config.toml", "[budget]\nper_day_usd = 1.9\ntime_zone = \"Asia/Shanghai\"\n");
    rig.signal(Signal::HUP);
    for name in ["job-2", "job-3"] {
        rig.until(name, &["succeeded"]).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.job("job-4").await["state"], "pending");
    rig.finish().await;
}

#[tokio::test]
async fn job_dearer_than_its_limit_is_held_until_it_is_released() {
    let rig = Rig::start("generation=new").await;
    rig.drop("dear.json", listed("dear", "", json!({ "max_cost_usd": 0.4 })));
    rig.drop("cheap.json", listed("cheap", "", json!({ "max_cost_usd": 0.45 })));
    let held = rig.until("dear", &["held"]).await;
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("costs about $0.45, more than its `max_cost_usd` of $0.40"), "{reason}");
    rig.until("cheap", &["succeeded"]).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1);
    assert_eq!(rig.post("/api/v1/jobs/dear/release", json!({})).await.0, 200);
    rig.until("dear", &["succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn label_budget_holds_back_only_its_label() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.set("BUDGET__PER_LABEL", r#"{ "project=spring" = 0.5 }"#);
    rig.start_daemon().await;
    for (name, project) in [("a", "spring"), ("b", "spring"), ("c", "summer"), ("d", "summer")] {
        rig.drop(&format!("{name}.json"), listed(name, "", json!({ "labels": { "project": project } })));
    }
    for name in ["c", "d"] {
        rig.until(name, &["succeeded"]).await;
    }
    rig.until("a", &["succeeded", "pending"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let states: Vec<Value> = [rig.job("a").await, rig.job("b").await].map(|job| job["state"].clone()).into();
    assert!(states.contains(&"pending".into()), "{states:?}");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 3);
    rig.finish().await;
}

fn sidecar(rig: &Rig) -> Value {
    let files = files_below(&rig.path("videos"));
    let sidecar = files.iter().find(|path| path.extension().is_some_and(|ending| ending == "json")).unwrap();
    serde_json::from_slice(&std::fs::read(sidecar).unwrap()).unwrap()
}

#[tokio::test]
async fn sidecar_names_the_cost_that_is_settled_after_the_end() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.set("POLLING__CALLBACK_GRACE", "400ms");
    rig.start_daemon().await;
    rig.drop("late.json", listed("late", "settle=after:8s cost-percent=50", json!({})));
    let job = rig.until("late", &["succeeded"]).await;
    assert_eq!(job["cost_quota"], Value::Null, "{job:#}");
    let mut expected = sidecar(&rig);
    assert_eq!(expected["cost_quota"], Value::Null, "{expected:#}");
    let settled = rig.until_job("late", |job| job["cost_quota"].is_i64()).await;
    assert_eq!(settled["cost_quota"], 112_500, "half of $0.45");
    let start = std::time::Instant::now();
    while sidecar(&rig)["cost_quota"] == Value::Null && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    expected["cost_quota"] = 112_500.into();
    expected["cost_usd"] = 0.225.into();
    assert_eq!(sidecar(&rig), expected, "all else is as it was");
    rig.finish().await;
}

#[tokio::test]
async fn removed_sidecar_is_not_made_again_by_a_settlement() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.set("POLLING__CALLBACK_GRACE", "400ms");
    rig.start_daemon().await;
    rig.drop("late.json", listed("late", "settle=after:3s", json!({})));
    rig.until("late", &["succeeded"]).await;
    for file in files_below(&rig.path("videos")) {
        if file.extension().is_some_and(|ending| ending == "json" || ending == "mp4") {
            std::fs::remove_file(file).unwrap();
        }
    }
    rig.until_job("late", |job| job["cost_quota"].is_i64()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = files_below(&rig.path("videos"));
    assert!(left.iter().all(|path| path.display().to_string().contains("/.incoming/")), "{left:?}");
    rig.kill();
}

#[tokio::test]
async fn first_task_of_a_retried_job_is_settled_too() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.set("CALLBACKS__PUBLIC_URL", "");
    rig.start_daemon().await;
    rig.drop("twice.json", listed("twice", "status=404x1", json!({})));
    let job = rig.until_job("twice", |job| job["reason"].is_string()).await;
    rig.charges_allowed.insert(job["id"].as_str().unwrap().to_owned(), 2);
    assert_eq!(rig.post("/api/v1/jobs/twice/retry", json!({})).await.0, 200);
    let is_settled = |job: &Value| {
        let attempts = job["attempts"].as_array().unwrap();
        let all_charged = attempts.iter().all(|attempt| attempt["charged_quota"] == 225_000);
        // Job and attempts are read one after the other.
        attempts.len() == 2 && all_charged && job["cost_quota"] == 450_000
    };
    rig.until_job("twice", is_settled).await;
    rig.until("twice", &["succeeded"]).await;
    rig.finish().await;
}
