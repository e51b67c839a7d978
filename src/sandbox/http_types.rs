//! HTTP requests and responses as plain values. The server turns them into bytes on a connection; the simulation of
//! `tests/simulation` passes them directly.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::sandbox::clip::Clip;
use crate::secret::Secret;

/// An API call or a download.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark; empty if there is none. In a media link this is the secret.
    pub query: Secret,
    /// The value of `Authorization`.
    pub authorization: Option<Secret>,
    /// The value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The value of `Range`.
    pub range: Option<String>,
    /// The value of `If-Range`.
    pub if_range: Option<String>,
    pub body: Vec<u8>,
    /// A picture that it names could not be fetched.
    pub lacks_picture: bool,
}

impl Request {
    /// A `GET` with an API key that every sandbox accepts, unless its options name another.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: Secret::new(""),
            authorization: Some(Secret::new("Bearer sandbox")),
            idempotency_key: None,
            range: None,
            if_range: None,
            body: Vec::new(),
            lacks_picture: false,
        }
    }

    /// `POST /v1/tasks` under an idempotency key.
    pub fn submit(key: &str, body: impl Into<Vec<u8>>) -> Self {
        let method = "POST".to_owned();
        Self { method, idempotency_key: Some(key.to_owned()), body: body.into(), ..Self::get("/v1/tasks") }
    }

    /// `GET /v1/tasks/{task_id}`.
    pub fn status(task_id: &str) -> Self {
        Self::get(&format!("/v1/tasks/{task_id}"))
    }

    /// `POST /v1/tasks/{task_id}/cancel`.
    pub fn cancel(task_id: &str) -> Self {
        Self { method: "POST".to_owned(), ..Self::get(&format!("/v1/tasks/{task_id}/cancel")) }
    }

    /// A download of a link from a result, from byte `from` on.
    pub fn media(link: &str, from: Option<u64>) -> Self {
        let path = link.find("/output/").map_or("", |at| &link[at..]);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            query: Secret::new(query),
            authorization: None,
            range: from.map(|from| format!("bytes={from}-")),
            ..Self::get(path)
        }
    }
}

/// A response, and how it is transmitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// In order, without `Content-Length` and `Transfer-Encoding`, which follow from `transmission`.
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
    /// How it is transmitted.
    pub transmission: Transmission,
}

/// The body of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    Clip(Clip, Range<u64>),
}

/// How a response is transmitted. The default is what a correct server does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transmission {
    /// Nothing is sent before this time; the call is executed at once.
    pub delay: Duration,
    /// The response waits until the first callback of this task has been sent (10 s at most).
    pub after_callback: Option<String>,
    /// How the length is announced.
    pub framing: Framing,
    /// Where the transmission ends.
    pub end: TransmissionEnd,
    /// `None`: unlimited.
    pub bytes_per_second: Option<u64>,
}

/// How the length of a body is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    #[default]
    Length,
    /// This `Content-Length`, whatever the body has.
    FalseLength(u64),
    /// Chunked.
    Chunked,
    /// Not at all: the body ends with the connection.
    Close,
}

/// Where the transmission of a response ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransmissionEnd {
    /// After the last byte.
    #[default]
    Complete,
    /// Before the first byte: the connection is reset.
    NoResponse,
    /// The connection is closed after this many bytes of the body.
    Close(u64),
    /// The connection is reset after this many bytes of the body.
    Reset(u64),
    /// Nothing follows this many bytes of the body, and the connection stays open.
    Stall(u64),
}

impl Response {
    /// A JSON response.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    /// A response with any text.
    pub fn text(status: u16, media_type: &str, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: Body::Bytes(text.into()),
            transmission: Transmission::default(),
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header, in the spelling the sandbox uses.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is not JSON.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body.bytes()).unwrap_or_default()
    }

    /// Whether the client receives all of it: no reset, early close or stall.
    pub fn is_complete(&self) -> bool {
        self.transmission.end == TransmissionEnd::Complete
    }
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Clip(_, range) => range.end.saturating_sub(range.start),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `at` on, for a clip at most 64 KiB; empty at the end.
    pub fn chunk(&self, at: u64) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.slice(bytes.len().min(usize::try_from(at).unwrap_or(usize::MAX))..),
            Self::Clip(clip, range) => clip.chunk(&(range.start.saturating_add(at)..range.end)),
        }
    }

    /// All of it, in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = self.chunk(all.len() as u64);
            if chunk.is_empty() {
                return all;
            }
            all.extend_from_slice(&chunk);
        }
    }
}
