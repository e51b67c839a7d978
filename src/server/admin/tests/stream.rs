//! The event stream over real sockets.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Stage;
use crate::job::event::Order;
use crate::server::rig::{Answer, SOON, draft};

/// Follows the event stream.
struct Following {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Following {
    async fn begin(stage: &Stage, query: &str, header: &str) -> Self {
        let mut socket = stage.door.connect().await;
        let host = stage.door.address;
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut following = Self { socket, unread: Vec::new() };
        let head = following.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        following
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let rest = self.unread.split_off(at + end.len());
                let before = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(before).unwrap();
            }
            let read = tokio::time::timeout(SOON, self.socket.read_buf(&mut self.unread)).await;
            assert!(read.unwrap().unwrap() > 0, "the stream ended");
        }
    }

    /// The next event: its kind, its number, its data.
    async fn event(&mut self) -> (String, Option<i64>, Value) {
        let event = self.until("\n\n").await;
        // What stands before it are the marks of the chunks.
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

    /// The next job event, as number, name and state.
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
async fn whoever_follows_hears_of_every_change_from_now_on() {
    let stage = Stage::set();
    stage.take_in(&["before"]).await;
    let mut following = Following::begin(&stage, "", "").await;
    assert_eq!(following.greeting().await, 1);
    assert_eq!(following.status().await["counts"]["pending"], 1);
    let job = stage.take_in(&["after"]).await[0];
    assert_eq!(following.job().await, job_event(2, "after", "pending"));
    stage.order(job, Order::Cancel).await;
    assert_eq!(following.job().await, job_event(3, "after", "cancelled"));
    assert_eq!(stage.post("/api/v1/pause", r#"{"what":"submits"}"#).await.status, 200);
    assert_eq!(following.status().await["suspensions"][0]["cause"], "paused_submits");
    assert_eq!(stage.post("/api/v1/resume", "").await.status, 200);
    assert_eq!(following.status().await["message"], Value::Null);
}

#[tokio::test]
async fn whoever_comes_back_hears_what_was_missed_and_each_job_as_it_is_now() {
    let stage = Stage::set();
    let jobs = stage.take_in(&["a", "b", "c"]).await;
    stage.order(jobs[0], Order::Cancel).await;
    for (query, header) in [("?after=1", ""), ("?after=0", "Last-Event-ID: 1\r\n")] {
        let mut following = Following::begin(&stage, query, header).await;
        assert_eq!(following.greeting().await, 1);
        assert_eq!(following.job().await, job_event(2, "b", "pending"));
        assert_eq!(following.job().await, job_event(3, "c", "pending"));
        assert_eq!(following.job().await, job_event(4, "a", "cancelled"));
        following.status().await;
    }
    let mut from_another_database = Following::begin(&stage, "?after=99999", "").await;
    assert_eq!(from_another_database.greeting().await, 4);
}

#[tokio::test]
async fn a_long_backlog_is_told_without_a_gap_and_filtered_by_job() {
    let stage = Stage::set();
    let names: Vec<String> = (0..450).map(|number| number.to_string()).collect();
    let jobs = stage.rig.take_in(names.iter().map(|name| draft(name)).collect()).await;
    let mut following = Following::begin(&stage, "?after=0", "").await;
    following.greeting().await;
    let mut told = Vec::new();
    while told.len() < 450 {
        let (kind, _, data) = following.event().await;
        if kind == "job" {
            told.push(data["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told, names);

    // The two are pages apart, and there is nothing for us on the page between.
    let query = format!("?after=0&job={}&job={}", jobs[0], jobs[449]);
    let mut following = Following::begin(&stage, &query, "").await;
    following.greeting().await;
    assert_eq!(following.job().await.1, "0");
    following.status().await;
    assert_eq!(following.job().await.1, "449");
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let stage = Stage::set();
    let mut following = Following::begin(&stage, "", "Connection: close\r\n").await;
    following.greeting().await;
    following.status().await;
    stage.stop.send_replace(true);
    let rest = Answer::read(&mut following.socket).await;
    assert!(rest.head.ends_with("0"), "the last chunk is empty: {rest:?}");
    assert!(rest.took < Duration::from_secs(10), "{rest:?}");
}
