//! The admin server over real sockets.

mod estimate;
mod models;
mod page;
mod prune;
mod stream;

use std::sync::Arc;

use parking_lot::RwLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::clock::Clock;
use crate::heartbeats::{Heartbeats, STALLED_AFTER};
use crate::job::JobId;
use crate::job::budget::Budgets;
use crate::job::event::{Event, OperatorAction};
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::jobfile;
use crate::jobfile::Draft;
use crate::library::Library;
use crate::money::Quota;
use crate::provider::catalogue::SharedCatalogue;
use crate::rng::Rng;
use crate::secret::{CallbackSecrets, Secret};
use crate::server::connection_limits::ConnectionTimeouts;
use crate::server::rig::{NOW, Rig, TestResponse, TestServer, draft};
use crate::settings;

/// An admin server with default settings, in the rig's folder.
fn admin_server(rig: &Rig, shutdown: watch::Receiver<bool>) -> AdminServer {
    let folder = rig.folder.path();
    let config = folder.join("config.toml");
    std::fs::write(&config, "").unwrap();
    let environment = [
        ("DROPREEL_DATA_DIR", folder.to_owned()),
        ("DROPREEL_LIBRARY__DIR", folder.join("videos")),
        ("DROPREEL_INBOX__DIR", "/srv/inbox".into()),
    ];
    let environment = environment.into_iter().collect();
    let settings = settings::load(Some(&config), &environment, settings::Purpose::Offline).unwrap();
    let library =
        Library::open(&settings.library.dir, settings.library.mode, folder, &Rng::seeded(1)).unwrap();
    AdminServer {
        store: rig.store.clone(),
        clock: Clock::machine(),
        settings: Arc::new(settings),
        file_limits: jobfile::JobFileLimits { max_bytes: 2048, max_stream_bytes: 8192, ..Default::default() },
        rng: Rng::seeded(1),
        adopt: Arc::new(|_, _| Box::pin(async { Ok((Vec::new(), Vec::new())) })),
        catalogue: SharedCatalogue::new(Clock::machine()),
        wanted_quotes: None,
        library,
        heartbeats: Heartbeats::new(Clock::machine()),
        callback_secrets: Arc::new(RwLock::new(CallbackSecrets::new(Secret::new("first"), Vec::new()))),
        shutdown,
    }
}

struct TestAdmin {
    rig: Rig,
    server: TestServer,
    shutdown: watch::Sender<bool>,
}

impl TestAdmin {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut AdminServer)) -> Self {
        let rig = Rig::new();
        let (shutdown, stopped) = watch::channel(false);
        let mut admin = admin_server(&rig, stopped);
        change(&mut admin);
        let server = TestServer::start(|listener| serve(listener, admin).unwrap());
        Self { rig, server, shutdown }
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.server.send(&format!("GET {path}"), "").await
    }

    async fn post(&self, path: &str, body: &str) -> TestResponse {
        self.server.send(&format!("POST {path}\nContent-Type: application/json"), body).await
    }

    async fn post_lines(&self, path: &str, body: &str) -> TestResponse {
        self.server.send(&format!("POST {path}\nContent-Type: application/x-ndjson"), body).await
    }

    async fn add_jobs(&self, names: &[&str]) -> Vec<JobId> {
        self.rig.add_jobs(names.iter().map(|name| draft(name)).collect()).await
    }

    async fn act(&self, job: JobId, action: OperatorAction) {
        self.rig.store.apply(job, Event::Operator(action), NOW).await.unwrap();
    }
}

/// Asserts that the answer is a problem (RFC 9457) with this status and text.
#[track_caller]
fn assert_problem(answer: &TestResponse, status: u16, detail: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    problem
}

