//! Hostile and broken media hosts over real sockets.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use std::net::SocketAddr;

use super::*;

/// Answers each connection with the next of these texts, then closes it.
async fn host(answers: Vec<String>) -> (SocketAddr, Arc<parking_lot::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = socket.read(&mut request).await.unwrap();
            log.lock().push(String::from_utf8_lossy(&request[..read]).to_ascii_lowercase());
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (address, asked)
}

fn private_too() -> Policy {
    Policy { private_addresses: true, ..Policy::default() }
}

fn client(policy: Policy) -> MediaClient {
    MediaClient::new(policy, MediaTimeouts::default(), 1000, None, Clock::machine())
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}")
}

async fn fetch(answers: Vec<String>, resume: Option<Resume>) -> Result<(Head, Vec<u8>), MediaError> {
    let (address, _) = host(answers).await;
    let link = Secret::new(format!("http://{address}/a.mp4?sig=canary"));
    let client = client(private_too());
    let mut download = client.open(&link, resume.as_ref()).await?;
    let mut body = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok((download.head().clone(), body))
}

fn resume_at(offset: u64) -> Option<Resume> {
    Some(Resume { offset, validator: "\"v1\"".into() })
}

#[tokio::test]
async fn a_file_is_streamed_with_what_was_announced() {
    let ok = answer("200 OK\r\ncontent-length: 4\r\netag: \"v1\"\r\ncontent-type: video/mp4", "clip");
    let (head, body) = fetch(vec![ok], None).await.unwrap();
    assert_eq!((head.offset, head.length, head.validator.as_deref()), (0, Some(4), Some("\"v1\"")));
    assert_eq!(body, b"clip");
}

#[tokio::test]
async fn broken_answers_end_as_what_they_are() {
    type Check = fn(&MediaError) -> bool;
    let cases: Vec<(&str, String, Check)> = vec![
        ("short", answer("200 OK\r\ncontent-length: 9", "clip"), |error| {
            matches!(error, MediaError::CutShort { received: 4, announced: 9, .. })
        }),
        ("chunks cut", answer("200 OK\r\ntransfer-encoding: chunked", "4\r\nclip\r\n"), |error| {
            matches!(error, MediaError::CutShort { .. } | MediaError::Network { .. })
        }),
        ("announced too large", answer("200 OK\r\ncontent-length: 1001", ""), |error| {
            matches!(error, MediaError::TooLarge { limit: 1000, .. })
        }),
        ("grows too large", answer("200 OK", &"x".repeat(1001)), |error| {
            matches!(error, MediaError::TooLarge { .. })
        }),
        ("gone", answer("410 Gone", ""), |error| {
            matches!(error, MediaError::LinkRefused { status: 410, .. })
        }),
        ("denied", answer("403 Forbidden", ""), |error| {
            matches!(error, MediaError::LinkRefused { status: 403, .. })
        }),
        (
            "busy",
            answer("503 Busy\r\nretry-after: 7", ""),
            |error| matches!(error, MediaError::Busy { status: 503, wait: Some(wait), .. } if wait.as_secs() == 7),
        ),
        ("no answer", String::new(), |error| matches!(error, MediaError::Network { .. })),
        ("redirect to a file", answer("302 Found\r\nlocation: file:///etc/passwd", ""), |error| {
            matches!(error, MediaError::Forbidden(Forbidden::Scheme { .. }))
        }),
        ("redirect to metadata", answer("302 Found\r\nlocation: http://169.254.169.254/", ""), |error| {
            matches!(error, MediaError::Forbidden(Forbidden::Address { .. }))
        }),
        ("redirect to nowhere", answer("302 Found", ""), |error| {
            matches!(error, MediaError::Redirects { .. })
        }),
        ("a part unasked", answer("206 Partial\r\ncontent-range: bytes 0-3/8", "clip"), |error| {
            matches!(error, MediaError::Partial { .. })
        }),
        (
            "a part of another length",
            answer("206 Partial\r\ncontent-range: bytes 0-3/4\r\ncontent-length: 3", "cli"),
            |error| matches!(error, MediaError::Partial { .. }),
        ),
        (
            "redirect to a port of another protocol",
            answer("302 Found\r\nlocation: http://127.0.0.1:22/", ""),
            |error| matches!(error, MediaError::Forbidden(Forbidden::Port { port: 22, .. })),
        ),
        ("redirect to data", answer("302 Found\r\nlocation: data:video/mp4;base64,AAAA", ""), |error| {
            matches!(error, MediaError::Forbidden(Forbidden::Scheme { .. }))
        }),
    ];
    for (name, answer, is_right) in cases {
        let error = fetch(vec![answer], None).await.expect_err(name);
        assert!(is_right(&error), "{name}: {error:?}");
        assert!(!error.to_string().contains("canary"), "{name}: {error}");
    }
}

