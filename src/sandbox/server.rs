//! The simulated provider on a real port. The routes are thin: a request becomes a value, the world answers, and the
//! answer goes out as its wire says.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Timestamp};
use crate::sandbox::exchange::{Answer, Body, Framing, Request};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::plan::{Plan, PlanError};
use crate::sandbox::signing::Signing;
use crate::sandbox::wire::{self, Line};
use crate::sandbox::world::World;
use crate::sandbox::{Options, callbacks};
use crate::secret::Secret;

/// How long a submit answer waits for its callback at most (`callback=early`).
const EARLY: Duration = Duration::from_secs(10);

/// The world as server and callbacks share it, with a bell that rings after every call.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inside>);

struct Inside {
    world: Mutex<World>,
    bell: watch::Sender<u64>,
    callback_timeout: Duration,
    signing: Mutex<Option<Signing>>,
}

impl Shared {
    /// Looks at the world, or does what nobody waits for.
    pub fn look<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.0.world.lock())
    }

    /// Changes the world and rings.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = self.look(change);
        self.0.bell.send_modify(|rings| *rings = rings.wrapping_add(1));
        changed
    }

    /// Hears the bell from now on.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.bell.subscribe()
    }

    pub fn callback_timeout(&self) -> Duration {
        self.0.callback_timeout
    }

    /// The headers that sign a callback.
    pub fn signed(&self, id: &str, body: &[u8], now: Timestamp) -> Vec<(&'static str, String)> {
        let signing = self.0.signing.lock();
        signing.as_ref().map(|signing| signing.headers(id, body, now)).unwrap_or_default()
    }
}

/// A running sandbox. It ends when it is dropped, or in good order by [`Sandbox::stop`].
pub struct Sandbox {
    address: SocketAddr,
    shared: Shared,
    server: actix_web::dev::ServerHandle,
    serving: JoinHandle<()>,
    sending: JoinHandle<()>,
}

/// Serves the simulated provider on `listener` until the [`Sandbox`] is stopped or dropped. Must be called inside a
/// tokio runtime. Any number can run in one process.
///
/// # Errors
/// When the listener cannot be used, or the system's certificates cannot be read.
pub async fn start(listener: TcpListener, options: Options, clock: Clock) -> io::Result<Sandbox> {
    let address = listener.local_addr()?;
    let base_url = options.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));
    let (bell, _) = watch::channel(0);
    let shared = Shared(Arc::new(Inside {
        callback_timeout: options.callback_timeout,
        signing: Mutex::new(options.signing.clone()),
        world: Mutex::new(World::new(options, base_url.trim_end_matches('/'))),
        bell,
    }));
    let client = callbacks::client().map_err(io::Error::other)?;
    let seen = (shared.clone(), clock.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(seen.clone()))
            .app_data(web::PayloadConfig::new(8 << 20))
            .route("/healthz", web::get().to(|| async { "ok" }))
            .route("/sandbox/ledger", web::get().to(ledger))
            .route("/sandbox/plan", web::get().to(plan))
            .route("/sandbox/plan", web::post().to(set_plan))
            .route("/sandbox/words", web::get().to(|| async { Plan::help() }))
            .route("/sandbox/reset", web::post().to(reset))
            .default_service(web::to(provider))
    })
    .on_connect(|connection, data| {
        let stream = connection.downcast_ref::<tokio::net::TcpStream>();
        if let Some(line) = stream.and_then(|stream| Line::of(stream).ok()) {
            data.insert(line);
        }
    })
    .workers(2)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    #[expect(clippy::disallowed_methods, reason = "both end with the sandbox that holds them")]
    let run = |work: Pin<Box<dyn Future<Output = ()> + Send>>| tokio::spawn(work);
    let serving = run(Box::pin(async move {
        // It only ends by its handle; what it says then is of no use to anybody.
        let _ = server.await;
    }));
    let sending = run(Box::pin(callbacks::run(shared.clone(), client, clock)));
    Ok(Sandbox { address, shared, server: handle, serving, sending })
}

/// Somebody who listens on all addresses is reached on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

