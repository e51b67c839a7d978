//! Requests with right and wrong hosts, origins, tokens and media types.

use actix_web::ResponseError;
use actix_web::test::TestRequest;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

fn tokens(token: &str, read_token: Option<&str>) -> AuthTokens {
    AuthTokens { token: Some(Secret::new(token)), read_token: read_token.map(Secret::new) }
}

fn request_check(address: &str, tokens: AuthTokens) -> RequestCheck {
    RequestCheck::new(address.parse().unwrap(), Vec::new(), tokens)
}

fn status_of(check: &RequestCheck, request: TestRequest, headers: &[(&str, &str)]) -> u16 {
    let request =
        headers.iter().fold(request, |request, (name, value)| request.append_header((*name, *value)));
    let request = request.to_srv_request();
    check.check(request.head()).map_or_else(|problem| problem.status_code().as_u16(), |()| 200)
}

#[test]
fn only_own_hosts_are_answered_on_any_port() {
    let loopback = "127.0.0.1:8788";
    let cases = [
        (loopback, "127.0.0.1:8788", true),
        (loopback, "localhost:8788", true),
        (loopback, "LOCALHOST:8788", true),
        (loopback, "[::1]:8788", true),
        // A tunnel has a port of its own.
        (loopback, "127.0.0.1:9000", true),
        (loopback, "localhost:9000", true),
        (loopback, "127.0.0.1", true),
        (loopback, "localhost", true),
        (loopback, "[::1]", true),
        (loopback, "127.0.0.2:8788", true),
        (loopback, "[::ffff:127.0.0.1]:8788", true),
        // `admin.hosts`, with the port of a proxy or without one.
        (loopback, "reel.example", true),
        (loopback, "Reel.Example:8443", true),
        (loopback, "dropreel", true),
        (loopback, "other.reel.example", false),
        (loopback, "reel.example.evil.example", false),
        (loopback, "reel.example.", false),
        (loopback, "127.0.0.1:08788", false),
        (loopback, "127.0.0.1:", false),
        (loopback, "127.0.0.1:+80", false),
        (loopback, "127.0.0.1:99999", false),
        (loopback, "127.1:8788", false),
        (loopback, "2130706433:8788", false),
        (loopback, "localhost.:8788", false),
        (loopback, "evil.example:8788", false),
        (loopback, "localhost:8788@evil.example", false),
        (loopback, "evil.example:8788:8788", false),
        (loopback, "localhost:8788:8788", false),
        (loopback, "[::1]:8788.evil.example", false),
        (loopback, "::1:8788", false),
        (loopback, "192.168.1.5:8788", false),
        (loopback, "", false),
        ("127.0.0.2:8788", "127.0.0.2:8788", true),
        ("[::1]:8788", "[::1]:8788", true),
        ("[::1]:8788", "localhost:8788", true),
        ("[::1]:8788", "[0:0::1]:8788", true),
        ("192.168.1.5:8788", "192.168.1.5:8788", true),
        ("192.168.1.5:8788", "192.168.1.5:80", true),
        ("192.168.1.5:8788", "192.168.1.6:8788", false),
        ("192.168.1.5:8788", "localhost:8788", true),
        ("192.168.1.5:8788", "127.0.0.1:9000", true),
        ("0.0.0.0:8788", "192.168.1.5:8788", true),
        ("0.0.0.0:8788", "localhost:8788", true),
        ("[::]:8788", "[2001:db8::1]:8788", true),
        ("0.0.0.0:8788", "nas.example:8788", false),
    ];
    let hosts = vec!["reel.example".to_owned(), "dropreel".to_owned()];
    for (address, host, is_own) in cases {
        let check = RequestCheck::new(address.parse().unwrap(), hosts.clone(), AuthTokens::default());
        let status = status_of(&check, TestRequest::get().uri("/"), &[("host", host)]);
        assert_eq!(status, if is_own { 200 } else { 421 }, "{host} at {address}");
        for path in ["/healthz", "/readyz"] {
            let status = status_of(&check, TestRequest::get().uri(path), &[("host", host)]);
            assert_eq!(status, 200, "{path} for {host}");
        }
    }
    let check = request_check(loopback, AuthTokens::default());
    let twice = [("host", loopback), ("host", loopback)];
    assert_eq!(status_of(&check, TestRequest::get().uri("/"), &twice), 421);
    let absolute = TestRequest::get().uri("http://evil.example:8788/");
    assert_eq!(status_of(&check, absolute, &[("host", loopback)]), 421);
}

