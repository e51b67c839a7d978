//! Copies of the database.

use std::path::Path;
use std::process::Output;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Rig, quick};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no document: {}{}", out(output), err(output)))
}

fn is_sound(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let broken: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
    assert_eq!((sound.as_str(), broken), ("ok", 0));
}

/// Puts a copy in the place of the database. The daemon must not run.
fn restore(rig: &mut Rig, copy: &Path) {
    std::fs::copy(copy, rig.path("dropreel.db")).unwrap();
    for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
        let _ = std::fs::remove_file(rig.path(leftover));
    }
    rig.database_forgot = true;
}

#[tokio::test]
async fn a_backup_made_while_jobs_run_is_one_to_start_from_and_pays_for_nothing_again() {
    let mut rig = Rig::start("").await;
    rig.drop("done.json", quick("done", ""));
    let done = rig.until("done", &["succeeded"]).await;
    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    rig.drop("next.json", quick("next", ""));
    rig.until("next", &["pending"]).await;

    let copy = rig.beside("monday.db");
    let made = rig.run(&["backup", copy.to_str().unwrap(), "--json"]).await;
    let told = document(&made);
    assert_eq!((&told["jobs"], &told["schema"]), (&json!(2), &json!(3)), "{told}");
    assert_eq!(told["bytes"], copy.metadata().unwrap().len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&copy.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // Without another start: only the copy itself can know that it is one.
    rig.post("/api/v1/resume", json!({})).await;
    rig.until("next", &["succeeded"]).await;
    rig.stop().await;
    restore(&mut rig, &copy);
    rig.start_daemon().await;
    rig.post("/api/v1/resume", json!({})).await;
    let next = rig.until("next", &["held"]).await;
    assert!(next["reason"].as_str().unwrap().contains("submitted since"), "{next:#}");
    assert!(rig.said().contains("a backup of 2"), "{}", rig.said());
    assert_eq!(rig.job("done").await, done);
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2, "nothing was submitted again");

    // It is the database by now, and what is dropped from now on runs.
    rig.drop("later.json", quick("later", ""));
    rig.until("later", &["succeeded"]).await;
    rig.stop().await;
    rig.start_daemon().await;
    assert_eq!(rig.job("later").await["state"], "succeeded");
    assert_eq!(rig.said().matches("a backup of 2").count(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_backup_needs_no_daemon_and_replaces_nothing() {
    let mut rig = Rig::set_up("").await;
    let copy = rig.beside("monday.db");
    let path = copy.to_str().unwrap();
    let none = rig.run(&["backup", path]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(
        err(&none).contains("there is no database at") && err(&none).contains("data_dir"),
        "{}",
        err(&none)
    );

    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    rig.stop().await;
    let made = rig.run(&["backup", path]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(out(&made).contains("copied 1 job, ") && out(&made).contains(path), "{}", out(&made));
    is_sound(&copy);

    let before = std::fs::read(&copy).unwrap();
    let again = rig.run(&["backup", path]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        err(&again).contains("already there") && err(&again).contains("never replaces"),
        "{}",
        err(&again)
    );
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    let nowhere = rig.run(&["backup", "not/made/monday.db"]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).contains("not/made is not there"), "{}", err(&nowhere));
    let hidden = std::fs::read_dir(rig.beside("")).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden: Vec<_> = hidden.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    rig.finish().await;
}

#[tokio::test]
async fn a_database_that_is_damaged_is_not_copied() {
    let mut rig = Rig::start("").await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    rig.stop().await;
    let mut bytes = std::fs::read(rig.path("dropreel.db")).unwrap();
    bytes[8192..12_288].fill(0x5a);
    std::fs::write(rig.path("dropreel.db"), bytes).unwrap();
    let copy = rig.beside("monday.db");
    let made = rig.run(&["backup", copy.to_str().unwrap()]).await;
    assert_eq!(made.status.code(), Some(1), "{}", out(&made));
    assert!(err(&made).contains("dropreel.db"), "{}", err(&made));
    assert!(!copy.exists() && !rig.beside(".monday.db.tmp").exists());
}
