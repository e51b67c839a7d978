use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::provider::gate::{Closed, Gate, Kind};
use crate::provider::suspension::SuspensionCause;
use crate::rng::Rng;

const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const KEY: &str = "sk-canary-0123456789";
const TAKEN: &str = r#"{"task_id":"t-1"}"#;

/// What the server does with one connection, once it has read one request from it.
enum Act {
    /// Says this and closes.
    Say(String),
    /// Closes with a reset.
    Reset,
    /// Says nothing and keeps the connection.
    Hush,
    /// Says this, then more of the same for ever.
    Flood(String),
}

fn answer(status: u16, body: &str) -> Act {
    Act::Say(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
    heard: Arc<Notify>,
}

impl Server {
    /// A server that treats its connections as `acts` say, in turn, and takes no more.
    async fn acting(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, heard) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (kept, bell) = (requests.clone(), heard.clone());
        tokio::spawn(async move {
            let mut hushed = Vec::new();
            for act in acts {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let request = read_request(&mut stream).await;
                held(&kept).push(request);
                bell.notify_one();
                match act {
                    Act::Say(text) => drop(stream.write_all(text.as_bytes()).await),
                    Act::Reset => drop(stream.set_zero_linger()),
                    Act::Hush => hushed.push(stream),
                    Act::Flood(text) => {
                        let _ = stream.write_all(text.as_bytes()).await;
                        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                    }
                }
            }
            // Whoever still waits for an answer waits on.
            std::future::pending::<()>().await;
        });
        Self { base, requests, heard }
    }

    fn client(&self, timeout: Duration) -> ProviderClient {
        client(&self.base, timeout, Clock::paused(START))
    }

    fn requests(&self) -> Vec<String> {
        held(&self.requests).clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
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
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return text.into_owned(),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn client(base: &str, timeout: Duration, clock: Clock) -> ProviderClient {
    ProviderClient::new(base, Secret::new(KEY), timeout, "", clock).expect("a client")
}

fn attempt(body: &str) -> Attempt {
    Attempt::restore(JobId::new(START, 0, &Rng::seeded(1)), 2, body.to_owned(), START)
}

fn pass() -> Pass {
    Gate::new(f64::INFINITY, START).admit(Kind::Submit, START).expect("an open gate")
}

fn task() -> TaskId {
    TaskId::parse("t-1").expect("a task id")
}

async fn submit(acts: Vec<Act>, timeout: Duration) -> (SubmitVerdict, Server) {
    let server = Server::acting(acts).await;
    let verdict = server.client(timeout).submit(&pass(), &attempt("{}")).await.verdict;
    (verdict, server)
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_submit_carries_the_frozen_bytes_and_its_key() {
    let server = Server::acting(vec![answer(200, TAKEN)]).await;
    let body = "{\"model\":\"m\", \"scale\":1.10,\"prompt\":\"\\u6625 春\"}\n";
    let attempt = attempt(body);
    let answered = server.client(PATIENT).submit(&pass(), &attempt).await;
    assert_eq!(answered.verdict, SubmitVerdict::Accepted { task: task(), reserved: None });
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
async fn a_status_query_and_a_cancel_call_name_their_task() {
    let server =
        Server::acting(vec![answer(200, r#"{"task_id":"t-1","status":"Simmering"}"#), answer(200, "")]).await;
    let client = server.client(PATIENT);
    let StatusVerdict::Seen(facts) = client.ask(&pass(), &task()).await.verdict else { panic!("not seen") };
    assert_eq!(facts.phase, Phase::Unclear("Simmering".into()));
    assert_eq!(client.call_off(&pass(), &task()).await.verdict, CancelVerdict::Taken);
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /v1/tasks/t-1 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[1].starts_with("POST /v1/tasks/t-1/cancel HTTP/1.1\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn a_submit_that_may_have_arrived_is_of_unknown_outcome_and_sent_once() {
    let half_head = Act::Say("HTTP/1.1 200 OK\r\nContent-Le".into());
    let half_body = Act::Say("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"task_id\":\"t-1\"}".into());
    let half_chunk = Act::Say(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"task_id\":\"t-1\"}\r\n".into(),
    );
    let no_http = Act::Say("SSH-2.0-OpenSSH_9.2\r\n".into());
    for (name, act) in [
        ("reset", Act::Reset),
        ("closed", Act::Say(String::new())),
        ("half a head", half_head),
        ("half a body", half_body),
        ("no last chunk", half_chunk),
        ("another protocol", no_http),
        ("a gateway's error", answer(502, "<html>")),
    ] {
        let (verdict, server) = submit(vec![act, answer(200, TAKEN)], PATIENT).await;
        assert!(matches!(verdict, SubmitVerdict::Unknown { .. }), "{name}: {verdict:?}");
        assert_eq!(server.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_silent_server_is_left_in_time() {
    let (verdict, _server) = submit(vec![Act::Hush], Duration::from_millis(100)).await;
    assert!(matches!(verdict, SubmitVerdict::Unknown { .. }), "{verdict:?}");
}

#[tokio::test]
async fn the_deadline_is_kept_by_our_own_clock_too() {
    let server = Server::acting(vec![Act::Hush]).await;
    let clock = Clock::paused(START);
    let client = client(&server.base, Duration::from_secs(3600), clock.clone());
    let call = tokio::spawn(async move { client.submit(&pass(), &attempt("{}")).await });
    server.heard.notified().await;
    clock.advance(Duration::from_secs(3602));
    let SubmitVerdict::Unknown { why, .. } = call.await.expect("an end").verdict else {
        panic!("not unknown")
    };
    assert!(why.contains("127.0.0.1 within 3600s"), "{why}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let claimed = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{\"task_id\":\"t-1\"}";
    let unclaimed = "HTTP/1.1 200 OK\r\n\r\n{\"task_id\":\"t-1\"}";
    for text in [claimed, unclaimed] {
        let (verdict, _server) = submit(vec![Act::Flood(text.into())], PATIENT).await;
        let SubmitVerdict::Unknown { why, .. } = verdict else { panic!("{verdict:?}") };
        assert!(why.contains("longer than 1048576 bytes"), "{why}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let answered = client(&base, PATIENT, Clock::paused(START)).submit(&pass(), &attempt("{}")).await;
    let SubmitVerdict::NotExecuted { why, not_before: None } = answered.verdict else {
        panic!("{answered:?}")
    };
    assert!(why.contains("refused") && answered.line.is_none(), "{why}");
}

#[tokio::test]
async fn a_failed_handshake_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("https://{}", listener.local_addr().expect("an address"));
    let made = ProviderClient::new(&base, Secret::new(KEY), PATIENT, "", Clock::paused(START));
    // A machine without certificates says so, and there is no handshake to fail.
    let Ok(client) = made else { return };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut hello = [0; 4096];
        let read = stream.read(&mut hello).await.expect("a greeting");
        stream.write_all(b"HTTP/1.1 400 plain text\r\n\r\n").await.expect("an answer");
        hello[..read].to_vec()
    });
    let answered = client.submit(&pass(), &attempt("{}")).await;
    assert!(matches!(answered.verdict, SubmitVerdict::NotExecuted { .. }), "{answered:?}");
    let hello = server.await.expect("an end");
    assert!(!String::from_utf8_lossy(&hello).contains("canary"));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("non-blocking");
    let target = elsewhere.local_addr().expect("an address");
    for status in [301, 302, 303, 307, 308] {
        let moved =
            format!("HTTP/1.1 {status} X\r\nLocation: http://{target}/v1/tasks\r\nContent-Length: 0\r\n\r\n");
        let server = Server::acting(vec![Act::Say(moved)]).await;
        let answered = server.client(PATIENT).submit(&pass(), &attempt("{}")).await;
        assert_eq!(answered.line.map(|line| line.cause), Some(SuspensionCause::Misconfigured), "{status}");
    }
    assert_eq!(elsewhere.accept().err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn the_key_is_shown_nowhere_even_when_the_provider_quotes_it() {
    let quoting = format!(r#"{{"error":{{"message":"Incorrect API key: {KEY}","code":"invalid_api_key"}}}}"#);
    let server = Server::acting(vec![answer(401, &quoting)]).await;
    let client = server.client(PATIENT);
    let answered = client.submit(&pass(), &attempt("{}")).await;
    let shown = format!("{answered:?} {client:?}");
    assert!(shown.contains("Incorrect API key: [key]") && !shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_new_key_is_used_from_the_next_call_on_and_a_bad_one_never() {
    let server = Server::acting(vec![answer(401, ""), answer(200, TAKEN)]).await;
    let client = server.client(PATIENT);
    let _ = client.submit(&pass(), &attempt("{}")).await;
    client.set_key(Secret::new("sk-new")).expect("a good key");
    for bad in ["", " ", "two\nlines"] {
        assert!(client.set_key(Secret::new(bad)).is_err(), "{bad:?}");
    }
    let answered = client.submit(&pass(), &attempt("{}")).await;
    assert!(matches!(answered.verdict, SubmitVerdict::Accepted { .. }));
    assert!(server.requests()[1].contains("authorization: Bearer sk-new\r\n"));
}

#[tokio::test]
async fn a_limit_told_to_one_call_closes_the_gate_for_the_others() {
    let limited = "HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = Server::acting(vec![Act::Say(limited.into())]).await;
    let gate = Gate::new(f64::INFINITY, START);
    let pass = gate.admit(Kind::Other, START).expect("an open gate");
    let answered = server.client(PATIENT).ask(&pass, &task()).await;
    assert!(gate.settle(pass, &answered));
    let until = START.plus(Duration::from_secs(9));
    assert_eq!(
        gate.admit(Kind::Submit, START),
        Err(Closed { until, cause: Some(SuspensionCause::RateLimited) })
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused_without_being_shown() {
    let made = |base: &str, key: &str, proxy: &str| {
        ProviderClient::new(base, Secret::new(key), PATIENT, proxy, Clock::paused(START)).map(|_| ())
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
