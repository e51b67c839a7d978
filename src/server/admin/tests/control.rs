//! What concerns the whole daemon: pauses, budgets, readiness, the callback secret.

use super::*;

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
    let slots = r#""slots":{"running":0,"max":20,"waiting":2,"scheduled":0,"next_scheduled_at":null}"#;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        calm.body,
        format!(
            r#"{{"version":"{version}",{counts},{slots},"suspensions":[],"message":null,"budgets":[],"waiting_usd":1.8,"balance_usd":null}}"#
        )
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
