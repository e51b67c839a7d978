//! The admin server: the web page, the HTTP API and the metrics (docs/reference.md#http).
//!
//! Listening on loopback is not authentication: every request is checked before it is routed.

mod adopt;
mod again;
mod auth;
mod batches;
mod bulk;
mod control;
mod edit;
mod estimate;
mod event_stream;
mod export;
mod health;
mod http;
mod jobs;
mod metrics;
mod middleware;
mod models;
mod openapi;
mod page;
mod pictures;
mod problem;
mod prune;
mod query;
mod rate;
mod report;
mod selection;
mod state;
mod status;
mod upload;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, web};
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::api::data_dir::DataDir;
use crate::server::connection_limits::ConnectionLimits;
use auth::{AuthTokens, RequestCheck};
pub use health::other_secret;
use http::{get_or_head, json_response, resource};
use problem::Problem;
use state::AdminState;
pub use state::{AdminLimits, AdminServer, AdoptTasks};

/// Most pictures received at a time, each of up to 20 MiB.
const MAX_PICTURE_UPLOADS: usize = 4;

/// Starts the admin server. Call it inside a tokio runtime; the server runs while it is awaited.
///
/// # Errors
/// If the listener is not usable.
pub fn serve(listener: TcpListener, server: AdminServer) -> io::Result<Server> {
    serve_with_limits(AdminLimits::default(), listener, server)
}

/// [`serve`] with other limits.
///
/// # Errors
/// As [`serve`].
pub fn serve_with_limits(
    limits: AdminLimits,
    listener: TcpListener,
    server: AdminServer,
) -> io::Result<Server> {
    let settings = &server.settings.admin;
    let tokens = AuthTokens { token: settings.token.clone(), read_token: settings.read_token.clone() };
    let request_check = RequestCheck::new(listener.local_addr()?, settings.hosts.clone(), tokens);
    let connections = ConnectionLimits::new(server.clock.clone(), limits.timeouts, limits.max_connections);
    let data_dir = DataDir::of(&server.settings.data_dir);
    let state = AdminState {
        data_dir,
        server,
        limits,
        request_check,
        long_upload: Semaphore::new(1),
        picture_uploads: Semaphore::new(MAX_PICTURE_UPLOADS),
        event_streams: Arc::new(Semaphore::new(limits.max_event_streams)),
        media_answers: Arc::new(Semaphore::new(limits.max_media_answers)),
    };
    let state = web::Data::new(state);
    connections.serve(listener, move |config| {
        config.app_data(state.clone()).service(
            web::scope("")
                .wrap(from_fn(middleware::check_request))
                .configure(routes)
                .default_service(web::to(|| async { unknown_address() })),
        );
    })
}

fn routes(config: &mut web::ServiceConfig) {
    let job = "/api/v1/jobs/{job}";
    config
        .configure(page::routes)
        .service(
            resource("/api/v1/jobs", &[Method::GET, Method::POST])
                .route(get_or_head().to(jobs::list_jobs))
                .route(web::post().to(upload::submit_jobs)),
        )
        // Before `{job}`, which would match it too. GET still finds a job named `bulk`; `Allow` names only
        // what the OpenAPI document has for this path.
        .service(
            resource("/api/v1/jobs/{job:bulk}", &[Method::POST])
                .route(get_or_head().to(jobs::get_job))
                .route(web::post().to(bulk::run_bulk_action)),
        )
        .service(resource(job, &[Method::GET]).route(get_or_head().to(jobs::get_job)))
        .service(
            resource(&format!("{job}/{{action:cancel|retry|release|dismiss|undismiss}}"), &[Method::POST])
                .route(web::post().to(jobs::run_action)),
        )
        .service(resource(&format!("{job}/again"), &[Method::POST]).route(web::post().to(again::run_again)))
        .service(resource(&format!("{job}/edit"), &[Method::POST]).route(web::post().to(edit::edit_job)))
        .service(resource(&format!("{job}/rate"), &[Method::POST]).route(web::post().to(rate::rate_job)))
        .service(resource("/api/v1/export", &[Method::GET]).route(get_or_head().to(export::export_jobs)))
        .service(resource("/api/v1/export/move", &[Method::POST]).route(web::post().to(export::move_jobs)))
        .service(
            resource("/api/v1/export/acknowledge", &[Method::POST])
                .route(web::post().to(export::acknowledge_moved)),
        )
        .service(resource("/api/v1/batches", &[Method::GET]).route(get_or_head().to(batches::list_batches)))
        .service(resource("/api/v1/adopt", &[Method::POST]).route(web::post().to(adopt::adopt)))
        .service(
            resource("/api/v1/pictures", &[Method::POST]).route(web::post().to(pictures::upload_picture)),
        )
        .service(
            resource("/api/v1/pictures/{name}", &[Method::GET])
                .route(get_or_head().to(pictures::get_picture)),
        )
        .service(resource("/api/v1/estimate", &[Method::POST]).route(web::post().to(estimate::estimate_jobs)))
        .service(resource("/api/v1/pause", &[Method::POST]).route(web::post().to(control::pause)))
        .service(resource("/api/v1/resume", &[Method::POST]).route(web::post().to(control::resume)))
        .service(
            resource("/api/v1/callback-secret/rotate", &[Method::POST])
                .route(web::post().to(control::rotate_callback_secret)),
        )
        .service(resource("/api/v1/prune", &[Method::POST]).route(web::post().to(prune::prune)))
        .service(resource("/api/v1/status", &[Method::GET]).route(get_or_head().to(control::get_status)))
        .service(
            resource("/api/v1/openapi.json", &[Method::GET]).route(get_or_head().to(openapi::get_openapi)),
        )
        .service(resource("/api/v1/models", &[Method::GET]).route(get_or_head().to(models::get_models)))
        .service(resource("/api/v1/report", &[Method::GET]).route(get_or_head().to(report::get_report)))
        .service(resource("/api/v1/events", &[Method::GET]).route(web::get().to(event_stream::stream_events)))
        .service(resource("/metrics", &[Method::GET]).route(get_or_head().to(metrics::get_metrics)))
        .service(resource("/healthz", &[Method::GET]).route(get_or_head().to(get_health)))
        .service(resource("/readyz", &[Method::GET]).route(get_or_head().to(get_readiness)));
}

fn unknown_address() -> Result<HttpResponse, Problem> {
    Err(Problem::unknown_address())
}

async fn get_health() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok")
}

/// Ready, or every reason why not.
async fn get_readiness(admin: web::Data<AdminState>) -> Result<HttpResponse, Problem> {
    let mut reasons = health::problems(&admin.server);
    reasons.extend(admin.server.store.fatal_error().now_or_never());
    if let Err(error) = admin.server.store.last_change().await {
        reasons.push(error.to_string());
    }
    reasons.extend(health::other_secret(&admin.server.store, &admin.server.callback_secrets).await);
    if reasons.is_empty() {
        let answer = match (admin.server.store.has_others(), admin.server.store.leader()) {
            (false, _) => json!({ "ready": true }),
            (true, None) => json!({ "ready": true, "leads": true }),
            (true, Some(leader)) => json!({ "ready": true, "leads": false, "leader": leader }),
        };
        return Ok(json_response(StatusCode::OK, &answer));
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, reasons.join("; "));
    Err(problem.with_reasons(reasons))
}

#[cfg(test)]
mod tests;
