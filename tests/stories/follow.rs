//! Following jobs: `wait` and `watch` end when their jobs have ended, whatever the event stream does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::support::{Rig, quick};

/// No command in these tests takes longer.
const TIMEOUT: Duration = Duration::from_secs(90);
const ID: &str = "01a2069b-5192-7000-8002-4ba8a661699c";

const STATUS: &str = r#"{"version": "0.1.0", "counts": {}, "suspensions": [], "message": null}"#;

fn job(state: &str) -> String {
    json!({
        "id": ID, "name": "scene", "state": state, "reason": null, "task_id": null, "model": "wan2.5-t2v",
        "prompt": null, "progress": 10, "priority": 0, "labels": {}, "cost_quota": null, "cost_usd": null,
        "created_at": "2026-04-04T06:46:00.000Z", "submitted_at": null, "completed_at": null,
        "finished_at": null, "expires_at": null, "files": [], "error": null,
    })
    .to_string()
}

/// A scripted daemon: `answer` writes the response for a path. For sequences that a real daemon produces once in a
/// thousand runs. Returns its address, and the paths that were requested.
fn scripted_daemon(
    answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requested: Arc<Mutex<Vec<String>>> = Arc::default();
    let (answer, paths) = (Arc::new(answer), requested.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, paths) = (answer.clone(), paths.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                paths.lock().unwrap().push(path.clone());
                let mut stream = stream;
                answer(&path, &mut stream);
            });
        }
    });
    (address, requested)
}

fn respond(to: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let _ = write!(to, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
}

fn begin_stream(to: &mut TcpStream) {
    let _ =
        write!(to, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n");
}

/// Kills a command that takes too long, so that its test fails instead of hanging.
fn with_timeout(command: Child) -> Arc<Mutex<Child>> {
    let command = Arc::new(Mutex::new(command));
    let watched = Arc::downgrade(&command);
    std::thread::spawn(move || {
        std::thread::sleep(TIMEOUT);
        if let Some(command) = watched.upgrade() {
            let _ = command.lock().unwrap().kill();
        }
    });
    command
}

/// Runs `wait` against a daemon and returns its exit code and standard output.
async fn wait_at(address: &str) -> (Option<i32>, String) {
    let mut rig = Rig::set_up("").await;
    rig.set("ADMIN__LISTEN", address);
    let mut waiting = rig.command(&["wait", "scene"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = waiting.stdout.take().unwrap();
    let waiting = with_timeout(waiting);
    let mut output = String::new();
    stdout.read_to_string(&mut output).unwrap();
    (waiting.lock().unwrap().wait().unwrap().code(), output)
}

#[tokio::test]
async fn change_before_the_stream_begins_is_not_missed() {
    let state = Mutex::new("processing");
    let (address, _) = scripted_daemon(move |path, stream| match path {
        "/api/v1/status" => respond(stream, "200 OK", STATUS),
        path if path.starts_with("/api/v1/events") => {
            begin_stream(stream);
            std::thread::sleep(Duration::from_millis(300));
            *state.lock().unwrap() = "succeeded";
            let _ = write!(stream, "event: hello\ndata: {{\"change\":7}}\n\n");
            // The stream stays open and silent: the change came before it began.
            let _ = stream.read(&mut [0; 1]);
        }
        _ => respond(stream, "200 OK", &job(*state.lock().unwrap())),
    });
    assert_eq!(wait_at(&address).await, (Some(0), "scene  succeeded\n".to_owned()));
}

#[tokio::test]
async fn broken_stream_continues_after_the_last_change() {
    let streams = Mutex::new(0);
    let (address, requested) = scripted_daemon(move |path, stream| match path {
        "/api/v1/status" => respond(stream, "200 OK", STATUS),
        path if path.starts_with("/api/v1/events") => {
            let mut streams = streams.lock().unwrap();
            *streams += 1;
            begin_stream(stream);
            let state = if *streams == 1 { "processing" } else { "failed" };
            let _ = write!(
                stream,
                "event: hello\ndata: {{\"change\":5}}\n\nevent: job\nid: 6\ndata: {}\n\n",
                job(state)
            );
        }
        _ => respond(stream, "200 OK", &job("queued")),
    });
    assert_eq!(wait_at(&address).await, (Some(3), "scene  failed\n".to_owned()));
    let requested = requested.lock().unwrap();
    let events: Vec<_> = requested.iter().filter(|path| path.contains("events")).collect();
    assert_eq!(events, ["/api/v1/events", "/api/v1/events?after=6"]);
}

#[tokio::test]
async fn jobs_are_polled_where_there_are_no_event_streams() {
    let reads = Mutex::new(0);
    let (address, _) = scripted_daemon(move |path, stream| match path {
        "/api/v1/status" => respond(stream, "200 OK", STATUS),
        path if path.starts_with("/api/v1/events") => respond(stream, "404 Not Found", "{}"),
        _ => {
            let mut reads = reads.lock().unwrap();
            *reads += 1;
            respond(stream, "200 OK", &job(if *reads < 4 { "processing" } else { "succeeded" }));
        }
    });
    assert_eq!(wait_at(&address).await, (Some(0), "scene  succeeded\n".to_owned()));
}

#[tokio::test]
async fn watch_prints_a_line_per_change_until_the_pipe_closes() {
    let rig = Rig::start("").await;
    let mut watching = rig.command(&["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut hint = String::new();
    BufReader::new(watching.stderr.take().unwrap()).read_line(&mut hint).unwrap();
    assert!(hint.contains("ctrl-c"), "{hint}");
    rig.drop("one.json", quick("one", ""));
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let watching = with_timeout(watching);
    let last = lines.find(|line| line.contains(" one succeeded ")).unwrap();
    let time = last.split(' ').next().unwrap();
    assert!(dropreel::clock::Timestamp::parse_rfc3339(time).is_some(), "{last}");
    drop(lines);
    rig.drop("two.json", quick("two", ""));
    rig.until_settled(2).await;
    let ended = loop {
        if let Some(status) = watching.lock().unwrap().try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert_eq!(ended.code(), Some(0), "a closed pipe ends the command quietly");
    rig.finish().await;
}
