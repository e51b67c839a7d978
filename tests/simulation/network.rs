//! The simulated network: holds what the daemon sends until the scheduler decides what happens to it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use dropreel::media::error::MediaError;
use dropreel::media::transport;
use dropreel::provider::reply::CallOutcome;
use dropreel::provider::transport::ApiTransport;
use dropreel::sandbox::http_types::{self, Framing, Request, TransmissionEnd};
use dropreel::secret::Secret;
use dropreel::stages::hooks::webhook::HookTransport;
use futures_util::future::BoxFuture;
use reqwest::Response;
use reqwest::header::{AUTHORIZATION, HeaderMap, IF_RANGE, RANGE};
use tokio::sync::oneshot;
use url::Url;

use crate::run::BASE;

/// A request that the daemon has sent.
pub struct Outgoing {
    pub request: Request,
    pub reply: oneshot::Sender<Delivered>,
}

/// What the daemon receives.
pub enum Delivered {
    Answer(Box<http_types::Response>),
    /// The connection broke; the request may have arrived.
    Lost,
    /// There was no connection.
    NotSent,
}

/// The answer to a callback.
pub struct Answered {
    pub number: u64,
    pub status: u16,
}

/// A message to the receiver of hooks.
pub struct HookMessage {
    /// Its `webhook-id`.
    pub id: String,
    /// The status of the answer, or why there is none.
    pub reply: oneshot::Sender<Result<u16, String>>,
}

/// The network between the daemon and the simulated provider.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    outgoing: Vec<Outgoing>,
    answered: Vec<Answered>,
    hook_messages: Vec<HookMessage>,
    events: u64,
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
        inside.events += 1;
    }

    pub fn answered(&self) -> Vec<Answered> {
        std::mem::take(&mut self.inside().answered)
    }

    pub fn hook_messages(&self) -> Vec<HookMessage> {
        std::mem::take(&mut self.inside().hook_messages)
    }

    /// Grows with each request, hook message and callback answer.
    pub fn events(&self) -> u64 {
        self.inside().events
    }

    async fn exchange(&self, request: Request) -> Delivered {
        let (reply, wait) = oneshot::channel();
        {
            let mut inside = self.inside();
            inside.outgoing.push(Outgoing { request, reply });
            inside.events += 1;
        }
        match wait.await {
            Ok(delivered) => delivered,
            // The scheduler dropped the request: only a timeout ends the call.
            Err(_) => std::future::pending().await,
        }
    }
}

impl ApiTransport for Network {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'_, Result<Response, CallOutcome>> {
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        let method = request.method().to_string();
        let request = Request { method, body, ..request_of(request.url(), request.headers()) };
        Box::pin(async move {
            match self.exchange(request).await {
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
        let request = request_of(url, &headers);
        let host = url.host_str().unwrap_or_default().to_owned();
        let is_known = url.as_str().starts_with(BASE);
        Box::pin(async move {
            if !is_known {
                return Err(MediaError::Network { host, why: "connection refused".into() });
            }
            match self.exchange(request).await {
                Delivered::Answer(answer) if answer.transmission.end != TransmissionEnd::NoResponse => {
                    Ok(response(&answer))
                }
                _ => Err(MediaError::Network { host, why: "connection reset".into() }),
            }
        })
    }
}

impl HookTransport for Network {
    fn post<'a>(
        &'a self,
        _: &'a str,
        headers: HeaderMap,
        _: String,
    ) -> BoxFuture<'a, Result<Response, String>> {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        Box::pin(async move {
            let (reply, wait) = oneshot::channel();
            {
                let mut inside = self.inside();
                inside.hook_messages.push(HookMessage { id, reply });
                inside.events += 1;
            }
            match wait.await {
                Ok(Ok(status)) => Ok(http::Response::builder().status(status).body("").unwrap().into()),
                Ok(Err(why)) => Err(why),
                // The scheduler dropped the message: only a timeout ends the call.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

fn request_of(url: &Url, headers: &HeaderMap) -> Request {
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

/// The answer as an HTTP client receives it.
fn response(answer: &http_types::Response) -> Response {
    let all = Bytes::from(answer.body.bytes());
    let len = all.len() as u64;
    let announced = match answer.transmission.framing {
        Framing::Length => Some(len),
        Framing::FalseLength(length) => Some(length),
        Framing::Chunked | Framing::Close => None,
    };
    let (sent, end) = match answer.transmission.end {
        TransmissionEnd::Complete | TransmissionEnd::NoResponse => (len, BodyEnd::Complete),
        TransmissionEnd::Close(bytes) if answer.transmission.framing == Framing::Close => {
            (bytes, BodyEnd::Complete)
        }
        TransmissionEnd::Close(bytes) | TransmissionEnd::Reset(bytes) => (bytes, BodyEnd::Broken),
        TransmissionEnd::Stall(bytes) => (bytes, BodyEnd::Silent),
    };
    let end = if end == BodyEnd::Complete && announced.is_some_and(|length| length > sent) {
        BodyEnd::Broken
    } else {
        end
    };
    // No client reads beyond the announced length.
    let sent = sent.min(announced.unwrap_or(u64::MAX)).min(len);
    let sent = all.slice(..usize::try_from(sent).unwrap());
    let body = SentBody { chunks: sent.chunks(64 * 1024).map(|chunk| sent.slice_ref(chunk)).collect(), end };
    let mut built = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        built = built.header(*name, value);
    }
    if let Some(length) = announced {
        built = built.header("Content-Length", length);
    }
    Response::from(built.body(reqwest::Body::wrap(body)).unwrap())
}

struct SentBody {
    chunks: VecDeque<Bytes>,
    end: BodyEnd,
}

#[derive(Clone, Copy, PartialEq)]
enum BodyEnd {
    Complete,
    Broken,
    Silent,
}

impl http_body::Body for SentBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        match (self.chunks.pop_front(), self.end) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(http_body::Frame::data(chunk)))),
            (None, BodyEnd::Complete) => Poll::Ready(None),
            (None, BodyEnd::Broken) => Poll::Ready(Some(Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "connection closed",
            )))),
            (None, BodyEnd::Silent) => Poll::Pending,
        }
    }
}
