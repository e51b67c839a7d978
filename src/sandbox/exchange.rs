//! What is asked of the simulated provider and what it answers, as plain values: a server makes them real bytes on a
//! wire, a simulation hands them over directly.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::sandbox::clip::Clip;
use crate::secret::Secret;

/// One call.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark; empty if there is none. Of a media link it is the secret part.
    pub query: Secret,
    /// The value of `Authorization`.
    pub authorization: Option<Secret>,
    /// The value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The value of `Range`.
    pub range: Option<String>,
    /// The value of `If-Range`.
    pub if_range: Option<String>,
    /// As sent.
    pub body: Vec<u8>,
}

impl Request {
    /// A call without a body, under a key that any sandbox accepts unless it was given one of its own.
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

    /// A download: `link` is a URL the provider handed out, `from` the byte to go on from.
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

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// In order; `Content-Length` and `Transfer-Encoding` are not among them, they follow from `wire`.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Body,
    /// How it is sent.
    pub wire: Wire,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A part of a film.
    Clip(Clip, Range<u64>),
}

/// How an answer goes over the wire. The default is how every honest server does it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire {
    /// Nothing is sent for so long; what was asked is done at once.
    pub delay: Duration,
    /// The answer waits until the first callback of this task was sent (10 s at most).
    pub after_callback: Option<String>,
    /// How the length is told.
    pub framing: Framing,
    /// Where the sending stops.
    pub end: End,
    /// Bytes a second; `None`: as fast as it goes.
    pub pace: Option<u64>,
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    #[default]
    Length,
    /// A `Content-Length` that says this instead of the truth.
    Claims(u64),
    /// Chunked.
    Chunked,
    /// Not told: the body ends where the connection does.
    Close,
}

/// Where the sending of an answer stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// After its last byte.
    #[default]
    Whole,
    /// Before its first: the connection is reset instead.
    Nothing,
    /// The connection is closed after so many bytes of the body.
    Close(u64),
    /// The connection is reset after so many bytes of the body.
    Reset(u64),
    /// Nothing more comes after so many bytes of the body, and nothing is closed.
    Silence(u64),
}

impl Answer {
    /// JSON under a status.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    /// Any text under a status and media type.
    pub fn text(status: u16, media_type: &str, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: Body::Bytes(text.into()),
            wire: Wire::default(),
        }
    }

    /// The same with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header, by its name as the sandbox writes it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body.bytes()).unwrap_or_default()
    }

    /// Whether the asker ever gets it whole: not reset, cut or silent.
    pub fn arrives(&self) -> bool {
        self.wire.end == End::Whole
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

    /// From byte `at` on, at most 64 KiB; empty at the end.
    pub fn piece(&self, at: u64) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.slice(bytes.len().min(usize::try_from(at).unwrap_or(usize::MAX))..),
            Self::Clip(film, range) => film.piece(&(range.start.saturating_add(at)..range.end)),
        }
    }

    /// All of it, in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = self.piece(all.len() as u64);
            if piece.is_empty() {
                return all;
            }
            all.extend_from_slice(&piece);
        }
    }
}
