//! Several daemons, each with its own data folder, on one PostgreSQL database (`ci/postgres`): one leads, the others follow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::postgres::{server, server_address};
use crate::support::bucket::BucketServer;
use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

/// How long it may take until another daemon leads: 10 seconds, and as much again on a busy machine. The server waits 7 for
/// a sign of life of one that is stopped.
const TAKEOVER: Duration = Duration::from_secs(20);

/// More than a daemon that downloads two at a time has begun and not uploaded.
const MOST_IN_FLIGHT: usize = 12;

/// Rigs with one database, provider, library and callback secret, whose daemons have not started.
pub async fn nodes(database: &str, count: usize) -> Vec<Rig> {
    server(&["database", database]);
    let address = format!("{}/{database}", server_address());
    let mut rigs = Vec::new();
    for _ in 0..count {
        rigs.push(Rig::set_up("").await);
    }
    let (provider, library) = (rigs[0].sandbox.base_url(), rigs[0].path("videos"));
    let secret = rigs[0].beside("callback.secret");
    std::fs::write(&secret, "the-secret-that-all-daemons-use\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for rig in &mut rigs {
        rig.keep_public_port();
        rig.keep_admin_port();
        rig.set("STORAGE__DATABASE", &address);
        rig.set("PROVIDER__BASE_URL", &provider);
        rig.set("LIBRARY__DIR", library.to_str().unwrap());
        rig.set("CALLBACKS__SECRET_FILE", secret.to_str().unwrap());
    }
    rigs
}

async fn text(rig: &Rig, path: &str) -> String {
    reqwest::get(format!("{}{path}", rig.admin())).await.unwrap().text().await.unwrap()
}