#[tokio::test]
async fn odd_heads_of_a_whole_file_are_accepted() {
    // Head; its length as announced; whether the last chunk proves it.
    for (head, body, length, chunked) in [
        ("200 OK\r\ncontent-encoding: \r\ncontent-length: 4", "clip", Some(4), false),
        ("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4", "clip", Some(4), false),
        ("200 OK\r\ncontent-encoding: aws-chunked, utf-8\r\ncontent-length: 4", "clip", Some(4), false),
        ("203 Changed\r\ncontent-length: 4", "clip", Some(4), false),
        ("206 Partial\r\ncontent-range: bytes 0-3/4\r\ncontent-length: 4", "clip", Some(4), false),
        ("206 Partial\r\ncontent-range: bytes 0-3/4", "clip", Some(4), false),
        ("206 Partial\r\ncontent-range: bytes 0-3/*\r\ncontent-length: 4", "clip", None, false),
        ("206 Partial\r\ncontent-length: 4", "clip", None, false),
        ("200 OK\r\ntransfer-encoding: Chunked", "4\r\nclip\r\n0\r\n\r\n", None, true),
        ("200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9", "4\r\nclip\r\n0\r\n\r\n", None, true),
        ("200 OK", "clip", None, false),
    ] {
        let (found, received) = fetch(vec![answer(head, body)], None).await.expect(head);
        assert_eq!((found.length, found.chunked, &received[..]), (length, chunked, &b"clip"[..]), "{head}");
    }
}

#[tokio::test]
async fn redirect_with_raw_bytes_is_followed() {
    let (target, requests) = host(vec![answer("200 OK\r\ncontent-length: 4", "clip")]).await;
    let there = answer(&format!("302 Found\r\nlocation: http://{target}/x?name=春.mp4"), "");
    assert_eq!(fetch(vec![there], None).await.unwrap().1, b"clip");
    assert!(requests.lock()[0].starts_with("get /x?name=%e6%98%a5.mp4 "), "{:?}", requests.lock());
}

#[tokio::test]
async fn data_link_is_the_file_itself() {
    let open = async |link: &str| client(Policy::default()).open(&Secret::new(link.to_owned()), None).await;
    for link in
        ["data:video/mp4;base64,Y2xpcA==", "DATA:;base64,Y2xp%63A", "data:,%63lip", "data:text/html,clip"]
    {
        let mut download = open(link).await.expect(link);
        assert_eq!(download.head().length, Some(4), "{link}");
        assert_eq!(download.chunk().await.unwrap().unwrap(), &b"clip"[..], "{link}");
        assert_eq!(download.chunk().await.unwrap(), None);
    }
    let large = open(&format!("data:,{}", "x".repeat(1001))).await.err();
    assert!(matches!(large, Some(MediaError::TooLarge { limit: 1000, .. })), "{large:?}");
    for bad in ["data:", "data:video/mp4;base64,====="] {
        let refused = open(bad).await.err();
        assert!(matches!(refused, Some(MediaError::Forbidden(Forbidden::NotAUrl))), "{bad}: {refused:?}");
    }
}

/// Answers every URL with what is known of it, and notes which were requested, with and without the key.
struct Answers {
    known: Vec<(&'static str, &'static str)>,
    requests: parking_lot::Mutex<Vec<String>>,
}

impl MediaTransport for Answers {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        headers: HeaderMap,
    ) -> futures_util::future::BoxFuture<'a, Result<Response, MediaError>> {
        let key = if headers.contains_key(AUTHORIZATION) { " with the key" } else { "" };
        self.requests.lock().push(format!("{url}{key}"));
        let known = self.known.iter().find(|(known, _)| *known == url.as_str());
        let answer = known.map(|(_, answer)| {
            let (status, location) = answer.split_once(' ').unwrap_or((answer, ""));
            let mut built = http::Response::builder().status(status.parse::<u16>().unwrap());
            match status {
                "302" => built = built.header(LOCATION, location),
                _ => built = built.header(CONTENT_TYPE, location),
            }
            Response::from(built.body("clip").unwrap())
        });
        Box::pin(async move { answer.ok_or_else(|| MediaError::TooSlow { host: host_of(url) }) })
    }
}

