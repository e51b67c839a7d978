//! A response's body, with limits on silence, speed, total time and size.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;

use crate::clock::{Clock, Tick};
use crate::media::error::{MediaError, network};

/// Limits on how long and how slowly a host may send.
#[derive(Clone, Copy, Debug)]
pub struct MediaTimeouts {
    /// Longest wait for a response's head, and between two chunks.
    pub silence: Duration,
    /// Longest time for a whole file.
    pub total: Duration,
    /// The time over which the speed is measured.
    pub window: Duration,
    /// Bytes that must arrive in each window.
    pub min_bytes: u64,
}

impl Default for MediaTimeouts {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            // As long as a link lives: a slow line must be able to finish a large file.
            total: Duration::from_secs(24 * 3600),
            window: Duration::from_secs(60),
            min_bytes: 60 * 1024,
        }
    }
}

/// What a response's head announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Where the body begins in the file: 0, or the requested offset.
    pub offset: u64,
    /// Length of the whole file, if announced.
    pub length: Option<u64>,
    /// Sent in chunks: the last one proves that none is missing.
    pub chunked: bool,
    /// A strong entity tag, which allows to resume later.
    pub validator: Option<String>,
    pub host: String,
    /// Received without TLS.
    pub plain_http: bool,
    /// The host and port, if the link says `http:` and the response came by TLS.
    pub tried_tls: Option<String>,
    /// Headers to keep as evidence if the file is not valid.
    pub evidence: Vec<(String, String)>,
}

impl Head {
    /// Of a body from `host` of which nothing else is known.
    pub(super) fn of(host: String) -> Self {
        Self { host, ..Self::default() }
    }
}

/// Where the bytes come from.
pub(super) enum Body {
    Response(Response),
    /// All of them; empty once they are taken.
    Whole(Bytes),
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, reqwest::Error> {
        match self {
            Self::Response(response) => response.chunk().await,
            Self::Whole(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
        }
    }
}

/// A response whose body is being read.
pub struct Download {
    head: Head,
    body: Body,
    timeouts: MediaTimeouts,
    max_bytes: u64,
    clock: Clock,
    /// Bytes of the file received so far, resumed ones included.
    received: u64,
    began: Tick,
    /// Begin of the speed measurement, and the bytes received by then.
    window: (Tick, u64),
}

impl Download {
    pub(super) fn new(head: Head, body: Body, timeouts: MediaTimeouts, max_bytes: u64, clock: Clock) -> Self {
        let now = clock.tick();
        let (received, window) = (head.offset, (now, head.offset));
        Self { head, body, timeouts, max_bytes, clock, received, began: now, window }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next bytes; `None` at the end, once all announced bytes have arrived.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MediaError> {
        let host = || self.head.host.clone();
        let timeouts = self.timeouts;
        let chunk = match self.clock.within(timeouts.silence, self.body.chunk()).await {
            None => return Err(MediaError::TooSlow { host: host() }),
            Some(Err(error)) => {
                // reqwest reports a body shorter than announced as a connection error.
                return Err(match self.head.length {
                    Some(announced) if self.received < announced && error.is_body() || error.is_decode() => {
                        MediaError::CutShort {
                            host: host(),
                            received: self.received,
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
                Some(announced) if self.received != announced => {
                    Err(MediaError::CutShort { host: host(), received: self.received, announced })
                }
                _ => Ok(None),
            };
        };
        self.received += chunk.len() as u64;
        if self.received > self.max_bytes {
            return Err(MediaError::TooLarge { host: host(), limit: self.max_bytes });
        }
        self.check_speed(timeouts)?;
        Ok(Some(chunk))
    }

    fn check_speed(&mut self, timeouts: MediaTimeouts) -> Result<(), MediaError> {
        let now = self.clock.tick();
        let (since, from) = self.window;
        let window_over = now.since(since) >= timeouts.window;
        let too_slow = window_over && self.received - from < timeouts.min_bytes;
        if too_slow || now.since(self.began) >= timeouts.total {
            return Err(MediaError::TooSlow { host: self.head.host.clone() });
        }
        if window_over {
            self.window = (now, self.received);
        }
        Ok(())
    }
}
