//! The event stream over real sockets.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{TestAdmin, admin_server, assert_problem};
use crate::job::event::OperatorAction;
use crate::server::admin::{AdminLimits, serve_with_limits};
use crate::server::rig::{Rig, TEST_TIMEOUT, TestResponse, TestServer, draft};

/// A client of the event stream.
struct EventClient {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl EventClient {
    async fn connect(admin: &TestAdmin, query: &str, header: &str) -> Self {
        let (events, head) = Self::request(admin, query, header).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        events
    }

    /// The stream, and the head of the answer.
    async fn request(admin: &TestAdmin, query: &str, header: &str) -> (Self, String) {
        let mut socket = admin.server.connect().await;
        let host = admin.server.address;
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self { socket, unread: Vec::new() };
        let head = events.until("\r\n\r\n").await;
        (events, head)
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let rest = self.unread.split_off(at + end.len());
                let before = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(before).unwrap();
            }
            let read = tokio::time::timeout(TEST_TIMEOUT, self.socket.read_buf(&mut self.unread)).await;
            assert!(read.unwrap().unwrap() > 0, "the stream ended");
        }
    }

    /// The next event: name, id and data.
    async fn event(&mut self) -> (String, Option<i64>, Value) {
        let event = self.until("\n\n").await;
        // Chunk sizes precede it.
        let event = &event[event.find("event: ").unwrap()..];
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
        let number = field("id: ").map(|number| number.parse().unwrap());
        (field("event: ").unwrap().to_owned(), number, data)
    }

    async fn greeting(&mut self) -> Value {
        let (hello, none, data) = self.event().await;
        assert_eq!((hello.as_str(), none), ("hello", None));
        data["change"].clone()
    }

    /// The next job event: id, name and state.
    async fn job(&mut self) -> (i64, String, String) {
        let (kind, number, job) = self.event().await;
        assert_eq!(kind, "job", "{job}");
        assert!(job.get("history").is_none());
        let text = |key: &str| job[key].as_str().unwrap().to_owned();
        (number.unwrap(), text("name"), text("state"))
    }

    async fn status(&mut self) -> Value {
        let (kind, _, status) = self.event().await;
        assert_eq!(kind, "status", "{status}");
        status
    }
}

fn job_event(number: i64, name: &str, state: &str) -> (i64, String, String) {
    (number, name.to_owned(), state.to_owned())
}

#[tokio::test]
async fn stream_sends_every_change_from_now_on() {
    let admin = TestAdmin::start();
    admin.add_jobs(&["before"]).await;
    let mut events = EventClient::connect(&admin, "", "").await;
    assert_eq!(events.greeting().await, 1);
    assert_eq!(events.status().await["counts"]["pending"], 1);
    let job = admin.add_jobs(&["after"]).await[0];
    assert_eq!(events.job().await, job_event(2, "after", "pending"));
    admin.act(job, OperatorAction::Cancel).await;
    assert_eq!(events.job().await, job_event(3, "after", "cancelled"));
    assert_eq!(admin.post("/api/v1/pause", r#"{"what":"submits"}"#).await.status, 200);
    assert_eq!(events.status().await["suspensions"][0]["cause"], "paused_submits");
    assert_eq!(admin.post("/api/v1/resume", "").await.status, 200);
    assert_eq!(events.status().await["message"], Value::Null);
}

#[tokio::test]
async fn resumed_stream_sends_missed_jobs_in_their_current_state() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["a", "b", "c"]).await;
    admin.act(jobs[0], OperatorAction::Cancel).await;
    for (query, header) in [("?after=1", ""), ("?after=0", "Last-Event-ID: 1\r\n")] {
        let mut events = EventClient::connect(&admin, query, header).await;
        assert_eq!(events.greeting().await, 1);
        assert_eq!(events.job().await, job_event(2, "b", "pending"));
        assert_eq!(events.job().await, job_event(3, "c", "pending"));
        assert_eq!(events.job().await, job_event(4, "a", "cancelled"));
        events.status().await;
    }
    let mut from_another_database = EventClient::connect(&admin, "?after=99999", "").await;
    assert_eq!(from_another_database.greeting().await, 4);
}

#[tokio::test]
async fn long_backlog_is_sent_without_gaps_and_filtered_by_job() {
    let admin = TestAdmin::start();
    let names: Vec<String> = (0..450).map(|number| number.to_string()).collect();
    let jobs = admin.rig.add_jobs(names.iter().map(|name| draft(name)).collect()).await;
    let mut events = EventClient::connect(&admin, "?after=0", "").await;
    events.greeting().await;
    let mut sent = Vec::new();
    while sent.len() < 450 {
        let (kind, _, data) = events.event().await;
        if kind == "job" {
            sent.push(data["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(sent, names);

    // The two jobs are batches apart, and the batch between has neither.
    let query = format!("?after=0&job={}&job={}", jobs[0], jobs[449]);
    let mut events = EventClient::connect(&admin, &query, "").await;
    events.greeting().await;
    assert_eq!(events.job().await.1, "0");
    events.status().await;
    assert_eq!(events.job().await.1, "449");
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let admin = TestAdmin::start();
    let mut events = EventClient::connect(&admin, "", "Connection: close\r\n").await;
    events.greeting().await;
    events.status().await;
    admin.shutdown.send_replace(true);
    let rest = TestResponse::read(&mut events.socket).await;
    assert!(rest.head.ends_with("0"), "the last chunk is empty: {rest:?}");
    assert!(rest.took < Duration::from_secs(10), "{rest:?}");
}

#[tokio::test]
async fn full_event_streams_lock_nobody_out() {
    let rig = Rig::new();
    let (shutdown, stopped) = watch::channel(false);
    let limits = AdminLimits { max_event_streams: 2, max_connections: 3, ..AdminLimits::default() };
    let admin = admin_server(&rig, stopped);
    let server = TestServer::start(|listener| serve_with_limits(limits, listener, admin).unwrap());
    let admin = TestAdmin { rig, server, shutdown };
    let mut first = EventClient::connect(&admin, "", "").await;
    let mut second = EventClient::connect(&admin, "", "").await;
    let full = admin.get("/api/v1/events").await;
    assert_problem(&full, 503, "too many event streams");
    assert_eq!(full.header("retry-after"), Some("5"));
    assert_eq!(admin.get("/api/v1/status").await.status, 200);
    first.greeting().await;
    second.greeting().await;
    drop(first);
    // The server notices at its next write that the client is gone.
    admin.add_jobs(&["a"]).await;
    let started = std::time::Instant::now();
    while !EventClient::request(&admin, "", "").await.1.starts_with("HTTP/1.1 200") {
        assert!(started.elapsed() < TEST_TIMEOUT, "a closed stream still counts");
    }
}