impl Sandbox {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to put in `provider.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", reachable(self.address))
    }

    /// The book as it is now.
    pub fn ledger(&self) -> Ledger {
        self.shared.look(|world| world.ledger().clone())
    }

    /// Replaces the plan of the run.
    ///
    /// # Errors
    /// When `text` is no plan.
    pub fn set_plan(&self, text: &str) -> Result<(), PlanError> {
        let plan = Plan::parse(text)?;
        self.shared.change(|world| world.set_plan(plan));
        Ok(())
    }

    /// Signs callbacks in this way from now on, or not any more.
    pub fn set_signing(&self, signing: Option<Signing>) {
        *self.shared.0.signing.lock() = signing;
    }

    /// Waits until `seen` says so of the book, which it looks at after every call and callback.
    pub async fn until(&self, mut seen: impl FnMut(&Ledger) -> bool) {
        let mut news = self.shared.news();
        while !self.shared.look(|world| seen(world.ledger())) {
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops serving and sending; connections still open are closed.
    pub async fn stop(mut self) {
        self.sending.abort();
        self.server.stop(false).await;
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.sending.abort();
        // The message is sent by the call; the future only waits for the end.
        drop(self.server.stop(false));
    }
}

type Seen = web::Data<(Shared, Clock)>;

async fn provider(request: HttpRequest, body: web::Bytes, seen: Seen) -> HttpResponse {
    let (shared, clock) = (&seen.0, &seen.1);
    let call = call(&request, body);
    let without_body = request.method() == Method::HEAD;
    let answer = shared.change(|world| world.answer(&call, clock.now()));
    if let Some(task) = &answer.wire.after_callback {
        let mut news = shared.news();
        let tried = async {
            while shared.look(|world| world.callback_untried(task)) && news.changed().await.is_ok() {}
        };
        let _ = clock.within(EARLY, tried).await;
    }
    if answer.wire.delay > Duration::ZERO {
        clock.sleep(answer.wire.delay).await;
    }
    if wire::by_hand(&answer.wire) {
        if let Some(line) = request.conn_data::<Line>() {
            // A client that has gone meanwhile is no concern of ours.
            let _ = line.send(&answer, without_body, clock).await;
        }
        return HttpResponse::InternalServerError().force_close().finish();
    }
    respond(answer, without_body)
}

fn call(request: &HttpRequest, body: web::Bytes) -> Request {
    let header = |name: header::HeaderName| text(request.headers(), &name);
    Request {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query: Secret::new(request.query_string()),
        authorization: header(header::AUTHORIZATION).map(Secret::new),
        idempotency_key: text(request.headers(), &header::HeaderName::from_static("idempotency-key")),
        range: header(header::RANGE),
        if_range: header(header::IF_RANGE),
        body: body.to_vec(),
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn respond(answer: Answer, without_body: bool) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        response.insert_header((*name, value.as_str()));
    }
    match answer.wire.framing {
        // `without_body` (HEAD) is the library's to honour: it sends the length and drops the rest.
        Framing::Chunked if !without_body => response.body(Stream { body: answer.body, at: 0, sized: false }),
        _ => response.body(Stream { body: answer.body, at: 0, sized: true }),
    }
}

/// A body sent piece by piece, so that a large film is never in memory.
struct Stream {
    body: Body,
    at: u64,
    sized: bool,
}

impl MessageBody for Stream {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        if self.sized { BodySize::Sized(self.body.len()) } else { BodySize::Stream }
    }

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<web::Bytes, Self::Error>>> {
        let piece = self.body.piece(self.at);
        self.at += piece.len() as u64;
        std::task::Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

async fn ledger(seen: Seen) -> HttpResponse {
    json(&seen.0.look(|world| world.ledger().clone()))
}

async fn plan(seen: Seen) -> HttpResponse {
    json(&serde_json::json!({"plan": seen.0.look(|world| world.plan().to_string())}))
}

async fn set_plan(seen: Seen, body: String) -> HttpResponse {
    match Plan::parse(&body) {
        Ok(plan) => {
            let shown = plan.to_string();
            seen.0.change(|world| world.set_plan(plan));
            json(&serde_json::json!({ "plan": shown }))
        }
        Err(error) => {
            let told = serde_json::json!({ "error": error.to_string() });
            HttpResponse::BadRequest().content_type("application/json").body(told.to_string())
        }
    }
}

async fn reset(seen: Seen) -> HttpResponse {
    seen.0.change(World::reset);
    HttpResponse::NoContent().finish()
}

fn json(value: &impl serde::Serialize) -> HttpResponse {
    match serde_json::to_string_pretty(value) {
        Ok(text) => HttpResponse::Ok().content_type("application/json").body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
