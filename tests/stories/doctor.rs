//! `doctor`: its findings and the fixes it suggests.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Rig, quick};

/// The findings, and the exit code.
async fn findings(rig: &Rig) -> (Vec<Value>, Option<i32>) {
    let output = rig.run(&["doctor", "--json"]).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (document["findings"].as_array().unwrap().clone(), output.status.code())
}

/// The worst finding about `what`.
fn about<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let rank = |one: &&Value| ["ok", "warning", "error"].iter().position(|level| one["level"] == *level);
    let found = findings.iter().filter(|one| one["about"] == what).max_by_key(rank);
    found.unwrap_or_else(|| panic!("no finding about {what}: {findings:#?}"))
}

/// A web server in front of the daemon that always gives this answer.
fn proxy(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn doctor_finds_nothing_in_a_healthy_installation() {
    let mut rig = Rig::start("").await;
    rig.drop("good.json", quick("good", ""));
    rig.until("good", &["succeeded"]).await;
    rig.set("CALLBACKS__PUBLIC_URL", &rig.public());
    let (found, code) = findings(&rig).await;
    // The disk is as slow as whatever else flushes to it meanwhile.
    let is_fine = |one: &Value| one["level"] == "ok" || one["what"] == "disk" && one["level"] == "warning";
    assert!(found.iter().all(is_fine), "{found:#?}");
    assert_eq!(code, Some(0));
    for what in [
        "configuration",
        "daemon",
        "data_dir",
        "inbox.dir",
        "library.dir",
        "disk",
        "database",
        "key",
        "catalogue",
        "clock",
        "callbacks",
    ] {
        about(&found, what);
    }
    assert!(about(&found, "callbacks")["what"].as_str().unwrap().contains("reaches this daemon"));
    assert!(about(&found, "database")["what"].as_str().unwrap().contains("intact"));
    rig.finish().await;
}

#[tokio::test]
async fn doctor_lists_what_lies_in_the_inbox_and_is_no_job_file() {
    let rig = Rig::start("").await;
    std::fs::write(rig.path("inbox/notes.txt"), "").unwrap();
    std::fs::create_dir(rig.path("inbox/later")).unwrap();
    std::fs::write(rig.path("inbox/later/photo.png"), "").unwrap();
    let (found, _) = findings(&rig).await;
    let what = about(&found, "inbox.dir")["what"].as_str().unwrap();
    assert!(
        what.ends_with("later/photo.png (not named as a job file), notes.txt (not named as a job file)"),
        "{what}"
    );
    rig.finish().await;
}

#[tokio::test]
async fn doctor_finds_a_proxy_that_breaks_callbacks() {
    let cases = [
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n",
            "redirects",
            "set callbacks.public_url",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "does not reach the daemon",
            "callbacks.listen",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "requires a login",
            "let POST /callbacks/ through",
        ),
        ("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n", "does not accept POST", "let POST"),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n<h1>404</h1>\n",
            "answered by another server",
            "point /callbacks/",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "answered by another server", "point /callbacks/"),
    ];
    let mut rig = Rig::set_up("").await;
    rig.start_daemon().await;
    for (answer, what, fix) in cases {
        rig.set("CALLBACKS__PUBLIC_URL", &proxy(answer));
        let (found, code) = findings(&rig).await;
        let finding = about(&found, "callbacks");
        assert_eq!((finding["level"].as_str(), code), (Some("error"), Some(1)), "{finding:#}");
        assert!(finding["what"].as_str().unwrap().contains(what), "{finding:#}");
        assert!(finding["fix"].as_str().unwrap().contains(fix), "{finding:#}");
    }
    rig.set("CALLBACKS__PUBLIC_URL", "http://127.0.0.1:9");
    let (found, _) = findings(&rig).await;
    assert!(about(&found, "callbacks")["what"].as_str().unwrap().contains("cannot reach"), "{found:#?}");
    rig.finish().await;
}

