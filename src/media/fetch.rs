//! JobToDownload one output: each hop checked and pinned, streamed in constant memory, with floors for speed and time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use thiserror::Error;
use url::{Host, Origin, Url};

use crate::clock::{Clock, Tick};
use crate::media::guard::{Forbidden, Policy};
use crate::media::transport::{MediaTransport, Pinned};
use crate::secret::Secret;

/// So many redirects are followed.
const MOST_HOPS: usize = 5;
/// Response headers that are worth keeping as evidence and carry no secret.
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

/// How long and how slowly a host may deliver.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of an answer, and between two chunks.
    pub silence: Duration,
    /// For a whole file.
    pub total: Duration,
    /// Looked at over this time ...
    pub window: Duration,
    /// ... at least so many bytes must have come.
    pub floor: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            total: Duration::from_secs(6 * 3600),
            window: Duration::from_secs(60),
            floor: 60 * 1024,
        }
    }
}

/// The way to media hosts.
pub struct MediaClient {
    transport: Arc<dyn MediaTransport>,
    policy: Policy,
    patience: Patience,
    max_bytes: u64,
    clock: Clock,
    /// The provider's own origin, and the key that its media may want.
    home: Option<(Origin, Arc<Mutex<Secret>>)>,
}

/// What to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// So many bytes are there already.
    pub offset: u64,
    /// The strong entity tag they were delivered under.
    pub validator: String,
}

/// What an answer announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the bytes that follow begin: 0, or the offset asked for.
    pub offset: u64,
    /// How long the whole file is, if told.
    pub length: Option<u64>,
    /// A strong entity tag, which allows a later resume.
    pub validator: Option<String>,
    /// Who delivers.
    pub host: String,
    /// Headers worth keeping beside a file that turns out unfit.
    pub evidence: Vec<(String, String)>,
}

/// Why a fetch ended without a file.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The policy forbids where the link leads.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The host refuses the link: not ready yet, or dead.
    #[error("{host} answered HTTP {status}")]
    LinkRefused {
        /// 400, 401, 403, 404 or 410.
        status: u16,
        /// Who.
        host: String,
    },
    /// The host is busy or broken.
    #[error("{host} answered HTTP {status}")]
    Busy {
        /// 429, 5xx, or anything unexpected.
        status: u16,
        /// Who.
        host: String,
        /// It asked to wait so long.
        wait: Option<Duration>,
    },
    /// What is there cannot be gone on with: begin anew.
    #[error("{host} cannot go on where the download stopped")]
    CannotResume {
        /// Who.
        host: String,
    },
    /// Compressed although asked not to: its length could not be checked.
    #[error("{host} sends it compressed (`{encoding}`)")]
    Encoded {
        /// Who.
        host: String,
        /// How.
        encoding: String,
    },
    /// Over `downloads.max_bytes`.
    #[error("{host} sends more than `downloads.max_bytes` ({limit} bytes)")]
    TooLarge {
        /// Who.
        host: String,
        /// The limit.
        limit: u64,
    },
    /// Slower than the floor, silent, or over the whole time allowed.
    #[error("{host} is too slow")]
    TooSlow {
        /// Who.
        host: String,
    },
    /// The file ended before its announced length.
    #[error("{host} broke off after {got} of {announced} bytes")]
    CutShort {
        /// Who.
        host: String,
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// More redirects than are followed, or one to nowhere.
    #[error("{host} redirects without end or to nowhere")]
    Redirects {
        /// Who.
        host: String,
    },
    /// No connection, or it broke.
    #[error("{host}: {why}")]
    Network {
        /// Who.
        host: String,
        /// Why, without the link.
        why: String,
    },
}

impl MediaClient {
    /// A client under this policy. `home` is the provider's base URL with the key, for media on the provider's own
    /// host: the key goes there and nowhere else.
    pub fn new(
        policy: Policy,
        patience: Patience,
        max_bytes: u64,
        home: Option<(&Url, Secret)>,
        clock: Clock,
    ) -> Self {
        let transport = Arc::new(Pinned::new(policy, clock.clone()));
        Self::over(transport, policy, patience, max_bytes, home, clock)
    }

    /// A client whose requests somebody else carries, to addresses he has to check.
    pub fn over(
        transport: Arc<dyn MediaTransport>,
        policy: Policy,
        patience: Patience,
        max_bytes: u64,
        home: Option<(&Url, Secret)>,
        clock: Clock,
    ) -> Self {
        // Plain HTTP would show the key to everybody on the way, so only a sandbox on this machine is sent it so.
        let safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
        let home =
            home.filter(|(url, _)| safe(url)).map(|(url, key)| (url.origin(), Arc::new(Mutex::new(key))));
        Self { transport, policy, patience, max_bytes, clock, home }
    }

    /// One for per_thread thread: the same, key and all, but for the connections, of which it has its own, and keeps them
    /// for its next request.
    pub fn per_thread(&self) -> Self {
        let transport = self.transport.per_thread().unwrap_or_else(|| self.transport.clone());
        let (home, clock) = (self.home.clone(), self.clock.clone());
        Self {
            transport,
            policy: self.policy,
            patience: self.patience,
            max_bytes: self.max_bytes,
            clock,
            home,
        }
    }

