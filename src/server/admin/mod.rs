//! The admin door: what people and programs of this house see and order (docs/reference.md#http).
//!
//! Loopback is not authentication: every request passes the fence before it is routed.

mod auth;
mod bulk;
mod control;
mod intake;
mod jobs;
mod metrics;
mod openapi;
mod page;
mod prune;
mod query;
mod report;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::jobfile;
pub use crate::server::body::BodyLimit;
use crate::server::body::{read_body, read_object};
use crate::server::connection_limits::ConnectionLimits;
pub use crate::server::connection_limits::Patience;
use crate::server::problem::Problem;
use crate::store::Store;
pub use auth::AuthTokens;
use auth::RequestCheck;
pub use prune::Archives;

/// Says what is wrong now, a sentence each; none when all is well.
pub type Health = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Makes a new callback secret and takes it up, or says why not.
pub type Rotate = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the admin door needs.
#[derive(Clone)]
pub struct AdminServer {
    /// What it shows and hands orders to.
    pub store: Store,
    /// When it is.
    pub clock: Clock,
    /// How long a job file may be, as in the inbox.
    pub file_limits: jobfile::Limits,
    /// What a request must show, if anything.
    pub keys: AuthTokens,
    /// The library's folder, absolute: files are shown with their whole path.
    pub library_dir: PathBuf,
    /// The folder of the database, absolute.
    pub data_dir: PathBuf,
    /// Where job files are dropped, absolute: the page says so to whoever has none yet.
    pub inbox_dir: PathBuf,
    /// The folders of files that were, absolute.
    pub archives: Archives,
    /// A link that dies sooner than this is pressing.
    pub alert_before_expiry: Duration,
    /// What `readyz` says.
    pub health: Health,
    /// What a person should know though all goes on: the page says it.
    pub worries: Health,
    /// Makes a new callback secret.
    pub rotate: Rotate,
    /// Event streams end once this turns true.
    pub stop: watch::Receiver<bool>,
}

/// How much the admin door puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminLimits {
    /// With connections.
    pub patience: Patience,
    /// With the body of an order.
    pub order: BodyLimit,
    /// With a document; its length is the inbox's.
    pub document_time: Duration,
    /// With a line file; its length is the inbox's.
    pub lines_time: Duration,
}

impl Default for AdminLimits {
    /// Roomier than the public door: long lists and long files over thin lines are honest work here.
    fn default() -> Self {
        Self {
            patience: Patience {
                head: Duration::from_secs(5),
                keep_alive: Duration::from_secs(15),
                linger: Duration::from_secs(2),
                quiet: Duration::from_secs(60),
                connections: 256,
            },
            order: BodyLimit { bytes: 16 * 1024, time: Duration::from_secs(10) },
            document_time: Duration::from_secs(30),
            lines_time: Duration::from_secs(300),
        }
    }
}

/// What the handlers share.
struct Admin {
    door: AdminServer,
    limits: AdminLimits,
    fence: RequestCheck,
    /// A long job file is held in memory until its jobs are committed: one at a time.
    long_file: Semaphore,
}

impl Admin {
    /// Reads an order, a JSON object; `how` shows one to those who send something else.
    async fn read_order<T: DeserializeOwned>(
        &self,
        request: &HttpRequest,
        body: &mut web::Payload,
        how: &str,
    ) -> Result<T, Problem> {
        let bytes = read_body(request, body, self.limits.order, &self.door.clock).await?;
        read_object(&bytes).map_err(|error| Problem::bad_request(format!("send {how}: {error}")))
    }
}

/// Opens the admin door. To be called inside a tokio runtime; the server serves as long as it is awaited.
///
/// # Errors
/// When the listener is not usable.
pub fn serve(listener: TcpListener, door: AdminServer) -> io::Result<Server> {
    serve_within(AdminLimits::default(), listener, door)
}