fn names(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn posted_job_file_becomes_jobs_at_once() {
    let admin = TestAdmin::start();
    let object = r#"{"model":"some-model","prompt":"p","seed":1.10,"dropreel":{"labels":{"a":"b"}}}"#;
    let answer = admin.post("/api/v1/jobs?name=%E6%98%A5.json", object).await;
    assert_eq!((answer.status, answer.json()["count"].as_u64()), (201, Some(1)), "{answer:?}");
    let job = &answer.json()["jobs"][0];
    assert_eq!(
        (&job["name"], &job["state"], &job["labels"]["a"]),
        (&json!("春"), &json!("pending"), &json!("b"))
    );
    let full = admin.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    assert!(full.body.contains(r#""request":{"model":"some-model","prompt":"p","seed":1.10}}"#), "{full:?}");
    assert_eq!(full.json()["history"][0]["event"], "accepted");

    let nameless = admin.post("/api/v1/jobs", &format!("[{object},{object}]")).await;
    assert_eq!(names(&nameless.json()), ["job", "job-2"]);
    let lines =
        admin.post_lines("/api/v1/jobs?name=many.jsonl", &format!("{object}\n{object}\n\n{object}")).await;
    assert_eq!(names(&lines.json()), ["many", "many-2", "many-3"], "{lines:?}");
}

#[tokio::test]
async fn long_line_file_is_accepted_and_its_first_jobs_returned() {
    let admin = TestAdmin::start();
    let answer = admin.post_lines("/api/v1/jobs", &"{\"model\":\"m\"}\n".repeat(520)).await;
    let created = answer.json();
    assert_eq!((names(&created).len(), created["count"].as_u64()), (500, Some(520)));
    assert!(answer.body.starts_with(r#"{"jobs":[{"id":"#), "{}", &answer.body[..100]);
}

#[tokio::test]
async fn invalid_job_file_is_rejected_with_all_its_problems() {
    let admin = TestAdmin::start();
    let bad = admin.post("/api/v1/jobs?name=a.json", "[{\"model\":\"\"},\n {\"model\":1}]").await;
    let problem = assert_problem(&bad, 422, "and 1 more");
    assert_eq!(problem["errors"][0]["pointer"], "/0/model", "{problem}");
    let second = &problem["errors"][1];
    assert_eq!(
        (&second["pointer"], &second["line"], &second["column"]),
        (&json!("/1/model"), &json!(2), &json!(11))
    );
    let lines = admin.post_lines("/api/v1/jobs", "{\"model\":\"m\"}\n{\"model\":\"m\"").await;
    assert_eq!(assert_problem(&lines, 422, "line 2")["errors"][0]["line"], 2);

    assert_problem(&admin.post("/api/v1/jobs", "").await, 422, "empty");
    let conflict = "/api/v1/jobs?name=a.sync-conflict-20260404-064600-ABCDEFG.json";
    assert_problem(&admin.post(conflict, "{\"model\":\"m\"}").await, 422, "sync tool");
    assert_problem(&admin.post("/api/v1/jobs?name=../a.json", "{}").await, 400, "without its folder");
    let long = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(2048));
    assert_problem(&admin.post("/api/v1/jobs", &long).await, 413, "2048 bytes");
    assert_problem(&admin.post_lines("/api/v1/jobs", &long).await, 422, "2048 bytes");
    assert_problem(&admin.post_lines("/api/v1/jobs", &"\n".repeat(8193)).await, 413, "8192 bytes");
    assert_eq!(admin.get("/api/v1/jobs").await.json(), json!({"jobs": [], "next_cursor": null}));
}

#[tokio::test]
async fn duplicate_is_rejected_and_names_the_first_job() {
    let admin = TestAdmin::start();
    let first =
        admin.post("/api/v1/jobs?name=a.json", "{\"model\":\"m\"}").await.json()["jobs"][0]["id"].clone();
    let repeated = admin.post("/api/v1/jobs?name=a.json", "{\"model\":\"m\"}").await;
    assert_eq!(assert_problem(&repeated, 409, "again")["first_job"], first);
    assert_eq!(admin.post("/api/v1/jobs?name=b.json", "{\"model\":\"m\"}").await.status, 201);

    let keyed = |seed: u8| format!(r#"{{"model":"m","seed":{seed},"dropreel":{{"key":"order-1"}}}}"#);
    let first = admin.post("/api/v1/jobs", &keyed(1)).await.json()["jobs"][0]["id"].clone();
    assert_eq!(
        assert_problem(&admin.post("/api/v1/jobs", &keyed(2)).await, 409, "order-1")["first_job"],
        first
    );
}

#[tokio::test]
async fn job_list_is_newest_first_filtered_and_paged() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["a", "b", "c", "d"]).await;
    let labels = [("project".to_owned(), "summer".to_owned()), ("k=".to_owned(), "=v".to_owned())].into();
    admin.rig.add_jobs(vec![Draft { labels, prompt: Some("ein Baum".into()), ..draft("e") }]).await;
    admin.act(jobs[1], OperatorAction::Cancel).await;

    let cases = [
        ("", "e d c b a"),
        ("state=cancelled", "b"),
        ("state=pending&label=project%3Dspring", "d c a"),
        ("label=project=summer", "e"),
        ("label=project=summer&label=project=spring", ""),
        ("q=BAUM", "e"),
        ("q=%E6%A8%B1%E8%8A%B1&limit=2", "d c"),
        ("limit=100000", "e d c b a"),
        ("q=", "e d c b a"),
    ];
    for (query, expected) in cases {
        let listed = admin.get(&format!("/api/v1/jobs?{query}")).await.json();
        assert_eq!(names(&listed).join(" "), expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/jobs?limit=2{cursor}")).await.json();
        seen.extend(names(&page).iter().map(|name| (*name).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.join(" "), "e d c b a");
}

#[tokio::test]
async fn batch_lists_the_states_of_the_jobs_of_one_call() {
    let admin = TestAdmin::start();
    let object = r#"{"model":"m","dropreel":{"repeat":3}}"#;
    let created = admin.post("/api/v1/jobs?name=many.json", object).await.json();
    admin.post("/api/v1/jobs", r#"{"model":"m"}"#).await;
    let jobs = created["jobs"].as_array().unwrap();
    let listed = admin.get("/api/v1/batches?limit=1").await.json();
    assert_eq!((&listed["batches"][0]["file"], &listed["batches"][0]["jobs"]), (&Value::Null, &1.into()));
    let cursor = listed["next_cursor"].as_str().unwrap();
    let listed = admin.get(&format!("/api/v1/batches?cursor={cursor}")).await.json();
    assert_eq!(listed["next_cursor"], Value::Null);
    let batch = &listed["batches"][0];
    assert_eq!((&batch["file"], &batch["states"]), (&"many.json".into(), &json!({"pending": 3})));
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job["batch"] == batch["id"]), "{created} {listed}");
    for query in ["limit=0", "cursor=x", "state=held"] {
        assert_problem(&admin.get(&format!("/api/v1/batches?{query}")).await, 400, "");
    }
}

#[tokio::test]
async fn wrong_query_is_rejected_with_the_valid_parameters() {
    let admin = TestAdmin::start();
    let cases = [
        ("state=runing", "pending, submitting, queued"),
        ("state=", "pending, submitting, queued"),
        ("label=", "KEY=VALUE"),
        ("stat=failed", "state, label, q, limit, cursor"),
        ("label=project", "KEY=VALUE"),
        ("limit=0", "1 or more"),
        ("limit=-1", "whole number"),
        ("limit=many", "whole number"),
        ("cursor=x", "whole number"),
        ("state=failed&state=held", "only once"),
    ];
    for (query, detail) in cases {
        assert_problem(&admin.get(&format!("/api/v1/jobs?{query}")).await, 400, detail);
    }
    assert_problem(&admin.get("/api/v1/events?job=sakura").await, 400, "full job id");
}

#[tokio::test]
async fn job_is_found_by_id_id_prefix_and_name() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["春 a/b%2F?", "twin", "twin"]).await;
    let id = jobs[0].to_string();
    for reference in [&id, &id[..30], &id.to_uppercase(), "%E6%98%A5%20a%2Fb%252F%3F"] {
        let answer = admin.get(&format!("/api/v1/jobs/{reference}")).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{reference}: {answer:?}");
    }
    for reference in ["nobody", "0", &id[..5], "ffffffff", "a%2Fb"] {
        assert_problem(
            &admin.get(&format!("/api/v1/jobs/{reference}")).await,
            404,
            "no job has the id or name",
        );
    }
    for reference in ["twin", &id[..8]] {
        let problem =
            assert_problem(&admin.get(&format!("/api/v1/jobs/{reference}")).await, 409, "several jobs");
        let twin = json!({"id": jobs[2], "name": "twin", "state": "pending"});
        assert_eq!(problem["candidates"][0], twin, "{reference}");
    }
}

#[tokio::test]
async fn action_is_applied_or_rejected_with_the_reason() {
    let admin = TestAdmin::start();
    let job = admin.add_jobs(&["sakura"]).await[0];
    assert_problem(&admin.post("/api/v1/jobs/sakura/release", "").await, 409, "not held: it is pending");
    let cancelled = admin.post("/api/v1/jobs/sakura/cancel", "").await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_eq!(cancelled.json()["job"]["state"], "cancelled");
    assert_eq!(cancelled.json()["message"], "cancelled before it was submitted");
    assert_problem(
        &admin.post(&format!("/api/v1/jobs/{job}/cancel"), "{}").await,
        409,
        "too late: it was cancelled",
    );
    let retried = admin.post(&format!("/api/v1/jobs/{job}/retry"), "").await.json();
    assert_eq!(retried["job"]["state"], "pending");
    assert_problem(&admin.post("/api/v1/jobs/nobody/retry", "").await, 404, "no job has the id or name");
    assert_problem(&admin.post("/api/v1/jobs/sakura/buy", "").await, 404, "no such address");
}

#[tokio::test]
async fn budgets_are_in_status_metrics_and_page() {
    let admin = TestAdmin::start();
    let label = "project=<b>spring".parse().unwrap();
    admin.rig.store.set_budgets(Budgets {
        per_day: Some(Quota::new(10_000_000)),
        per_label: [(label, Quota::new(500_000))].into(),
        ..Budgets::default()
    });
    let status = admin.get("/api/v1/status").await.json();
    assert_eq!(status["budgets"][0]["budget"], "day");
    assert_eq!(status["budgets"][0]["limit_usd"], 20.0);
    assert!(status["budgets"][0]["renewed_at"].is_string() && status["budgets"][1]["renewed_at"].is_null());
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.contains("dropreel_budget_limit_usd{budget=\"day\"} 20.0\n"), "{metrics}");
    let page = admin.get("/").await.body;
    assert!(page.contains("Today: $0.00 spent and $0.00 reserved of $20.00"), "{page}");
    assert!(!page.contains("<b>spring"), "a label is text");
}

#[tokio::test]
async fn resume_ends_pauses_but_not_provider_suspensions() {
    let admin = TestAdmin::start();
    admin.add_jobs(&["a", "b"]).await;
    let calm = admin.get("/api/v1/status").await;
    let counts = r#""counts":{"pending":2,"submitting":0,"queued":0,"processing":0,"downloading":0,"succeeded":0,"failed":0,"cancelled":0,"expired":0,"held":0}"#;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        calm.body,
        format!(r#"{{"version":"{version}",{counts},"suspensions":[],"message":null,"budgets":[]}}"#)
    );

    let refused = Suspension {
        cause: SuspensionCause::KeyRefused,
        until: Some(NOW),
        message: "no key".into(),
        since: NOW,
    };
    admin.rig.store.suspend(refused).await.unwrap();
    let causes = |status: Value| {
        let stops = status["suspensions"].as_array().unwrap().clone();
        let mut causes: Vec<_> =
            stops.iter().map(|stop| stop["cause"].as_str().unwrap().to_owned()).collect();
        causes.sort();
        causes.join(" ")
    };
    let cases = [
        ("pause", r#"{"what":"downloads"}"#, "key_refused paused_downloads"),
        ("resume", r#"{"what":"submits"}"#, "key_refused paused_downloads"),
        ("pause", "", "key_refused paused_downloads paused_submits"),
        ("resume", r#"{"what":"downloads"}"#, "key_refused paused_submits"),
        ("pause", "{}", "key_refused paused_downloads paused_submits"),
        ("resume", "{}", "key_refused"),
    ];
    for (action, body, expected) in cases {
        let answer = admin.post(&format!("/api/v1/{action}"), body).await;
        assert_eq!((answer.status, causes(answer.json())), (200, expected.to_owned()), "{action} {body}");
    }
    for body in ["[null]", "null", r#"{"what":"all"}"#, r#"{"waht":"submits"}"#, "[]", "{", "\u{0}"] {
        assert_problem(&admin.post("/api/v1/pause", body).await, 400, "downloads");
    }
    assert_problem(&admin.post("/api/v1/pause", &" ".repeat(20_000)).await, 413, "16384");
    let status = admin.get("/api/v1/status").await.json();
    assert_eq!(status["message"], "submitting is suspended: no key");
    assert_eq!(status["suspensions"][0]["until"], "2026-04-04T06:46:00.000Z");
}

#[tokio::test]
async fn every_error_is_a_problem_and_no_answer_is_cached() {
    let admin = TestAdmin::start();
    assert_problem(&admin.get("/api/v2").await, 404, "no such address");
    assert_problem(&admin.get("/elsewhere").await, 404, "no such address");
    let wrong_method = admin.server.send("DELETE /api/v1/jobs", "").await;
    assert_problem(&wrong_method, 405, "GET, POST");
    assert_eq!(wrong_method.header("allow"), Some("GET, POST"));
    assert_problem(&admin.get("/api/v1/pause").await, 405, "POST");
    assert_problem(
        &admin.server.send("POST /api/v1/pause\nContent-Type: text/plain", "{}").await,
        415,
        "json",
    );
    assert_problem(&admin.server.send("POST /api/v1/pause", "{}").await, 415, "json");
    assert_problem(&admin.server.send("GET /api/v1/jobs\nHost: evil.example", "").await, 421, "127.0.0.1");
    let foreign = admin.server.send("POST /api/v1/pause\nOrigin: http://evil.example", "").await;
    assert_problem(&foreign, 403, "other web pages");
    assert!(admin.rig.store.suspensions().await.unwrap().is_empty());
    let fine = admin.get("/api/v1/jobs").await;
    for answer in [&wrong_method, &foreign, &fine] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{answer:?}");
    }
    assert_eq!(admin.server.send("HEAD /api/v1/jobs", "").await.status, 200);
}

#[tokio::test]
async fn configured_token_is_required() {
    let admin = TestAdmin::start_with(|admin| {
        Arc::make_mut(&mut admin.settings).admin.token = Some(Secret::new("t0ken-canary"));
    });
    for path in ["/api/v1/jobs", "/%61pi/v1/jobs", "/api/v1/events", "/metrics", "/"] {
        let answer = admin.get(path).await;
        assert_problem(&answer, 401, "admin.token_file");
        assert!(answer.header("www-authenticate").unwrap().contains("Bearer"), "{answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    let admitted = admin.server.send("GET /api/v1/jobs\nAuthorization: Bearer t0ken-canary", "").await;
    assert_eq!(admitted.status, 200);
    assert_eq!(admin.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn readiness_lists_the_reasons() {
    let ready = TestAdmin::start().get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true}"#));
    let unready = TestAdmin::start_with(|admin| {
        let clock = Clock::paused(NOW);
        admin.heartbeats = Heartbeats::new(clock.clone());
        admin.heartbeats.record("poll");
        clock.advance(STALLED_AFTER + Duration::from_millis(1));
        std::fs::remove_dir_all(admin.library.root()).unwrap();
    });
    let problem = assert_problem(&unready.get("/readyz").await, 503, "stalled; the library");
    let library = format!("the library at {}/videos is missing", unready.rig.folder.path().display());
    assert_eq!(problem["reasons"], json!(["the poll stage is stalled", library]));
}

#[tokio::test]
async fn stalled_upload_is_cut_off() {
    let rig = Rig::new();
    let (_shutdown, stopped) = watch::channel(false);
    let admin = admin_server(&rig, stopped);
    let linger = Duration::from_millis(600);
    let timeouts = ConnectionTimeouts { linger, ..AdminLimits::default().timeouts };
    let document_timeout = Duration::from_millis(200);
    let limits = AdminLimits { timeouts, document_timeout, ..AdminLimits::default() };
    let server = TestServer::start(|listener| serve_with_limits(limits, listener, admin).unwrap());
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n",
        server.address
    );
    for length in ["Content-Length: 99\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        assert_problem(&server.send_raw(format!("{head}{length}")).await, 408, "0.2 seconds");
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let admin = TestAdmin::start();
    for path in ["/healthz", "/api/v1/jobs", "/api/v1/jobs/nobody", "/nowhere", "/api/v1/events"] {
        let answer = match path {
            "/api/v1/events" => admin.server.send("POST /api/v1/events", "").await,
            path => admin.get(path).await,
        };
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{answer:?}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(!answer.head.to_lowercase().contains("access-control-"), "{answer:?}");
    }
}

#[tokio::test]
async fn rotated_secret_is_used_at_once() {
    let mut secrets = None;
    let admin = TestAdmin::start_with(|admin| {
        settings::load_callback_secrets(&admin.settings).unwrap();
        secrets = Some(admin.callback_secrets.clone());
    });
    let rotated = admin.post("/api/v1/callback-secret/rotate", "{}").await;
    assert_eq!((rotated.status, rotated.body.as_str()), (200, r#"{"rotated":true}"#));
    let in_file = std::fs::read_to_string(admin.rig.folder.path().join("callback.secret")).unwrap();
    let newest = CallbackSecrets::new(Secret::new(in_file.lines().next().unwrap()), Vec::new());
    assert_eq!(secrets.unwrap().read().token("job").expose(), newest.token("job").expose());
}

#[tokio::test]
async fn failed_secret_rotation_is_answered_with_the_reason() {
    let admin = TestAdmin::start_with(|admin| {
        Arc::make_mut(&mut admin.settings).callbacks.secret_file = "/srv/callback.secret".into();
    });
    let refused = admin.post("/api/v1/callback-secret/rotate", "{}").await;
    assert_problem(&refused, 409, "/srv/callback.secret is set by `callbacks.secret_file`");
}

#[tokio::test]
async fn repeated_request_with_its_key_gets_the_same_jobs() {
    let admin = TestAdmin::start();
    let post = async |path: &str, key: &str, body: &str| {
        let head = format!("POST {path}\nContent-Type: application/json\nIdempotency-Key: {key}");
        admin.server.send(&head, body).await
    };
    let body = r#"[{"model":"m","prompt":"a"},{"model":"m","prompt":"b"}]"#;
    let path = "/api/v1/jobs?name=a.json";
    let first = post(path, "once", body).await;
    assert_eq!((first.status, first.json()["count"].as_u64()), (201, Some(2)), "{first:?}");
    for key in ["once", "\"once\""] {
        let again = post(path, key, body).await;
        assert_eq!((again.status, again.body.as_str()), (201, first.body.as_str()), "{key}");
    }
    let other_requests =
        [(path, r#"{"model":"m","prompt":"c"}"#), ("/api/v1/jobs?name=b.json", body), ("/api/v1/jobs", body)];
    for (path, body) in other_requests {
        let problem = assert_problem(&post(path, "once", body).await, 422, "used for another request");
        assert_eq!(problem["type"], "urn:dropreel:problem:idempotency-key-reused");
    }
    // A rejected request has not used its key.
    assert_eq!(post("/api/v1/jobs", "twice", "{}").await.status, 422);
    assert_eq!(post("/api/v1/jobs", "twice", body).await.status, 201);
    assert_problem(&post(path, &"k".repeat(256), body).await, 400, "`Idempotency-Key`");
    assert_problem(&post(path, "\"\"", body).await, 400, "`Idempotency-Key`");
    assert_eq!(admin.get("/api/v1/jobs").await.json()["jobs"].as_array().unwrap().len(), 4);
}
