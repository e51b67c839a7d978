//! The wires: what the daemon sends is held here until the scheduler decides what becomes of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use dropreel::media::error::MediaError;
use dropreel::media::transport;
use dropreel::provider::client;
use dropreel::provider::reply::CallOutcome;
use dropreel::sandbox::http_types::{self, Framing, Request, TransmissionEnd};
use dropreel::secret::Secret;
use futures_util::future::BoxFuture;
use reqwest::Response;
use reqwest::header::{AUTHORIZATION, HeaderMap, IF_RANGE, RANGE};
use tokio::sync::oneshot;
use url::Url;

/// A request on its way out.
pub struct Outgoing {
    pub request: Request,
    pub reply: oneshot::Sender<Delivered>,
}

/// What comes back.
pub enum Delivered {
    Answer(Box<http_types::Response>),
    /// The connection broke; the request may have arrived.
    Lost,
    /// No connection came to be.
    NotSent,
}

/// How the listener answered a callback.
pub struct Answered {
    pub number: u64,
    pub status: u16,
}

/// Everything between the daemon and the world.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    outgoing: Vec<Outgoing>,
    answered: Vec<Answered>,
    moved: u64,
}

impl Network {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub fn outgoing(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.inside().outgoing)
    }

    pub fn callback_answered(&self, number: u64, status: u16) {
        let mut inside = self.inside();
        inside.answered.push(Answered { number, status });
        inside.moved += 1;
    }

    pub fn answered(&self) -> Vec<Answered> {
        std::mem::take(&mut self.inside().answered)
    }

    /// Rises with everything that passes.
    pub fn moved(&self) -> u64 {
        self.inside().moved
    }

    async fn carry(&self, request: Request) -> Delivered {
        let (reply, wait) = oneshot::channel();
        {
            let mut inside = self.inside();
            inside.outgoing.push(Outgoing { request, reply });
            inside.moved += 1;
        }
        match wait.await {
            Ok(delivered) => delivered,
            // Nobody answers any more: only the clock ends this.
            Err(_) => std::future::pending().await,
        }
    }
}

impl client::ApiTransport for Network {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'_, Result<Response, CallOutcome>> {
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        let method = request.method().to_string();
        let request = Request { method, body, ..plain(request.url(), request.headers()) };
        Box::pin(async move {
            match self.carry(request).await {
                Delivered::Answer(answer) if answer.transmission.end != TransmissionEnd::NoResponse => {
                    Ok(response(&answer))
                }
                Delivered::NotSent => Err(CallOutcome::NotSent("connection refused".into())),
                Delivered::Answer(_) | Delivered::Lost => Err(CallOutcome::Lost("connection reset".into())),
            }
        })
    }
}

impl transport::MediaTransport for Network {
    fn get<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>> {
        let request = plain(url, &headers);
        let host = url.host_str().unwrap_or_default().to_owned();
        Box::pin(async move {
            match self.carry(request).await {
                Delivered::Answer(answer) if answer.transmission.end != TransmissionEnd::NoResponse => {
                    Ok(response(&answer))
                }
                _ => Err(MediaError::Network { host, why: "connection reset".into() }),
            }
        })
    }
}

fn plain(url: &Url, headers: &HeaderMap) -> Request {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Request {
        query: Secret::new(url.query().unwrap_or_default()),
        authorization: text(AUTHORIZATION.as_str()).map(Secret::new),
        idempotency_key: text("idempotency-key"),
        range: text(RANGE.as_str()),
        if_range: text(IF_RANGE.as_str()),
        ..Request::get(url.path())
    }
}

/// The answer as an HTTP client would see it come in.
fn response(answer: &http_types::Response) -> Response {
    let all = Bytes::from(answer.body.bytes());
    let len = all.len() as u64;
    let announced = match answer.transmission.framing {
        Framing::Length => Some(len),
        Framing::FalseLength(length) => Some(length),
        Framing::Chunked | Framing::Close => None,
    };
    let (sent, end) = match answer.transmission.end {
        TransmissionEnd::Complete | TransmissionEnd::NoResponse => (len, Last::Clean),
        TransmissionEnd::Close(bytes) if answer.transmission.framing == Framing::Close => {
            (bytes, Last::Clean)
        }
        TransmissionEnd::Close(bytes) | TransmissionEnd::Reset(bytes) => (bytes, Last::Broken),
        TransmissionEnd::Stall(bytes) => (bytes, Last::Silent),
    };
    let end =
        if end == Last::Clean && announced.is_some_and(|length| length > sent) { Last::Broken } else { end };
    // No client reads beyond the announced length.
    let sent = sent.min(announced.unwrap_or(u64::MAX)).min(len);
    let sent = all.slice(..usize::try_from(sent).unwrap());
    let body = Sent { pieces: sent.chunks(64 * 1024).map(|piece| sent.slice_ref(piece)).collect(), end };
    let mut built = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        built = built.header(*name, value);
    }
    if let Some(length) = announced {
        built = built.header("Content-Length", length);
    }
    Response::from(built.body(reqwest::Body::wrap(body)).unwrap())
}

struct Sent {
    pieces: VecDeque<Bytes>,
    end: Last,
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Clean,
    Broken,
    Silent,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        match (self.pieces.pop_front(), self.end) {
            (Some(piece), _) => Poll::Ready(Some(Ok(http_body::Frame::data(piece)))),
            (None, Last::Clean) => Poll::Ready(None),
            (None, Last::Broken) => {
                Poll::Ready(Some(Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "broken off"))))
            }
            (None, Last::Silent) => Poll::Pending,
        }
    }
}