#[tokio::test]
async fn doctor_distinguishes_wrong_key_address_and_configuration() {
    let mut rig = Rig::set_up("").await;
    let (found, code) = findings(&rig).await;
    assert_eq!((about(&found, "daemon")["level"].as_str(), code), (Some("warning"), Some(0)), "{found:#?}");

    rig.set("PROVIDER__BASE_URL", &proxy("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"));
    let (found, code) = findings(&rig).await;
    assert_eq!((about(&found, "key")["level"].as_str(), code), (Some("error"), Some(1)), "{found:#?}");

    rig.set(
        "PROVIDER__BASE_URL",
        &proxy("HTTP/1.1 404 Not Found\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"),
    );
    let (found, _) = findings(&rig).await;
    assert!(about(&found, "provider")["fix"].as_str().unwrap().contains("provider.base_url"), "{found:#?}");
    assert_eq!(about(&found, "clock")["level"], "error", "{found:#?}");

    rig.set("PROVIDER__BASE_URL", "http://127.0.0.1:9");
    let (found, _) = findings(&rig).await;
    assert!(about(&found, "provider")["what"].as_str().unwrap().contains("cannot reach"), "{found:#?}");

    std::fs::create_dir_all(rig.path("")).unwrap();
    std::fs::write(rig.path("dropreel.db"), "no database").unwrap();
    let (found, _) = findings(&rig).await;
    assert_eq!(about(&found, "database")["level"], "error", "{found:#?}");

    rig.set("POLLING__INTERVAL", "often");
    let (found, code) = findings(&rig).await;
    assert_eq!(
        (about(&found, "configuration")["level"].as_str(), code),
        (Some("error"), Some(2)),
        "{found:#?}"
    );
    let text = rig.run(&["doctor"]).await;
    assert!(String::from_utf8_lossy(&text.stdout).contains("-> correct what is named"), "{text:?}");
}

#[tokio::test]
async fn doctor_finds_missing_key_layout_and_configuration_file() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__API_KEY", "");
    let (found, code) = findings(&rig).await;
    assert_eq!((about(&found, "key")["level"].as_str(), code), (Some("error"), Some(1)), "{found:#?}");

    let config = rig.beside("layout.toml");
    std::fs::write(&config, "[library]\nlayout = \"{nmae}.{ext}\"\n").unwrap();
    let missing = rig.beside("missing.toml");
    for (file, expected) in [(&config, "layout.toml: `library.layout`: `{nmae}`"), (&missing, "missing.toml")]
    {
        let file = file.to_str().unwrap();
        for command in ["doctor", "serve", "list"] {
            let output = rig.run(&["--config", file, command]).await;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(expected), "{command}: {text}");
            assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        }
    }
}

#[tokio::test]
async fn daemon_of_another_data_folder_carries_nothing_out() {
    let mut rig = Rig::start("").await;
    let own = rig.path("").display().to_string();
    let link = rig.beside("link");
    std::os::unix::fs::symlink(rig.path(""), &link).unwrap();
    let file = rig.beside("job.json");
    std::fs::write(&file, quick("job", "")).unwrap();
    rig.set("DATA_DIR", rig.beside("other").to_str().unwrap());
    for arguments in [&["submit", file.to_str().unwrap()][..], &["list"], &["pause"], &["watch"], &["report"]]
    {
        let output = rig.run(arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {text}");
        assert!(text.contains(own.trim_end_matches('/')) && text.contains("`data_dir`"), "{text}");
    }
    let (found, code) = findings(&rig).await;
    assert_eq!((about(&found, "daemon")["level"].as_str(), code), (Some("error"), Some(1)), "{found:#?}");
    assert_eq!(rig.get("/api/v1/jobs").await.1["jobs"], serde_json::json!([]));
    assert_eq!(rig.get("/api/v1/status").await.1["suspensions"], serde_json::json!([]));
    rig.set("DATA_DIR", link.to_str().unwrap());
    assert_eq!(rig.run(&["list"]).await.status.code(), Some(0), "the same folder through a link");
    rig.finish().await;
}
