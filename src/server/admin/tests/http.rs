//! What holds for every request and answer.

use super::*;

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

#[actix_web::test]
async fn rejected_downloads_are_attachments_whatever_they_are() {
    let admin = TestAdmin::start();
    let job = admin.add_jobs(&["sakura"]).await[0];
    let folder = admin.rig.folder.path().join("quarantine");
    std::fs::create_dir_all(&folder).unwrap();
    let contents = [
        ("sakura-video-0.html", "text/html", "<!doctype html><script>alert(1)</script>"),
        (
            "sakura-video-0.svg",
            "image/svg+xml",
            "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        ),
        ("sakura-video-0.xhtml", "application/xhtml+xml", "<html xmlns='http://www.w3.org/1999/xhtml'/>"),
        ("sakura-video-0.js", "text/javascript", "alert(1)"),
        ("sakura-video-0.mp4", "video/mp4", "<html>"),
        ("sakura-video-0.bin", "", "<html>"),
        ("sakura-video-0", "", "<html>"),
    ];
    for (name, media_type, content) in contents {
        let evidence = json!({
            "job": job, "output": "video-0", "at": NOW, "why": "no video", "url_host": "cdn.example",
            "headers": [["content-type", media_type]], "bytes": content.len(), "sha256": "00",
        });
        std::fs::write(folder.join(name), content).unwrap();
        std::fs::write(folder.join(format!("{name}.evidence.json")), evidence.to_string()).unwrap();
        let answer = admin.get(&format!("/quarantine/{job}/{name}")).await;
        let headers = ["content-type", "x-content-type-options", "content-security-policy", "cache-control"]
            .map(|header| answer.header(header).unwrap_or_default());
        let expected = ["application/octet-stream", "nosniff", "default-src 'none'; sandbox", "no-store"];
        assert_eq!((answer.status, &*answer.body, headers), (200, content, expected), "{name}");
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(disposition.starts_with("attachment; filename="), "{name}: {disposition}");
    }
}
