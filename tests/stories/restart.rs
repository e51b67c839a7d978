//! Restarts: after any end of the process, the next start continues its jobs.

use std::time::Duration;

use crate::support::{Rig, quick};

#[tokio::test]
async fn finished_jobs_are_unchanged_after_a_kill() {
    let mut rig = Rig::start("").await;
    rig.drop("done.json", quick("done", ""));
    rig.drop("failed.json", quick("failed", "end=task_failed"));
    rig.until_settled(2).await;
    let before = (rig.job("done").await, rig.job("failed").await);
    rig.kill();
    rig.start_daemon().await;
    assert_eq!((rig.job("done").await, rig.job("failed").await), before);
    rig.finish().await;
}

#[tokio::test]
async fn waiting_files_are_logged_in_one_line_and_the_next_at_once() {
    let mut rig = Rig::set_up("").await;
    // Without a watch event the file would wait for longer than this test runs.
    rig.set("INBOX__RESCAN", "1h");
    for number in 0..300 {
        rig.drop(&format!("many-{number:03}.json"), quick("many", ""));
    }
    rig.start_daemon().await;
    rig.until_output("accepted 300 files, many-000.json to many-299.json: 300 jobs").await;
    rig.drop("next.json", quick("next", ""));
    rig.until_output("accepted next.json: 1 job").await;
    assert_eq!(rig.output().matches("accepted ").count(), 2, "{}", rig.output());
    rig.kill();
}

#[tokio::test]
async fn stop_during_a_download_is_quick_and_orderly() {
    let mut rig = Rig::start("").await;
    rig.drop("slow.json", quick("slow", "size=2MiB media=drip:20KiB run=100ms"));
    rig.until("slow", &["downloading"]).await;
    let start = std::time::Instant::now();
    assert_eq!(rig.stop().await, Some(0), "{}", rig.output());
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    rig.sandbox.set_fault_plan("").unwrap();
    rig.start_daemon().await;
    assert_eq!(rig.job("slow").await["state"], "downloading");
    rig.kill();
    rig.finish().await;
}

#[tokio::test]
async fn second_daemon_does_not_start() {
    let rig = Rig::start("").await;
    let second = rig.run(&["serve"]).await;
    assert_eq!(second.status.code(), Some(2));
    let output = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(output.contains("another dropreel is running"), "{output}");
    rig.finish().await;
}

#[tokio::test]
async fn restored_older_database_submits_nothing_by_itself() {
    let mut rig = Rig::start("").await;
    rig.post("/api/v1/pause", serde_json::json!({"what": "submits"})).await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["pending"]).await;
    rig.stop().await;
    let copy = std::fs::read(rig.path("dropreel.db")).unwrap();
    rig.start_daemon().await;
    rig.post("/api/v1/resume", serde_json::json!({})).await;
    rig.until("a", &["succeeded"]).await;
    rig.stop().await;
    std::fs::write(rig.path("dropreel.db"), copy).unwrap();
    rig.database_rolled_back = true;
    for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
        let _ = std::fs::remove_file(rig.path(leftover));
    }
    rig.start_daemon().await;
    rig.post("/api/v1/resume", serde_json::json!({})).await;
    let job = rig.until("a", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("older"), "{job:#}");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn changed_callback_url_does_not_change_a_started_attempt() {
    let mut rig = Rig::start("submit=503x3").await;
    rig.drop("a.json", quick("a", ""));
    while !rig.sandbox.ledger().calls.contains_key("submit") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.kill();
    rig.set("CALLBACKS__PUBLIC_URL", "http://127.0.0.1:1/elsewhere");
    rig.start_daemon().await;
    rig.until("a", &["succeeded"]).await;
    rig.finish().await;
}
