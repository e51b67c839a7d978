//! The public server over real sockets, with well-behaved and hostile clients.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::secret::Secret;
use crate::server::rig::{Rig, TEST_TIMEOUT, TestResponse, TestServer, draft};
use crate::settings::SignatureScheme;

/// The default limits, several times shorter. actix-web reads its own clock only every half second, so its
/// timeouts may be that much shorter still.
fn short_limits() -> PublicLimits {
    PublicLimits {
        timeouts: ConnectionTimeouts {
            head: Duration::from_millis(900),
            keep_alive: Duration::from_millis(900),
            linger: Duration::from_millis(700),
            idle: Duration::from_millis(2200),
            answer: None,
        },
        max_connections: 64,
        body: BodyLimit { timeout: Duration::from_millis(800), ..PublicLimits::default().body },
    }
}

/// Every bad socket is closed by then, even on a slow machine; the limits above take three seconds.
const CLOSED_BY: Duration = Duration::from_secs(15);

struct TestPublic {
    rig: Rig,
    server: TestServer,
    secrets: Arc<RwLock<CallbackSecrets>>,
    job: JobId,
    path: String,
}

impl TestPublic {
    async fn start() -> Self {
        Self::start_with_limits(short_limits()).await
    }

    async fn start_with_limits(limits: PublicLimits) -> Self {
        let rig = Rig::new();
        let job = rig.add_jobs(vec![draft("sakura")]).await[0];
        let secrets = CallbackSecrets::new(Secret::new("current"), vec![Secret::new("previous")]);
        let path = path_of(&secrets, &job.to_string());
        let secrets = Arc::new(RwLock::new(secrets));
        let server = start_server(limits, &rig, &secrets);
        Self { rig, server, secrets, job, path }
    }

    /// Starts another server on the same store.
    fn start_server(&self, limits: PublicLimits) -> TestServer {
        start_server(limits, &self.rig, &self.secrets)
    }

    /// Sends `count` callbacks one after another; returns the median of their times.
    async fn send_callbacks(&self, count: usize, sent: &mut u64) -> Duration {
        let mut times = Vec::new();
        for _ in 0..count {
            let started = Instant::now();
            assert_eq!(self.server.send(&format!("POST {}", self.path), "{}").await.status, 204);
            times.push(started.elapsed());
            *sent += 1;
        }
        times.sort();
        times[count / 2]
    }

    async fn kept(&self) -> u64 {
        self.rig.store.count_deliveries(self.job).await
    }

    fn head(&self, headers: &str) -> String {
        format!("POST {} HTTP/1.1\r\nHost: hooks.example.com\r\n{headers}\r\n", self.path)
    }
}

fn start_server(limits: PublicLimits, rig: &Rig, secrets: &Arc<RwLock<CallbackSecrets>>) -> TestServer {
    let public = PublicServer {
        store: rig.store.clone(),
        secrets: secrets.clone(),
        signature: None,
        pictures: None,
        clock: Clock::machine(),
    };
    TestServer::start(|listener| serve_with_limits(limits, listener, public).unwrap())
}

fn path_of(secrets: &CallbackSecrets, job: &str) -> String {
    format!("/callbacks/{job}/{}", secrets.token(job).expose())
}

#[tokio::test]
async fn any_callback_body_is_committed_before_the_204() {
    let public = TestPublic::start().await;
    let bodies = ["", "{}", r#"{"task_id":"t","status":"completed"}"#, "not JSON", "\u{0}\u{1}"];
    for (body, kept) in bodies.iter().zip(1..) {
        let answer = public.server.send(&format!("POST {}", public.path), body).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{body:?}");
        assert_eq!(public.kept().await, kept, "{body:?}");
    }
    let deliveries = public.rig.store.unprocessed_deliveries(0, 10).await.unwrap();
    let received: Vec<_> = deliveries.iter().map(|delivery| delivery.body.as_slice()).collect();
    assert_eq!(received, bodies.map(str::as_bytes));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let head = format!("POST {}?x=1\nContent-Type: {kind}", public.path);
        assert_eq!(public.server.send(&head, "a=b").await.status, 204, "{kind}");
    }
}