#[tokio::test]
async fn link_without_tls_is_tried_with_tls_first() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], bool);
    const PLAIN: &str = "http://cdn.example/a";
    // Link, answers, requests of two downloads, whether the file came without TLS.
    let cases: [Case; 8] = [
        (PLAIN, &[("https://cdn.example/a", "200 video/mp4")], &["https://cdn.example/a"; 2], false),
        (PLAIN, &[("http://cdn.example/a", "200 video/mp4")], &["https://cdn.example/a", PLAIN, PLAIN], true),
        (
            PLAIN,
            &[("https://cdn.example/a", "404 "), (PLAIN, "200 video/mp4")],
            &["https://cdn.example/a", PLAIN, PLAIN],
            true,
        ),
        (
            PLAIN,
            &[("https://cdn.example/a", "200 text/html"), (PLAIN, "200 video/mp4")],
            &["https://cdn.example/a", PLAIN, PLAIN],
            true,
        ),
        (
            PLAIN,
            &[("https://cdn.example/a", "302 http://cdn.example/a"), (PLAIN, "200 video/mp4")],
            &["https://cdn.example/a", PLAIN, PLAIN],
            true,
        ),
        (
            "http://cdn.example:8080/a",
            &[("http://cdn.example:8080/a", "200 video/mp4")],
            &["https://cdn.example:8080/a", "http://cdn.example:8080/a", "http://cdn.example:8080/a"],
            true,
        ),
        // On this machine there is nobody to listen.
        (
            "http://127.0.0.1:8080/a",
            &[("http://127.0.0.1:8080/a", "200 video/mp4")],
            &["http://127.0.0.1:8080/a"; 2],
            true,
        ),
        // The provider's own host gets the key by TLS alone.
        (
            "http://home.example/a",
            &[("http://home.example/a", "200 video/mp4")],
            &["https://home.example/a with the key", "http://home.example/a", "http://home.example/a"],
            true,
        ),
    ];
    let home = Url::parse("https://home.example").unwrap();
    for (link, known, expected, without_tls) in cases {
        let transport = Arc::new(Answers { known: known.to_vec(), requests: parking_lot::Mutex::default() });
        let key = Some((&home, Secret::new("sk-canary")));
        let client = MediaClient::with_transport(
            transport.clone(),
            private_too(),
            MediaTimeouts::default(),
            1000,
            key,
            Clock::machine(),
        );
        for _ in 0..2 {
            let download = client.open(&Secret::new(link.to_owned()), None).await.expect(link);
            assert_eq!(download.head().plain_http, without_tls, "{link} {known:?}");
        }
        assert_eq!(*transport.requests.lock(), expected, "{link} {known:?}");
    }
}

#[tokio::test]
async fn file_that_was_none_by_tls_is_requested_without() {
    let known = vec![("https://cdn.example/a", "200 "), ("http://cdn.example/a", "200 ")];
    let transport = Arc::new(Answers { known, requests: parking_lot::Mutex::default() });
    let (timeouts, clock) = (MediaTimeouts::default(), Clock::machine());
    let client = MediaClient::with_transport(transport, Policy::default(), timeouts, 1000, None, clock);
    let link = Secret::new("http://cdn.example/a".to_owned());
    let first = client.open(&link, None).await.unwrap();
    assert!(!first.head().plain_http);
    client.reject_file(first.head());
    assert!(client.open(&link, None).await.unwrap().head().plain_http);
}

#[tokio::test]
async fn a_redirect_is_followed_to_its_end_but_not_for_ever() {
    let (target, _) = host(vec![answer("200 OK\r\ncontent-length: 4", "clip")]).await;
    let there = answer(&format!("302 Found\r\nlocation: http://{target}/b.mp4"), "");
    assert_eq!(fetch(vec![there], None).await.unwrap().1, b"clip");
    let round = answer("302 Found\r\nlocation: /again", "");
    let error = fetch(vec![round; 6], None).await.unwrap_err();
    assert!(matches!(error, MediaError::Redirects { .. }), "{error:?}");
}

#[tokio::test]
async fn a_download_is_resumed_only_where_it_is_the_same_file() {
    let part = |range: &str, tag: &str, body: &str| {
        let length = body.len();
        answer(
            &format!("206 Partial\r\ncontent-length: {length}\r\ncontent-range: {range}\r\netag: {tag}"),
            body,
        )
    };
    let (head, body) = fetch(vec![part("bytes 4-7/8", "\"v1\"", "reel")], resume_at(4)).await.unwrap();
    assert_eq!((head.offset, head.length, body.as_slice()), (4, Some(8), b"reel".as_slice()));
    for wrong in [
        part("bytes 3-6/7", "\"v1\"", "reel"),
        part("bytes 4-7/9", "\"v1\"", "reel"),
        part("bytes 4-7/8", "\"v2\"", "reel"),
        part("bytes 4-8/9", "\"v1\"", "reel"),
        part("items 4-7/8", "\"v1\"", "reel"),
        answer("416 No", ""),
    ] {
        let error = fetch(vec![wrong.clone()], resume_at(4)).await.expect_err(&wrong);
        assert!(matches!(error, MediaError::CannotResume { .. }), "{wrong}: {error:?}");
    }
    let whole = answer("200 OK\r\ncontent-length: 8", "clipreel");
    assert_eq!(fetch(vec![whole], resume_at(4)).await.unwrap().0.offset, 0);
}

