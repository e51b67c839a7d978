//! The requests to the provider: addresses, headers and bodies. A submit's body is sent byte for byte as it was committed.

use std::net::IpAddr;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue,
};
use reqwest::{Method, Request};
use thiserror::Error;
use url::{Host, Url};

use crate::job::TaskId;
use crate::provider::neutral::NeutralCall;
use crate::secret::Secret;
use crate::store::attempt::Attempt;

/// The `User-Agent` of all requests.
pub const USER_AGENT: &str = concat!("dropreel/", env!("CARGO_PKG_VERSION"));

/// Why a `provider.base_url` cannot be used. The address itself is not shown because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadBaseUrl {
    /// Not an address.
    #[error("`provider.base_url` is not an http(s) address such as https://qingbo.dev")]
    NotHttp,
    /// A user name or password in it.
    #[error("`provider.base_url` must not contain a user name or password")]
    Login,
    /// A query or fragment in it.
    #[error("`provider.base_url` must not contain `?` or `#`")]
    Query,
}

/// Where the provider's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Parses the setting. It may have a path before the API's own, and end with `/` or the API's `/v1`.
    ///
    /// # Errors
    /// When it is no http(s) address, or has a part that an API's address must not have.
    pub fn parse(text: &str) -> Result<Self, BadBaseUrl> {
        let mut url = Url::parse(text.trim()).map_err(|_| BadBaseUrl::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(BadBaseUrl::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadBaseUrl::Login);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadBaseUrl::Query);
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The address without its final `/`.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The host: the only part that errors and log lines show.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// What kind of address it is.
    pub fn kind(&self) -> AddressKind {
        AddressKind::of(&self.0)
    }

    fn task(&self, segments: &[&str]) -> Url {
        self.at(&[&["tasks"], segments].concat())
    }

    fn at(&self, segments: &[&str]) -> Url {
        self.at_root(&[&["v1"], segments].concat())
    }

    fn at_root(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        // Cannot fail: `parse` refuses addresses without a host.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

/// What decides how an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressKind {
    /// Whether calls are encrypted.
    pub https: bool,
    /// Whether it is on this machine, where no proxy is needed.
    pub loopback: bool,
}

impl AddressKind {
    /// The kind of `url`.
    pub fn of(url: &Url) -> Self {
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
            None => false,
        };
        Self { https: url.scheme() == "https", loopback }
    }
}

/// The header with the API key, marked as sensitive so that no debug output shows it.
///
/// # Errors
/// When the key contains characters that a header cannot have.
pub fn authorization(key: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The paid call: an attempt's exact bytes under its idempotency key.
///
/// # Errors
/// Never in practice: an idempotency key is plain ASCII.
pub fn submit(
    base: &BaseUrl,
    authorization: HeaderValue,
    attempt: &Attempt,
) -> Result<Request, InvalidHeaderValue> {
    let mut request = bare(Method::POST, base.task(&[]), authorization);
    request.headers_mut().insert("idempotency-key", HeaderValue::from_str(&attempt.key())?);
    *request.body_mut() = Some(attempt.body().to_owned().into());
    Ok(request)
}

/// The status query.
pub fn status(base: &BaseUrl, authorization: HeaderValue, task: &TaskId) -> Request {
    bare(Method::GET, base.task(&[task.as_str()]), authorization)
}

/// The cancel call. Its body is an empty object because some gateways refuse a JSON request without one.
pub fn cancel(base: &BaseUrl, authorization: HeaderValue, task: &TaskId) -> Request {
    let mut request = bare(Method::POST, base.task(&[task.as_str(), "cancel"]), authorization);
    *request.body_mut() = Some("{}".into());
    request
}

/// A call that is about no job.
pub fn neutral(base: &BaseUrl, authorization: HeaderValue, call: NeutralCall) -> Request {
    let url = match call {
        NeutralCall::Models => base.at(&["models"]),
        NeutralCall::Balance => base.at(&["dashboard", "billing", "balance"]),
    };
    bare(Method::GET, url, authorization)
}

/// The call for a quote: a request's body, without the key, because the price is public.
pub fn quote(base: &BaseUrl, body: &str) -> Request {
    let mut request = keyless(Method::POST, base.at_root(&["waveapi", "quote"]));
    *request.body_mut() = Some(body.to_owned().into());
    request
}

fn bare(method: Method, url: Url, authorization: HeaderValue) -> Request {
    let mut request = keyless(method, url);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    request
}

fn keyless(method: Method, url: Url) -> Request {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, json.clone());
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if method == Method::POST {
        headers.insert(CONTENT_TYPE, json);
    }
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_url(base: &str) -> String {
        let base = BaseUrl::parse(base).expect("a base address");
        base.task(&["task-1"]).into()
    }

    #[test]
    fn quote_is_asked_for_beside_the_api_without_the_key() {
        let base = BaseUrl::parse("https://gate.example/qingbo/v1").expect("a base address");
        let request = quote(&base, "{}");
        assert_eq!(request.url().as_str(), "https://gate.example/qingbo/waveapi/quote");
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn a_base_url_may_have_a_path_a_slash_or_v1() {
        for (base, expected) in [
            ("https://qingbo.dev", "https://qingbo.dev/v1/tasks/task-1"),
            ("https://qingbo.dev/", "https://qingbo.dev/v1/tasks/task-1"),
            ("https://qingbo.dev/v1", "https://qingbo.dev/v1/tasks/task-1"),
            ("https://gate.example/qingbo//", "https://gate.example/qingbo/v1/tasks/task-1"),
            (" https://gate.example/qingbo/v1/ ", "https://gate.example/qingbo/v1/tasks/task-1"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/tasks/task-1"),
        ] {
            assert_eq!(task_url(base), expected, "{base}");
        }
        assert_eq!(BaseUrl::parse("https://h/x/v1/").expect("a base address").as_str(), "https://h/x");
    }

    #[test]
    fn a_bad_base_url_is_refused_without_being_shown() {
        for (base, error) in [
            ("", BadBaseUrl::NotHttp),
            ("qingbo.dev", BadBaseUrl::NotHttp),
            ("ftp://qingbo.dev", BadBaseUrl::NotHttp),
            ("https://", BadBaseUrl::NotHttp),
            ("https://user:hunter2@qingbo.dev", BadBaseUrl::Login),
            ("https://qingbo.dev/?key=hunter2", BadBaseUrl::Query),
        ] {
            assert_eq!(BaseUrl::parse(base), Err(error), "{base}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_task_id_is_one_path_segment() {
        let base = BaseUrl::parse("https://h").expect("a base address");
        // `TaskId` refuses such ids, but the path must not depend on that.
        assert_eq!(base.task(&["..", "a/b?c"]).as_str(), "https://h/v1/tasks/a%2Fb%3Fc");
        assert_eq!(base.task(&["op/a=1+2~3"]).as_str(), "https://h/v1/tasks/op%2Fa=1+2~3");
    }

    #[test]
    fn loopback_addresses_are_recognised() {
        let local = |base| BaseUrl::parse(base).expect("a base address").kind().loopback;
        assert!(local("http://127.0.0.1:1") && local("http://localhost") && local("http://[::1]:8080"));
        assert!(local("http://[::ffff:127.0.0.1]:8080"), "as the settings see it, which allow no TLS there");
        assert!(!local("https://qingbo.dev") && !local("http://10.0.0.1"));
    }

    #[test]
    fn the_authorization_header_does_not_show_the_key() {
        let header = authorization(&Secret::new("sk-canary")).expect("a header");
        assert!(!format!("{header:?}").contains("canary"));
        assert!(authorization(&Secret::new("two\nlines")).is_err());
    }
}
