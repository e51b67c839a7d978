//! A second machine that takes over with a copy of the database, however that was made, and the first one that comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use crate::support::bucket::BucketServer;
use crate::support::output::stdout;
use crate::support::{Rig, quick};

/// Copies a database as a program that follows it does: all that is committed, and no mark that it is a copy.
fn replicate(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    Connection::open(from).unwrap().execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// The names of all jobs of a database, by the key of each attempt that was made.
fn names_by_key(database: &Path) -> BTreeMap<String, String> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection
        .prepare("SELECT attempts.key, jobs.name FROM attempts JOIN jobs ON jobs.nr = attempts.job")
        .unwrap();
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    names.map(Result::unwrap).collect()
}

/// Every paid task is one of a job that succeeded with it, or the job of its name waits for a person; none is paid twice.
async fn check_payments(rig: &Rig, lost: &Path) {
    let mut names = names_by_key(lost);
    names.extend(names_by_key(&rig.path("dropreel.db")));
    let ledger = rig.sandbox.ledger();
    let paid: Vec<&str> =
        ledger.tasks.iter().map(|task| names[task.key.as_ref().unwrap()].as_str()).collect();
    let distinct: BTreeSet<_> = paid.iter().copied().collect();
    assert_eq!(paid.len(), distinct.len(), "paid twice: {paid:?}");
    for name in distinct {
        rig.until(name, &["succeeded", "held"]).await;
    }
}

