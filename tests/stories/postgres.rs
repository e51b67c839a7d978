//! The state on a PostgreSQL server, which `ci/postgres` starts: `DROPREEL_TEST_DATABASE` is its address without a database,
//! and `DROPREEL_TEST_POSTGRES` a command that makes a database (`database NAME`) and does to the server what its word says.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

/// Longer than the daemon waits for an answer of the server.
const HALTED: Duration = Duration::from_secs(30);

pub fn server(words: &[&str]) {
    let control = std::env::var("DROPREEL_TEST_POSTGRES").expect("DROPREEL_TEST_POSTGRES: run ci/postgres");
    assert!(Command::new(control).args(words).status().unwrap().success(), "{words:?}");
}

pub fn server_address() -> String {
    std::env::var("DROPREEL_TEST_DATABASE").expect("DROPREEL_TEST_DATABASE: run ci/postgres")
}

/// A daemon with a database of its own.
async fn start(database: &str) -> Rig {
    server(&["database", database]);
    let mut rig = Rig::set_up("").await;
    rig.keep_public_port();
    rig.set("STORAGE__DATABASE", &format!("{}/{database}", server_address()));
    rig.start_daemon().await;
    rig
}

/// Waits until all jobs have succeeded, and starts the daemon again whenever it has ended, as a service manager does. Each
/// was paid once, and every callback was stored or refused for now.
async fn until_all_succeeded(rig: &mut Rig, names: &[&str]) {
    let began = Instant::now();
    for name in names {
        loop {
            assert!(began.elapsed() < Duration::from_secs(90), "{name}\n{}", rig.output());
            if !rig.is_running() && rig.try_start_daemon().await.is_err() {
                continue;
            }
            let found = rig.try_get(&format!("/api/v1/jobs/{name}")).await;
            if found.is_some_and(|(status, job)| status == 200 && job["state"] == "succeeded") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let ledger = rig.sandbox.ledger();
    assert_eq!(ledger.tasks.len(), names.len(), "{:#?}\n{}", ledger.tasks, rig.output());
    let answers: BTreeSet<_> = ledger.callbacks.iter().filter_map(|callback| callback.status).collect();
    assert!(answers.iter().all(|status| [204, 503].contains(status)), "{answers:?}");
}

async fn refuses_certificate(rig: &mut Rig) {
    assert!(rig.try_start_daemon().await.is_err());
    assert!(rig.output().contains("certificate"), "{}", rig.output());
    rig.forget_output();
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn connection_is_encrypted_and_its_certificate_verified() {
    server(&["stop"]);
    server(&["start", "-c ssl=on"]);
    server(&["database", "encrypted"]);
    let mut rig = Rig::set_up("").await;
    let port = server_address().rsplit(':').next().unwrap().to_owned();
    let address = |host: &str| format!("postgres://dropreel@{host}:{port}/encrypted?sslmode=require");
    rig.set("STORAGE__DATABASE", &address("localhost"));
    refuses_certificate(&mut rig).await;
    let control = std::env::var("DROPREEL_TEST_POSTGRES").unwrap();
    let authority = std::path::Path::new(&control).with_file_name("authority.pem");
    rig.set_variable("SSL_CERT_FILE", authority.to_str().unwrap());
    // The certificate is of another name.
    rig.set("STORAGE__DATABASE", &address("127.0.0.1"));
    refuses_certificate(&mut rig).await;
    rig.set("STORAGE__DATABASE", &address("localhost"));
    rig.start_daemon().await;
    rig.drop("sakura.json", quick("sakura", ""));
    rig.until("sakura", &["succeeded"]).await;
    let (client, connection) =
        tokio_postgres::connect(&format!("{}/encrypted", server_address()), tokio_postgres::NoTls)
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let select = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name LIKE 'dropreel on %' AND datname = 'encrypted' AND NOT ssl";
    assert_eq!(client.query_one(select, &[]).await.unwrap().get::<_, i64>(0), 0);
    connection.abort();
    rig.finish().await;
    server(&["stop"]);
    server(&["start"]);
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn jobs_survive_kills_of_the_daemon_and_a_restart_of_the_server() {
    let mut rig = start("restarts").await;
    let doctor = rig.run(&["doctor"]).await;
    assert!(stdout(&doctor).contains("PostgreSQL"), "{}{}", stdout(&doctor), stderr(&doctor));
    let backup = rig.run(&["backup", rig.path("copy.db").to_str().unwrap()]).await;
    assert!(stderr(&backup).contains("pg_dump"), "{}", stderr(&backup));

    rig.drop("sakura.json", quick("sakura", ""));
    let job = rig.until("sakura", &["succeeded"]).await;
    assert!(rig.path("videos").join(job["files"][0]["path"].as_str().unwrap()).is_file(), "{job:#}");
    assert!(!rig.path("dropreel.db").exists(), "nothing is in a file");

    rig.drop("killed.json", quick("killed", "run=3s"));
    rig.until("killed", &["queued", "processing"]).await;
    rig.kill();
    rig.start_daemon().await;
    rig.until("killed", &["succeeded"]).await;

    rig.drop("cut.json", quick("cut", "run=1s"));
    rig.until("cut", &["queued", "processing"]).await;
    server(&["stop"]);
    rig.drop("meanwhile.json", quick("meanwhile", ""));
    let (status, answer) = rig.get("/api/v1/jobs").await;
    assert_eq!(status, 503, "{answer}");
    let refused = || rig.sandbox.ledger().callbacks.iter().any(|callback| callback.status == Some(503));
    let began = Instant::now();
    while !refused() {
        assert!(began.elapsed() < Duration::from_secs(90), "no callback was refused:\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server(&["start"]);
    until_all_succeeded(&mut rig, &["sakura", "killed", "cut", "meanwhile"]).await;
    let (status, answer) = rig.post("/api/v1/jobs/bulk", json!({"action": "cancel", "state": "held"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(rig.stop().await, Some(0));
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn jobs_survive_a_kill_of_the_server() {
    let mut rig = start("crashes").await;
    for name in ["a", "b", "c"] {
        rig.drop(&format!("{name}.json"), quick(name, "run=1s"));
        server(&["crash"]);
        server(&["start"]);
    }
    until_all_succeeded(&mut rig, &["a", "b", "c"]).await;
    assert_eq!(rig.stop().await, Some(0));
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn callers_get_503_while_the_server_hangs_and_jobs_continue_after() {
    let mut rig = start("hangs").await;
    rig.drop("running.json", quick("running", "run=2s"));
    rig.until("running", &["queued", "processing"]).await;
    server(&["halt"]);
    let began = Instant::now();
    rig.drop("meanwhile.json", quick("meanwhile", ""));
    let ((status, answer), doctor) = tokio::join!(rig.get("/api/v1/jobs"), rig.run(&["doctor"]));
    assert!(status == 503 && answer.to_string().contains("has not answered"), "{answer}");
    assert!(stdout(&doctor).contains("has not answered"), "{}{}", stdout(&doctor), stderr(&doctor));
    tokio::time::sleep(HALTED.saturating_sub(began.elapsed())).await;
    server(&["resume"]);
    until_all_succeeded(&mut rig, &["running", "meanwhile"]).await;
    assert_eq!(rig.stop().await, Some(0));
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn jobs_survive_a_connection_that_breaks_in_a_commit() {
    let mut rig = start("commits").await;
    assert_eq!(rig.stop().await, Some(0));
    let proxy = CuttingProxy::start();
    rig.set("STORAGE__DATABASE", &format!("{}/commits", proxy.address));
    rig.start_daemon().await;
    let mut names = Vec::new();
    for reaches_server in [false, true] {
        for commit in 1..=4 {
            let name = format!("{}{commit}", if reaches_server { "kept" } else { "lost" });
            proxy.cut(commit, reaches_server);
            rig.drop(&format!("{name}.json"), quick(&name, ""));
            names.push(name);
            while proxy.commits_left.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Nobody knows what was kept.
            let ended = Instant::now();
            while rig.is_running() {
                assert!(ended.elapsed() < Duration::from_secs(10), "{}", rig.output());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            until_all_succeeded(&mut rig, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
    assert!(rig.output().contains("lost in a commit"), "{}", rig.output());
    assert_eq!(rig.stop().await, Some(0));
}

/// Stands before the server, and breaks a connection at one of the next commits.
struct CuttingProxy {
    address: String,
    /// That many COMMITs pass, less one; 0: all.
    commits_left: Arc<AtomicI32>,
    reaches_server: Arc<AtomicBool>,
}

impl CuttingProxy {
    fn start() -> Self {
        let (user, server) = server_address()
            .rsplit_once('@')
            .map(|(user, server)| (user.to_owned(), server.to_owned()))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("{user}@{}", listener.local_addr().unwrap());
        let proxy = Self { address, commits_left: Arc::default(), reaches_server: Arc::default() };
        let (commits_left, reaches_server) = (proxy.commits_left.clone(), proxy.reaches_server.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (commits_left, reaches_server) = (commits_left.clone(), reaches_server.clone());
                let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut answers, &mut back);
                    let _ = back.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = forward(client, server, &commits_left, &reaches_server);
                });
            }
        });
        proxy
    }

    fn cut(&self, commit: i32, reaches_server: bool) {
        self.reaches_server.store(reaches_server, Ordering::SeqCst);
        self.commits_left.store(commit, Ordering::SeqCst);
    }
}

fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    commits_left: &AtomicI32,
    reaches_server: &AtomicBool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = client.read(&mut bytes)?;
        let sent = &bytes[..length];
        // The client sends it alone, and waits for its answer.
        let is_commit = sent.ends_with(b"COMMIT\0") && commits_left.load(Ordering::SeqCst) > 0;
        if is_commit && commits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Before the answer can arrive.
            client.shutdown(Shutdown::Both)?;
            if reaches_server.load(Ordering::SeqCst) {
                server.write_all(sent)?;
                std::thread::sleep(Duration::from_millis(100));
            }
            return server.shutdown(Shutdown::Both);
        }
        if sent.is_empty() {
            return server.shutdown(Shutdown::Both);
        }
        server.write_all(sent)?;
    }
}
