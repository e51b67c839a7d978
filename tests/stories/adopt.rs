//! Adopted tasks: made elsewhere, and tracked from then on.

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, quick};

fn ids(document: &Value, list: &str, key: &str) -> Vec<String> {
    let entries = document[list].as_array().unwrap();
    entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn task_made_by_curl_is_adopted_downloaded_and_reported_outside_budgets() {
    let mut rig = Rig::set_up("").await;
    rig.set("BUDGET__PER_DAY_USD", "0.01");
    rig.start_daemon().await;
    let task = rig.make_task("").await;
    let adopted = rig.run(&["adopt", &task, "--name", "sakura"]).await;
    assert_eq!(adopted.status.code(), Some(0), "{}", stderr(&adopted));
    assert!(stdout(&adopted).contains(&task) && stdout(&adopted).contains("sakura"), "{}", stdout(&adopted));
    let job = rig.until("sakura", &["succeeded"]).await;
    assert_eq!((&job["task_id"], &job["model"]), (&json!(task), &json!("wan2.5-t2v")));
    assert_eq!(job["files"].as_array().unwrap().len(), 1, "{job:#}");
    let charged = rig.sandbox.ledger().tasks[0].cost.get();
    assert!(charged > 5_000, "more than the budget");
    let report = stdout_json(&rig.run(&["report", "--json", "--since", "1h"]).await);
    assert_eq!(report["total"]["cost_quota"], charged);
    // Its callback went elsewhere, and it has no request.
    let retry = rig.run(&["retry", "sakura"]).await;
    assert_eq!(retry.status.code(), Some(1), "{}", stderr(&retry));
    rig.finish().await;
}

#[tokio::test]
async fn task_is_adopted_once_and_an_unknown_one_is_an_error() {
    let rig = Rig::start("").await;
    rig.drop("own.json", quick("own", ""));
    let own = rig.until("own", &["succeeded"]).await;
    let failed = rig.make_task("end=task_failed refund=no").await;
    let two = rig.make_task("outputs=2").await;
    let tasks = [&failed, &two, own["task_id"].as_str().unwrap(), "task-of-nobody", "no id"];
    let adopted = rig.run(&[&["adopt", "--json"][..], &tasks].concat()).await;
    assert_eq!(adopted.status.code(), Some(1), "{}", stderr(&adopted));
    let document = stdout_json(&adopted);
    assert_eq!(ids(&document, "jobs", "task_id"), tasks[..3]);
    assert_eq!(document["known"], json!([tasks[2]]));
    assert_eq!(ids(&document, "errors", "code"), ["invalid_id", "unknown_task"]);
    assert!(stderr(&adopted).contains("task-of-nobody: the provider does not know this task"));
    rig.until(&failed, &["failed"]).await;
    assert_eq!(rig.until(&two, &["succeeded"]).await["files"].as_array().unwrap().len(), 2);

    let again = rig.run(&["adopt", &failed, &two, &two]).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again).matches("as before").count(), 2, "{}", stdout(&again));
    assert_eq!(rig.all_jobs().await.len(), 3);
    let (status, _) = rig.post("/api/v1/adopt", json!({ "task_ids": [] })).await;
    assert_eq!(status, 400);
    rig.finish().await;
}

#[tokio::test]
async fn adopted_task_whose_submit_got_no_answer_is_bound_to_its_job() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__REQUEST_TIMEOUT", "1s");
    rig.start_daemon().await;
    rig.drop("lost.json", quick("lost", "submit=slow:60sx99"));
    let job = rig.until("lost", &["submitting"]).await;
    let events = async || {
        let job = rig.job("lost").await;
        let entries = job["history"].as_array().cloned().unwrap_or_default();
        entries.iter().any(|entry| entry["event"] == "callback_received")
    };
    while !events().await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let task = rig.sandbox.ledger().tasks[0].task_id.clone();
    let adopted = stdout_json(&rig.run(&["adopt", "--json", &task]).await);
    assert_eq!(adopted["jobs"][0]["id"], job["id"], "{adopted:#}");
    let job = rig.until("lost", &["succeeded"]).await;
    assert_eq!(job["task_id"], json!(task));
    assert_eq!(rig.all_jobs().await.len(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn task_without_an_answer_is_not_adopted_and_can_be_adopted_later() {
    let rig = Rig::start("").await;
    let silent = rig.make_task("status=502").await;
    let unreadable = rig.make_task("status=html200").await;
    let first = rig.run(&["adopt", "--json", &silent, &unreadable]).await;
    assert_eq!(first.status.code(), Some(1), "{}", stderr(&first));
    assert_eq!(ids(&stdout_json(&first), "errors", "code"), ["no_answer", "unreadable"]);
    assert_eq!(rig.all_jobs().await.len(), 0);
    let second = rig.run(&["adopt", &silent, &unreadable]).await;
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    rig.until_settled(2).await;
    rig.finish().await;
}
