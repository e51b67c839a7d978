//! Which requests the admin server answers. The checks stop two kinds of attackers: web pages in the
//! operator's browser (cross-site requests, DNS rebinding), and clients without a token.

use std::net::{IpAddr, SocketAddr};

use actix_web::dev::RequestHead;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::jobfile::Form;
use crate::secret::Secret;
use crate::server::admin::http::media_type;
use crate::server::admin::problem::Problem;

/// The paths that need no token, answer for any host and keep no secret: health checks ask by an address of
/// their own. A path must match exactly, so that no other spelling gets around the check.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules that requests are checked against.
#[derive(Debug)]
pub(super) struct RequestCheck {
    address: SocketAddr,
    /// `admin.hosts`.
    hosts: Vec<String>,
    tokens: AuthTokens,
}

/// The tokens of the admin server.
#[derive(Clone, Debug, Default)]
pub struct AuthTokens {
    /// Allows everything. The settings require it unless the server listens on loopback.
    pub token: Option<Secret>,
    /// Allows reading.
    pub read_token: Option<Secret>,
}

/// Whether the path needs no token.
pub(super) fn is_open(head: &RequestHead) -> bool {
    OPEN_PATHS.contains(&head.uri.path())
}

impl RequestCheck {
    pub(super) fn new(address: SocketAddr, hosts: Vec<String>, tokens: AuthTokens) -> Self {
        Self { address, hosts, tokens }
    }

    pub(super) fn check(&self, head: &RequestHead) -> Result<(), Problem> {
        if is_open(head) {
            return Ok(());
        }
        let host = self.check_host(head)?;
        check_origin(&head.headers, host)?;
        let writes = !matches!(head.method, Method::GET | Method::HEAD);
        self.check_token(&head.headers, writes)?;
        if writes { check_media_type(&head.headers) } else { Ok(()) }
    }

    /// Returns the host of the request if it is ours. A page whose name was rebound to our address still
    /// sends its name.
    fn check_host<'a>(&self, head: &'a RequestHead) -> Result<&'a str, Problem> {
        let mut hosts = head.headers.get_all(header::HOST).map(|host| host.to_str().unwrap_or(""));
        let authority = head.uri.authority().map(|authority| authority.as_str());
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.is_own(host) && authority.is_none_or(|name| self.is_own(name)) => {
                Ok(host)
            }
            _ => Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "this server is {}; use that address or localhost, or add the name you use to `admin.hosts`",
                    self.address
                ),
            )),
        }
    }

    /// Whether this host, with or without a port, is ours. Only a name can be rebound, not an IP address. The
    /// port is that of a tunnel or a proxy as often as our own, and pages of another port have another origin.
    fn is_own(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                let is_port = !port.starts_with(['+', '0']) && port.parse::<u16>().is_ok();
                if !is_port {
                    return false;
                }
                name
            }
            _ => host,
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let own = self.address.ip();
        match parse_ip(name) {
            // The addresses of this machine are unknown here.
            Some(ip) => ip == own || ip.to_canonical().is_loopback() || own.is_unspecified(),
            None => self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name)),
        }
    }

    fn check_token(&self, headers: &HeaderMap, writes: bool) -> Result<(), Problem> {
        let Some(token) = &self.tokens.token else { return Ok(()) };
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = authorization.and_then(presented_token);
        let matches = |token: &Secret| presented.as_ref().is_some_and(|presented| token.matches(presented));
        if matches(token) {
            return Ok(());
        }
        match &self.tokens.read_token {
            Some(read_token) if matches(read_token) && writes => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the token of `admin.read_token_file` may only read; use that of `admin.token_file`",
            )),
            Some(read_token) if matches(read_token) => Ok(()),
            _ => {
                let problem = Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "send `Authorization: Bearer TOKEN` with the token of `admin.token_file`; in a browser, enter it as \
                     the password with any user name",
                );
                // Browsers ask for a password only if Basic comes first.
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

/// The token in an `Authorization` header: a bearer token (RFC 6750), or the password of any user (RFC 7617).
fn presented_token(header: &str) -> Option<Zeroizing<String>> {
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

/// An IP address as URLs write it, in canonical form only.
fn parse_ip(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

/// Rejects what another page sends, reads included. Browsers name the origin of a request; a proxy in front
/// may have served our page by https.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let own = [format!("http://{host}"), format!("https://{host}")];
    let is_own =
        |origin: &HeaderValue| own.iter().any(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()));
    let mut sites = headers.get_all(SEC_FETCH_SITE);
    if headers.get_all(header::ORIGIN).all(is_own)
        && sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
    {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "requests from other web pages are rejected"))
}

/// Accepts only media types that a form of another page cannot send.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let is_empty =
        length.is_none_or(|length| length == b"0") && !headers.contains_key(header::TRANSFER_ENCODING);
    match media_type(headers).as_deref() {
        // No form of a web page can send these, and no script without asking first.
        Some("image/jpeg" | "image/png" | "image/webp" | "image/bmp" | "application/octet-stream") => Ok(()),
        Some(media_type) if Form::of_media_type(media_type).is_some() => Ok(()),
        None if is_empty => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send application/json, a job file as application/x-ndjson, text/csv or text/x-prompts, or a picture as application/octet-stream",
        )),
    }
}

#[cfg(test)]
mod tests;