#[tokio::test]
async fn standby_with_a_copied_database_pays_nothing_twice_and_loses_nothing() {
    let server = BucketServer::start();
    let mut rig = Rig::set_up("").await;
    server.configure(&mut rig);
    rig.set("PROVIDER__MAX_RUNNING", "2");
    rig.start_daemon().await;
    for number in 0..8 {
        rig.drop(&format!("early-{number}.json"), quick(&format!("early-{number}"), ""));
    }
    rig.until("early-2", &["succeeded"]).await;
    let replica = rig.beside("replica.db");
    replicate(&rig.path("dropreel.db"), &replica);
    // The copies that rsync makes of folders are of other moments than that of the database.
    let inbox = rig.beside("inbox");
    std::fs::create_dir(&inbox).unwrap();
    std::fs::write(inbox.join("late-1.json"), quick("late-1", "")).unwrap();
    for number in 0..4 {
        rig.drop(&format!("spring/late-{number}.json"), quick(&format!("late-{number}"), ""));
    }
    std::fs::rename(&inbox, rig.beside("inbox-of-standby")).unwrap();
    for name in ["early-7", "late-3"] {
        rig.until(name, &["succeeded"]).await;
    }
    rig.kill();

    let lost = rig.beside("lost");
    std::fs::rename(rig.path(""), &lost).unwrap();
    std::fs::create_dir_all(rig.path("")).unwrap();
    std::fs::rename(&replica, rig.path("dropreel.db")).unwrap();
    copy(&lost.join("accepted"), &rig.path("accepted"));
    copy(&rig.beside("inbox-of-standby"), &rig.path("inbox/spring"));
    rig.database_rolled_back = true;
    rig.start_daemon().await;
    rig.until_output("late-3.json").await;
    for number in 0..4 {
        rig.until(&format!("late-{number}"), &["held"]).await;
    }
    let (_, status) = rig.get("/api/v1/status").await;
    let suspension = &status["suspensions"][0];
    assert_eq!(suspension["cause"], "superseded", "{status:#}");
    assert!(suspension["message"].as_str().unwrap().contains("resume takeover"), "{status:#}");
    let doctor = stdout(&rig.run(&["doctor"]).await);
    assert!(doctor.contains("resume takeover"), "{doctor}");
    // A pause that somebody ends is no takeover.
    rig.post("/api/v1/pause", json!({})).await;
    rig.post("/api/v1/resume", json!({})).await;
    rig.drop("new.json", quick("new", ""));
    let waiting = rig.until_job("new", |job| job["reason"].is_string()).await;
    assert!(waiting["reason"].as_str().unwrap().contains("superseded"), "{waiting:#}");
    let paid = rig.sandbox.ledger().tasks.len();
    assert_eq!(paid, 12, "nothing is bought before the takeover");
    let epoch = server.epoch_record().unwrap()["epoch"].as_i64().unwrap();

    let taken = rig.run(&["resume", "takeover"]).await;
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    rig.until("new", &["succeeded"]).await;
    rig.until_output("submitted from here again").await;
    check_payments(&rig, &lost.join("dropreel.db")).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), paid + 1);
    while server.epoch_record().unwrap()["epoch"].as_i64().unwrap() <= epoch {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    // From now on it is like any other.
    assert_eq!(rig.stop().await, Some(0));
    rig.start_daemon().await;
    rig.drop("newer.json", quick("newer", ""));
    rig.until("newer", &["succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn machine_restored_with_its_epoch_file_pays_nothing_twice() {
    let server = BucketServer::start();
    let mut rig = Rig::set_up("").await;
    server.configure(&mut rig);
    rig.start_daemon().await;
    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["pending"]).await;
    // What a snapshot of the disk has.
    rig.kill();
    copy(&rig.path(""), &rig.beside("snapshot"));
    rig.start_daemon().await;
    rig.post("/api/v1/resume", json!({})).await;
    rig.until("a", &["succeeded"]).await;
    rig.drop("b.json", quick("b", ""));
    rig.until("b", &["succeeded"]).await;
    rig.kill();
    let lost = rig.beside("lost");
    std::fs::rename(rig.path(""), &lost).unwrap();
    std::fs::rename(rig.beside("snapshot"), rig.path("")).unwrap();
    rig.database_rolled_back = true;
    rig.start_daemon().await;
    rig.post("/api/v1/resume", json!({})).await;
    let job = rig.until("a", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("submitted since"), "{job:#}");
    rig.post("/api/v1/resume", json!({"what": "takeover"})).await;
    rig.drop("new.json", quick("new", ""));
    rig.until("new", &["succeeded"]).await;
    assert_eq!(rig.job("a").await["state"], "held");
    let ledger = rig.sandbox.ledger();
    assert_eq!(ledger.tasks.len(), 3);
    rig.finish().await;
}

#[tokio::test]
async fn first_machine_that_comes_back_submits_nothing_and_downloads_what_it_paid_for() {
    let server = BucketServer::start();
    let mut first = Rig::set_up("").await;
    server.configure(&mut first);
    first.start_daemon().await;
    first.drop("slow.json", quick("slow", "run=6s"));
    first.until("slow", &["queued", "processing"]).await;
    let mut second = Rig::set_up("").await;
    server.configure(&mut second);
    second.set("PROVIDER__BASE_URL", &first.sandbox.base_url());
    second.database_rolled_back = true;
    replicate(&first.path("dropreel.db"), &second.path("dropreel.db"));
    second.start_daemon().await;
    second.run(&["resume", "takeover"]).await;
    second.drop("there.json", quick("there", ""));
    second.until("there", &["succeeded"]).await;
    second.until_output("submitted from here again").await;
    let node = second.path("epoch");
    assert!(std::fs::read_to_string(node).unwrap().split(' ').count() == 2);

    // It looks every two minutes, and whenever somebody resumes anything.
    first.post("/api/v1/resume", json!({"what": "provider"})).await;
    first.until_output("another daemon uses a newer state").await;
    first.drop("late.json", quick("late", ""));
    let late = first.until_job("late", |job| job["reason"].is_string()).await;
    assert!(late["reason"].as_str().unwrap().contains("resume takeover"), "{late:#}");
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let page = http.get(first.admin()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("suspension-superseded") && page.contains("Take over"), "{page}");
    first.until("slow", &["succeeded"]).await;
    // Also after a restart.
    first.kill();
    first.start_daemon().await;
    first.until("late", &["held"]).await;
    first.drop("later.json", quick("later", ""));
    first.until_job("later", |job| job["reason"].is_string()).await;
    assert_eq!(first.sandbox.ledger().tasks.len(), 2);

    first.run(&["resume", "takeover"]).await;
    first.until("later", &["succeeded"]).await;
    second.post("/api/v1/resume", json!({"what": "provider"})).await;
    second.until_output("another daemon uses a newer state").await;
    second.finish().await;
    // The ledger has the jobs of both.
    first.database_rolled_back = true;
    first.finish().await;
}

#[tokio::test]
async fn store_without_conditional_writes_is_named_and_still_keeps_the_epoch() {
    let server = BucketServer::start();
    server.set_unconditional();
    let mut rig = Rig::set_up("").await;
    server.configure(&mut rig);
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    let record = server.epoch_record().unwrap();
    assert_eq!(record["epoch"], 1, "{record}");
    rig.kill();
    rig.start_daemon().await;
    rig.drop("b.json", quick("b", ""));
    rig.until("b", &["succeeded"]).await;
    assert_eq!(server.epoch_record().unwrap()["epoch"], 2);
    let doctor = stdout(&rig.run(&["doctor"]).await);
    assert!(doctor.contains("has no conditional writes"), "{doctor}");
    rig.finish().await;
}