/// [`serve`], with other limits.
///
/// # Errors
/// As [`serve`].
pub fn serve_within(limits: AdminLimits, listener: TcpListener, door: AdminServer) -> io::Result<Server> {
    let fence = RequestCheck::new(listener.local_addr()?, door.keys.clone());
    let doorman = ConnectionLimits::new(door.clock.clone(), limits.patience);
    let admin = web::Data::new(Admin { door, limits, fence, long_file: Semaphore::new(1) });
    doorman.open(listener, move |routes| {
        routes.app_data(admin.clone()).service(
            web::scope("")
                .wrap(from_fn(auth::guard))
                .configure(rooms)
                .default_service(web::to(|| async { nothing_here() })),
        );
    })
}

/// Every address of the door.
fn rooms(routes: &mut web::ServiceConfig) {
    let job = "/api/v1/jobs/{job}";
    routes
        .configure(page::rooms)
        .service(
            resource("/api/v1/jobs", &[Method::GET, Method::POST])
                .route(look().to(jobs::list_jobs))
                .route(web::post().to(intake::submit_jobs)),
        )
        // Before `{job}`, which would match it too. GET still finds a job named `bulk`.
        .service(
            resource("/api/v1/jobs/{job:bulk}", &[Method::GET, Method::POST])
                .route(look().to(jobs::get_job))
                .route(web::post().to(bulk::run_bulk_action)),
        )
        .service(resource(job, &[Method::GET]).route(look().to(jobs::get_job)))
        .service(
            resource(&format!("{job}/{{action:cancel|retry|release}}"), &[Method::POST])
                .route(web::post().to(jobs::run_action)),
        )
        .service(resource("/api/v1/pause", &[Method::POST]).route(web::post().to(control::pause)))
        .service(resource("/api/v1/resume", &[Method::POST]).route(web::post().to(control::resume)))
        .service(
            resource("/api/v1/callback-secret/rotate", &[Method::POST])
                .route(web::post().to(control::rotate_callback_secret)),
        )
        .service(resource("/api/v1/prune", &[Method::POST]).route(web::post().to(prune::prune)))
        .service(resource("/api/v1/status", &[Method::GET]).route(look().to(control::get_status)))
        .service(resource("/api/v1/openapi.json", &[Method::GET]).route(look().to(openapi::get_openapi)))
        .service(resource("/api/v1/report", &[Method::GET]).route(look().to(report::get_report)))
        .service(resource("/api/v1/events", &[Method::GET]).route(web::get().to(jobs::stream_events)))
        .service(resource("/metrics", &[Method::GET]).route(look().to(metrics::get_metrics)))
        .service(resource("/healthz", &[Method::GET]).route(look().to(healthz)))
        .service(resource("/readyz", &[Method::GET]).route(look().to(readyz)));
}

/// An address that says which methods it is for, if asked with another.
fn resource(path: &str, methods: &'static [Method]) -> Resource {
    web::resource(path)
        .default_service(web::to(move || async move { Err::<HttpResponse, _>(Problem::only_for(methods)) }))
}

/// GET, and HEAD with it.
fn look() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::nothing_here())
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok")
}

/// Ready, or everything that is wrong.
async fn readyz(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let mut wrong = (admin.door.health)();
    wrong.extend(admin.door.store.died().now_or_never());
    if let Err(error) = admin.door.store.last_change().await {
        wrong.push(error.to_string());
    }
    if wrong.is_empty() {
        return Ok(answer(StatusCode::OK, &json!({ "ready": true })));
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, wrong.join("; "));
    Err(problem.with_reasons(wrong))
}

/// A JSON answer.
fn answer(status: StatusCode, what: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(what)
}

/// The declared type of a request's body, without parameters and in lower case; `None` if it declares none.
fn media_type(head: &actix_web::http::header::HeaderMap) -> Option<String> {
    let declared = head.get(actix_web::http::header::CONTENT_TYPE)?.to_str().unwrap_or("");
    Some(declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
