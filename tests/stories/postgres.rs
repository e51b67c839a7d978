//! The state on a PostgreSQL server, which `ci/postgres` starts: `DROPREEL_TEST_DATABASE` is the address of an empty
//! database of it, and `DROPREEL_TEST_POSTGRES` a command that takes `stop` and `start`.

use std::process::Command;

use serde_json::json;

use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

/// Stops or starts the server.
fn server(what: &str) {
    let control = std::env::var("DROPREEL_TEST_POSTGRES").expect("DROPREEL_TEST_POSTGRES: run ci/postgres");
    assert!(Command::new(control).arg(what).status().unwrap().success(), "{what}");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn jobs_survive_kills_of_the_daemon_and_a_restart_of_the_server() {
    let address = std::env::var("DROPREEL_TEST_DATABASE").expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let mut rig = Rig::set_up("").await;
    rig.keep_public_port();
    rig.set("STORAGE__DATABASE", &address);
    rig.start_daemon().await;
    let doctor = rig.run(&["doctor"]).await;
    assert!(stdout(&doctor).contains("PostgreSQL"), "{}{}", stdout(&doctor), stderr(&doctor));
    let backup = rig.run(&["backup", rig.path("copy.db").to_str().unwrap()]).await;
    assert!(stderr(&backup).contains("pg_dump"), "{}", stderr(&backup));

    rig.drop("sakura.json", quick("sakura", ""));
    let job = rig.until("sakura", &["succeeded"]).await;
    assert!(rig.path("videos").join(job["files"][0]["path"].as_str().unwrap()).is_file(), "{job:#}");
    assert!(!rig.path("dropreel.db").exists(), "nothing is in a file");

    // A second daemon has another folder, but the same database.
    let mut second = Rig::set_up("").await;
    second.set("STORAGE__DATABASE", &address);
    assert!(second.try_start_daemon().await.is_err());
    assert!(second.output().contains("uses the database"), "{}", second.output());

    rig.drop("killed.json", quick("killed", "run=3s"));
    rig.until("killed", &["queued", "processing"]).await;
    rig.kill();
    rig.start_daemon().await;
    rig.until("killed", &["succeeded"]).await;

    rig.drop("cut.json", quick("cut", "run=3s"));
    rig.until("cut", &["queued", "processing"]).await;
    server("stop");
    rig.drop("meanwhile.json", quick("meanwhile", ""));
    let (status, answer) = rig.get("/api/v1/jobs").await;
    assert_eq!(status, 503, "{answer}");
    server("start");
    for name in ["cut", "meanwhile"] {
        rig.until(name, &["succeeded"]).await;
    }
    let (_, jobs) = rig.get("/api/v1/jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 4, "{jobs:#}");
    let (status, answer) = rig.post("/api/v1/jobs/bulk", json!({"action": "cancel", "state": "held"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(rig.stop().await, Some(0));
}
