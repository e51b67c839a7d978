//! Serves the simulated provider on a port: turns requests into values, lets the world handle them, and transmits its
//! responses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::sandbox::fault_plan::{FaultPlan, FaultPlanError};
use crate::sandbox::http_types::{Body, Framing, Request, Response};
use crate::sandbox::ledger::Ledger;
use crate::sandbox::raw_response::{self, RawConnection};
use crate::sandbox::shared_world::SharedWorld;
use crate::sandbox::signing::Signing;
use crate::sandbox::world::World;
use crate::sandbox::{Options, callback_sender, inputs};
use crate::secret::Secret;

/// How long the answer to a submit waits for its callback at most (`callback=early`).
const EARLY_CALLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A running sandbox. [`Sandbox::stop`] ends it in good order; dropping it ends it too.
pub struct Sandbox {
    address: SocketAddr,
    shared: SharedWorld,
    server: actix_web::dev::ServerHandle,
    serving: JoinHandle<()>,
    sending: JoinHandle<()>,
}

/// Serves the simulated provider on `listener` until the [`Sandbox`] is stopped or dropped. Needs a tokio runtime. One
/// process can run several.
///
/// # Errors
/// When the listener cannot be used, or the system's certificates cannot be read.
pub async fn start(listener: TcpListener, options: Options, clock: Clock) -> io::Result<Sandbox> {
    let address = listener.local_addr()?;
    let base_url = options.public_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));
    let shared = SharedWorld::new(options, base_url.trim_end_matches('/'));
    let client = callback_sender::client().map_err(io::Error::other)?;
    let data = (shared.clone(), clock.clone(), client.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(data.clone()))
            .app_data(web::PayloadConfig::new(8 << 20))
            .route("/healthz", web::get().to(|| async { "ok" }))
            .route("/sandbox/ledger", web::get().to(ledger))
            .route("/sandbox/totals", web::get().to(totals))
            .route("/sandbox/plan", web::get().to(plan))
            .route("/sandbox/plan", web::post().to(set_plan))
            .route("/sandbox/faults", web::get().to(|| async { FaultPlan::help() }))
            .route("/sandbox/reset", web::post().to(reset))
            .default_service(web::to(provider))
    })
    .on_connect(|connection, data| {
        let stream = connection.downcast_ref::<tokio::net::TcpStream>();
        if let Some(raw) = stream.and_then(|stream| RawConnection::duplicate(stream).ok()) {
            data.insert(raw);
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
        // It ends only by its handle, so the result says nothing.
        let _ = server.await;
    }));
    let sending = run(Box::pin(callback_sender::run(shared.clone(), client, clock)));
    Ok(Sandbox { address, shared, server: handle, serving, sending })
}

/// A listener on all addresses is reached on the loopback address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

impl Sandbox {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for `provider.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", reachable(self.address))
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.shared.read(|world| world.ledger().clone())
    }

    /// Replaces the run's plan.
    ///
    /// # Errors
    /// When `text` is not a plan.
    pub fn set_fault_plan(&self, text: &str) -> Result<(), FaultPlanError> {
        let plan = FaultPlan::parse(text)?;
        self.shared.change(|world| world.set_fault_plan(plan));
        Ok(())
    }

    /// Changes how callbacks are signed; `None`: not at all.
    pub fn set_signing(&self, signing: Option<Signing>) {
        self.shared.set_signing(signing);
    }

    /// Waits until the ledger satisfies `condition`, which is checked after every request and callback.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Ledger) -> bool) {
        // Subscribe before reading: a change in between would be missed.
        let mut changes = self.shared.subscribe();
        while !self.shared.read(|world| condition(world.ledger())) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops serving and sending. Open connections are closed.
    pub async fn stop(mut self) {
        self.sending.abort();
        self.server.stop(false).await;
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.sending.abort();
        // The call sends the message; the future would only wait for the end.
        drop(self.server.stop(false));
    }
}

type AppData = web::Data<(SharedWorld, Clock, reqwest::Client)>;

async fn provider(request: HttpRequest, body: web::Bytes, data: AppData) -> HttpResponse {
    let (shared, clock, client) = (&data.0, &data.1, &data.2);
    let mut call = to_request(&request, body);
    if call.method == "POST" && call.path == "/v1/tasks" {
        call.lacks_picture = !inputs::are_fetchable(&call.body, client, clock).await;
    }
    let without_body = request.method() == Method::HEAD;
    let response = shared.change(|world| world.handle(&call, clock.now()));
    if let Some(task) = &response.transmission.after_callback {
        let mut changes = shared.subscribe();
        let sent = async {
            while shared.read(|world| world.awaits_first_callback(task)) && changes.changed().await.is_ok() {}
        };
        let _ = clock.within(EARLY_CALLBACK_TIMEOUT, sent).await;
    }
    if response.transmission.delay > Duration::ZERO {
        clock.sleep(response.transmission.delay).await;
    }
    if raw_response::is_needed_for(&response.transmission) {
        if let Some(raw) = request.conn_data::<RawConnection>() {
            // Fails if the client has gone, which is its own affair.
            let _ = raw.send(&response, without_body, clock).await;
        }
        return HttpResponse::InternalServerError().force_close().finish();
    }
    respond(response, without_body)
}

fn to_request(request: &HttpRequest, body: web::Bytes) -> Request {
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
        lacks_picture: false,
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn respond(response: Response, without_body: bool) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponse::build(status);
    for (name, value) in &response.headers {
        builder.insert_header((*name, value.as_str()));
    }
    // For HEAD the library sends the length and drops the body.
    let sized = without_body || response.transmission.framing != Framing::Chunked;
    builder.body(BodyStream { body: response.body, at: 0, sized })
}

/// A body sent in chunks, so that a large clip is never in memory.
struct BodyStream {
    body: Body,
    at: u64,
    sized: bool,
}

impl MessageBody for BodyStream {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        if self.sized { BodySize::Sized(self.body.len()) } else { BodySize::Stream }
    }

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<web::Bytes, Self::Error>>> {
        let chunk = self.body.chunk(self.at);
        self.at += chunk.len() as u64;
        std::task::Poll::Ready((!chunk.is_empty()).then_some(Ok(chunk)))
    }
}

async fn ledger(data: AppData) -> HttpResponse {
    json(&data.0.read(|world| world.ledger().clone()))
}

async fn totals(data: AppData) -> HttpResponse {
    let (totals, balance) = data.0.read(|world| (world.totals(), world.balance_left()));
    json(&serde_json::json!({"balance": balance, "all": totals.all, "by_day": totals.by_day}))
}

async fn plan(data: AppData) -> HttpResponse {
    json(&serde_json::json!({"plan": data.0.read(|world| world.fault_plan().to_string())}))
}

async fn set_plan(data: AppData, body: String) -> HttpResponse {
    match FaultPlan::parse(&body) {
        Ok(plan) => {
            let text = plan.to_string();
            data.0.change(|world| world.set_fault_plan(plan));
            json(&serde_json::json!({ "plan": text }))
        }
        Err(error) => {
            let problem = serde_json::json!({ "error": error.to_string() });
            HttpResponse::BadRequest().content_type("application/json").body(problem.to_string())
        }
    }
}

async fn reset(data: AppData) -> HttpResponse {
    data.0.change(World::reset);
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