async fn post(rig: &Rig, name: &str, plan: &str) {
    let job: Value = serde_json::from_str(&quick(name, plan)).unwrap();
    let (status, answer) = rig.post("/api/v1/jobs", job).await;
    assert!(status < 300, "{answer}");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemon_follows_another_and_serves_page_api_inbox_and_callbacks() {
    let mut rigs = nodes("follows", 2).await;
    let (mut follower, mut leader) = (rigs.pop().unwrap(), rigs.pop().unwrap());
    // The provider calls the follower alone, and nothing is polled meanwhile.
    leader.set("CALLBACKS__PUBLIC_URL", &follower.public_address());
    leader.set("POLLING__CALLBACK_GRACE", "10m");
    leader.start_daemon().await;
    follower.start_daemon().await;

    follower.until_output("is ready and follows ").await;
    let (status, ready) = follower.get("/readyz").await;
    assert_eq!((status, &ready["leads"]), (200, &json!(false)), "{ready}");
    let is_named = async || follower.get("/readyz").await.1["leader"].to_string().contains("dropreel on ");
    while !is_named().await {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(text(&follower, "/metrics").await.contains("\ndropreel_leads 0\n"));
    assert!(text(&follower, "/").await.contains("follows dropreel on "));
    let doctor = follower.run(&["doctor"]).await;
    for role in [") leads; dropreel on ", ") follows"] {
        assert!(stdout(&doctor).contains(role), "{}", stdout(&doctor));
    }
    assert!(text(&leader, "/").await.contains(">leads<"));

    follower.drop("dropped.json", quick("dropped", ""));
    post(&follower, "posted", "").await;
    assert_eq!(leader.until("posted", &["succeeded", "held"]).await["state"], "succeeded");
    assert_eq!(follower.until("dropped", &["succeeded", "held"]).await["state"], "succeeded");
    let accepted = crate::support::files_below(&follower.path("accepted"));
    assert!(accepted.iter().any(|path| path.ends_with("dropped.json")), "{accepted:?}");
    let ledger = leader.sandbox.ledger();
    assert!(ledger.callbacks.iter().all(|callback| callback.status == Some(204)), "{:?}", ledger.callbacks);

    post(&leader, "long", "run=60s").await;
    leader.until("long", &["queued", "processing"]).await;
    let cancelled = follower.run(&["cancel", "long"]).await;
    assert_eq!(cancelled.status.code(), Some(0), "{}", stderr(&cancelled));
    let is_asked =
        |job: &Value| job["history"].to_string().contains("\"cancel_re") || job["state"] == "cancelled";
    leader.until_job("long", is_asked).await;
    let paused = follower.run(&["pause", "submits"]).await;
    assert_eq!(paused.status.code(), Some(0), "{}", stderr(&paused));
    post(&follower, "paused", "").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(leader.job("paused").await["state"], "pending");
    let resumed = follower.run(&["resume"]).await;
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    leader.until("paused", &["succeeded"]).await;

    let (status, problem) = follower.post("/api/v1/adopt", json!({ "task_ids": ["task-1"] })).await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:dropreel:problem:not-leader")), "{problem}");
    assert_eq!(follower.stop().await, Some(0));
    leader.finish().await;
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn follower_with_another_callback_secret_is_not_ready_until_it_has_the_leader_s() {
    let mut rigs = nodes("secrets", 2).await;
    let (mut follower, mut leader) = (rigs.pop().unwrap(), rigs.pop().unwrap());
    let own = follower.beside("own.secret");
    let write = |text: &str| {
        std::fs::write(&own, text).unwrap();
        std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("another-secret-than-that-of-the-leader\n");
    follower.set("CALLBACKS__SECRET_FILE", own.to_str().unwrap());
    leader.start_daemon().await;
    follower.start_daemon().await;
    follower.until_output("is ready and follows ").await;
    let ready = async |status: u16| loop {
        let (found, body) = follower.get("/readyz").await;
        if found == status {
            return body.to_string();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert!(ready(503).await.contains("the callback secret is not that of the leader"));
    let rotated = leader.run(&["rotate", "callback-secret"]).await;
    assert_ne!(rotated.status.code(), Some(0));
    assert!(stderr(&rotated).contains("several daemons may share this database"), "{}", stderr(&rotated));
    // As the refusal says: first to all, and the leader last.
    write("the-secret-that-all-daemons-use\nanother-secret-than-that-of-the-leader\n");
    follower.signal(Signal::HUP);
    ready(200).await;
    assert_eq!(follower.stop().await, Some(0));
    leader.finish().await;
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemons_lead_in_turn_through_kills_and_stops_and_nothing_is_lost_or_paid_twice() {
    let kills: u64 = std::env::var("DROPREEL_KILLS").map_or(6, |text| text.parse().unwrap());
    let mut rigs = nodes("leads", 2).await;
    for rig in &mut rigs {
        rig.start_daemon().await;
    }
    let (mut follower, mut leader) = (rigs.pop().unwrap(), rigs.pop().unwrap());
    let mut names = BTreeSet::new();
    let (mut longest, mut longest_stopped) = (Duration::ZERO, Duration::ZERO);
    for kill in 0..kills {
        follower.until_output("is ready and follows ").await;
        for number in 0..4 {
            let name = format!("job-{kill}-{number}");
            post(if number % 2 == 0 { &leader } else { &follower }, &name, "run=1s").await;
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
        follower.until_leading().await;
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
        leader.start_daemon().await;
        std::mem::swap(&mut leader, &mut follower);
    }
    let settled = leader.until_settled(names.len()).await;
    let succeeded: BTreeSet<_> =
        settled.iter().filter(|(_, state)| *state == "succeeded").map(|(name, _)| name.clone()).collect();
    assert_eq!(succeeded, names, "{settled:#?}");
    let sandbox = if leader.is_provider() { &leader.sandbox } else { &follower.sandbox };
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

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemon_that_comes_back_as_a_follower_leaves_its_downloads_to_the_new_leader() {
    let mut rigs = nodes("leaves", 2).await;
    let (mut follower, mut leader) = (rigs.pop().unwrap(), rigs.pop().unwrap());
    leader.start_daemon().await;
    follower.start_daemon().await;
    follower.until_output("is ready and follows ").await;
    post(&leader, "slow", "media=slow:4s").await;
    leader.until("slow", &["downloading"]).await;
    leader.signal(Signal::STOP);
    follower.until_output("this one takes over").await;
    // It is connected again before the other one looks for downloads.
    leader.kill();
    leader.start_daemon().await;
    // Usually the other one: between its two terms it has to connect again.
    let leads = loop {
        let found = [&follower, &leader].map(async |rig| (rig.leads().await == Some(true)).then_some(rig));
        match futures_util::future::join_all(found).await.into_iter().flatten().next() {
            Some(rig) => break rig,
            None => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    };
    assert_eq!(leads.until("slow", &["succeeded", "held"]).await["state"], "succeeded");
    leader.finish().await;
    follower.finish().await;
}

/// Also where the daemon is stopped just before the request goes out.
#[cfg(feature = "failpoints")]
#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn daemon_stopped_between_commit_and_send_repeats_only_what_was_committed() {
    use dropreel::failpoints::FailPoint;

    for point in [FailPoint::AttemptCommitted, FailPoint::SubmitSending] {
        let point: &str = point.into();
        let mut rigs = nodes(&format!("stopped_at_{point}"), 2).await;
        let (mut follower, mut leader) = (rigs.pop().unwrap(), rigs.pop().unwrap());
        leader.set_variable("DROPREEL_FAIL_STOP_AT", &format!("{point}:1"));
        leader.start_daemon().await;
        follower.start_daemon().await;
        follower.until_output("is ready and follows ").await;
        post(&follower, "paid-once", "").await;
        leader.until_output(&format!("at {point}")).await;
        follower.until_leading().await;
        post(&follower, "later", "").await;
        for name in ["paid-once", "later"] {
            assert_eq!(follower.until(name, &["succeeded", "held"]).await["state"], "succeeded");
        }
        leader.signal(Signal::CONT);
        assert_eq!(leader.until_ended().await.code(), Some(1), "{}", leader.output());
        let sandbox = if leader.is_provider() { &leader.sandbox } else { &follower.sandbox };
        let ledger = sandbox.ledger();
        assert_eq!(ledger.tasks.len(), 2, "{:?}", ledger.tasks);
        let submits = ledger.requests.iter().filter(|request| request.call == "submit");
        let sent: BTreeSet<_> = submits.map(|request| (&request.key, &request.body_sha256)).collect();
        assert_eq!(sent.len(), 2, "one key and one body for each job: {sent:?}");
        follower.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn outputs_are_stored_once_by_whichever_daemon_claims_them_also_when_it_is_killed() {
    let bucket = BucketServer::start();
    let mut rigs = nodes("stores", 3).await;
    for (number, rig) in rigs.iter_mut().enumerate() {
        bucket.configure(rig);
        // A spool of its own.
        rig.set("LIBRARY__DIR", rig.path(&format!("spool-{number}")).to_str().unwrap());
        rig.set("DOWNLOADS__CONCURRENCY", "2");
        rig.start_daemon().await;
    }
    let names: BTreeSet<_> = (0..30).map(|number| format!("job-{number}")).collect();
    for name in &names {
        post(&rigs[0], name, "media=slow:1500ms").await;
    }
    let stored = |rig: &Rig| rig.output().matches(" stored 20").count();
    let began = Instant::now();
    while stored(&rigs[1]) == 0 || stored(&rigs[2]) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}\n{}", rigs[1].output(), rigs[2].output());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    rigs[2].kill();
    // What it has not begun yet, the others do. What it has in its spool, waits for it.
    let begun = stored(&rigs[2]) + MOST_IN_FLIGHT;
    while stored(&rigs[0]) + stored(&rigs[1]) + begun < names.len() {
        assert!(began.elapsed() < Duration::from_secs(90), "{}\n{}", rigs[0].output(), rigs[1].output());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    rigs[2].start_daemon().await;
    let settled = rigs[0].until_settled(names.len()).await;
    assert!(settled.values().all(|state| state == "succeeded"), "{settled:#?}");
    let by_node: Vec<_> = rigs.iter().map(stored).collect();
    println!("outputs stored by each daemon: {by_node:?}");
    let objects = bucket.objects();
    assert_eq!(objects.len(), 2 * names.len(), "a video and a sidecar for each job: {:?}", objects.keys());
    for job in rigs[0].all_jobs().await {
        let job = rigs[0].job(job["id"].as_str().unwrap()).await;
        let key = job["files"][0]["path"].as_str().unwrap().strip_prefix("s3://reels/").unwrap();
        assert_eq!(objects[key].content.len() as u64, job["files"][0]["bytes"].as_u64().unwrap(), "{job:#}");
    }
    assert_eq!(rigs[0].sandbox.ledger().tasks.len(), names.len(), "each job is paid once");
}
