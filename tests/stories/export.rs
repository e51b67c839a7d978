//! Jobs leave this machine as job files, and each is bought once.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn exported_jobs_are_job_files_with_keys_that_run_once() {
    let rig = Rig::start("").await;
    let own = quick("own", "")
        .replace(r#""name":"own""#, r#""name":"own","key":"order-1","labels":{"project":"spring"}"#);
    rig.drop("own.json", own.replace(r#","duration""#, ",\n\"duration\""));
    rig.drop("bare.json", quick("bare", ""));
    rig.until_settled(2).await;
    let exported = stdout(&rig.run(&["export"]).await);
    let files = lines(&exported);
    assert_eq!(files.len(), 2, "{exported}");
    let of = |name: &str| files.iter().find(|file| file["dropreel"]["name"] == name).unwrap();
    assert_eq!(
        (&of("own")["dropreel"]["key"], &of("own")["dropreel"]["labels"]),
        (&json!("order-1"), &json!({"project": "spring"}))
    );
    assert_eq!(of("bare")["dropreel"]["key"], rig.job("bare").await["id"]);
    assert_eq!(lines(&stdout(&rig.run(&["export", "--label", "project=spring"]).await)).len(), 1);
    // Not here again: both were bought.
    rig.drop("back.jsonl", &exported);
    rig.until_output("rejected back.jsonl").await;
    let other = Rig::start("").await;
    other.drop("moved.jsonl", &exported);
    assert_eq!(other.until_settled(2).await.values().collect::<Vec<_>>(), ["succeeded", "succeeded"]);
    other.finish().await;
    rig.finish().await;
}

#[tokio::test]
async fn moved_jobs_survive_a_kill_of_either_side_and_are_bought_once() {
    let mut rig = Rig::start("").await;
    rig.run(&["pause", "submits"]).await;
    // More than a pipe holds, so that a reader who does not read stops the command before its acknowledgement.
    let long = "花".repeat(3_000);
    let many: Vec<String> = (0..150)
        .map(|number| quick(&format!("job-{number}"), "").replace("春天的", &format!("春天的{long}")))
        .collect();
    rig.drop("many.jsonl", many.join("\n"));
    rig.until("job-149", &["pending"]).await;
    let mut command = rig.command(&["export", "--move"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1000];
    command.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!(rig.job("job-0").await["state"], "cancelled");
    // The daemon dies too, right after it has committed.
    let (_, answered) = rig.post("/api/v1/export/move", json!({})).await;
    assert_eq!((answered["jobs"].as_array().unwrap().len(), &answered["interrupted"]), (100, &json!(true)));
    rig.kill();
    rig.start_daemon().await;
    let moved = rig.run(&["export", "--move"]).await;
    assert_eq!(moved.status.code(), Some(0), "{}", stderr(&moved));
    assert!(
        stderr(&moved).contains("100 jobs: handed out by a move that was interrupted"),
        "{}",
        stderr(&moved)
    );
    let files = lines(&stdout(&moved));
    let keys: std::collections::BTreeSet<_> =
        files.iter().map(|file| file["dropreel"]["key"].to_string()).collect();
    assert_eq!((files.len(), keys.len()), (150, 150));
    assert_eq!(stdout(&rig.run(&["export", "--move"]).await), "", "all are acknowledged");

    // Here, none can be bought by mistake.
    let retried = rig.run(&["retry", "job-0"]).await;
    assert!(stderr(&retried).contains("moved to another machine"), "{}", stderr(&retried));
    assert!(rig.job("job-0").await["reason"].as_str().unwrap().contains("moved to another machine"));
    rig.run(&["resume"]).await;
    rig.drop("after.json", quick("after", ""));
    rig.until("after", &["succeeded"]).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1);

    // There, the lines of both tries run once.
    let some =
        stdout(&moved).lines().take(3).map(|line| line.replace(&long, "")).collect::<Vec<_>>().join("\n");
    let other = Rig::start("").await;
    other.drop("a.jsonl", &some);
    other.until_settled(3).await;
    other.drop("b.jsonl", format!("\n{some}"));
    other.until_output("rejected b.jsonl").await;
    assert_eq!(other.sandbox.ledger().tasks.len(), 3);
    other.finish().await;
    rig.finish().await;
}