#[test]
fn requests_from_other_pages_are_rejected() {
    let check = request_check("127.0.0.1:8788", AuthTokens::default());
    let cases: [(&[(&str, &str)], u16); 10] = [
        (&[], 200),
        (&[("origin", "http://127.0.0.1:8788")], 200),
        (&[("origin", "http://localhost:8788")], 403),
        (&[("origin", "https://127.0.0.1:8788")], 200),
        (&[("origin", "https://127.0.0.1:8789")], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&[("sec-fetch-site", "none")], 200),
        (&[("sec-fetch-site", "same-site")], 403),
    ];
    for (headers, expected) in cases {
        let headers = [&[("host", "127.0.0.1:8788"), JSON], headers].concat();
        for request in [TestRequest::post(), TestRequest::get(), TestRequest::delete()] {
            let status = status_of(&check, request.uri("/api/v1/pause"), &headers);
            assert_eq!(status, expected, "{headers:?}");
        }
    }
}

#[test]
fn writes_need_a_media_type_that_forms_cannot_send() {
    let check = request_check("127.0.0.1:8788", AuthTokens::default());
    let cases: [(&[(&str, &str)], u16); 11] = [
        (&[("content-type", "image/jpeg"), ("content-length", "2")], 200),
        (&[("content-type", "image/svg+xml"), ("content-length", "2")], 415),
        (&[], 200),
        (&[("content-length", "0")], 200),
        (&[("content-length", "2")], 415),
        (&[("transfer-encoding", "chunked")], 415),
        (&[("content-type", "application/JSON; charset=utf-8"), ("content-length", "2")], 200),
        (&[("content-type", "application/x-ndjson"), ("content-length", "2")], 200),
        (&[("content-type", "text/plain")], 415),
        (&[("content-type", "application/x-www-form-urlencoded")], 415),
        (&[("content-type", "multipart/form-data; boundary=application/json")], 415),
    ];
    for (headers, expected) in cases {
        let headers = [&[("host", "127.0.0.1:8788")], headers].concat();
        assert_eq!(
            status_of(&check, TestRequest::post().uri("/api/v1/jobs"), &headers),
            expected,
            "{headers:?}"
        );
        assert_eq!(status_of(&check, TestRequest::get().uri("/api/v1/jobs"), &headers), 200, "{headers:?}");
    }
}

#[test]
fn only_health_is_answered_without_the_configured_token() {
    let check = request_check("192.168.1.5:8788", tokens("t0ken", None));
    let request = |path: &str, authorization: &str| {
        let headers = [("host", "192.168.1.5:8788"), ("authorization", authorization)];
        status_of(&check, TestRequest::get().uri(path), &headers)
    };
    for path in
        ["/api/v1/jobs", "/%61pi/v1/jobs", "//api/v1/jobs", "/metrics", "/", "/healthz/", "/%68ealthz"]
    {
        assert_eq!(request(path, ""), 401, "{path}");
        assert_eq!(request(path, "Bearer t0ken"), 200, "{path}");
    }
    for wrong in ["Bearer t0ke", "Bearer t0ken2", "Basic t0ken", "t0ken", "Bearer"] {
        assert_eq!(request("/api/v1/jobs", wrong), 401, "{wrong}");
    }
    assert_eq!(request("/api/v1/jobs", "bearer t0ken"), 200);
    assert_eq!((request("/healthz", ""), request("/readyz", "")), (200, 200));
}

#[test]
fn read_token_does_not_allow_writes() {
    let check = request_check("127.0.0.1:8788", tokens("t0ken", Some("r3ad")));
    let basic = |password: &str| format!("Basic {}", BASE64.encode(format!("me:{password}").as_bytes()));
    let cases = [
        ("Bearer t0ken".to_owned(), 200, 200),
        ("bearer r3ad".to_owned(), 200, 403),
        (basic("t0ken"), 200, 200),
        (basic("r3ad"), 200, 403),
        (basic("no"), 401, 401),
        (basic("r3ad:t0ken"), 401, 401),
        ("Basic t0ken".to_owned(), 401, 401),
        ("Basic".to_owned(), 401, 401),
        ("Bearer ".to_owned(), 401, 401),
        ("Digest t0ken".to_owned(), 401, 401),
    ];
    for (authorization, read, write) in cases {
        let headers = [("host", "127.0.0.1:8788"), JSON, ("authorization", &authorization)];
        for (request, expected) in
            [(TestRequest::get(), read), (TestRequest::post(), write), (TestRequest::delete(), write)]
        {
            assert_eq!(
                status_of(&check, request.uri("/api/v1/pause"), &headers),
                expected,
                "{authorization}"
            );
        }
    }
}
