//! Backups of the database, and pruning.

use std::path::Path;
use std::time::Duration;

use dropreel::clock::Timestamp;
use rusqlite::Connection;
use serde_json::json;

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, files_below, quick};

const DAY_MS: i64 = 86_400_000;

fn database(rig: &Rig) -> Connection {
    Connection::open(rig.path("dropreel.db")).unwrap()
}

fn assert_intact(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let broken: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
    assert_eq!((sound.as_str(), broken), ("ok", 0));
}

/// Replaces the database with a copy. The daemon must not run.
fn restore(rig: &mut Rig, copy: &Path) {
    std::fs::copy(copy, rig.path("dropreel.db")).unwrap();
    for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
        let _ = std::fs::remove_file(rig.path(leftover));
    }
    rig.database_rolled_back = true;
}

/// Makes a job and its file `days` older. The daemon must not run.
fn age_job(rig: &Rig, name: &str, days: i64) {
    let connection = database(rig);
    let (nr, taken_at): (i64, i64) = connection
        .query_row(
            "SELECT batches.nr, ingested_at FROM batches JOIN jobs ON jobs.batch = batches.nr WHERE jobs.name = ?1",
            [name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let day_of = |at: i64| Timestamp::from_millis(at).date();
    let file = |at: i64| rig.path(&format!("accepted/{}/{name}.json", day_of(at)));
    let (from, to) = (file(taken_at), file(taken_at - days * DAY_MS));
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(from, &to).unwrap();
    let by = days * DAY_MS;
    connection
        .execute(
            "UPDATE jobs SET created_at = created_at - ?2, finished_at = finished_at - ?2 WHERE name = ?1",
            (name, by),
        )
        .unwrap();
    connection
        .execute(
            "UPDATE batches SET ingested_at = ingested_at - ?2, moved_to = ?3 WHERE nr = ?1",
            (nr, by, to.display().to_string()),
        )
        .unwrap();
}

fn age_files(folder: &Path, days: u64) {
    for file in files_below(folder) {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(days * 86_400);
        file.set_modified(then).unwrap();
    }
}

#[tokio::test]
async fn daemon_started_from_a_backup_pays_nothing_twice() {
    let mut rig = Rig::start("").await;
    rig.drop("done.json", quick("done", ""));
    let done = rig.until("done", &["succeeded"]).await;
    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    rig.drop("next.json", quick("next", ""));
    rig.until("next", &["pending"]).await;

    let copy = rig.beside("monday.db");
    let made = rig.run(&["backup", copy.to_str().unwrap(), "--json"]).await;
    let report = stdout_json(&made);
    assert_eq!((&report["jobs"], &report["schema"]), (&json!(2), &json!(4)), "{report}");
    assert_eq!(report["bytes"], copy.metadata().unwrap().len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&copy.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // Without another start, only the copy itself shows that it is a backup.
    rig.post("/api/v1/resume", json!({})).await;
    rig.until("next", &["succeeded"]).await;
    rig.stop().await;
    restore(&mut rig, &copy);
    rig.start_daemon().await;
    rig.post("/api/v1/resume", json!({})).await;
    let next = rig.until("next", &["held"]).await;
    assert!(next["reason"].as_str().unwrap().contains("submitted since"), "{next:#}");
    assert!(rig.output().contains("a backup made at 2"), "{}", rig.output());
    assert_eq!(rig.job("done").await, done);
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2, "something was submitted again");

    // From now on the copy is the database, and new jobs run.
    rig.drop("later.json", quick("later", ""));
    rig.until("later", &["succeeded"]).await;
    rig.stop().await;
    rig.start_daemon().await;
    assert_eq!(rig.job("later").await["state"], "succeeded");
    assert_eq!(rig.output().matches("a backup made at 2").count(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn backup_needs_no_daemon_and_replaces_no_file() {
    let mut rig = Rig::set_up("").await;
    let copy = rig.beside("monday.db");
    let path = copy.to_str().unwrap();
    let none = rig.run(&["backup", path]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("there is no database at") && stderr(&none).contains("data_dir"),
        "{}",
        stderr(&none)
    );

    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    rig.stop().await;
    let made = rig.run(&["backup", path]).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stdout(&made).contains("copied 1 job, ") && stdout(&made).contains(path), "{}", stdout(&made));
    assert_intact(&copy);

    let before = std::fs::read(&copy).unwrap();
    let again = rig.run(&["backup", path]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("exists") && stderr(&again).contains("never replaces"),
        "{}",
        stderr(&again)
    );
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    let nowhere = rig.run(&["backup", "not/made/monday.db"]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("not/made does not exist"), "{}", stderr(&nowhere));
    let hidden = std::fs::read_dir(rig.beside("")).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden: Vec<_> = hidden.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    rig.finish().await;
}

#[tokio::test]
async fn damaged_database_is_not_copied() {
    let mut rig = Rig::start("").await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    rig.stop().await;
    for (damage, message) in [("nonsense", "CHECK constraint"), ("unreadable", "dropreel.db")] {
        if damage == "nonsense" {
            // This damage can be copied: only a check of the copy finds it.
            let sql = "PRAGMA ignore_check_constraints = ON; UPDATE jobs SET state = 'nonsense'";
            database(&rig).execute_batch(sql).unwrap();
        } else {
            let mut bytes = std::fs::read(rig.path("dropreel.db")).unwrap();
            bytes[8192..12_288].fill(0x5a);
            std::fs::write(rig.path("dropreel.db"), bytes).unwrap();
        }
        let copy = rig.beside("monday.db");
        let made = rig.run(&["backup", copy.to_str().unwrap()]).await;
        assert_eq!(made.status.code(), Some(1), "{}", stdout(&made));
        assert!(stderr(&made).contains(message), "{}", stderr(&made));
        assert!(!copy.exists() && !rig.beside(".monday.db.tmp").exists());
    }
}

#[tokio::test]
async fn prune_deletes_old_jobs_but_no_video_and_no_waiting_job() {
    let mut rig = Rig::start("").await;
    rig.drop("old.json", quick("old", ""));
    rig.drop("page.json", quick("page", "media=html200x1"));
    rig.drop("bad.json", "{}");
    let waits = quick("waits", "")
        .replace(r#""name":"waits""#, r#""name":"waits","not_before":"2099-01-01T00:00:00Z""#);
    rig.drop("waits.json", waits);
    rig.until("old", &["succeeded"]).await;
    rig.until("page", &["succeeded"]).await;
    rig.until("waits", &["pending"]).await;
    rig.drop("young.json", quick("young", ""));
    rig.until("young", &["succeeded"]).await;
    rig.until_output("rejected bad.json").await;
    rig.stop().await;
    age_job(&rig, "old", 100);
    age_job(&rig, "waits", 100);
    age_files(&rig.path("rejected"), 100);
    age_files(&rig.path("quarantine"), 80);
    rig.database_rolled_back = true;
    let unreachable = rig.run(&["prune", "--yes"]).await;
    assert_eq!(unreachable.status.code(), Some(4), "{}", stderr(&unreachable));
    rig.start_daemon().await;
    let old = rig.job("old").await;

    let files = || {
        let folders = ["accepted", "rejected", "quarantine", "videos"];
        let mut files: Vec<_> = folders.iter().flat_map(|folder| files_below(&rig.path(folder))).collect();
        files.retain(|file| !file.starts_with(rig.path("videos/.incoming")));
        files
    };
    let before = files();
    let dry = stdout_json(&rig.run(&["prune", "--dry-run", "--json"]).await);
    // A job file, a rejected one and its reason.
    assert_eq!((&dry["jobs"], &dry["files"], &dry["dry_run"]), (&json!(1), &json!(3), &json!(true)), "{dry}");
    let unasked = rig.run(&["prune"]).await;
    assert_eq!(unasked.status.code(), Some(2));
    assert!(
        stderr(&unasked).contains("Delete 1 job and 3 files") && stderr(&unasked).contains("--yes"),
        "{}",
        stderr(&unasked)
    );
    let too_young = rig.run(&["prune", "--older-than", "30d", "--yes"]).await;
    assert_eq!(too_young.status.code(), Some(2));
    assert!(
        stderr(&too_young).contains("at least 31d") && stderr(&too_young).contains("month"),
        "{}",
        stderr(&too_young)
    );
    assert_eq!(files(), before);
    assert_eq!(rig.job("old").await, old);

    let done = rig.run(&["prune", "--yes"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stdout(&done).contains("deleted 1 job and 3 files"), "{}", stdout(&done));
    let gone = rig.run(&["show", "old"]).await;
    assert_eq!(gone.status.code(), Some(1), "{}", stdout(&gone));
    for name in ["page", "waits", "young"] {
        assert_eq!(rig.run(&["show", name]).await.status.code(), Some(0), "{name}");
    }
    let left = files();
    let removed: Vec<_> = before.iter().filter(|file| !left.contains(file)).collect();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(removed.iter().all(|file| !file.starts_with(rig.path("videos"))), "{removed:?}");
    assert!(Path::new(old["files"][0]["path"].as_str().unwrap()).is_file());
    let nothing = rig.run(&["prune", "--yes"]).await;
    assert_eq!((nothing.status.code(), stderr(&nothing).contains("nothing to prune")), (Some(0), true));
    assert_intact(&rig.path("dropreel.db"));
    rig.finish().await;
}

#[tokio::test]
async fn prune_continues_after_a_kill() {
    let mut rig = Rig::start("").await;
    let line = |number: usize| {
        json!({"model": "wan2.5-t2v", "prompt": "a",
               "dropreel": {"name": format!("{number}"), "labels": {"n": format!("{number}")},
                            "not_before": "2099-01-01T00:00:00Z"}})
    };
    let lines: String = (0..4_000).map(|number| format!("{}\n", line(number))).collect();
    rig.drop("many.jsonl", lines);
    rig.until_output("accepted many.jsonl: 4000 jobs").await;
    rig.drop("young.json", quick("young", ""));
    rig.until("young", &["succeeded"]).await;
    rig.stop().await;
    let long_ago = format!(
        "UPDATE jobs SET state = 'cancelled', next_action = NULL, next_action_at = NULL, due_at = NULL, tries = NULL, state_since = NULL,
                         finished_at = created_at - {ago} WHERE name <> 'young';
         UPDATE batches SET ingested_at = ingested_at - {ago} WHERE file_name = 'many.jsonl';",
        ago = 100 * DAY_MS
    );
    database(&rig).execute_batch(&long_ago).unwrap();
    rig.database_rolled_back = true;
    let left = |rig: &Rig| -> i64 {
        database(rig).query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap()
    };
    rig.start_daemon().await;
    let mut prune = rig.command(&["prune", "--yes"]);
    let prune = tokio::task::spawn_blocking(move || prune.output().unwrap());
    // Kill once some jobs are deleted and others are not.
    while left(&rig) == 4_001 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    rig.kill();
    let cut = prune.await.unwrap();
    assert_eq!(cut.status.code(), Some(4), "{}{}", stdout(&cut), stderr(&cut));
    let after = left(&rig);
    assert!(after > 1, "the prune ended before the kill");
    assert_intact(&rig.path("dropreel.db"));

    rig.start_daemon().await;
    let done = stdout_json(&rig.run(&["prune", "--yes", "--json"]).await);
    assert_eq!(done["jobs"], after - 1, "{done}");
    assert_eq!(left(&rig), 1);
    rig.drop("next.json", quick("next", ""));
    rig.until("next", &["succeeded"]).await;
    rig.finish().await;
}
