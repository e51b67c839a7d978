//! Submits that fail: one that was not executed is sent again; one of unknown outcome is repeated under its key.

use std::time::Duration;

use serde_json::Value;

use crate::support::output::stderr;
use crate::support::{Rig, quick};

/// Name, sandbox plan, expected final state.
const FAULTS: &[(&str, &str, &str)] = &[
    ("e400", "submit=400", "failed"),
    ("capability", "submit=capability", "failed"),
    ("price", "submit=price", "failed"),
    ("e409", "submit=409x2", "succeeded"),
    ("e500", "submit=500x2", "succeeded"),
    ("e502", "submit=502", "succeeded"),
    ("e503", "submit=503x2", "succeeded"),
    ("e504-done", "submit=504-done", "succeeded"),
    ("html-502", "submit=html502", "succeeded"),
    ("html-200", "submit=html200-done", "succeeded"),
    ("empty", "submit=empty-done", "succeeded"),
    ("cut", "submit=cut", "succeeded"),
    ("huge", "submit=huge-done", "succeeded"),
    ("reset", "submit=reset", "succeeded"),
    ("lost", "submit=lostx2", "succeeded"),
    ("slow", "submit=slow:5s", "succeeded"),
    ("old-shape", "submit-shape=old", "succeeded"),
    ("wrapped", "submit-shape=wrapped", "succeeded"),
    ("no-cost", "pre-cost=no", "succeeded"),
    ("early", "callback=early", "succeeded"),
];

#[tokio::test]
async fn submit_faults_end_as_expected_and_are_billed_once() {
    let rig = Rig::start("").await;
    for (name, plan, _) in FAULTS {
        rig.drop(&format!("{name}.json"), quick(name, plan));
    }
    let states = rig.until_settled(FAULTS.len()).await;
    for (name, plan, expected) in FAULTS {
        assert_eq!(states[*name], *expected, "{name} ({plan}): {:#}", rig.job(name).await);
    }
    let ledger = rig.sandbox.ledger();
    let charged = ledger.tasks.iter().filter(|task| task.cost.get() > 0).count();
    assert_eq!(charged, FAULTS.iter().filter(|fault| fault.2 == "succeeded").count());
    rig.finish().await;
}

#[tokio::test]
async fn task_of_a_lost_answer_is_accounted_although_the_job_was_retried() {
    let mut rig = Rig::start("").await;
    rig.drop("a.json", quick("a", "submit=lostx2"));
    rig.until_job("a", |job| job["state"] == "submitting" && rig.sandbox.ledger().tasks.len() == 1).await;
    let retried = rig.run(&["retry", "a"]).await;
    assert!(retried.status.success(), "{}", stderr(&retried));
    rig.until("a", &["succeeded"]).await;
    let charged = |rig: &Rig| rig.sandbox.ledger().tasks.iter().map(|task| task.cost.get()).sum::<i64>();
    let job = rig.until_job("a", |job| job["cost_quota"] == charged(&rig)).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2, "{job:#}");
    rig.charges_allowed.insert(job["id"].as_str().unwrap().to_owned(), 2);
    rig.finish().await;
}

#[tokio::test]
async fn rate_limit_suspends_calls_until_its_time() {
    let rig = Rig::start("").await;
    rig.drop("a.json", quick("a", "submit=429:2s"));
    rig.until("a", &["succeeded"]).await;
    let ledger = rig.sandbox.ledger();
    let submits: Vec<_> = ledger.requests.iter().filter(|request| request.call == "submit").collect();
    assert!(submits[1].at.since(submits[0].at) >= Duration::from_secs(2), "{submits:#?}");
    rig.finish().await;
}

