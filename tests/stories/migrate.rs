//! The state moves from a file to a PostgreSQL server, which `ci/postgres` starts, and back.

use std::time::Duration;

use serde_json::Value;

use crate::leaders::nodes;
use crate::postgres::{server, server_address};
use crate::support::output::{stderr, stdout};
use crate::support::{Rig, files_below, quick};

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn state_moves_to_the_server_and_back() {
    server(&["database", "moves"]);
    let address = format!("{}/moves", server_address());
    let mut rig = Rig::start("").await;
    rig.keep_public_port();
    rig.drop(
        "stored.json",
        quick("stored", "").replace(r#""name":"#, r#""labels":{"project":"a-b"},"name":"#),
    );
    rig.until("stored", &["succeeded"]).await;
    rig.drop("running.json", quick("running", "run=20s"));
    rig.until("running", &["queued", "processing"]).await;
    let refused = rig.run(&["migrate", "--to", &address]).await;
    assert_eq!(refused.status.code(), Some(1), "the daemon runs");
    assert_eq!(rig.stop().await, Some(0));
    // As an earlier version took it, in a file: a label with a NUL character.
    let database = rusqlite::Connection::open(rig.path("dropreel.db")).unwrap();
    let columns = [("labels", "value"), ("label_spending", "value"), ("report_sums", "name")];
    for (table, column) in columns {
        let new = format!("replace({column}, 'a-b', 'a' || char(0) || 'b')");
        let sql = format!("UPDATE {table} SET {column} = {new} WHERE {column} <> {new}");
        assert_eq!(database.execute(&sql, []).unwrap(), 1, "{table}");
    }
    let sql = r"UPDATE requests SET labels = replace(labels, 'a-b', 'a\u0000b')";
    database.execute(sql, []).unwrap();
    drop(database);

    let moved = rig.run(&["migrate", "--to", &address]).await;
    assert!(stdout(&moved).starts_with("moved 2 jobs, "), "{}{}", stdout(&moved), stderr(&moved));
    let again = rig.run(&["migrate", "--to", &address]).await;
    assert!(stderr(&again).contains("an empty database is needed"), "{}", stderr(&again));
    rig.set("STORAGE__DATABASE", &address);
    rig.start_daemon().await;
    let before = rig.job("stored").await;
    assert_eq!(before["state"], "succeeded");
    assert_eq!(before["labels"]["project"], "a\u{fffd}b");
    let found = rig.run(&["list", "stored", "--label", "project=a\u{fffd}b"]).await;
    assert!(stdout(&found).contains("stored"), "{}", stderr(&found));
    rig.drop("after.json", quick("after", ""));
    for name in ["after", "running"] {
        rig.until(name, &["succeeded"]).await;
    }
    assert_eq!(rig.stop().await, Some(0));

    let file = rig.path("back.db");
    let back = rig.run(&["migrate", "--to", file.to_str().unwrap()]).await;
    assert!(stdout(&back).starts_with("moved 3 jobs, "), "{}{}", stdout(&back), stderr(&back));
    std::fs::rename(file, rig.path("dropreel.db")).unwrap();
    rig.unset_variable("DROPREEL_STORAGE__DATABASE");
    rig.start_daemon().await;
    let mut after = rig.job("stored").await;
    after["files"] = before["files"].clone();
    assert_eq!(after, before, "nothing was lost on the way");
    rig.drop("last.json", quick("last", ""));
    rig.until("last", &["succeeded"]).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), 4, "each job is paid once");
    rig.finish().await;
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn job_file_whose_move_was_interrupted_is_moved_by_its_own_daemon_after_the_state_moved() {
    let mut rigs = nodes("interrupted", 2).await;
    let (mut other, mut rig) = (rigs.pop().unwrap(), rigs.pop().unwrap());
    rig.unset_variable("DROPREEL_STORAGE__DATABASE");
    rig.start_daemon().await;
    // Whoever takes it for new buys it again.
    let mut job: Value = serde_json::from_str(&quick("once", "")).unwrap();
    job["dropreel"]["again"] = true.into();
    rig.drop("once.json", job.to_string());
    rig.until("once", &["succeeded"]).await;
    assert_eq!(rig.stop().await, Some(0));
    // As a crash before the move leaves it.
    let accepted = files_below(&rig.path("accepted")).pop().unwrap();
    let file = rig.path("inbox/once.json");
    std::fs::rename(&accepted, &file).unwrap();
    let database = rusqlite::Connection::open(rig.path("dropreel.db")).unwrap();
    database.execute("UPDATE batches SET moved_at = NULL, moved_to = NULL", []).unwrap();
    drop(database);

    let address = format!("{}/interrupted", server_address());
    let moved = rig.run(&["migrate", "--to", &address]).await;
    assert!(stdout(&moved).starts_with("moved 1 job, "), "{}{}", stdout(&moved), stderr(&moved));
    std::fs::remove_file(rig.path("dropreel.db")).unwrap();
    rig.set("STORAGE__DATABASE", &address);
    other.start_daemon().await;
    rig.start_daemon().await;
    rig.until_output("is ready and follows ").await;
    while file.exists() {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    rig.drop("after.json", quick("after", ""));
    rig.until("after", &["succeeded"]).await;
    assert!(accepted.exists());
    assert_eq!(rig.all_jobs().await.len(), 2);
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2);
    rig.finish().await;
    other.finish().await;
}
