//! Hooks: programs and addresses are notified of what happens to jobs, at least once; a failing hook changes nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Rig, quick};

const SECRET: &str = "whsec_Y2FuYXJ5LW9mLXRoZS1ob29r";

/// A program that writes each notification to a file of its own and then runs the shell command `then`.
pub fn program(rig: &Rig, then: &str) -> (PathBuf, PathBuf) {
    let (program, notifications) = (rig.beside("after-video"), rig.beside("reported"));
    std::fs::create_dir_all(&notifications).unwrap();
    let text = format!(
        "#!/bin/sh\nfile=$(mktemp -p {0} .new-XXXXXX)\nprintf '%s %s ' \"$DROPREEL_EVENT\" \"$DROPREEL_JOB_ID\" > $file\n\
         cat >> $file\nenv > {0}/.environment\nmv $file {0}/$(date +%s%N)\n{then}\n",
        notifications.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (program, notifications)
}

/// The notifications that the program received: event and job, in order.
fn notifications(folder: &Path) -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let (event, rest) = text.split_once(' ').unwrap();
        let (_, json) = rest.split_once(' ').unwrap();
        (event.to_owned(), serde_json::from_str(json).unwrap())
    };
    files.iter().map(read).collect()
}

pub async fn until_notified(folder: &Path, count: usize) -> Vec<(String, Value)> {
    for _ in 0..1_200 {
        let notifications = notifications(folder);
        if notifications.len() >= count {
            return notifications;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("received only {:?}", notifications(folder));
}

pub async fn with_hooks(hooks: &str) -> Rig {
    let mut rig = Rig::set_up("").await;
    let hooks = hooks.replace("BESIDE", &rig.beside("").display().to_string());
    rig.set("HOOKS", hooks.trim());
    rig
}

#[tokio::test]
async fn program_receives_the_job_and_no_secret() {
    let mut rig = with_hooks(r#"[{ on = ["succeeded", "failed"], run = ["BESIDEafter-video"] }]"#).await;
    let (_, folder) = program(&rig, "exit 0");
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    rig.until("good", &["succeeded"]).await;
    rig.drop("bad.json", quick("bad", "end=task_failed"));
    rig.until("bad", &["failed"]).await;
    let received = until_notified(&folder, 2).await;
    let good = received.iter().find(|(event, _)| event == "succeeded").unwrap();
    assert_eq!((good.1["name"].as_str(), good.1["state"].as_str()), (Some("good"), Some("succeeded")));
    assert!(Path::new(good.1["files"][0]["path"].as_str().unwrap()).is_file());
    let bad = received.iter().find(|(event, _)| event == "failed").unwrap();
    assert_eq!(bad.1["error"]["code"], "task_failed");
    let environment = std::fs::read_to_string(folder.join(".environment")).unwrap();
    assert!(environment.contains("PATH=/usr/bin:/bin"), "{environment}");
    assert!(!environment.contains("API_KEY") && !environment.contains("PROVIDER"), "{environment}");
    rig.finish().await;
}

#[tokio::test]
async fn failed_hook_is_retried_and_changes_no_job() {
    let mut rig = with_hooks(r#"[{ on = ["succeeded"], run = ["BESIDEafter-video"] }]"#).await;
    let (_, folder) = program(
        &rig,
        "test $(ls BESIDE | wc -l) -ge 2 || { echo no room >&2; exit 3; }"
            .replace("BESIDE", &rig.beside("reported").display().to_string())
            .as_str(),
    );
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    let job = rig.until("good", &["succeeded"]).await;
    rig.until_output("failed; it is tried again: exit status: 3: no room").await;
    assert_eq!(until_notified(&folder, 2).await.len(), 2, "the second call succeeds, ten seconds later");
    rig.until_output("delivered to hook").await;
    let after = rig.job("good").await;
    assert_eq!((&after["state"], &after["history"]), (&job["state"], &rig.job("good").await["history"]));
    rig.finish().await;
}

#[tokio::test]
async fn hook_is_notified_after_a_kill_and_restart() {
    let mut rig =
        with_hooks(r#"[{ on = ["succeeded"], run = ["BESIDEafter-video"], timeout = "1h" }]"#).await;
    // The first call hangs, and is killed with the daemon.
    let (_, folder) = program(
        &rig,
        "test $(ls BESIDE | wc -l) -ge 2 || exec sleep 600"
            .replace("BESIDE", &rig.beside("reported").display().to_string())
            .as_str(),
    );
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    rig.until("good", &["succeeded"]).await;
    until_notified(&folder, 1).await;
    rig.kill();
    rig.start_daemon().await;
    let received = until_notified(&folder, 2).await;
    assert_eq!(received[0].1["id"], received[1].1["id"]);
    rig.until_output("delivered to hook").await;
    rig.finish().await;
}

#[tokio::test]
async fn background_process_of_a_hook_is_not_awaited() {
    let mut rig = with_hooks(r#"[{ on = ["succeeded"], run = ["BESIDEafter-video"] }]"#).await;
    let (_, folder) = program(&rig, "sleep 20 &");
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    rig.until("good", &["succeeded"]).await;
    rig.until_output("delivered to hook").await;
    assert_eq!(notifications(&folder).len(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn hook_over_its_timeout_is_killed_with_its_children() {
    let mut rig =
        with_hooks(r#"[{ on = ["cancelled"], run = ["BESIDEafter-video"], timeout = "3s" }]"#).await;
    let (_, folder) = program(&rig, "sleep 4242 & sleep 4243");
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("slow.json", quick("slow", "queue=60s"));
    rig.until("slow", &["queued"]).await;
    rig.post("/api/v1/jobs/slow/cancel", serde_json::json!({})).await;
    rig.until("slow", &["cancelled"]).await;
    until_notified(&folder, 1).await;
    rig.until_output("ran longer than 3 s and was killed").await;
    let running = std::process::Command::new("pgrep").args(["-f", "sleep 424[23]"]).output().unwrap();
    assert!(running.stdout.is_empty(), "{}", String::from_utf8_lossy(&running.stdout));
    rig.finish().await;
}

/// A server that gives these answers in turn and keeps the requests.
async fn listener(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let answer =
        move |_: &str, place: usize| (answers[place.min(answers.len() - 1)].to_owned(), String::new());
    let (address, requests) = receiver(answer).await;
    (format!("{address}/hook/sk-hook-canary"), requests)
}

/// A server that answers a request, the first one with number 0, with a status and a body, and keeps the requests.
pub async fn receiver(
    answer: impl Fn(&str, usize) -> (String, String) + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", socket.local_addr().unwrap());
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let kept = requests.clone();
    tokio::spawn(async move {
        for place in 0.. {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut request = Vec::new();
            loop {
                stream.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                    break;
                }
            }
            let request = String::from_utf8(request).unwrap();
            let (status, body) = answer(&request, place);
            kept.lock().unwrap().push(request);
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    (address, requests)
}

#[tokio::test]
async fn url_hook_is_signed_and_retried_with_the_same_id() {
    let (address, requests) = listener(&["500 No", "204 Thanks"]).await;
    let mut rig = Rig::set_up("").await;
    let file = rig.write_private("hook.secret", SECRET);
    let file = file.display();
    rig.set("HOOKS", &format!(r#"[{{ on = ["succeeded"], url = "{address}", secret_file = "{file}" }}]"#));
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    rig.until("good", &["succeeded"]).await;
    rig.until_output("delivered to hook 127.0.0.1").await;
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    let mut ids = Vec::new();
    for request in &requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
            line.unwrap().split_once(": ").unwrap().1.to_owned()
        };
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        let key = BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{time}.{body}").as_bytes());
        assert_eq!(
            header("webhook-signature"),
            format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
        );
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (body["type"].as_str(), body["data"]["name"].as_str()),
            (Some("job.succeeded"), Some("good"))
        );
        ids.push(id);
    }
    assert_eq!(ids[0], ids[1], "a receiver must be able to recognise the repetition");
    assert!(!rig.output().contains("canary"), "{}", rig.output());
    let mut page = String::new();
    // The log line comes before the commit of the outcome.
    for _ in 0..200 {
        page = reqwest::get(format!("{}/jobs/good", rig.admin())).await.unwrap().text().await.unwrap();
        if page.contains("delivered") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(page.contains("Hooks") && page.contains("delivered") && !page.contains("canary"), "{page}");
    rig.finish().await;
}

#[tokio::test]
async fn missing_callbacks_notify_hooks() {
    let (address, requests) = listener(&["410 Gone"]).await;
    let mut rig = Rig::set_up("callback=lost").await;
    rig.set("POLLING__CALLBACK_GRACE", "100ms");
    rig.set("HOOKS", &format!(r#"[{{ on = ["callbacks_missing"], url = "{address}" }}]"#));
    rig.start_daemon().await;
    for name in ["a", "b", "c", "d", "e"] {
        rig.drop(&format!("{name}.json"), quick(name, ""));
        rig.until(name, &["succeeded"]).await;
    }
    rig.until_output("hook 127.0.0.1 declines `callbacks_missing`").await;
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 1, "410 asks for no further requests");
    assert!(requests[0].contains(r#""type":"dropreel.callbacks_missing""#), "{}", requests[0]);
    assert!(!requests[0].contains("webhook-signature"), "a hook without a secret must not be signed");
    rig.finish().await;
}
