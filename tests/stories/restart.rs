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
async fn waiting_files_are_logged_in_a_line_per_batch_and_the_next_at_once() {
    let mut rig = Rig::set_up("").await;
    // Without a watch event the file would wait for longer than this test runs.
    rig.set("INBOX__RESCAN", "1h");
    for number in 0..300 {
        rig.drop(&format!("many-{number:03}.json"), quick("many", ""));
    }
    rig.start_daemon().await;
    rig.until_output("accepted 108 files, many-192.json to many-299.json: 108 jobs").await;
    rig.drop("next.json", quick("next", ""));
    rig.until_output("accepted next.json: 1 job").await;
    // Of 64, 128 and 108 files.
    assert_eq!(rig.output().matches("accepted ").count(), 3 + 1, "{}", rig.output());
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
async fn long_file_killed_while_it_is_written_is_ingested_whole_and_once() {
    const LINES: u64 = 12_000;
    let mut rig = Rig::set_up("").await;
    // Jobs are only ingested here.
    rig.set("PROVIDER__MAX_RUNNING", "1");
    rig.start_daemon().await;
    let line = |number: u64| {
        format!(
            r#"{{"model":"wan2.5-t2v","prompt":"{number} [sandbox: queue=60s]","dropreel":{{"key":"k-{number}"}}}}"#
        ) + "\n"
    };
    rig.drop("long.jsonl", (0..LINES).map(line).collect::<String>());
    let count = async |rig: &Rig| {
        let (_, status) = rig.get("/api/v1/status").await;
        status["counts"]
            .as_object()
            .map_or(0, |counts| counts.values().filter_map(serde_json::Value::as_u64).sum())
    };
    for wait in [700, 1000, 1400] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        rig.kill();
        rig.start_daemon().await;
        let found: u64 = count(&rig).await;
        assert!(found == 0 || found == LINES, "{found}");
    }
    let start = std::time::Instant::now();
    let mut found: u64 = 0;
    while found != LINES {
        assert!(start.elapsed() < Duration::from_secs(60), "{found}: {}", rig.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
        found = count(&rig).await;
        assert!(found == 0 || found == LINES, "{found}");
    }
    rig.kill();
    rig.finish().await;
}

#[tokio::test]
async fn second_daemon_on_the_same_inbox_does_not_start() {
    let rig = Rig::start("").await;
    let mut second = rig.command(&["serve"]);
    second.env("DROPREEL_DATA_DIR", rig.beside("other")).env("DROPREEL_INBOX__DIR", rig.path("inbox"));
    let second = second.output().unwrap();
    let output = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{output}");
    assert!(output.contains("another dropreel watches the inbox"), "{output}");
    rig.finish().await;
}

#[tokio::test]
async fn layout_that_leads_into_the_inbox_is_refused() {
    let mut rig = Rig::set_up("").await;
    rig.set("INBOX__DIR", &rig.path("videos/in").display().to_string());
    rig.set("LIBRARY__LAYOUT", "in/{name}.{ext}");
    let refused = rig.run(&["serve"]).await;
    let output = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{output}");
    assert!(output.contains("it leads into the inbox"), "{output}");
}

#[tokio::test]
async fn label_that_leads_into_the_inbox_is_stored_beside_it() {
    let mut rig = Rig::set_up("").await;
    let inbox = rig.path("videos/in");
    rig.set("INBOX__DIR", &inbox.display().to_string());
    rig.set("LIBRARY__LAYOUT", "{label.p}/{name}.{ext}");
    rig.start_daemon().await;
    let job = r#"{"model": "wan2.5-t2v", "prompt": "k [sandbox: run=50ms]", "dropreel": {"name": "k", "labels": {"p": "in"}}}"#;
    std::fs::write(inbox.join("k.json"), job).unwrap();
    rig.until("k", &["succeeded"]).await;
    assert!(rig.path("videos/in_/k.mp4").is_file() && rig.path("videos/in_/k.mp4.json").is_file());
    rig.until_output("would be in the inbox").await;
    assert_eq!(rig.all_jobs().await.len(), 1);
    assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 0);
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
