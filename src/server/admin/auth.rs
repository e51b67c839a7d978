//! Before routing: is this request one of ours? Against pages in the operator's browser (forged requests, rebound
//! names) and against whoever has no token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::body::BoxBody;
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::server::admin::{Admin, media_type};
use crate::server::problem::Problem;

/// What needs no token, and is no secret to anybody: exactly these, as they stand in the address. All else is fenced,
/// known or not, so that no other spelling of an address gets around it.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules of the fence.
#[derive(Debug)]
pub(super) struct RequestCheck {
    address: SocketAddr,
    keys: AuthTokens,
}

/// What a request must show, if anything.
#[derive(Clone, Debug, Default)]
pub struct AuthTokens {
    /// Admits to everything; needed anywhere but on loopback.
    pub token: Option<Secret>,
    /// Admits to what changes nothing.
    pub read_token: Option<Secret>,
}

/// The middleware.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let judged = match request.app_data::<web::Data<Admin>>() {
        Some(admin) => admin.fence.judge(request.head()),
        None => Err(Problem::nothing_here()),
    };
    let private = !is_open(request.head());
    let mut answer = match judged {
        Ok(()) => next.call(request).await?,
        Err(problem) => request.into_response(problem.error_response()),
    };
    let headers = answer.headers_mut();
    for (name, value) in GUARDED {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if private && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(answer)
}

/// Said to browsers with every answer that does not say it in its own way: run nothing, load nothing, show this in no
/// other page, tell nobody where the reader comes from, guess no types.
const GUARDED: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn is_open(head: &RequestHead) -> bool {
    OPEN.contains(&head.uri.path())
}

impl RequestCheck {
    pub(super) fn new(address: SocketAddr, keys: AuthTokens) -> Self {
        Self { address, keys }
    }

    fn judge(&self, head: &RequestHead) -> Result<(), Problem> {
        let host = self.host_of(head)?;
        if is_open(head) {
            return Ok(());
        }
        same_origin(&head.headers, host)?;
        let orders = !matches!(head.method, Method::GET | Method::HEAD);
        self.authorised(&head.headers, orders)?;
        if orders { known_type(&head.headers) } else { Ok(()) }
    }

    /// The one host the request is for, if that is ours. A page whose name was rebound to our address keeps its name.
    fn host_of<'a>(&self, head: &'a RequestHead) -> Result<&'a str, Problem> {
        let mut hosts = head.headers.get_all(header::HOST).map(|host| host.to_str().unwrap_or(""));
        let absolute = head.uri.authority().map(|authority| authority.as_str());
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.is_ours(host) && absolute.is_none_or(|name| self.is_ours(name)) => {
                Ok(host)
            }
            _ => Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!("this is {}; ask for it by that name", self.address),
            )),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port),
            _ => (host, "80"),
        };
        if port != self.address.port().to_string() {
            return false;
        }
        let ours = self.address.ip();
        let local = ours.is_loopback() || ours.is_unspecified();
        if name.eq_ignore_ascii_case("localhost") {
            return local;
        }
        let Some(asked) = literal(name) else { return false };
        asked == ours
            || (ours.is_loopback() && (asked == Ipv4Addr::LOCALHOST || asked == Ipv6Addr::LOCALHOST))
            // Which addresses this machine has is not known here, but a name can be rebound, and a number cannot.
            || ours.is_unspecified()
    }

    fn authorised(&self, headers: &HeaderMap, orders: bool) -> Result<(), Problem> {
        let Some(token) = &self.keys.token else { return Ok(()) };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(shown);
        let admits = |key: &Secret| shown.as_ref().is_some_and(|shown| key.admits(shown));
        if admits(token) {
            return Ok(());
        }
        match &self.keys.read_token {
            Some(read_token) if admits(read_token) && orders => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the token of `admin.read_token_file` may look; to order, use that of `admin.token_file`",
            )),
            Some(read_token) if admits(read_token) => Ok(()),
            _ => {
                let problem = Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "this needs `Authorization: Bearer TOKEN` with the token of `admin.token_file`; a browser asks for \
                     it as the password, under any name",
                );
                // Browsers ask for a password only where the first or only way is this one.
                Err(problem.header(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(
                        "Basic realm=\"dropreel\", charset=\"UTF-8\", Bearer realm=\"dropreel\"",
                    ),
                ))
            }
        }
    }
}

