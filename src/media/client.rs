//! Requests a link: checks every redirect, and reads the response's head.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use data_url::DataUrl;
use parking_lot::Mutex;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use reqwest::{Response, StatusCode};
use url::{Host, Origin, Url};

use crate::clock::Clock;
use crate::media::download::{Body, Download, Head, MediaTimeouts};
use crate::media::error::{MediaError, host_of};
use crate::media::guard::{Forbidden, Policy, is_private};
use crate::media::range::total_length;
use crate::media::transport::{MediaTransport, PinnedTransport};
use crate::secret::Secret;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
/// How long TLS is tried where the link says `http:`.
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// How many hosts without TLS are remembered.
const MAX_HOSTS: usize = 1000;
/// What a link that holds its file begins with; it stands for the host too.
const DATA_LINK: &str = "data:";
/// Response headers that are kept as evidence; none carries a secret.
const EVIDENCE: [&str; 8] = [
    "content-type",
    "content-length",
    "content-range",
    "content-encoding",
    "etag",
    "date",
    "server",
    "last-modified",
];

/// The HTTP client for media hosts.
pub struct MediaClient {
    transport: Arc<dyn MediaTransport>,
    policy: Policy,
    timeouts: MediaTimeouts,
    max_bytes: u64,
    clock: Clock,
    /// The provider's origin, with the key that media on it may need.
    provider: Option<(Origin, Arc<Mutex<Secret>>)>,
    /// Hosts whose links on `http:` do not work by TLS.
    without_tls: Arc<Mutex<BTreeSet<String>>>,
}

/// What a download resumes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Bytes already received.
    pub offset: u64,
    /// The strong entity tag under which they were received.
    pub validator: String,
}

impl MediaClient {
    /// A client under this policy. `provider` is the provider's base URL with the key, for media on the provider's own
    /// host: the key goes there and nowhere else.
    pub fn new(
        policy: Policy,
        timeouts: MediaTimeouts,
        max_bytes: u64,
        provider: Option<(&Url, Secret)>,
        clock: Clock,
    ) -> Self {
        let transport = Arc::new(PinnedTransport::new(policy.clone(), clock.clone()));
        Self::with_transport(transport, policy, timeouts, max_bytes, provider, clock)
    }

    /// A client with another transport, which has to check addresses itself.
    pub fn with_transport(
        transport: Arc<dyn MediaTransport>,
        policy: Policy,
        timeouts: MediaTimeouts,
        max_bytes: u64,
        provider: Option<(&Url, Secret)>,
        clock: Clock,
    ) -> Self {
        // Plain HTTP would show the key to everybody on the path; only a sandbox on this machine gets it that way.
        let safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
        let provider =
            provider.filter(|(url, _)| safe(url)).map(|(url, key)| (url.origin(), Arc::new(Mutex::new(key))));
        Self { transport, policy, timeouts, max_bytes, clock, provider, without_tls: Arc::default() }
    }

    /// A client for another thread, with the same key and connections of its own, which it keeps for its next request.
    pub fn per_thread(&self) -> Self {
        let transport = self.transport.per_thread().unwrap_or_else(|| self.transport.clone());
        let (provider, clock) = (self.provider.clone(), self.clock.clone());
        Self {
            transport,
            policy: self.policy.clone(),
            timeouts: self.timeouts,
            max_bytes: self.max_bytes,
            clock,
            provider,
            without_tls: self.without_tls.clone(),
        }
    }

    /// The largest file to download (`downloads.max_bytes`).
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Replaces the key, also in the clients made by [`per_thread`](Self::per_thread).
    pub fn set_key(&self, key: Secret) {
        if let Some((_, known)) = &self.provider {
            *known.lock() = key;
        }
    }