#[tokio::test]
async fn a_resume_asks_for_the_rest_of_this_very_file() {
    let rest = "206 Partial\r\ncontent-length: 4\r\ncontent-range: bytes 4-7/8\r\netag: \"v1\"";
    let (address, asked) = host(vec![answer(rest, "reel")]).await;
    let link = Secret::new(format!("http://{address}/a.mp4"));
    client(private_too()).open(&link, resume_at(4).as_ref()).await.unwrap();
    let asked = asked.lock()[0].clone();
    for header in ["range: bytes=4-", "if-range: \"v1\"", "accept-encoding: identity"] {
        assert!(asked.contains(header), "{header} is not in {asked}");
    }
}

#[tokio::test]
async fn a_weak_validator_allows_no_resume() {
    let weak = answer("200 OK\r\ncontent-length: 4\r\netag: W/\"v1\"", "clip");
    assert_eq!(fetch(vec![weak], None).await.unwrap().0.validator, None);
}

#[tokio::test]
async fn a_private_address_is_never_connected_to_unless_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for name in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let link = Secret::new(format!("https://{name}:{port}/a.mp4"));
        let refused = client(Policy::default()).open(&link, None).await.err();
        assert!(matches!(refused, Some(MediaError::Forbidden(_))), "{name}: {refused:?}");
    }
    let localhost = Secret::new("https://localhost/a.mp4".to_owned());
    let refused = client(Policy::default()).open(&localhost, None).await.err();
    assert!(matches!(refused, Some(MediaError::Forbidden(Forbidden::Address { .. }))), "{refused:?}");
    let touched = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(touched.is_err(), "somebody connected");
}

#[tokio::test]
async fn the_key_goes_to_the_providers_own_origin_only() {
    let ok = || vec![answer("200 OK\r\ncontent-length: 0", "")];
    let (home, asked_home) = host(ok()).await;
    let (other, asked_other) = host(ok()).await;
    let base = Url::parse(&format!("http://{home}")).unwrap();
    let key = Secret::new("sk-canary");
    let client =
        MediaClient::new(private_too(), MediaTimeouts::default(), 1000, Some((&base, key)), Clock::machine());
    for address in [home, other] {
        client.open(&Secret::new(format!("http://{address}/a.mp4")), None).await.unwrap();
    }
    assert!(asked_home.lock()[0].contains("authorization: bearer sk-canary"));
    assert!(!asked_other.lock()[0].contains("authorization"));
}

#[tokio::test]
async fn a_host_that_dribbles_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clock = Clock::paused(crate::clock::Timestamp::from_millis(0));
    let hand = clock.clone();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let _ = socket.read(&mut request).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n").await;
        loop {
            if socket.write_all(b"x").await.is_err() {
                break;
            }
            hand.advance(Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let client = MediaClient::new(private_too(), MediaTimeouts::default(), 1000, None, clock);
    let mut download = client.open(&Secret::new(format!("http://{address}/a")), None).await.unwrap();
    let error = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MediaError::TooSlow { .. }), "{error:?}");
}

#[tokio::test]
async fn files_of_one_thread_come_over_one_connection_and_others_over_one_each() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = Secret::new(format!("http://{}/a.mp4", listener.local_addr().unwrap()));
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm").await.unwrap();
                }
            });
        }
    });
    let shared = client(private_too());
    for (client, connections) in [(&shared.per_thread(), 1), (&shared.per_thread(), 1), (&shared, 3)] {
        let before = accepted.load(std::sync::atomic::Ordering::Relaxed);
        for _ in 0..3 {
            let mut download = client.open(&link, None).await.unwrap();
            while download.chunk().await.unwrap().is_some() {}
            drop(download);
            // As a thread that waits for its next file: the connection is put back.
            Clock::machine().sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(accepted.load(std::sync::atomic::Ordering::Relaxed) - before, connections);
    }
}

#[tokio::test]
async fn a_new_key_reaches_the_clients_of_all_threads() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";
    let (address, asked) = host(vec![ok.into()]).await;
    let base = Url::parse(&format!("http://{address}")).unwrap();
    let home = Some((&base, Secret::new("old")));
    let client = MediaClient::new(private_too(), MediaTimeouts::default(), 1000, home, Clock::machine());
    let another = client.per_thread();
    client.set_key(Secret::new("new"));
    another.open(&Secret::new(format!("{base}a.mp4")), None).await.unwrap();
    assert!(asked.lock()[0].contains("authorization: bearer new"));
}
