//! Slow and hostile HTTP clients on both listeners: each is rejected or closed in time, and other clients do not wait.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dropreel::rng::Rng;
use dropreel::secret::{CallbackSecrets, Secret};
use dropreel::sha256::sha256_hex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::evidence::{conclude, log_of};
use crate::support::checker::{SentCallback, When};
use crate::support::{Rig, quick};

/// Every bad connection is closed within this time.
const CLOSED_BY: Duration = Duration::from_secs(30);

/// How the bytes of a case are sent.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// All at once.
    Whole,
    /// One byte at a time, with this pause.
    Dribble(Duration),
    /// All at once, then the last bytes over and over.
    Flood,
}
use Sending::{Dribble, Flood, Whole};

/// The allowed statuses; 0: closed without an answer.
type Ends = &'static [u16];

/// The cases for both listeners. In the bytes, `{P}` is the path of a valid callback, `{H}` the host, `{K}` 1 KiB of text.
#[rustfmt::skip]
const BOTH: &[(&str, &str, Sending, Ends)] = &[
    ("silence", "", Whole, &[0, 408]),
    ("half-a-word", "PO", Whole, &[0, 408]),
    ("half-a-head", "GET /healthz HTTP/1.1\r\nHost: {H}\r\nX-Sl", Whole, &[0, 408]),
    ("head-dribble", "GET /healthz HTTP/1.1\r\nHost: {H}\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", Dribble(Duration::from_millis(300)), &[0, 408]),
    ("no-http", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n", Whole, &[0, 400]),
    ("garbage", "\u{0}\u{1}\u{2}\r\n\r\n\r\n\r\n", Whole, &[0, 400]),
    ("two-hosts", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nHost: evil.example\r\nConnection: close\r\n\r\n", Whole, &[400, 404, 421]),
    ("bad-method", "B@D / HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[0, 400, 404, 405, 415, 501]),
    ("odd-method", "BREW /callbacks HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[404, 405, 415]),
    ("connect", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n", Whole, &[0, 400, 404, 405, 415, 421]),
    ("trace", "TRACE / HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[404, 405, 415]),
    ("version-9", "GET /healthz HTTP/9.9\r\nHost: {H}\r\n\r\n", Whole, &[0, 400, 505]),
    ("http-2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Whole, &[0, 400, 404, 421, 505]),
    ("folded-header", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nX-A: b\r\n c\r\nConnection: close\r\n\r\n", Whole, &[0, 400, 404]),
    ("header-without-colon", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nnonsense\r\n\r\n", Whole, &[0, 400]),
    ("space-before-colon", "POST /nothing HTTP/1.1\r\nHost: {H}\r\nContent-Length : 3\r\n\r\nabc", Whole, &[0, 400]),
    ("nul-in-header", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nX-A: \u{0}\r\n\r\n", Whole, &[0, 400]),
    ("head-flood", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nX-Fill: {K}{K}{K}{K}{K}{K}{K}{K}", Flood, &[0, 400, 413, 431]),
    ("endless-header-lines", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nX-A: b\r\nX-A: b\r\n", Flood, &[0, 400, 413, 431]),
    ("overlong-url", "GET /{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K}{K} HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[0, 400, 404, 414]),
    ("long-url", "GET /{K}{K}{K}{K}{K}{K}{K}{K} HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404, 414]),
    ("bad-percent", "GET /%zz%%%1 HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("percent-nul", "GET /healthz%00 HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("climbing", "GET /../../../../etc/passwd HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("climbing-encoded", "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("climbing-from-health", "GET /healthz/../metrics HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("expects", "POST /nothing HTTP/1.1\r\nHost: {H}\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n", Whole, &[100, 404, 413, 415, 417]),
    ("upgrade", "GET /nothing HTTP/1.1\r\nHost: {H}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Whole, &[404]),
];

#[rustfmt::skip]
const PUBLIC: &[(&str, &str, Sending, Ends)] = &[
    ("no-host", "POST {P} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Whole, &[204, 400]),
    ("body-stall", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 100\r\n\r\n{", Whole, &[0, 408]),
    ("body-dribble", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 600\r\n\r\n{K}", Dribble(Duration::from_millis(60)), &[0, 408]),
    ("chunk-stall", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Whole, &[0, 408]),
    ("declared-over", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 262145\r\n\r\n", Whole, &[413]),
    ("declared-huge", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 99999999999999\r\n\r\n", Whole, &[413]),
    ("declared-beyond", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 99999999999999999999999999\r\n\r\n", Whole, &[0, 400, 413]),
    ("declared-negative", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: -1\r\n\r\n", Whole, &[0, 400]),
    ("declared-signed", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: +3\r\n\r\nabc", Whole, &[0, 400]),
    ("two-lengths", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Whole, &[0, 400]),
    ("length-list", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 3, 4\r\n\r\nabcd", Whole, &[0, 400]),
    ("length-and-chunked", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Whole, &[0, 400]),
    ("chunked-twice", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Whole, &[0, 400]),
    ("chunked-not-last", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Whole, &[0, 400]),
    ("chunk-nonsense", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", Whole, &[0, 400]),
    ("chunk-of-all", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n", Whole, &[0, 400, 408, 413]),
    ("chunk-flood", "POST {P} HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{K}\r\n", Flood, &[0, 400, 413]),
    ("wrong-then-flood", "POST /callbacks/a/b HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{K}\r\n", Flood, &[404]),
    ("gzip", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", Whole, &[204]),
    ("absolute", "POST http://evil.example{P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Whole, &[204, 400, 404]),
    ("pipelined", "GET /healthz HTTP/1.1\r\nHost: {H}\r\n\r\nGET /healthz HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[200]),
    ("pipelined-after-refusal", "POST /callbacks/a/b HTTP/1.1\r\nHost: {H}\r\nContent-Length: 2\r\n\r\nabPOST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 0\r\n\r\n", Whole, &[404]),
    ("second-head-stall", "GET /healthz HTTP/1.1\r\nHost: {H}\r\n\r\nPOST {P} HT", Whole, &[200]),
    ("encoded-health", "GET /%68ealthz HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[404]),
    ("admin-paths", "GET /api/v1/jobs HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[404]),
    ("admin-metrics", "GET /metrics HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[404]),
    ("climbing-to-callback", "POST /callbacks/../{P} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Whole, &[404]),
];

#[rustfmt::skip]
const ADMIN: &[(&str, &str, Sending, Ends)] = &[
    ("no-host", "GET /api/v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n", Whole, &[400, 421]),
    ("foreign-host", "GET /api/v1/jobs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", Whole, &[421]),
    ("rebound", "GET http://evil.example/api/v1/jobs HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 421]),
    ("other-page", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nOrigin: http://evil.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", Whole, &[403]),
    ("form", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", Whole, &[415]),
    ("order-stall", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", Whole, &[0, 408]),
    ("order-dribble", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{K}", Dribble(Duration::from_millis(60)), &[0, 408]),
    ("order-huge", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n", Whole, &[413]),
    ("job-huge", "POST /api/v1/jobs HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n", Whole, &[413]),
    ("order-flood", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{K}\r\n", Flood, &[0, 413]),
    ("job-flood", "POST /api/v1/jobs HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{K}\r\n", Flood, &[0, 413]),
    ("two-lengths", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", Whole, &[0, 400]),
    ("length-and-chunked", "POST /api/v1/pause HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Whole, &[0, 400]),
    ("job-climbing", "GET /api/v1/jobs/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("job-bad-percent", "GET /api/v1/jobs/%ff%fe HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400, 404]),
    ("limit-huge", "GET /api/v1/jobs?limit=99999999999999999999 HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[200, 400]),
    ("cursor-nonsense", "GET /api/v1/jobs?cursor=%27%20OR%201=1-- HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[400]),
    ("text-of-sql", "GET /api/v1/jobs?q=%25%27%22%3B-- HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[200]),
    ("encoded-health", "GET /%68ealthz HTTP/1.1\r\nHost: {H}\r\nConnection: close\r\n\r\n", Whole, &[200, 404]),
    ("callback-here", "POST {P} HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", Whole, &[404]),
];

/// A daemon with one job that stays queued, and the secrets for its callbacks.
struct Listeners {
    rig: Rig,
    public: SocketAddr,
    admin: SocketAddr,
    secrets: CallbackSecrets,
    job: String,
}

impl Listeners {
    async fn open() -> Self {
        raise_files();
        let rig = Rig::start("").await;
        rig.drop("sakura.json", quick("sakura", "queue=600s"));
        let job = rig.until("sakura", &["queued"]).await["id"].as_str().unwrap().to_owned();
        let secrets = rig.callback_secrets().unwrap();
        let address = |url: String| url.trim_start_matches("http://").parse().unwrap();
        let (public, admin) = (address(rig.public()), address(rig.admin()));
        Self { rig, public, admin, secrets, job }
    }

    fn token(&self) -> String {
        self.secrets.token(&self.job).expose().to_owned()
    }

    fn path(&self) -> String {
        format!("/callbacks/{}/{}", self.job, self.token())
    }

    fn fill_in(&self, bytes: &str, listener: SocketAddr) -> String {
        let bytes = bytes.replace("{P}", &self.path()).replace("{H}", &listener.to_string());
        bytes.replace("{K}", &"k".repeat(1024))
    }
}

/// Allows thousands of sockets in this process, and in the daemon, which inherits the limit.
fn raise_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

/// Sends the bytes and reads until the listener closes. Returns the whole answer and the time it took.
async fn exchange(listener: SocketAddr, bytes: String, how: Sending) -> (String, Duration) {
    let start = Instant::now();
    let socket = TcpStream::connect(listener).await.unwrap();
    let (mut from, mut to) = socket.into_split();
    let sending = async move {
        match how {
            Whole => to.write_all(bytes.as_bytes()).await.map_err(drop).ok(),
            Dribble(pause) => {
                // If the case has a body, the head is sent at once.
                let head =
                    bytes.find("\r\n\r\n").filter(|end| end + 4 < bytes.len()).map_or(0, |end| end + 4);
                let _ = to.write_all(&bytes.as_bytes()[..head]).await;
                for byte in &bytes.as_bytes()[head..] {
                    if to.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
                Some(())
            }
            Flood => {
                let _ = to.write_all(bytes.as_bytes()).await;
                let again = &bytes.as_bytes()
                    [bytes[..bytes.len() - 2].rfind("\r\n\r\n").map_or(bytes.len() - 8, |end| end + 4)..];
                let more = again.repeat(16);
                while to.write_all(&more).await.is_ok() {}
                Some(())
            }
        };
        // The listener must close first.
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let limit = CLOSED_BY + Duration::from_secs(10);
    tokio::select! {
        () = sending => unreachable!(),
        answer = tokio::time::timeout(limit, reading) => (answer.unwrap_or_else(|_| "open".into()), start.elapsed()),
    }
}

fn status_of(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_client_is_answered_or_closed_in_time() {
    let listeners = Listeners::open().await;
    let log = log_of(&listeners.rig);
    let on = |listener: SocketAddr, which: &'static str, cases: &'static [(&str, &str, Sending, Ends)]| {
        cases.iter().map(move |case| (which, listener, case)).collect::<Vec<_>>()
    };
    let mut cases = on(listeners.public, "public", BOTH);
    cases.extend(on(listeners.admin, "admin", BOTH));
    cases.extend(on(listeners.public, "public", PUBLIC));
    cases.extend(on(listeners.admin, "admin", ADMIN));
    let exchanges = cases.iter().map(|(_, listener, (_, bytes, how, _))| {
        let bytes = listeners.fill_in(bytes, *listener);
        exchange(*listener, bytes, *how)
    });
    let ended = futures_util::future::join_all(exchanges).await;
    let mut wrong = Vec::new();
    for ((which, _, (name, _, how, ends)), (answer, took)) in cases.iter().zip(ended) {
        let status = status_of(&answer);
        if answer == "open" || took > CLOSED_BY || !ends.contains(&status) {
            wrong.push(format!(
                "{which} {name} ({how:?}): {status} after {took:?}, not {ends:?}: {answer:.300}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), listeners.rig.output());
    // Nothing that was pipelined after a rejected request was done.
    let (_, status) = listeners.rig.get("/api/v1/status").await;
    assert_eq!(status["suspensions"], serde_json::json!([]), "a rejected request paused submits: {status:#}");
    conclude(listeners.rig, &log, When::Always).await;
}

/// Milliseconds from a fresh connection to the whole answer.
async fn timed(listener: SocketAddr, request: String, expected: u16) -> f64 {
    let start = Instant::now();
    let mut socket = TcpStream::connect(listener).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer).await;
    assert_eq!(status_of(&answer), expected, "{answer}");
    start.elapsed().as_secs_f64() * 1000.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Resident memory of the daemon, in KiB.
fn resident(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_connections_delays_no_client_and_uses_little_memory() {
    let listeners = Listeners::open().await;
    let mut log = log_of(&listeners.rig);
    let before = resident(&listeners.rig);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(65_536);
    let count = files.saturating_sub(300).min(2000);
    // Silent connections, opened again after they are closed.
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..count {
        let listener = listeners.public;
        flood.spawn(async move {
            loop {
                if let Ok(mut socket) = TcpStream::connect(listener).await {
                    let _ = socket.read(&mut [0; 256]).await;
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
    }
    let busy = ["half-a-head", "body-dribble", "chunk-flood", "wrong-then-flood", "declared-over", "garbage"];
    for (_, bytes, how, _) in BOTH.iter().chain(PUBLIC).filter(|case| busy.contains(&case.0)) {
        let (listener, bytes, how) = (listeners.public, listeners.fill_in(bytes, listeners.public), *how);
        flood.spawn(async move {
            loop {
                exchange(listener, bytes.clone(), how).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut callbacks, mut healths, mut admins, mut max_memory) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..60 {
        let body = format!("{{\"round\":{round}}}");
        let head =
            format!("Host: {}\r\nContent-Length: {}\r\nConnection: close", listeners.public, body.len());
        let callback = format!("POST {} HTTP/1.1\r\n{head}\r\n\r\n{body}", listeners.path());
        callbacks.push(timed(listeners.public, callback, 204).await);
        log.sent_callbacks.push(SentCallback {
            job: listeners.job.clone(),
            sha256: sha256_hex(body.as_bytes()),
            valid: true,
            status: Some(204),
        });
        let health =
            |listener| format!("GET /healthz HTTP/1.1\r\nHost: {listener}\r\nConnection: close\r\n\r\n");
        healths.push(timed(listeners.public, health(listeners.public), 200).await);
        admins.push(timed(listeners.admin, health(listeners.admin), 200).await);
        max_memory = max_memory.max(resident(&listeners.rig));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    flood.abort_all();
    let (callback, health, admin) = (median(callbacks), median(healths), median(admins));
    println!(
        "callback {callback:.1} ms, health {health:.1} ms, at the admin listener {admin:.1} ms, {before} KiB before, {max_memory} KiB at most"
    );
    // A busy machine takes long for anything; a client behind the flood waits for its connections to time out.
    assert!(callback < 1000.0, "a callback took {callback} ms");
    assert!(health < 1000.0 && admin < 1000.0, "health took {health} and {admin} ms");
    assert!(max_memory < before + 48 * 1024, "memory grew from {before} to {max_memory} KiB");
    conclude(listeners.rig, &log, When::Always).await;
}

/// The answer without what may differ: the date.
async fn answer_to(listener: SocketAddr, path: &str) -> String {
    let request = format!("POST {path} HTTP/1.1\r\nHost: {listener}\r\nContent-Length: 2\r\n\r\n{{}}");
    let mut socket = TcpStream::connect(listener).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer).await;
    answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn random_token(rng: &Rng) -> String {
    (0..43).map(|_| char::from(ALPHABET[usize::try_from(rng.below(64)).unwrap()])).collect()
}

#[test]
fn hundred_thousand_random_tokens_are_rejected() {
    let secrets = CallbackSecrets::new(Secret::new("current"), vec![Secret::new("previous")]);
    let (job, rng) = ("019d5cb9-2b40-7bbb-8ccc-1234567890ab", Rng::seeded(1));
    assert!((0..100_000).all(|_| !secrets.verify(job, &random_token(&rng))));
    assert!(secrets.verify(job, secrets.token(job).expose()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_forged_callback_gets_the_same_answer() {
    let listeners = Listeners::open().await;
    let log = log_of(&listeners.rig);
    let (job, token) = (listeners.job.clone(), listeners.token());
    let nobody = "019d5cb9-2b40-7bbb-8ccc-1234567890ab";
    let other_key = CallbackSecrets::new(Secret::new("another secret"), Vec::new());
    let encoded: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut paths = vec![
        format!("/callbacks/{job}/{}", &token[..42]),
        format!("/callbacks/{job}/{}", &token[1..]),
        format!("/callbacks/{job}/"),
        format!("/callbacks/{job}"),
        format!("/callbacks//{token}"),
        format!("/callbacks/{job}/{token}="),
        format!("/callbacks/{job}/{token}/"),
        format!("/callbacks/{job}/{token}%20"),
        format!("/callbacks/{job}/{token}%00"),
        format!("/callbacks/{job}/{token};x=1"),
        format!("/callbacks/{job}/{encoded}"),
        format!("/callbacks/{job}/{}", token.to_uppercase()),
        format!("/callbacks/{job}/{}", token.to_lowercase()),
        format!("/callbacks/{job}/{}", token.chars().rev().collect::<String>()),
        format!("/callbacks/{}/{token}", job.to_uppercase()),
        format!("/callbacks/{}/{token}", job.replace('-', "")),
        format!("/callbacks/{job}/x/{token}"),
        format!("/callbacks/{job}/?token={token}"),
        format!("/callbacks/{job}?token={token}"),
        format!("/Callbacks/{job}/{token}"),
        format!("//callbacks/{job}/{token}"),
        format!("/callbacks/{job}/{}", listeners.secrets.token(nobody).expose()),
        format!("/callbacks/{nobody}/{token}"),
        // The right token of a job that does not exist.
        format!("/callbacks/{nobody}/{}", listeners.secrets.token(nobody).expose()),
        format!("/callbacks/../{}", listeners.secrets.token("..").expose()),
        format!("/callbacks/{job}/{}", other_key.token(&job).expose()),
        format!("/callbacks/{job}/{}", listeners.secrets.token("").expose()),
        "/callbacks/".to_owned(),
        "/".to_owned(),
    ];
    // The right token with one character changed, at each position.
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        paths.push(format!("/callbacks/{job}/{}", String::from_utf8(bytes).unwrap()));
    }
    let rng = Rng::seeded(7);
    paths.extend((0..5000).map(|_| format!("/callbacks/{job}/{}", random_token(&rng))));
    let uniform = answer_to(listeners.public, "/nothing").await;
    assert_eq!(status_of(&uniform), 404, "{uniform}");
    for some in paths.chunks(64) {
        let answers =
            futures_util::future::join_all(some.iter().map(|path| answer_to(listeners.public, path))).await;
        for (path, answer) in some.iter().zip(answers) {
            assert_eq!(answer, uniform, "{path}");
        }
    }
    let history = listeners.rig.job("sakura").await["history"].to_string();
    assert!(!history.contains("callback_received"), "{history}");
    assert_eq!(status_of(&answer_to(listeners.public, &format!("{}?x=1", listeners.path())).await), 204);
    conclude(listeners.rig, &log, When::Always).await;
}
