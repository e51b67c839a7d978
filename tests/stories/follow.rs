//! Following jobs: whatever the event stream does, a command that waits ends when its jobs have ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::support::{Rig, quick};

/// No command here takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
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

/// A daemon's door that answers as `answer` says, given the address asked for. For orders of events that a real daemon
/// shows once in a thousand times. Returns where it is, and what it was asked.
fn door(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (answer, seen) = (Arc::new(answer), asked.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, seen) = (answer.clone(), seen.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(path.clone());
                let mut stream = stream;
                answer(&path, &mut stream);
            });
        }
    });
    (address, asked)
}

fn respond(to: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let _ = write!(to, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
}

fn begin_stream(to: &mut TcpStream) {
    let _ =
        write!(to, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n");
}

/// Kills the command once it has taken too long: a test fails then, where it would hang.
fn kept_short(command: Child) -> Arc<Mutex<Child>> {
    let command = Arc::new(Mutex::new(command));
    let watched = Arc::downgrade(&command);
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        if let Some(command) = watched.upgrade() {
            let _ = command.lock().unwrap().kill();
        }
    });
    command
}

/// Runs `wait` against a door, and says how it ended: its code, its stdout.
async fn wait_at(address: &str) -> (Option<i32>, String) {
    let mut rig = Rig::set_up("").await;
    rig.set("ADMIN__LISTEN", address);
    let mut waiting = rig.command(&["wait", "scene"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = waiting.stdout.take().unwrap();
    let waiting = kept_short(waiting);
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    (waiting.lock().unwrap().wait().unwrap().code(), said)
}

#[tokio::test]
async fn a_change_between_looking_and_listening_is_not_missed() {
    let state = Mutex::new("processing");
    let (address, _) = door(move |path, stream| match path {
        "/api/v1/status" => respond(stream, "200 OK", STATUS),
        path if path.starts_with("/api/v1/events") => {
            begin_stream(stream);
            std::thread::sleep(Duration::from_millis(300));
            *state.lock().unwrap() = "succeeded";
            let _ = write!(stream, "event: hello\ndata: {{\"change\":7}}\n\n");
            // It stays open and says no more: all has been said before.
            let _ = stream.read(&mut [0; 1]);
        }
        _ => respond(stream, "200 OK", &job(*state.lock().unwrap())),
    });
    assert_eq!(wait_at(&address).await, (Some(0), "scene  succeeded\n".to_owned()));
}

#[tokio::test]
async fn a_stream_that_broke_off_goes_on_where_it_stopped() {
    let streams = Mutex::new(0);
    let (address, asked) = door(move |path, stream| match path {
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
    let asked = asked.lock().unwrap();
    let events: Vec<_> = asked.iter().filter(|path| path.contains("events")).collect();
    assert_eq!(events, ["/api/v1/events", "/api/v1/events?after=6"]);
}

#[tokio::test]
async fn without_event_streams_jobs_are_looked_at_again_and_again() {
    let looks = Mutex::new(0);
    let (address, _) = door(move |path, stream| match path {
        "/api/v1/status" => respond(stream, "200 OK", STATUS),
        path if path.starts_with("/api/v1/events") => respond(stream, "404 Not Found", "{}"),
        _ => {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            respond(stream, "200 OK", &job(if *looks < 4 { "processing" } else { "succeeded" }));
        }
    });
    assert_eq!(wait_at(&address).await, (Some(0), "scene  succeeded\n".to_owned()));
}

#[tokio::test]
async fn watching_into_a_pipe_is_a_line_a_change_until_nobody_reads() {
    let rig = Rig::start("").await;
    let mut watching = rig.command(&["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(watching.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("ctrl-c"), "{said}");
    rig.drop("one.json", quick("one", ""));
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let watching = kept_short(watching);
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
    assert_eq!(ended.code(), Some(0), "a closed pipe ends it quietly");
    rig.finish().await;
}
