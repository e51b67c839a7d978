use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::suspension::SuspensionCause;
use crate::provider::gate::{Closed, Gate};
use crate::rng::Rng;

const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const KEY: &str = "sk-canary-0123456789";
const ACCEPTED: &str = r#"{"task_id":"t-1"}"#;

/// What the server does with a connection once it has read one request from it.
enum Reaction {
    /// Sends this and closes.
    Send(String),
    /// Closes with a reset.
    Reset,
    /// Sends nothing and keeps the connection open.
    Stall,
    /// Sends this, then bytes without end.
    Flood(String),
}

fn answer(status: u16, body: &str) -> Reaction {
    Reaction::Send(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
    received: Arc<Notify>,
}

impl Server {
    /// A server that reacts to its connections in turn, and accepts no more.
    async fn start(reactions: Vec<Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, received) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (log, notify) = (requests.clone(), received.clone());
        tokio::spawn(async move {
            let mut stalled = Vec::new();
            for reaction in reactions {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let request = read_request(&mut stream).await;
                log.lock().push(request);
                notify.notify_one();
                match reaction {
                    Reaction::Send(text) => drop(stream.write_all(text.as_bytes()).await),
                    Reaction::Reset => drop(stream.set_zero_linger()),
                    Reaction::Stall => stalled.push(stream),
                    Reaction::Flood(text) => {
                        let _ = stream.write_all(text.as_bytes()).await;
                        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                    }
                }
            }
            // Connections that wait for an answer stay open.
            std::future::pending::<()>().await;
        });
        Self { base, requests, received }
    }

    fn client(&self, timeout: Duration) -> ProviderClient {
        client(&self.base, timeout, Clock::paused(START))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                return text.into_owned();
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text.into_owned(),
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn client(base: &str, timeout: Duration, clock: Clock) -> ProviderClient {
    ProviderClient::new(base, Secret::new(KEY), timeout, "", clock).expect("a client")
}

fn job() -> JobId {
    JobId::new(START, 0, &Rng::seeded(1))
}

fn attempt(body: &str) -> Attempt {
    Attempt::for_test(job(), 2, body, START)
}

fn submit_permit() -> SubmitPermit {
    Gate::new(f64::INFINITY, START).admit_submit(job(), START).expect("an open gate")
}

fn query_permit() -> QueryPermit {
    Gate::new(f64::INFINITY, START).admit_query(job(), START).expect("an open gate")
}

async fn submit_to(client: &ProviderClient, body: &str) -> Classified<SubmitVerdict> {
    client.submit(submit_permit(), &attempt(body)).await.1
}

fn task() -> TaskId {
    TaskId::parse("t-1").expect("a task id")
}

async fn submit(reactions: Vec<Reaction>, timeout: Duration) -> (SubmitVerdict, Server) {
    let server = Server::start(reactions).await;
    let verdict = submit_to(&server.client(timeout), "{}").await.verdict;
    (verdict, server)
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_submit_sends_the_committed_bytes_and_its_key() {
    let server = Server::start(vec![answer(200, ACCEPTED)]).await;
    let body = "{\"model\":\"m\", \"scale\":1.10,\"prompt\":\"\\u6625 春\"}\n";
    let attempt = attempt(body);
    let (_, classified) = server.client(LONG).submit(submit_permit(), &attempt).await;
    assert_eq!(classified.verdict, SubmitVerdict::Accepted { task: task(), reserved: None });
    let request = &server.requests()[0];
    let (head, sent) = request.split_once("\r\n\r\n").expect("a head");
    assert_eq!(sent, body);
    assert!(head.starts_with("POST /v1/tasks HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("authorization: Bearer {KEY}"),
        format!("idempotency-key: {}", attempt.key()),
        format!("user-agent: dropreel/{}", env!("CARGO_PKG_VERSION")),
        "content-type: application/json".into(),
        "accept: application/json".into(),
        "accept-encoding: identity".into(),
    ] {
        assert_eq!(head.lines().filter(|had| **had == line).count(), 1, "{line} in {head}");
    }
}

#[tokio::test]
async fn status_and_cancel_requests_name_their_task() {
    let server =
        Server::start(vec![answer(200, r#"{"task_id":"t-1","status":"Simmering"}"#), answer(200, "")]).await;
    let client = server.client(LONG);
    let StatusVerdict::Answered(facts) = client.poll(query_permit(), &task(), None).await.1.verdict else {
        panic!("not seen")
    };
    assert_eq!(facts.phase, Phase::Unclear("Simmering".into()));
    assert_eq!(client.cancel(query_permit(), &task(), None).await.1.verdict, CancelVerdict::Accepted);
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /v1/tasks/t-1 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[1].starts_with("POST /v1/tasks/t-1/cancel HTTP/1.1\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn a_submit_without_an_answer_is_unknown_and_sent_once() {
    let half_head = Reaction::Send("HTTP/1.1 200 OK\r\nContent-Le".into());
    let half_body =
        Reaction::Send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"task_id\":\"t-1\"}".into());
    let half_chunk = Reaction::Send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"task_id\":\"t-1\"}\r\n".into(),
    );
    let no_http = Reaction::Send("SSH-2.0-OpenSSH_9.2\r\n".into());
    for (name, reaction) in [
        ("reset", Reaction::Reset),
        ("closed", Reaction::Send(String::new())),
        ("half a head", half_head),
        ("half a body", half_body),
        ("no last chunk", half_chunk),
        ("another protocol", no_http),
        ("a gateway's error", answer(502, "<html>")),
    ] {
        let (verdict, server) = submit(vec![reaction, answer(200, ACCEPTED)], LONG).await;
        assert!(matches!(verdict, SubmitVerdict::Unknown { .. }), "{name}: {verdict:?}");
        assert_eq!(server.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let (verdict, _server) = submit(vec![Reaction::Stall], Duration::from_millis(100)).await;
    assert!(matches!(verdict, SubmitVerdict::Unknown { .. }), "{verdict:?}");
}

#[tokio::test]
async fn the_timeout_also_follows_the_injected_clock() {
    let server = Server::start(vec![Reaction::Stall]).await;
    let clock = Clock::paused(START);
    let client = client(&server.base, Duration::from_secs(3600), clock.clone());
    let call = tokio::spawn(async move { submit_to(&client, "{}").await });
    server.received.notified().await;
    clock.advance(Duration::from_secs(3602));
    let SubmitVerdict::Unknown { why, .. } = call.await.expect("an end").verdict else {
        panic!("not unknown")
    };
    assert!(why.contains("127.0.0.1 within 3600s"), "{why}");
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let claimed = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{\"task_id\":\"t-1\"}";
    let unclaimed = "HTTP/1.1 200 OK\r\n\r\n{\"task_id\":\"t-1\"}";
    for text in [claimed, unclaimed] {
        let (verdict, _server) = submit(vec![Reaction::Flood(text.into())], LONG).await;
        let SubmitVerdict::Unknown { why, .. } = verdict else { panic!("{verdict:?}") };
        assert!(why.contains("longer than 1048576 bytes"), "{why}");
    }
}

#[tokio::test]
async fn a_refused_connection_means_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let classified = submit_to(&client(&base, LONG, Clock::paused(START)), "{}").await;
    let SubmitVerdict::NotExecuted { why, not_before: None } = classified.verdict else {
        panic!("{classified:?}")
    };
    assert!(
        why.contains("refused") && classified.refusal.is_some_and(|refusal| !refusal.is_certain),
        "{why}"
    );
}

#[tokio::test]
async fn a_failed_handshake_means_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("https://{}", listener.local_addr().expect("an address"));
    let made = ProviderClient::new(&base, Secret::new(KEY), LONG, "", Clock::paused(START));
    // Without system certificates there is no client, and no handshake to fail.
    let Ok(client) = made else { return };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut hello = [0; 4096];
        let read = stream.read(&mut hello).await.expect("a greeting");
        stream.write_all(b"HTTP/1.1 400 plain text\r\n\r\n").await.expect("an answer");
        hello[..read].to_vec()
    });
    let classified = submit_to(&client, "{}").await;
    assert!(matches!(classified.verdict, SubmitVerdict::NotExecuted { .. }), "{classified:?}");
    let hello = server.await.expect("an end");
    assert!(!String::from_utf8_lossy(&hello).contains("canary"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("non-blocking");
    let target = elsewhere.local_addr().expect("an address");
    for status in [301, 302, 303, 307, 308] {
        let moved =
            format!("HTTP/1.1 {status} X\r\nLocation: http://{target}/v1/tasks\r\nContent-Length: 0\r\n\r\n");
        let server = Server::start(vec![Reaction::Send(moved)]).await;
        let classified = submit_to(&server.client(LONG), "{}").await;
        assert_eq!(
            classified.refusal.map(|refusal| refusal.suspension.cause),
            Some(SuspensionCause::Misconfigured),
            "{status}"
        );
    }
    assert_eq!(elsewhere.accept().err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_key_that_the_provider_quotes_is_redacted() {
    let quoting = format!(r#"{{"error":{{"message":"Incorrect API key: {KEY}","code":"invalid_api_key"}}}}"#);
    let server = Server::start(vec![answer(401, &quoting)]).await;
    let client = server.client(LONG);
    let classified = submit_to(&client, "{}").await;
    let shown = format!("{classified:?} {client:?}");
    assert!(shown.contains("Incorrect API key: [key]") && !shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_new_key_is_used_from_the_next_call_on() {
    let server = Server::start(vec![answer(401, ""), answer(200, ACCEPTED)]).await;
    let client = server.client(LONG);
    let _ = submit_to(&client, "{}").await;
    client.set_key(Secret::new("sk-new")).expect("a good key");
    for bad in ["", " ", "two\nlines"] {
        assert!(client.set_key(Secret::new(bad)).is_err(), "{bad:?}");
    }
    let classified = submit_to(&client, "{}").await;
    assert!(matches!(classified.verdict, SubmitVerdict::Accepted { .. }));
    assert!(server.requests()[1].contains("authorization: Bearer sk-new\r\n"));
}

#[tokio::test]
async fn a_rate_limit_of_one_call_closes_the_gate_for_all() {
    let limited = "HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = Server::start(vec![Reaction::Send(limited.into())]).await;
    let gate = Gate::new(f64::INFINITY, START);
    let permit = gate.admit_query(job(), START).expect("an open gate");
    let (call, classified) = server.client(LONG).poll(permit, &task(), None).await;
    assert!(gate.settle(call, &classified, START).changed);
    let until = START.plus(Duration::from_secs(9));
    assert_eq!(
        gate.admit_submit(job(), START),
        Err(Closed { until, cause: Some(SuspensionCause::RateLimited) })
    );
}

#[test]
fn bad_settings_are_refused_without_being_shown() {
    let made = |base: &str, key: &str, proxy: &str| {
        ProviderClient::new(base, Secret::new(key), LONG, proxy, Clock::paused(START)).map(|_| ())
    };
    for error in [
        made("ftp://hunter2", KEY, ""),
        made("http://127.0.0.1", "hunter2\n", ""),
        made("http://127.0.0.1", KEY, "http://user:hunter2@:bad"),
    ] {
        let text = error.expect_err("refused").to_string();
        assert!(text.contains("provider") && !text.contains("hunter2"), "{text}");
    }
}
