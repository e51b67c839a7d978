//! The public server: receives callbacks from anyone and trusts none (docs/reference.md#http).
//!
//! A callback is stored, then acknowledged, then processed: a 204 is made only from the proof that the
//! delivery is committed.

mod pictures;
mod signature;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::pictures::PictureFolder;
use crate::pictures::address::PATH_PREFIX;
use crate::secret::CallbackSecrets;
pub use crate::server::body::BodyLimit;
use crate::server::body::{BodyError, read_body};
use crate::server::connection_limits::ConnectionLimits;
pub use crate::server::connection_limits::ConnectionTimeouts;
use crate::settings::CallbackSignature;
use crate::store::Store;
use crate::store::deliveries::Kept;
use crate::store::error::StoreError;
use pictures::PictureAnswers;
use signature::{SignatureVerifier, SignedMessage};

/// `Retry-After` of a delivery that could not be stored, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the public server needs.
#[derive(Clone)]
pub struct PublicServer {
    /// Stores deliveries.
    pub store: Store,
    /// Secrets of the callback tokens; replaced by a rotation.
    pub secrets: Arc<RwLock<CallbackSecrets>>,
    /// The signature that callbacks must carry, if any.
    pub signature: Option<CallbackSignature>,
    /// The copies of local pictures; `None`: they are not served.
    pub pictures: Option<PictureFolder>,
    /// Timestamps deliveries and bounds the time of a request.
    pub clock: Clock,
}

/// The limits of the public server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicLimits {
    /// ConnectionTimeouts of a connection.
    pub timeouts: ConnectionTimeouts,
    /// Most connections at a time; a further one closes the idlest.
    pub max_connections: usize,
    /// Limits of a callback body.
    pub body: BodyLimit,
}

/// What the connections share.
struct PublicState {
    server: PublicServer,
    body_limit: BodyLimit,
    verifier: Option<SignatureVerifier>,
    pictures: Option<PictureAnswers>,
}

impl Default for PublicLimits {
    /// 256 KiB in 10 seconds, a head in 5, 512 connections (docs/reference.md#http).
    fn default() -> Self {
        Self {
            timeouts: ConnectionTimeouts {
                head: Duration::from_secs(5),
                keep_alive: Duration::from_secs(5),
                linger: Duration::from_secs(2),
                idle: Duration::from_secs(10),
                answer: Some(Duration::from_secs(120)),
            },
            max_connections: 512,
            body: BodyLimit { max_bytes: 256 * 1024, timeout: Duration::from_secs(10) },
        }
    }
}

/// Starts the public server. Call it inside a tokio runtime; the server runs while it is awaited.
///
/// # Errors
/// If the listener is not usable.
pub fn serve(listener: TcpListener, server: PublicServer) -> io::Result<Server> {
    serve_with_limits(PublicLimits::default(), listener, server)
}

/// [`serve`] with other limits.
///
/// # Errors
/// As [`serve`].
pub fn serve_with_limits(
    limits: PublicLimits,
    listener: TcpListener,
    server: PublicServer,
) -> io::Result<Server> {
    let connections = ConnectionLimits::new(server.clock.clone(), limits.timeouts, limits.max_connections);
    let verifier = match &server.signature {
        Some(settings) => Some(SignatureVerifier::new(settings).ok_or(io::ErrorKind::InvalidInput)?),
        None => None,
    };
    let pictures = server.pictures.clone().map(|folder| PictureAnswers::new(folder, server.clock.clone()));
    let state = web::Data::new(PublicState { server, body_limit: limits.body, verifier, pictures });
    connections.serve(listener, move |routes| {
        routes.app_data(state.clone()).default_service(web::to(handle));
    })
}

/// Why a request is rejected. An unknown path, an unknown job and a wrong token look the same from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    NotFound,
    BadSignature,
    TooLong,
    TooSlow,
    Malformed,
    Unavailable,
}

/// The only handler. It routes by itself, so that nothing but the exact spelling of a path matches.
async fn handle(request: HttpRequest, mut body: web::Payload, state: web::Data<PublicState>) -> HttpResponse {
    let path = request.uri().path();
    if path == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD) {
        return HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok");
    }
    if let Some(pictures) = &state.pictures
        && path.starts_with(PATH_PREFIX)
    {
        return pictures.answer(&request, &state.server).await;
    }
    match receive_callback(&request, &mut body, &state).await {
        Ok(kept) => no_content(kept),
        Err(rejection) => {
            tracing::debug!("{} /callbacks/{{job_id}}/{{token}} rejected: {rejection:?}", request.method());
            reject(rejection)
        }
    }
}

/// Checks path, token, body and signature before it touches the database: a forged callback must cost
/// nothing.
async fn receive_callback(
    request: &HttpRequest,
    body: &mut web::Payload,
    state: &PublicState,
) -> Result<Kept, Rejection> {
    let server = &state.server;
    let (id, token) = split_callback_path(request.uri().path()).ok_or(Rejection::NotFound)?;
    if *request.method() != Method::POST {
        return Err(Rejection::NotFound);
    }
    let admitted = server.secrets.read().verify(id, token);
    if !admitted {
        return Err(Rejection::NotFound);
    }
    let job = JobId::parse(id).ok_or(Rejection::NotFound)?;
    let bytes = read_body(request, body, state.body_limit, &server.clock).await?;
    failpoints::hit(FailPoint::CallbackReceived);
    let now = server.clock.now();
    let message = match &state.verifier {
        Some(verifier) => {
            let message_id = verifier.verify(request.headers(), &bytes, now).map_err(|error| {
                tracing::warn!(%job, "callback of job {job} rejected: {error}");
                Rejection::BadSignature
            })?;
            message_id.map(|id| (verifier, SignedMessage::new(job, id, &bytes)))
        }
        None => None,
    };
    if let Some((verifier, message)) = &message
        && let Some(kept) = verifier.find_repeat(message, now)
    {
        return Ok(kept);
    }
    let kept = server.store.keep_delivery(job, bytes, now).await;
    failpoints::hit(FailPoint::CallbackCommitted);
    if let (Some((verifier, message)), Ok(kept)) = (message, &kept) {
        verifier.remember(message, kept, now);
    }
    kept.map_err(|error| match error {
        StoreError::NoSuchJob(_) => Rejection::NotFound,
        error => {
            tracing::warn!(%job, "callback of job {job} not stored; its sender gets 503: {error}");
            Rejection::Unavailable
        }
    })
}

/// The job id and the token of `/callbacks/{job_id}/{token}`. Nothing is decoded: a token has only one
/// spelling.
pub fn split_callback_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/callbacks/")?.split_once('/')
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLong(_) => Self::TooLong,
            BodyError::TooSlow(_) => Self::TooSlow,
            BodyError::Malformed => Self::Malformed,
        }
    }
}

/// The only way to a 204.
fn no_content(_committed: Kept) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// Answers, and closes the connection.
fn reject(rejection: Rejection) -> HttpResponse {
    let (status, text) = match rejection {
        Rejection::NotFound => (StatusCode::NOT_FOUND, "not found"),
        Rejection::BadSignature => (StatusCode::UNAUTHORIZED, "invalid signature"),
        Rejection::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body too long"),
        Rejection::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body too slow"),
        Rejection::Malformed => (StatusCode::BAD_REQUEST, "malformed body"),
        Rejection::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "try again later"),
    };
    let mut response = HttpResponse::build(status);
    if rejection == Rejection::Unavailable {
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
    }
    response.force_close().content_type("text/plain; charset=utf-8").body(text)
}

#[cfg(test)]
mod tests;