/// The token in an `Authorization` header: as a bearer's (RFC 6750), or as the password of anybody (RFC 7617).
fn shown(header: &str) -> Option<Zeroizing<String>> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Zeroizing::new(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(rest.trim().as_bytes()).ok()?);
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

/// A number as a URL writes it; nothing but the canonical forms.
fn literal(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

/// Browsers say where a request comes from; what comes from another page is not ours, reading included.
fn same_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let own = format!("http://{host}");
    let origins =
        headers.get_all(header::ORIGIN).all(|origin| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()));
    let sites = headers.get_all(FETCH_SITE).all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    if origins && sites {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "requests from other pages are not answered"))
}

/// Types that a form of another page cannot send.
fn known_type(headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let empty =
        length.is_none_or(|length| length == b"0") && !headers.contains_key(header::TRANSFER_ENCODING);
    match media_type(headers).as_deref() {
        Some("application/json" | "application/x-ndjson") => Ok(()),
        None if empty => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send application/json, or application/x-ndjson for a job file with one object per line",
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn keys(token: &str, read_token: Option<&str>) -> AuthTokens {
        AuthTokens { token: Some(Secret::new(token)), read_token: read_token.map(Secret::new) }
    }

    fn judged(fence: &RequestCheck, request: TestRequest, headers: &[(&str, &str)]) -> u16 {
        let request =
            headers.iter().fold(request, |request, (name, value)| request.append_header((*name, *value)));
        let request = request.to_srv_request();
        fence.judge(request.head()).map_or_else(|problem| problem.status_code().as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names_with_the_port_are_answered() {
        let loopback = "127.0.0.1:8788";
        let cases = [
            (loopback, "127.0.0.1:8788", true),
            (loopback, "localhost:8788", true),
            (loopback, "LOCALHOST:8788", true),
            (loopback, "[::1]:8788", true),
            (loopback, "127.0.0.1", false),
            (loopback, "127.0.0.1:80", false),
            (loopback, "127.0.0.1:08788", false),
            (loopback, "localhost", false),
            (loopback, "127.0.0.2:8788", false),
            (loopback, "127.1:8788", false),
            (loopback, "2130706433:8788", false),
            (loopback, "localhost.:8788", false),
            (loopback, "evil.example:8788", false),
            (loopback, "localhost:8788@evil.example", false),
            (loopback, "evil.example:8788:8788", false),
            (loopback, "[::1]:8788.evil.example", false),
            (loopback, "::1:8788", false),
            (loopback, "", false),
            ("127.0.0.2:8788", "127.0.0.2:8788", true),
            ("[::1]:8788", "[::1]:8788", true),
            ("[::1]:8788", "localhost:8788", true),
            ("[::1]:8788", "[0:0::1]:8788", true),
            ("127.0.0.1:80", "localhost", true),
            ("[::1]:80", "[::1]", true),
            ("192.168.1.5:8788", "192.168.1.5:8788", true),
            ("192.168.1.5:8788", "localhost:8788", false),
            ("192.168.1.5:8788", "127.0.0.1:8788", false),
            ("0.0.0.0:8788", "192.168.1.5:8788", true),
            ("0.0.0.0:8788", "localhost:8788", true),
            ("[::]:8788", "[2001:db8::1]:8788", true),
            ("0.0.0.0:8788", "nas.example:8788", false),
        ];
        for (address, host, ours) in cases {
            let fence = RequestCheck::new(address.parse().unwrap(), AuthTokens::default());
            let status = judged(&fence, TestRequest::get().uri("/"), &[("host", host)]);
            assert_eq!(status, if ours { 200 } else { 421 }, "{host} at {address}");
        }
        let fence = RequestCheck::new(loopback.parse().unwrap(), AuthTokens::default());
        assert_eq!(judged(&fence, TestRequest::get().uri("/healthz"), &[]), 421);
        let twice = [("host", loopback), ("host", loopback)];
        assert_eq!(judged(&fence, TestRequest::get().uri("/"), &twice), 421);
        let absolute = TestRequest::get().uri("http://evil.example:8788/");
        assert_eq!(judged(&fence, absolute, &[("host", loopback)]), 421);
    }

    #[test]
    fn what_another_page_sends_is_not_answered() {
        let fence = RequestCheck::new("127.0.0.1:8788".parse().unwrap(), AuthTokens::default());
        let cases: [(&[(&str, &str)], u16); 9] = [
            (&[], 200),
            (&[("origin", "http://127.0.0.1:8788")], 200),
            (&[("origin", "http://localhost:8788")], 403),
            (&[("origin", "https://127.0.0.1:8788")], 403),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "null")], 403),
            (&[("sec-fetch-site", "same-origin")], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("sec-fetch-site", "same-site")], 403),
        ];
        for (headers, expected) in cases {
            let headers = [&[("host", "127.0.0.1:8788"), JSON], headers].concat();
            for request in [TestRequest::post(), TestRequest::get(), TestRequest::delete()] {
                let status = judged(&fence, request.uri("/api/v1/pause"), &headers);
                assert_eq!(status, expected, "{headers:?}");
            }
        }
    }

    #[test]
    fn an_order_declares_a_type_that_no_form_can_send() {
        let fence = RequestCheck::new("127.0.0.1:8788".parse().unwrap(), AuthTokens::default());
        let cases: [(&[(&str, &str)], u16); 9] = [
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
                judged(&fence, TestRequest::post().uri("/api/v1/jobs"), &headers),
                expected,
                "{headers:?}"
            );
            assert_eq!(judged(&fence, TestRequest::get().uri("/api/v1/jobs"), &headers), 200, "{headers:?}");
        }
    }

    #[test]
    fn where_a_token_is_set_nothing_but_health_is_answered_without_it() {
        let fence = RequestCheck::new("192.168.1.5:8788".parse().unwrap(), keys("t0ken", None));
        let ask = |path: &str, authorization: &str| {
            let headers = [("host", "192.168.1.5:8788"), ("authorization", authorization)];
            judged(&fence, TestRequest::get().uri(path), &headers)
        };
        for path in
            ["/api/v1/jobs", "/%61pi/v1/jobs", "//api/v1/jobs", "/metrics", "/", "/healthz/", "/%68ealthz"]
        {
            assert_eq!(ask(path, ""), 401, "{path}");
            assert_eq!(ask(path, "Bearer t0ken"), 200, "{path}");
        }
        for wrong in ["Bearer t0ke", "Bearer t0ken2", "Basic t0ken", "t0ken", "Bearer"] {
            assert_eq!(ask("/api/v1/jobs", wrong), 401, "{wrong}");
        }
        assert_eq!(ask("/api/v1/jobs", "bearer t0ken"), 200);
        assert_eq!((ask("/healthz", ""), ask("/readyz", "")), (200, 200));
    }

    #[test]
    fn who_may_only_look_may_not_order() {
        let fence = RequestCheck::new("127.0.0.1:8788".parse().unwrap(), keys("t0ken", Some("l00k")));
        let basic = |password: &str| format!("Basic {}", BASE64.encode(format!("me:{password}").as_bytes()));
        let cases = [
            ("Bearer t0ken".to_owned(), 200, 200),
            ("bearer l00k".to_owned(), 200, 403),
            (basic("t0ken"), 200, 200),
            (basic("l00k"), 200, 403),
            (basic("no"), 401, 401),
            (basic("l00k:t0ken"), 401, 401),
            ("Basic t0ken".to_owned(), 401, 401),
            ("Basic".to_owned(), 401, 401),
            ("Bearer ".to_owned(), 401, 401),
            ("Digest t0ken".to_owned(), 401, 401),
        ];
        for (authorization, looks, orders) in cases {
            let headers = [("host", "127.0.0.1:8788"), JSON, ("authorization", &authorization)];
            for (request, expected) in
                [(TestRequest::get(), looks), (TestRequest::post(), orders), (TestRequest::delete(), orders)]
            {
                assert_eq!(
                    judged(&fence, request.uri("/api/v1/pause"), &headers),
                    expected,
                    "{authorization}"
                );
            }
        }
    }
}
