//! Hostile requests for local pictures: each gets a bounded answer or none, and callbacks are received meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::evidence::{conclude, log_of};
use crate::support::checker::{SentCallback, When};
use crate::support::{Rig, SAKURA, png};

/// Larger than what sockets hold, so that a reader who does not read keeps the answer from ending.
const PICTURE_BYTES: usize = 12 << 20;
/// Most pictures that are sent at a time, and most requests for those of a job in a minute (docs/local-pictures.md).
const MAX_ANSWERS: usize = 64;
const MAX_REQUESTS: usize = 300;

/// The head of a request, and the allowed statuses. `{M}` is the path of the picture, `{T}` its token, `{N}` its name, `{H}` the
/// host, `{R}` five hundred ranges.
#[rustfmt::skip]
const CASES: &[(&str, &str, &[u16])] = &[
    ("whole", "GET {M} HTTP/1.1\r\nHost: {H}", &[200]),
    ("head", "HEAD {M} HTTP/1.1\r\nHost: {H}", &[200]),
    ("without-host", "GET {M} HTTP/1.1", &[200, 400]),
    ("for-another-host", "GET {M} HTTP/1.1\r\nHost: evil.example", &[200]),
    ("range", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=1-3", &[206]),
    ("last-bytes", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=-4", &[206]),
    ("range-inverted", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=9-3", &[200, 416]),
    ("range-behind-the-end", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=99999999-", &[200, 416]),
    ("range-huge", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=0-99999999999999999999999999", &[200, 206, 416]),
    ("range-negative", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=--1", &[200, 206, 416]),
    ("range-of-lines", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: lines=1-2", &[200, 416]),
    ("ranges", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=0-1,4-5", &[200, 206, 416]),
    ("five-hundred-ranges", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes={R}", &[200, 206, 416]),
    ("two-range-headers", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=0-1\r\nRange: bytes=4-5", &[200, 206, 416]),
    ("if-range", "GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=0-1\r\nIf-Range: \"x\"", &[200, 206]),
    ("not-modified", "GET {M} HTTP/1.1\r\nHost: {H}\r\nIf-None-Match: *\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", &[200, 304]),
    ("with-a-body", "GET {M} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 99999999", &[200, 400, 413]),
    ("post", "POST {M} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 0", &[404]),
    ("put", "PUT {M} HTTP/1.1\r\nHost: {H}\r\nContent-Length: 0", &[404]),
    ("delete", "DELETE {M} HTTP/1.1\r\nHost: {H}", &[404]),
    ("options", "OPTIONS {M} HTTP/1.1\r\nHost: {H}\r\nOrigin: http://evil.example", &[404]),
    ("propfind", "PROPFIND /media/ HTTP/1.1\r\nHost: {H}\r\nDepth: 1", &[404]),
    ("listing", "GET /media/ HTTP/1.1\r\nHost: {H}", &[404]),
    ("folder", "GET /media HTTP/1.1\r\nHost: {H}", &[404]),
    ("token-alone", "GET /media/{T} HTTP/1.1\r\nHost: {H}", &[404]),
    ("listing-of-the-job", "GET /media/{T}/ HTTP/1.1\r\nHost: {H}", &[404]),
    ("query", "GET {M}?download=1 HTTP/1.1\r\nHost: {H}", &[404]),
    ("slash-behind", "GET {M}/ HTTP/1.1\r\nHost: {H}", &[404]),
    ("slash-inside", "GET /media//{T}/{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("slash-before", "GET /{M} HTTP/1.1\r\nHost: {H}", &[404]),
    ("encoded", "GET /medi%61/{T}/{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("capitals", "GET /MEDIA/{T}/{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("climbing", "GET /media/{T}/../../dropreel.db HTTP/1.1\r\nHost: {H}", &[404]),
    ("climbing-encoded", "GET /media/{T}/..%2f..%2fdropreel.db HTTP/1.1\r\nHost: {H}", &[404]),
    ("climbing-by-name", "GET /media/{T}/....//{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("nul", "GET {M}%00.png HTTP/1.1\r\nHost: {H}", &[404]),
    ("another-type", "GET {M}.svg HTTP/1.1\r\nHost: {H}", &[404]),
    ("no-token", "GET /media/{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("token-cut", "GET /media/019d5cb9-2b40-7bbb-8ccc-1234567890ab./{N} HTTP/1.1\r\nHost: {H}", &[404]),
    ("token-of-nobody", "GET /media/019d5cb9-2b40-7bbb-8ccc-1234567890ab.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/{N} HTTP/1.1\r\nHost: {H}", &[404]),
];

/// A daemon with two jobs that stay queued, each with a large picture.
struct Server {
    rig: Rig,
    address: SocketAddr,
    /// The path of the picture of each job.
    paths: [String; 2],
}

impl Server {
    async fn open() -> Self {
        let mut rig = Rig::set_up("").await;
        rig.set("MEDIA__SERVE", "true");
        rig.start_daemon().await;
        let mut paths = Vec::new();
        for name in ["one", "two"] {
            rig.drop(&format!("{name}.png"), png(&vec![name.as_bytes()[0]; PICTURE_BYTES]));
            let prompt = format!("{SAKURA} [sandbox: queue=600s]");
            let job = json!({"model": "wan2.5-i2v", "prompt": prompt, "image_urls": [format!("{name}.png")]});
            rig.drop(&format!("{name}.json"), job.to_string());
            let job = rig.until(name, &["queued"]).await;
            let database = rusqlite::Connection::open(rig.path("dropreel.db")).unwrap();
            let select = "SELECT body FROM attempts JOIN jobs ON jobs.nr = attempts.job WHERE jobs.id = ?1";
            let body: String =
                database.query_row(select, [job["id"].as_str().unwrap()], |row| row.get(0)).unwrap();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let url = body["image_urls"][0].as_str().unwrap();
            paths.push(url.strip_prefix(&rig.public()).unwrap().to_owned());
        }
        let address = rig.public().trim_start_matches("http://").parse().unwrap();
        Self { rig, address, paths: paths.try_into().unwrap() }
    }

    fn fill_in(&self, head: &str) -> String {
        let (before, name) = self.paths[0].rsplit_once('/').unwrap();
        let ranges: Vec<String> = (0..500).map(|number| format!("{number}-{}", number + 100)).collect();
        let head = head.replace("{M}", &self.paths[0]).replace("{H}", &self.address.to_string());
        let head = head.replace("{T}", before.trim_start_matches("/media/")).replace("{N}", name);
        head.replace("{R}", &ranges.join(",")) + "\r\nConnection: close\r\n\r\n"
    }

    fn get(&self, job: usize) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.paths[job], self.address)
    }

    /// The head of the answer, and how many bytes came in all.
    async fn answer_to(&self, request: &str) -> (String, usize) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(120), socket.read_to_end(&mut answer)).await;
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(answer.len());
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.len())
    }

    async fn status_of(&self, request: &str) -> u16 {
        let (head, _) = self.answer_to(request).await;
        head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// A callback is received as ever.
    async fn receives_a_callback(&self, log: &mut crate::support::checker::HarnessLog) {
        let job = self.rig.job("one").await["id"].as_str().unwrap().to_owned();
        let token = self.rig.callback_secrets().unwrap().token(&job).expose().to_owned();
        let body = "{\"nothing\":1}";
        let head = format!("Host: {}\r\nContent-Length: {}\r\nConnection: close", self.address, body.len());
        let request = format!("POST /callbacks/{job}/{token} HTTP/1.1\r\n{head}\r\n\r\n{body}");
        assert_eq!(self.status_of(&request).await, 204);
        let sha256 = dropreel::sha256::sha256_hex(body.as_bytes());
        log.sent_callbacks.push(SentCallback { job, sha256, valid: true, status: Some(204) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hostile_request_for_a_picture_gets_a_bounded_answer() {
    let server = Server::open().await;
    let mut log = log_of(&server.rig);
    let nothing = server.answer_to(&server.fill_in("GET /nothing HTTP/1.1\r\nHost: {H}")).await.0;
    let without_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    let mut wrong = Vec::new();
    for (name, head, statuses) in CASES {
        let (answer, bytes) = server.answer_to(&server.fill_in(head)).await;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let is_like_nothing = without_date(&answer) == without_date(&nothing);
        if !statuses.contains(&status)
            || bytes > PICTURE_BYTES + 4096
            || status == 404 && !is_like_nothing
            || head.starts_with("HEAD") && bytes > 4096
        {
            wrong.push(format!("{name}: {status}, {bytes} bytes, not {statuses:?}: {answer:.300}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.receives_a_callback(&mut log).await;

    // The address dies with its job.
    assert_eq!(server.status_of(&server.get(0)).await, 200);
    server.rig.post("/api/v1/jobs/one/cancel", json!({})).await;
    server.rig.until("one", &["cancelled"]).await;
    assert_eq!(server.status_of(&server.get(0)).await, 404);
    assert_eq!(server.status_of(&server.get(1)).await, 200);
    conclude(server.rig, &log, When::Always).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_pictures_leave_connections_for_callbacks() {
    let server = Server::open().await;
    let mut log = log_of(&server.rig);
    let mut readers = Vec::new();
    for _ in 0..MAX_ANSWERS + 36 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(server.get(0).as_bytes()).await.unwrap();
        let mut beginning = [0; 16];
        socket.read_exact(&mut beginning).await.unwrap();
        readers.push((socket, String::from_utf8_lossy(&beginning).into_owned()));
    }
    let with = |status: &str| readers.iter().filter(|(_, head)| head.contains(status)).count();
    // On a slow machine, the first of them may have been cut off meanwhile.
    assert!(with(" 200 ") >= MAX_ANSWERS && with(" 503 ") > 0);
    server.receives_a_callback(&mut log).await;
    let (head, _) = server.answer_to(&server.get(1)).await;
    assert!(!head.contains(" 503 ") || head.contains("retry-after"), "{head}");
    drop(readers);
    for _ in 0..600 {
        if server.status_of(&server.get(1)).await == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.status_of(&server.get(1)).await, 200, "the permits came back");
    conclude(server.rig, &log, When::Always).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_for_the_pictures_of_one_job_disturb_nobody_else() {
    let server = Server::open().await;
    let mut log = log_of(&server.rig);
    let range = server.fill_in("GET {M} HTTP/1.1\r\nHost: {H}\r\nRange: bytes=0-9");
    let mut refused = 0;
    for _ in 0..MAX_REQUESTS * 2 {
        let (head, _) = server.answer_to(&range).await;
        if head.contains(" 429 ") {
            assert!(head.contains("retry-after"), "{head}");
            refused += 1;
        }
    }
    assert!(refused > 0, "nothing was refused");
    assert_eq!(server.status_of(&server.get(1)).await, 200);
    server.receives_a_callback(&mut log).await;
    conclude(server.rig, &log, When::Always).await;
}
