//! The daemon as a service: its notifications to systemd, its files and its log.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{Rig, files_below, quick};

fn listen(rig: &Rig) -> UnixDatagram {
    let socket = UnixDatagram::bind(rig.beside("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let read = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..read]).trim().to_owned()
}

#[tokio::test]
async fn systemd_is_notified_of_readiness_watchdog_and_stop() {
    let mut rig = Rig::set_up("").await;
    let socket = listen(&rig);
    rig.set_variable("NOTIFY_SOCKET", &rig.beside("notify").display().to_string());
    rig.set_variable("WATCHDOG_USEC", "400000");
    rig.start_daemon().await;
    assert_eq!(next(&socket), "READY=1");
    assert_eq!(next(&socket), "WATCHDOG=1");
    assert_eq!(next(&socket), "WATCHDOG=1");
    assert_eq!(rig.stop().await, Some(0));
    let last = std::iter::repeat_with(|| next(&socket)).find(|news| news != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    rig.finish().await;
}

#[tokio::test]
async fn all_files_are_private() {
    let rig = Rig::start("").await;
    rig.drop("good.json", quick("good", ""));
    rig.drop("bad.json", "{}");
    rig.drop("page.json", quick("page", "media=html200x1"));
    rig.until("good", &["succeeded"]).await;
    rig.until("page", &["succeeded"]).await;
    let mut seen = 0;
    for file in files_below(&rig.path("")) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", file.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen} files");
    for folder in ["accepted", "rejected", "videos", "quarantine", "videos/.incoming"] {
        let mode = rig.path(folder).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder} is {mode:o}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn log_lines_name_their_job_and_no_secret() {
    let rig = Rig::start("").await;
    rig.drop("sakura.json", quick("sakura", "submit=503 media=short"));
    let job = rig.until("sakura", &["succeeded"]).await;
    let id = job["id"].as_str().unwrap();
    // It is logged after the commit.
    rig.until_output("succeeded").await;
    let output = rig.output();
    for news in
        ["accepted sakura.json: 1 job", "submitting job", "queued", "is downloading", "stored", "succeeded"]
    {
        assert!(output.contains(news), "`{news}` is not in:\n{output}");
    }
    let about = output.lines().filter(|line| line.contains(id)).count();
    assert!(about >= 6, "{output}");
    // `finish` searches the log for secrets.
    rig.finish().await;
}

#[tokio::test]
async fn crash_leaves_no_core_dump() {
    let rig = Rig::start("").await;
    let process = format!("/proc/{}", rig.pid());
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    rig.finish().await;
}

#[tokio::test]
async fn removed_database_stops_submits_until_it_is_back() {
    let rig = Rig::start("").await;
    rig.drop("before.json", quick("before", ""));
    rig.until("before", &["succeeded"]).await;
    let names = ["dropreel.db", "dropreel.db-wal", "dropreel.db-shm"];
    let away = rig.beside("away");
    std::fs::create_dir(&away).unwrap();
    for name in names {
        std::fs::rename(rig.path(name), away.join(name)).unwrap();
    }
    let (status, answer) = rig.get("/readyz").await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("removed or replaced"), "{answer}");
    let (status, answer) = rig.post("/api/v1/jobs", serde_json::from_str(&quick("lost", "")).unwrap()).await;
    assert_eq!(status, 503, "{answer}");
    rig.drop("meanwhile.json", quick("meanwhile", ""));
    rig.until_output("ERROR the database file was removed or replaced").await;
    rig.until_output("job files stay in the inbox").await;
    let doctor = rig.run(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.code() == Some(1) && text.contains("removed or replaced"), "{text}");
    assert!(text.contains("dropreel.db was removed"), "{text}");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1, "a job was bought that would be forgotten");
    for name in names {
        std::fs::rename(away.join(name), rig.path(name)).unwrap();
    }
    rig.until("meanwhile", &["succeeded"]).await;
    rig.until_output("the database file is back").await;
    assert_eq!(rig.get("/readyz").await.0, 200);
    rig.finish().await;
}