#[tokio::test]
async fn empty_balance_suspends_submits_and_jobs_wait() {
    let mut rig = Rig::set_up("submit=402 balance=402").await;
    // One per second, so that the first answer arrives before the second submit.
    rig.set("PROVIDER__SUBMIT_PER_SECOND", "1.0");
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    rig.drop("b.json", quick("b", ""));
    loop {
        let jobs = [rig.job("a").await, rig.job("b").await];
        if jobs.iter().any(|job| job["reason"].as_str().is_some_and(|why| why.contains("balance"))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.until("a", &["pending"]).await;
    // The job says so at once; the balance is looked at then.
    while rig.get("/api/v1/status").await.1["suspensions"][0]["cause"] != "balance_empty" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(rig.sandbox.ledger().calls["submit"], 1, "one submit, then submits are suspended");
    rig.finish().await;
}

#[tokio::test]
async fn refused_key_suspends_calls_until_a_new_key_is_loaded() {
    let mut rig = Rig::set_up("submit=401 models=401").await;
    let key_file = rig.write_private("key", "sk-old-key-0123456789");
    rig.set("PROVIDER__API_KEY_FILE", &key_file.display().to_string());
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    while rig.get("/api/v1/status").await.1["suspensions"][0]["cause"] != "key_refused" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.sandbox.set_fault_plan("").unwrap();
    rig.write_private("key", "sk-new-key-0123456789");
    rig.drop("b.json", quick("b", ""));
    rig.signal(rustix::process::Signal::HUP);
    rig.until("b", &["succeeded"]).await;
    assert_eq!(rig.get("/api/v1/status").await.1["suspensions"], serde_json::json!([]));
    rig.finish().await;
}

#[tokio::test]
async fn resume_tries_suspended_calls_at_once() {
    let rig = Rig::start("submit=401 models=401").await;
    rig.drop("a.json", quick("a", ""));
    while rig.get("/api/v1/status").await.1["suspensions"][0]["cause"] != "key_refused" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.sandbox.set_fault_plan("").unwrap();
    assert_eq!(rig.post("/api/v1/resume", serde_json::json!({})).await.0, 200);
    rig.until("a", &["succeeded"]).await;
    assert_eq!(rig.get("/api/v1/status").await.1["suspensions"], serde_json::json!([]));
    rig.finish().await;
}

#[tokio::test]
async fn unreachable_provider_suspends_calls_until_it_answers() {
    let mut rig = Rig::set_up("").await;
    // Nobody listens there, and no other test will.
    rig.set("PROVIDER__BASE_URL", "http://127.0.0.1:9");
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    while rig.get("/api/v1/status").await.1["suspensions"][0]["cause"] != "unreachable" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let job = rig.until("a", &["pending"]).await;
    let (_, status) = rig.get("/api/v1/status").await;
    assert!(status["message"].as_str().unwrap().contains("cannot be reached"), "{status:#}");
    let tries = |job: &serde_json::Value| {
        job["history"].as_array().unwrap().iter().filter(|line| line["event"] == "submitting").count()
    };
    let before = tries(&job);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tries(&rig.job("a").await), before, "the job is not tried meanwhile");
    rig.stop().await;
}

#[tokio::test]
async fn restart_tries_a_new_key_at_once_but_not_a_refused_one() {
    let mut rig = Rig::set_up("submit=401 models=401").await;
    let key_file = rig.write_private("key", "sk-old-key-0123456789");
    rig.set("PROVIDER__API_KEY_FILE", &key_file.display().to_string());
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    while rig.get("/api/v1/status").await.1["suspensions"][0]["cause"] != "key_refused" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let submits = |rig: &Rig| rig.sandbox.ledger().calls.get("submit").copied();
    let before = submits(&rig);
    rig.stop().await;
    rig.start_daemon().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(submits(&rig), before, "the same key was tried again at once");
    rig.stop().await;
    rig.sandbox.set_fault_plan("").unwrap();
    rig.write_private("key", "sk-new-key-0123456789");
    rig.start_daemon().await;
    rig.until("a", &["succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn job_is_held_when_its_task_belongs_to_another_job() {
    let rig = Rig::start("").await;
    rig.drop("first.json", quick("first", ""));
    rig.until("first", &["succeeded"]).await;
    rig.drop("second.json", quick("second", "submit=same-id"));
    let job = rig.until("second", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("for another submit"), "{job:#}");
    assert_eq!(job["task_id"], serde_json::Value::Null);
    rig.finish().await;
}

#[tokio::test]
async fn limits_on_running_tasks_are_kept() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__MAX_RUNNING", "3");
    rig.set("PROVIDER__MAX_RUNNING_PER_MODEL", r#"{ "wan2.5-t2v" = 2 }"#);
    rig.start_daemon().await;
    for number in 0..10 {
        rig.drop(&format!("{number}.json"), quick(&format!("job-{number}"), ""));
    }
    rig.until_settled(10).await;
    assert_eq!(rig.sandbox.ledger().max_running, 2);
    rig.finish().await;
}

#[tokio::test]
async fn highest_priority_is_submitted_first_after_a_pause() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__MAX_RUNNING", "1");
    rig.start_daemon().await;
    assert_eq!(rig.post("/api/v1/pause", serde_json::json!({"what": "submits"})).await.0, 200);
    for (name, priority) in [("low", -5), ("high", 50), ("middle", 0)] {
        let job = quick(name, "").replace("\"name\"", &format!("\"priority\":{priority},\"name\""));
        rig.drop(&format!("{name}.json"), job);
    }
    for name in ["low", "high", "middle"] {
        rig.until(name, &["pending"]).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.sandbox.ledger().calls.get("submit"), None);
    assert_eq!(rig.post("/api/v1/resume", serde_json::json!({})).await.0, 200);
    rig.until_settled(3).await;
    let mut order = Vec::new();
    for task in &rig.sandbox.ledger().tasks {
        let (_, job) = rig.get(&format!("/api/v1/jobs/{}", task.key.as_deref().unwrap())).await;
        order.push(job["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(order, ["high", "middle", "low"]);
    rig.finish().await;
}

/// Stands between a client and the daemon, and loses the answers to the first `lost` requests.
fn lossy_relay(daemon: String, lost: usize) -> String {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&daemon).unwrap());
            client.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = client.read(&mut bytes) {
                server.write_all(&bytes[..read]).unwrap();
            }
            server.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            while let Ok(read @ 1..) = server.read(&mut bytes) {
                if number >= lost {
                    client.write_all(&bytes[..read]).unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn submit_with_a_lost_answer_is_repeated_and_bought_once() {
    let rig = Rig::start("").await;
    let file = rig.beside("once.json");
    std::fs::write(&file, quick("once", "")).unwrap();
    let submit = |lost: usize, more: &'static [&'static str]| {
        let arguments = [&["submit", file.to_str().unwrap()], more].concat();
        let mut command = rig.command(&arguments);
        let daemon = rig.admin().trim_start_matches("http://").to_owned();
        command.env("DROPREEL_ADMIN__LISTEN", lossy_relay(daemon, lost));
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let repeated = submit(1, &[]).await.unwrap();
    let text = String::from_utf8_lossy(&repeated.stderr);
    assert!(repeated.status.success() && text.contains("sending it again"), "{text}");
    let id = String::from_utf8_lossy(&repeated.stdout).trim().to_owned();
    assert_eq!(rig.job("once").await["id"], id);

    // The same file once more is a repeated copy, unless the key says that it is the same submit.
    std::fs::write(&file, quick("twice", "")).unwrap();
    let first = submit(0, &["--idempotency-key", "mine"]).await.unwrap();
    let again = submit(0, &["--idempotency-key", "mine"]).await.unwrap();
    assert!(first.status.success() && again.status.success(), "{first:?} {again:?}");
    assert_eq!(first.stdout, again.stdout);
    assert_eq!(rig.until_settled(2).await.len(), 2);
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2);
    rig.finish().await;
}

#[tokio::test]
async fn job_of_an_unlisted_model_is_held_and_a_release_tries_it_once() {
    let rig = Rig::start("catalogue=lacks:wan2.5-t2v").await;
    rig.drop("a.json", quick("a", ""));
    rig.drop("b.json", quick("b", "submit=400"));
    let picture = r#"{"model":"wan2.2-i2v-plus","prompt":"c","image_urls":["https://example.com/a.png"]}"#;
    rig.drop("c.json", picture);
    // The second list comes ten seconds after the first; other models do not wait for it.
    rig.until("c", &["succeeded"]).await;
    assert_eq!(rig.job("a").await["state"], "pending");
    for name in ["a", "b"] {
        let held = rig.until(name, &["held"]).await;
        let reason = held["reason"].as_str().unwrap();
        assert!(reason.contains("wan2.5-t2v; the nearest is wan2.5-i2v"), "{reason}");
    }
    assert_eq!(rig.sandbox.ledger().calls["submit"], 1, "nothing of it was sent");
    let lists = rig.sandbox.ledger().calls["models"];
    assert!(lists <= 3, "{lists} lists were read for three jobs");

    let released = rig.run(&["release", "a", "b"]).await;
    assert_eq!(released.status.code(), Some(0), "{released:?}");
    rig.until("a", &["succeeded"]).await;
    rig.until("b", &["failed"]).await;
    rig.run(&["retry", "b"]).await;
    let again = rig.until("b", &["held"]).await;
    assert!(
        again["history"].as_array().unwrap().iter().any(|entry| entry["event"] == "retried"),
        "{again:#}"
    );
    rig.finish().await;
}

#[tokio::test]
async fn job_is_submitted_if_the_list_of_models_says_nothing() {
    for plan in ["catalogue=empty", "models=404"] {
        let rig = Rig::start(plan).await;
        rig.drop("a.json", quick("a", ""));
        rig.until("a", &["succeeded"]).await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn large_drop_does_not_hold_up_the_clip_of_another_customer() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__FAIR_BY", "label.project");
    rig.set("PROVIDER__MAX_RUNNING", "2");
    rig.start_daemon().await;
    rig.run(&["pause", "submits"]).await;
    let of = |name: &str, project: &str| {
        let own = format!(r#""name":"{name}","labels":{{"project":"{project}"}}"#);
        quick(name, "run=50ms").replace(&format!(r#""name":"{name}""#), &own)
    };
    let many: Vec<String> = (0..20).map(|number| of(&format!("many-{number}"), "autumn")).collect();
    rig.drop("many.jsonl", many.join("\n"));
    rig.until("many-19", &["pending"]).await;
    rig.drop("urgent.json", of("urgent", "spring"));
    let urgent = rig.until("urgent", &["pending"]).await["id"].clone();
    rig.drop("bare.json", quick("bare", "run=50ms"));
    let bare = rig.until("bare", &["pending"]).await["id"].clone();
    rig.run(&["resume"]).await;
    rig.until_settled(22).await;
    let ledger = rig.sandbox.ledger();
    let place = |id: &Value| ledger.tasks.iter().position(|task| task.key.as_deref() == id.as_str()).unwrap();
    assert!(place(&urgent) < 3 && place(&bare) < 3, "{} {}", place(&urgent), place(&bare));
    rig.finish().await;
}