#[tokio::test]
async fn chunked_body_of_the_largest_size_is_stored() {
    let public = TestPublic::start().await;
    let request = format!(
        "{}40000\r\n{}\r\n0\r\n\r\n",
        public.head("Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        "x".repeat(0x40000)
    );
    assert_eq!(public.server.send_raw(request).await.status, 204);
    assert_eq!(public.rig.store.unprocessed_deliveries(0, 1).await.unwrap()[0].body.len(), 256 * 1024);
}

#[tokio::test]
async fn every_request_but_a_valid_callback_gets_the_same_404() {
    let public = TestPublic::start().await;
    let secrets = public.secrets.read().clone();
    let (job, token) = (public.job.to_string(), secrets.token(&public.job.to_string()));
    let token = token.expose();
    let nobody = "019d5cb9-2b40-7bbb-8ccc-1234567890ab";
    let last_but_one = if token.ends_with('A') { 'B' } else { 'A' };
    let cases = [
        format!("POST /callbacks/{job}/wrong"),
        format!("POST /callbacks/{job}/{}{last_but_one}", &token[..token.len() - 1]),
        format!("POST /callbacks/{job}/{token}="),
        format!("POST /callbacks/{job}/{token}/"),
        format!("POST /callbacks/{job}/%{:02X}{}", token.as_bytes()[0], &token[1..]),
        format!("POST /callbacks/{job}/"),
        format!("POST /callbacks/{}/{token}", job.to_uppercase()),
        format!("POST {}", path_of(&secrets, nobody)),
        format!("POST {}", path_of(&secrets, "no-job-id")),
        format!("POST //callbacks/{job}/{token}"),
        format!("GET {}", public.path),
        format!("PUT {}", public.path),
        format!("OPTIONS {}", public.path),
        "GET /".into(),
        "POST /healthz".into(),
        "GET /api/v1/jobs".into(),
        "GET /metrics".into(),
    ];
    let without_date = |answer: &TestResponse| {
        let lines = answer.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        (lines, answer.body.clone())
    };
    let expected = without_date(&public.server.send("POST /nothing", "{}").await);
    for case in cases {
        let answer = public.server.send(&case, "{}").await;
        assert_eq!(answer.status, 404, "{case}");
        assert_eq!(without_date(&answer), expected, "{case}");
    }
    assert_eq!(public.kept().await, 0);
}

#[tokio::test]
async fn token_of_the_previous_secret_is_accepted_until_dropped() {
    let public = TestPublic::start().await;
    let old = CallbackSecrets::new(Secret::new("previous"), Vec::new());
    let old_path = path_of(&old, &public.job.to_string());
    assert_eq!(public.server.send(&format!("POST {old_path}"), "1").await.status, 204);
    *public.secrets.write() = CallbackSecrets::new(Secret::new("current"), Vec::new());
    assert_eq!(public.server.send(&format!("POST {old_path}"), "2").await.status, 404);
    assert_eq!(public.kept().await, 1);
}

#[tokio::test]
async fn health_check_answers_get_and_head() {
    let public = TestPublic::start().await;
    let answer = public.server.send("GET /healthz", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(public.server.send("HEAD /healthz", "").await.status, 200);
}

#[tokio::test]
async fn body_over_the_limit_is_rejected_with_413() {
    let public = TestPublic::start().await;
    let over = 256 * 1024 + 1;
    // Declared: refused without a byte of it having come.
    let declared = public.server.send_raw(public.head(&format!("Content-Length: {over}\r\n"))).await;
    assert_eq!(declared.status, 413, "{declared:?}");
    assert!(declared.took < CLOSED_BY, "{declared:?}");
    let sent = public.head(&format!("Content-Length: {over}\r\n")) + &"x".repeat(over);
    assert_eq!(public.server.send_raw(sent).await.status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", over, "x".repeat(over));
    let chunked = public.head("Transfer-Encoding: chunked\r\n") + &chunk;
    assert_eq!(public.server.send_raw(chunked).await.status, 413);
    assert_eq!(public.kept().await, 0);
}

/// A chunk that soon exceeds the body limit, even on a slow machine.
const FLOOD: &str = "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";

/// What a hostile client sends after its first bytes.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Silence,
    Trickle(&'static str),
    Flood(&'static str),
}

/// Plays a client; returns the time until the server closed the connection, and its answer.
async fn play_client(mut socket: TcpStream, first: String, then: Behaviour) -> (Duration, String) {
    let started = Instant::now();
    let mut received = Vec::new();
    let _ = socket.write_all(first.as_bytes()).await;
    let (mut reader, mut writer) = socket.split();
    let send = async {
        loop {
            let (pause, bytes) = match then {
                Behaviour::Silence => return std::future::pending().await,
                Behaviour::Trickle(bytes) => (Duration::from_millis(50), bytes.to_owned()),
                Behaviour::Flood(bytes) => (Duration::ZERO, bytes.repeat(200)),
            };
            tokio::time::sleep(pause).await;
            if writer.write_all(bytes.as_bytes()).await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let receive = async { while let Ok(1..) = reader.read_buf(&mut received).await {} };
    tokio::time::timeout(TEST_TIMEOUT, async {
        tokio::select! {
            () = receive => {},
            () = send => {},
        }
    })
    .await
    .expect("the server never closed the connection");
    (started.elapsed(), String::from_utf8_lossy(&received).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off_while_others_are_served() {
    let public = TestPublic::start().await;
    // A rejected client must be cut off without the idle timeout, so this server has none.
    let no_idle_timeout = public.start_server(PublicLimits {
        timeouts: ConnectionTimeouts { idle: Duration::from_secs(3600), ..short_limits().timeouts },
        ..short_limits()
    });
    let healthy = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let wrong = "POST /callbacks/x/y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = public.head("Transfer-Encoding: chunked\r\n");
    let cases = [
        ("silence", String::new(), Behaviour::Silence, "408"),
        ("half a head", "POST /call".into(), Behaviour::Silence, "408"),
        ("a trickled head", "GET / HTTP/1.1\r\n".into(), Behaviour::Trickle("a: b\r\n"), "408"),
        ("a stalled body", public.head("Content-Length: 9\r\n"), Behaviour::Silence, "408"),
        ("a trickled body", public.head("Content-Length: 999\r\n"), Behaviour::Trickle("x"), "408"),
        ("a stalled chunked body", chunked.clone(), Behaviour::Silence, "408"),
        ("a trickled chunked body", chunked.clone(), Behaviour::Trickle("1\r\nx\r\n"), "408"),
        ("a chunked flood", chunked, Behaviour::Flood(FLOOD), "413"),
        ("a wrong token and a chunked trickle", wrong.into(), Behaviour::Trickle("1\r\nx\r\n"), "404"),
        ("a wrong token and a chunked flood", wrong.into(), Behaviour::Flood("4\r\nxxxx\r\n"), "404"),
        ("a wrong token and no end", wrong.into(), Behaviour::Silence, "404"),
        (
            "a health check with an endless body",
            "GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            Behaviour::Trickle("1\r\nx\r\n"),
            "200",
        ),
        ("nothing after an answer", healthy.into(), Behaviour::Silence, "200"),
        ("half a head after an answer", format!("{healthy}GET /hea"), Behaviour::Silence, "200"),
        (
            "a trickled head after an answer",
            format!("{healthy}GET / HTTP/1.1\r\n"),
            Behaviour::Trickle("a: b\r\n"),
            "200",
        ),
        ("no Host", "GET /healthz HTTP/1.1\r\n\r\n".into(), Behaviour::Silence, "400"),
        (
            "a length and chunks",
            public.head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            Behaviour::Silence,
            "400",
        ),
        (
            "two lengths",
            public.head("Content-Length: 3\r\nContent-Length: 4\r\n") + "abc",
            Behaviour::Silence,
            "400",
        ),
        ("no HTTP", "\u{16}\u{3}\u{1}hello\r\n\r\n".into(), Behaviour::Silence, "400"),
    ];
    let mut playing = tokio::task::JoinSet::new();
    let mut sent = 0;
    let mut times = Vec::new();
    let calm = public.send_callbacks(50, &mut sent).await;
    for (name, first, then, expected) in cases {
        let socket =
            if expected == "200" { public.server.connect().await } else { no_idle_timeout.connect().await };
        playing.spawn(async move { (name, expected, play_client(socket, first, then).await) });
    }
    while !playing.is_empty() {
        times.push(public.send_callbacks(1, &mut sent).await);
        while let Some(played) = playing.try_join_next() {
            let (name, expected, (took, received)) = played.unwrap();
            assert_eq!(received.get(9..12), Some(expected), "{name}: {received}");
            assert!(took < CLOSED_BY, "{name}: {took:?}, {received}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(times.len() > 20, "{}", times.len());
    times.sort();
    let usual = times[times.len() / 2];
    // On a busy machine everything takes longer, even without hostile clients.
    assert!(usual < Duration::from_secs(1).max(calm * 3), "{usual:?}, and {calm:?} when it was calm");
    assert_eq!(public.kept().await, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_request_after_a_long_one_is_cut_off_on_an_idle_server() {
    let public = TestPublic::start().await;
    let mut socket = public.server.connect().await;
    socket.write_all(public.head("Content-Length: 3\r\n").as_bytes()).await.unwrap();
    // Longer than the interval of the reaper, which sleeps by now because no connection is idle.
    tokio::time::sleep(short_limits().timeouts.idle / 6).await;
    let first = "oneGET / HTTP/1.1\r\n".into();
    let (took, received) = play_client(socket, first, Behaviour::Trickle("a: b\r\n")).await;
    assert_eq!(received.get(9..12), Some("204"), "{received}");
    // Without the reaper a head that long would be rejected in the end, too.
    assert!(took < short_limits().timeouts.idle * 2, "{took:?}, {received}");
}

#[tokio::test]
async fn pipelined_callbacks_are_both_stored() {
    let public = TestPublic::start().await;
    let one = public.head("Content-Length: 3\r\n") + "one";
    let two = public.head("Content-Length: 3\r\nConnection: close\r\n") + "two";
    let answer = public.server.send_raw(one + &two).await;
    let all = format!("{}\r\n\r\n{}", answer.head, answer.body);
    assert_eq!(all.matches("HTTP/1.1 204 No Content").count(), 2, "{all}");
    let deliveries = public.rig.store.unprocessed_deliveries(0, 10).await.unwrap();
    let bodies: Vec<_> = deliveries.iter().map(|delivery| delivery.body.as_slice()).collect();
    assert_eq!(bodies, [b"one", b"two"]);
}

#[tokio::test]
async fn callback_is_accepted_on_a_server_full_of_idle_clients() {
    let timeouts = ConnectionTimeouts {
        head: TEST_TIMEOUT,
        keep_alive: TEST_TIMEOUT,
        idle: TEST_TIMEOUT * 2,
        ..short_limits().timeouts
    };
    let limits = PublicLimits { timeouts, max_connections: 8, ..short_limits() };
    let public = TestPublic::start_with_limits(limits).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(public.server.connect().await);
    }
    let started = Instant::now();
    assert_eq!(public.server.send(&format!("POST {}", public.path), "{}").await.status, 204);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The oldest connection has been closed.
    assert_eq!(TestResponse::read(&mut idle[0]).await.status, 0);
}

#[tokio::test]
async fn forged_callbacks_never_reach_the_database() {
    let public = TestPublic::start().await;
    let settings = CallbackSignature {
        scheme: SignatureScheme::HmacSha256Hex,
        header: "x-signature".into(),
        secrets: vec![Secret::new("what the provider signs with")],
    };
    let signed = PublicServer {
        store: public.rig.store.clone(),
        secrets: public.secrets.clone(),
        signature: Some(settings),
        pictures: None,
        clock: Clock::machine(),
    };
    let signing = TestServer::start(|listener| serve_with_limits(short_limits(), listener, signed).unwrap());
    // Every read of the database fails, and every write fails after five seconds.
    let other = rusqlite::Connection::open(public.rig.folder.path().join("dropreel.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    public.rig.store.refuse_reads();
    let job = public.job.to_string();
    let started = Instant::now();
    for case in [
        format!("/callbacks/{job}/wrong"),
        path_of(&CallbackSecrets::new(Secret::new("a stranger's"), Vec::new()), &job),
    ] {
        assert_eq!(public.server.send(&format!("POST {case}"), "{}").await.status, 404, "{case}");
    }
    assert_eq!(signing.send(&format!("POST {}", public.path), "{}").await.status, 401);
    assert!(started.elapsed() < Duration::from_secs(4), "a request waited for the database");
    assert_eq!(public.server.send(&format!("POST {}", public.path), "{}").await.status, 503, "it is locked");
}

#[tokio::test]
async fn callback_that_cannot_be_stored_is_answered_with_503() {
    let public = TestPublic::start().await;
    let path = public.rig.folder.path().join("dropreel.db");
    // Another program holds the database locked for longer than the store waits.
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = public.server.send(&format!("POST {}", public.path), "{}").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(public.server.send(&format!("POST {}", public.path), "{}").await.status, 204);
    assert_eq!(public.kept().await, 1);
}
