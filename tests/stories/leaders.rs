//! Two daemons, each with its own data folder, on one PostgreSQL database (`ci/postgres`): one leads, the other waits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::postgres::{server, server_address};
use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

/// How long it may take until the other daemon leads: 10 seconds, and as much again on a busy machine. The server waits 7 for
/// a sign of life of one that is stopped.
const TAKEOVER: Duration = Duration::from_secs(20);

/// A running leader and another daemon, which has not started, with one provider, library and callback secret.
async fn pair(database: &str) -> (Rig, Rig) {
    server(&["database", database]);
    let address = format!("{}/{database}", server_address());
    let (mut first, mut second) = (Rig::set_up("").await, Rig::set_up("").await);
    let (provider, library) = (first.sandbox.base_url(), first.path("videos"));
    let secret = first.beside("callback.secret");
    std::fs::write(&secret, "the-secret-that-both-daemons-use\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for rig in [&mut first, &mut second] {
        rig.keep_public_port();
        rig.set("STORAGE__DATABASE", &address);
        rig.set("PROVIDER__BASE_URL", &provider);
        rig.set("LIBRARY__DIR", library.to_str().unwrap());
        rig.set("CALLBACKS__SECRET_FILE", secret.to_str().unwrap());
    }
    first.start_daemon().await;
    (first, second)
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemon_waits_while_another_leads_and_says_so() {
    let (first, mut second) = pair("waits").await;
    let admin = second.keep_admin_port();
    second.start_waiting();
    second.until_output("this daemon waits: dropreel on ").await;

    let get = async |path: &str| {
        let answer = reqwest::get(format!("{admin}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "ok".into()), "it is alive");
    let (status, text) = get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("\"ready\":false") && text.contains("leads"), "{text}");
    assert!(get("/metrics").await.1.contains("\ndropreel_leads 0\n"));
    let doctor = second.run(&["doctor"]).await;
    assert!(stdout(&doctor).contains(" leads"), "{}", stdout(&doctor));
    let listed = second.run(&["list"]).await;
    assert!(stderr(&listed).contains("this daemon waits"), "{}", stderr(&listed));
    let public = second.public_address();
    assert_eq!(first.post_to(&public, "/callbacks/x/y", json!({})).await, 503, "it must be sent again");

    assert_eq!(second.stop_waiting().await, Some(0));
    first.finish().await;
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemons_lead_in_turn_through_kills_and_stops_and_nothing_is_lost_or_paid_twice() {
    let kills: u64 = std::env::var("DROPREEL_KILLS").map_or(6, |text| text.parse().unwrap());
    let (mut leader, mut waiting) = pair("leads").await;
    waiting.start_waiting();
    let mut names = BTreeSet::new();
    let (mut longest, mut longest_stopped) = (Duration::ZERO, Duration::ZERO);
    for kill in 0..kills {
        waiting.until_output("this daemon waits").await;
        for number in 0..4 {
            let name = format!("job-{kill}-{number}");
            let (status, answer) =
                leader.post("/api/v1/jobs", serde_json::from_str(&quick(&name, "run=1s")).unwrap()).await;
            assert!(status < 300, "{answer}");
            names.insert(name);
        }
        tokio::time::sleep(Duration::from_millis(kill * 271 % 1700)).await;
        let began = Instant::now();
        let is_stopped = kill % 3 == 2;
        if is_stopped {
            leader.signal(Signal::STOP);
        } else {
            leader.kill();
        }
        waiting.until_leading().await;
        let took = began.elapsed();
        if is_stopped {
            longest_stopped = longest_stopped.max(took);
            leader.signal(Signal::CONT);
            let status = leader.until_ended().await;
            assert_eq!(status.code(), Some(1), "it must not go on beside the other:\n{}", leader.output());
        } else {
            longest = longest.max(took);
        }
        leader.forget_output();
        leader.start_waiting();
        std::mem::swap(&mut leader, &mut waiting);
    }
    let settled = leader.until_settled(names.len()).await;
    let succeeded: BTreeSet<_> =
        settled.iter().filter(|(_, state)| *state == "succeeded").map(|(name, _)| name.clone()).collect();
    assert_eq!(succeeded, names, "{settled:#?}");
    let sandbox = if leader.is_provider() { &leader.sandbox } else { &waiting.sandbox };
    let tasks = sandbox.ledger().tasks.len();
    println!(
        "{kills} kills and stops, {tasks} tasks; another led after {longest:?}, after a stop {longest_stopped:?}"
    );
    assert_eq!(tasks, names.len(), "each job is paid once");
    assert!(longest <= TAKEOVER && longest_stopped <= TAKEOVER);
    for job in leader.all_jobs().await {
        let job = leader.job(job["id"].as_str().unwrap()).await;
        let path = leader.library().join(job["files"][0]["path"].as_str().unwrap());
        assert_eq!(path.metadata().unwrap().len(), job["files"][0]["bytes"].as_u64().unwrap(), "{job:#}");
    }
}