    /// Replaces the key for all fetches from now on, of those made from it too.
    pub fn set_key(&self, key: Secret) {
        if let Some((_, known)) = &self.home {
            *held(known) = key;
        }
    }

    /// Opens a link, or goes on with what is there.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub async fn open(&self, link: &Secret, resume: Option<&Resume>) -> Result<Download<'_>, MediaError> {
        let mut url = Url::parse(link.expose()).map_err(|_| Forbidden::NotAUrl)?;
        for _ in 0..=MOST_HOPS {
            self.policy.check_link(&url)?;
            let response = self.hop(&url, resume).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.begin(host_of(&url), response, resume);
            }
            let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = next
                .and_then(|next| url.join(next).ok())
                .ok_or_else(|| MediaError::Redirects { host: host_of(&url) })?;
        }
        Err(MediaError::Redirects { host: host_of(&url) })
    }

    /// One request to one checked address.
    async fn hop(&self, url: &Url, resume: Option<&Resume>) -> Result<Response, MediaError> {
        let host = host_of(url);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(resume) = resume {
            // An offset is digits; a validator came in a header.
            headers.extend(
                HeaderValue::try_from(format!("bytes={}-", resume.offset)).map(|range| (RANGE, range)),
            );
            headers.extend(HeaderValue::try_from(&resume.validator).map(|tag| (IF_RANGE, tag)));
        }
        if let Some((origin, key)) = &self.home
            && *origin == url.origin()
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", held(key).expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let sent = self.transport.carry(url, headers);
        self.clock.within(self.patience.silence, sent).await.unwrap_or(Err(MediaError::TooSlow { host }))
    }

    fn begin(
        &self,
        host: String,
        response: Response,
        resume: Option<&Resume>,
    ) -> Result<Download<'_>, MediaError> {
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
                    .and_then(|range| whole_of_range(&range, resume.offset))
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
        let now = self.clock.tick();
        Ok(Download {
            client: self,
            head: Head { offset, length, validator, host, evidence },
            response,
            got: offset,
            began: now,
            window: (now, offset),
        })
    }
}

/// A file on its way.
pub struct Download<'a> {
    client: &'a MediaClient,
    head: Head,
    response: Response,
    got: u64,
    began: Tick,
    window: (Tick, u64),
}

impl Download<'_> {
    /// What was announced.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next bytes; `None` at the end, when as many have come as were announced.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MediaError> {
        let host = || self.head.host.clone();
        let patience = self.client.patience;
        let chunk = match self.client.clock.within(patience.silence, self.response.chunk()).await {
            None => return Err(MediaError::TooSlow { host: host() }),
            Some(Err(error)) => {
                // A body shorter than announced is an error of the connection by then.
                return Err(match self.head.length {
                    Some(announced) if self.got < announced && error.is_body() || error.is_decode() => {
                        MediaError::CutShort {
                            host: host(),
                            got: self.got,
                            announced: self.head.length.unwrap_or(0),
                        }
                    }
                    _ => network(&self.head.host, error),
                });
            }
            Some(Ok(chunk)) => chunk,
        };
        let Some(chunk) = chunk else {
            return match self.head.length {
                Some(announced) if self.got != announced => {
                    Err(MediaError::CutShort { host: host(), got: self.got, announced })
                }
                _ => Ok(None),
            };
        };
        self.got += chunk.len() as u64;
        if self.got > self.client.max_bytes {
            return Err(MediaError::TooLarge { host: host(), limit: self.client.max_bytes });
        }
        self.check_speed(patience)?;
        Ok(Some(chunk))
    }

    fn check_speed(&mut self, patience: Patience) -> Result<(), MediaError> {
        let now = self.client.clock.tick();
        let (since, from) = self.window;
        let window_over = now.since(since) >= patience.window;
        let crawls = window_over && self.got - from < patience.floor;
        if crawls || now.since(self.began) >= patience.total {
            return Err(MediaError::TooSlow { host: self.head.host.clone() });
        }
        if window_over {
            self.window = (now, self.got);
        }
        Ok(())
    }
}

/// No code that holds this lock can panic, so a poisoned one is still whole.
fn held(key: &Mutex<Secret>) -> MutexGuard<'_, Secret> {
    key.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole length in `bytes FROM-TO/WHOLE` (RFC 9110, section 14.4), if that begins at `offset` and runs to the end.
pub fn whole_of_range(range: &str, offset: u64) -> Option<u64> {
    let (span, whole) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = span.split_once('-')?;
    let (from, to, whole) = (digits(from)?, digits(to)?, digits(whole)?);
    (from == offset && from <= to && to.checked_add(1) == Some(whole)).then_some(whole)
}

/// Digits and nothing else: the standard parser also takes a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

pub(super) fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or("nowhere").to_owned()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The error's own words carry the whole link; its causes do not. One of them may be that the policy forbids where the
/// name leads.
pub(super) fn network(host: &str, error: reqwest::Error) -> MediaError {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        if let Some(forbidden) = next.downcast_ref::<Forbidden>() {
            return forbidden.clone().into();
        }
        why = next.to_string();
        cause = next.source();
    }
    MediaError::Network { host: host.to_owned(), why }
}

#[cfg(test)]
mod tests;
