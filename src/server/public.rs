//! The public door: takes callbacks from anybody, believes none (docs/reference.md#http).
//!
//! Store first, answer, work later: a 204 can only be made from the proof that the delivery is committed.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::clock::Clock;
use crate::failpoints::{self, Bug, FailPoint, planted};
use crate::job::JobId;
use crate::secret::CallbackSecrets;
pub use crate::server::body::BodyLimit;
use crate::server::body::{BodyError, read_body};
use crate::server::connection_limits::ConnectionLimits;
pub use crate::server::connection_limits::Patience;
use crate::server::signature::{Message, Signature};
use crate::settings::CallbackSignature;
use crate::store::Store;
use crate::store::deliveries::Kept;
use crate::store::error::StoreError;

/// What to tell a sender whose delivery could not be kept: come again after so many seconds.
const COME_AGAIN: &str = "5";

/// What the public door needs.
#[derive(Clone)]
pub struct PublicServer {
    /// Where deliveries are kept.
    pub store: Store,
    /// What admits a callback; replaced when the secret is changed.
    pub secrets: Arc<RwLock<CallbackSecrets>>,
    /// What a callback must be signed with, if anything.
    pub signature: Option<CallbackSignature>,
    /// When it is.
    pub clock: Clock,
}

/// What the connections share.
struct Public {
    door: PublicServer,
    limit: BodyLimit,
    signature: Option<Signature>,
}

/// How much the public door puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicLimits {
    /// With connections.
    pub patience: Patience,
    /// With a callback's body.
    pub body: BodyLimit,
}

impl Default for PublicLimits {
    /// 256 KiB in 10 seconds, a head in 5, 512 connections (docs/reference.md#http).
    fn default() -> Self {
        Self {
            patience: Patience {
                head: Duration::from_secs(5),
                keep_alive: Duration::from_secs(5),
                linger: Duration::from_secs(2),
                quiet: Duration::from_secs(10),
                connections: 512,
            },
            body: BodyLimit { bytes: 256 * 1024, time: Duration::from_secs(10) },
        }
    }
}

/// Opens the public door. To be called inside a tokio runtime; the server serves as long as it is awaited.
///
/// # Errors
/// When the listener is not usable.
pub fn serve(listener: TcpListener, door: PublicServer) -> io::Result<Server> {
    serve_within(PublicLimits::default(), listener, door)
}

/// [`serve`], with other limits.
///
/// # Errors
/// As [`serve`].
pub fn serve_within(limits: PublicLimits, listener: TcpListener, door: PublicServer) -> io::Result<Server> {
    let doorman = ConnectionLimits::new(door.clock.clone(), limits.patience);
    let signature = match &door.signature {
        Some(settings) => Some(Signature::new(settings).ok_or(io::ErrorKind::InvalidInput)?),
        None => None,
    };
    let public = web::Data::new(Public { door, limit: limits.body, signature });
    doorman.open(listener, move |routes| {
        routes.app_data(public.clone()).default_service(web::to(answer));
    })
}

/// Why a request is refused. Whatever is wrong with an address or a token looks the same from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Unknown,
    Unsigned,
    TooLong,
    TooSlow,
    Broken,
    NotNow,
}

/// The one handler: routing is ours, so that nothing but the exact spelling of an address is known here.
async fn answer(request: HttpRequest, mut body: web::Payload, public: web::Data<Public>) -> HttpResponse {
    let path = request.uri().path();
    if path == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD) {
        return HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok");
    }
    match callback(&request, &mut body, &public).await {
        Ok(kept) => no_content(kept),
        Err(refusal) => {
            tracing::debug!("{} /callbacks/{{job_id}}/{{token}} refused: {refusal:?}", request.method());
            refuse(refusal)
        }
    }
}

/// Route, then token, then body and signature, and only then the database.
async fn callback(request: &HttpRequest, body: &mut web::Payload, public: &Public) -> Result<Kept, Refusal> {
    let door = &public.door;
    let (id, token) = addressed(request.uri().path()).ok_or(Refusal::Unknown)?;
    if *request.method() != Method::POST {
        return Err(Refusal::Unknown);
    }
    let admitted = door.secrets.read().unwrap_or_else(PoisonError::into_inner).admit(id, token);
    if !admitted && !planted(Bug::TokenUnchecked) {
        return Err(Refusal::Unknown);
    }
    let job = JobId::parse(id).ok_or(Refusal::Unknown)?;
    let bytes = read_body(request, body, public.limit, &door.clock).await?;
    failpoints::hit(FailPoint::CallbackReceived);
    let now = door.clock.now();
    let message = match &public.signature {
        Some(signature) => {
            let signed = signature.admit(request.headers(), &bytes, now).map_err(|why| {
                tracing::warn!(%job, "a callback of job {job} is refused: {why}");
                Refusal::Unsigned
            })?;
            signed.map(|id| (signature, Message::new(job, id, &bytes)))
        }
        None => None,
    };
    if let Some((signature, message)) = &message
        && let Some(kept) = signature.repeated(message, now)
    {
        return Ok(kept);
    }
    let kept = door.store.keep_delivery(job, bytes, now).await;
    failpoints::hit(FailPoint::CallbackKept);
    if let (Some((signature, message)), Ok(kept)) = (message, &kept) {
        signature.remember(message, kept, now);
    }
    kept.map_err(|error| match error {
        StoreError::NoSuchJob(_) => Refusal::Unknown,
        error => {
            tracing::warn!(%job, "a callback of job {job} could not be kept, its sender is to come again: {error}");
            Refusal::NotNow
        }
    })
}

/// The job id and the token of `/callbacks/{job_id}/{token}`, as they stand in the address: nothing is decoded, for a
/// token has one spelling only.
pub fn addressed(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/callbacks/")?.split_once('/')
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLong(_) => Self::TooLong,
            BodyError::TooSlow(_) => Self::TooSlow,
            BodyError::Broken => Self::Broken,
        }
    }
}

/// The one way to a 204.
fn no_content(_committed: Kept) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// Every refusal closes the connection.
fn refuse(refusal: Refusal) -> HttpResponse {
    let (status, text) = match refusal {
        Refusal::Unknown => (StatusCode::NOT_FOUND, "not found"),
        Refusal::Unsigned => (StatusCode::UNAUTHORIZED, "not signed"),
        Refusal::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "too long"),
        Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too slow"),
        Refusal::Broken => (StatusCode::BAD_REQUEST, "malformed"),
        Refusal::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "come again"),
    };
    let mut answer = HttpResponse::build(status);
    if refusal == Refusal::NotNow {
        answer.insert_header((header::RETRY_AFTER, COME_AGAIN));
    }
    answer.force_close().content_type("text/plain; charset=utf-8").body(text)
}

#[cfg(test)]
mod tests;