    /// Requests a link, from the beginning or from where an earlier download stopped.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub async fn open(&self, link: &Secret, resume: Option<&Resume>) -> Result<Download, MediaError> {
        if let Some(body) = data_link(link.expose()) {
            return self.open_data(body?);
        }
        let mut url = Url::parse(link.expose()).map_err(|_| Forbidden::NotAUrl)?;
        for _ in 0..=MAX_REDIRECTS {
            self.policy.check_link(&url)?;
            let (answered, response) = match self.request_with_tls(&url, resume).await {
                Some(found) => found,
                None => (url.clone(), self.request(&url, resume).await?),
            };
            let tried_tls = answered.scheme() != url.scheme();
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.start_download(&answered, tried_tls, response, resume);
            }
            let host = host_of(&answered);
            url = redirect_target(&answered, &response).ok_or(MediaError::Redirects { host })?;
        }
        Err(MediaError::Redirects { host: host_of(&url) })
    }

    /// Requests a link on `http:` from the same host with TLS. `None`: without TLS then.
    async fn request_with_tls(&self, url: &Url, resume: Option<&Resume>) -> Option<(Url, Response)> {
        let mut secured = url.clone();
        if url.scheme() != "http" || is_private(url) || secured.set_scheme("https").is_err() {
            return None;
        }
        if self.policy.check_link(&secured).is_err() || self.without_tls.lock().contains(url.authority()) {
            return None;
        }
        let answer = self.clock.within(TLS_TIMEOUT, self.request(&secured, resume)).await;
        if let Some(Ok(response)) = answer
            && is_about_the_file(&response, url)
        {
            return Some((secured, response));
        }
        self.skip_tls(url.authority());
        None
    }

    /// From now on, links on `http:` of this host are requested without TLS.
    fn skip_tls(&self, authority: &str) {
        let mut hosts = self.without_tls.lock();
        if hosts.len() == MAX_HOSTS {
            hosts.clear();
        }
        hosts.insert(authority.to_owned());
    }

    /// The file of this head was not what it should be: if it came by TLS that the link did not ask for, another
    /// server may have answered.
    pub fn reject_file(&self, head: &Head) {
        if let Some(authority) = &head.tried_tls {
            self.skip_tls(authority);
        }
    }

    /// A link that holds its file.
    fn open_data(&self, body: Vec<u8>) -> Result<Download, MediaError> {
        let (host, length) = (DATA_LINK.to_owned(), body.len() as u64);
        if length > self.max_bytes {
            return Err(MediaError::TooLarge { host, limit: self.max_bytes });
        }
        let head = Head { length: Some(length), ..Head::of(host) };
        Ok(Download::new(head, Body::Whole(body.into()), self.timeouts, self.max_bytes, self.clock.clone()))
    }

    /// Sends one request, without following a redirect.
    async fn request(&self, url: &Url, resume: Option<&Resume>) -> Result<Response, MediaError> {
        let host = host_of(url);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(resume) = resume {
            // Both are valid header values: digits, and a value that came in a header.
            headers.extend(
                HeaderValue::try_from(format!("bytes={}-", resume.offset)).map(|range| (RANGE, range)),
            );
            headers.extend(HeaderValue::try_from(&resume.validator).map(|tag| (IF_RANGE, tag)));
        }
        if let Some((origin, key)) = &self.provider
            && *origin == url.origin()
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", key.lock().expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let sent = self.transport.get(url, headers);
        self.clock.within(self.timeouts.silence, sent).await.unwrap_or(Err(MediaError::TooSlow { host }))
    }

    /// Reads the head of the final response. What `Content-Encoding` says is only kept as evidence: hosts use it
    /// wrongly, so the file's first bytes decide.
    fn start_download(
        &self,
        url: &Url,
        tried_tls: bool,
        response: Response,
        resume: Option<&Resume>,
    ) -> Result<Download, MediaError> {
        let host = host_of(url);
        let headers = response.headers();
        let status = response.status().as_u16();
        let chunked = status != 206
            && text(headers, TRANSFER_ENCODING.as_str())
                .is_some_and(|coding| coding.to_ascii_lowercase().trim_end().ends_with("chunked"));
        let announced = text(headers, CONTENT_LENGTH.as_str())
            .filter(|_| !chunked)
            .and_then(|text| text.trim().parse::<u64>().ok());
        let validator = text(headers, ETAG.as_str()).filter(|tag| tag.starts_with('"') && tag.len() > 2);
        let from = resume.map_or(0, |resume| resume.offset);
        let range = text(headers, CONTENT_RANGE.as_str());
        let (offset, length) = match status {
            // 203: a proxy on the way changed the headers.
            200 | 203 => (0, announced),
            206 => {
                let total = range
                    .as_ref()
                    .and_then(|range| total_length(range, from))
                    .filter(|total| announced.is_none_or(|bytes| from.checked_add(bytes) == Some(*total)))
                    .filter(|_| {
                        let same =
                            |resume: &Resume| validator.as_ref().is_none_or(|tag| *tag == resume.validator);
                        resume.is_none_or(same)
                    });
                match (total, resume) {
                    (Some(total), _) => (from, Some(total)),
                    (None, Some(_)) => return Err(MediaError::CannotResume { host }),
                    // It does not say which part it is: the file's structure must prove that it is all.
                    (None, None) if range.as_ref().is_none_or(|range| range.ends_with("/*")) => (0, None),
                    (None, None) => return Err(MediaError::Partial { host }),
                }
            }
            416 | 412 if resume.is_some() => return Err(MediaError::CannotResume { host }),
            400 | 401 | 403 | 404 | 410 => return Err(MediaError::LinkRefused { status, host }),
            status => {
                let wait = text(headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
                return Err(MediaError::Busy { status, host, wait: wait.map(Duration::from_secs) });
            }
        };
        if length.is_some_and(|length| length > self.max_bytes) {
            return Err(MediaError::TooLarge { host, limit: self.max_bytes });
        }
        let evidence =
            EVIDENCE.iter().filter_map(|name| Some(((*name).to_owned(), text(headers, name)?))).collect();
        let plain_http = url.scheme() == "http";
        let tried_tls = tried_tls.then(|| url.authority().to_owned());
        let head = Head { offset, length, chunked, validator, host, plain_http, tried_tls, evidence };
        let body = Body::Response(response);
        Ok(Download::new(head, body, self.timeouts, self.max_bytes, self.clock.clone()))
    }
}

/// The file in a `data:` link; `None` for all other links.
fn data_link(link: &str) -> Option<Result<Vec<u8>, MediaError>> {
    let begins = link.get(..DATA_LINK.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(DATA_LINK));
    begins.then(|| {
        let decoded = DataUrl::process(link).ok().and_then(|url| url.decode_to_vec().ok());
        decoded.map(|(body, _)| body).ok_or_else(|| Forbidden::NotAUrl.into())
    })
}

/// Where a redirect leads. Hosts write UTF-8 and other bytes into `Location` as they are.
fn redirect_target(from: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.as_bytes();
    let escape = |byte: &u8| match byte {
        0x80.. => format!("%{byte:02X}"),
        _ => char::from(*byte).to_string(),
    };
    from.join(&location.iter().map(escape).collect::<String>()).ok()
}

/// Whether an answer by TLS, where the link said `http:`, is the file or a way to it. A server may have another site
/// there, or send back to `http:`.
fn is_about_the_file(response: &Response, link: &Url) -> bool {
    let kind = text(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let is_page = kind.starts_with("text/") || kind.contains("json");
    let leads_back = || redirect_target(link, response).is_none_or(|next| next.scheme() == "http");
    match response.status() {
        status if status.is_success() => !is_page,
        status if status.is_redirection() => !leads_back(),
        _ => false,
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests;
