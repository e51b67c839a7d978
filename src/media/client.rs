//! Requests a link: checks every redirect, and reads the response's head.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use url::{Host, Origin, Url};

use crate::clock::Clock;
use crate::media::download::{Download, Head, MediaTimeouts};
use crate::media::error::{MediaError, host_of};
use crate::media::guard::{Forbidden, Policy};
use crate::media::range::total_length;
use crate::media::transport::{MediaTransport, PinnedTransport};
use crate::secret::Secret;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
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
        let transport = Arc::new(PinnedTransport::new(policy, clock.clone()));
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
        Self { transport, policy, timeouts, max_bytes, clock, provider }
    }

    /// A client for another thread, with the same key and connections of its own, which it keeps for its next request.
    pub fn per_thread(&self) -> Self {
        let transport = self.transport.per_thread().unwrap_or_else(|| self.transport.clone());
        let (provider, clock) = (self.provider.clone(), self.clock.clone());
        Self {
            transport,
            policy: self.policy,
            timeouts: self.timeouts,
            max_bytes: self.max_bytes,
            clock,
            provider,
        }
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
        let mut url = Url::parse(link.expose()).map_err(|_| Forbidden::NotAUrl)?;
        for _ in 0..=MAX_REDIRECTS {
            self.policy.check_link(&url)?;
            let response = self.request(&url, resume).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.start_download(host_of(&url), response, resume);
            }
            let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = next
                .and_then(|next| url.join(next).ok())
                .ok_or_else(|| MediaError::Redirects { host: host_of(&url) })?;
        }
        Err(MediaError::Redirects { host: host_of(&url) })
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

    /// Reads the head of the final response.
    fn start_download(
        &self,
        host: String,
        response: Response,
        resume: Option<&Resume>,
    ) -> Result<Download, MediaError> {
        let headers = response.headers();
        let status = response.status().as_u16();
        if let Some(encoding) = text(headers, CONTENT_ENCODING.as_str())
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(MediaError::Encoded { host, encoding });
        }
        let announced = text(headers, CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        let validator = text(headers, ETAG.as_str()).filter(|tag| tag.starts_with('"') && tag.len() > 2);
        let (offset, length) = match (status, resume) {
            (200, _) => (0, announced),
            (206, Some(resume)) => {
                let total = text(headers, CONTENT_RANGE.as_str())
                    .and_then(|range| total_length(&range, resume.offset))
                    .filter(|total| {
                        announced.is_none_or(|bytes| resume.offset.checked_add(bytes) == Some(*total))
                    })
                    .filter(|_| validator.as_ref().is_none_or(|tag| *tag == resume.validator));
                match total {
                    Some(total) => (resume.offset, Some(total)),
                    None => return Err(MediaError::CannotResume { host }),
                }
            }
            (416 | 412, Some(_)) => return Err(MediaError::CannotResume { host }),
            (400 | 401 | 403 | 404 | 410, _) => return Err(MediaError::LinkRefused { status, host }),
            (status, _) => {
                let wait = text(headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
                return Err(MediaError::Busy { status, host, wait: wait.map(Duration::from_secs) });
            }
        };
        if length.is_some_and(|length| length > self.max_bytes) {
            return Err(MediaError::TooLarge { host, limit: self.max_bytes });
        }
        let evidence =
            EVIDENCE.iter().filter_map(|name| Some(((*name).to_owned(), text(headers, name)?))).collect();
        let head = Head { offset, length, validator, host, evidence };
        Ok(Download::new(head, response, self.timeouts, self.max_bytes, self.clock.clone()))
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
