//! The line as a whole: how it stands, and a person's pause.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::problem::ProblemDetails;
use crate::api::status::{PauseRequest, PauseTarget, RotationResult, StatusView};
use crate::failpoints::{self, FailPoint};
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::server::admin::{Admin, answer};
use crate::server::body::{read_body, read_object};
use crate::server::problem::Problem;
use crate::server::status::status_view;

/// The message of a pause.
const PAUSED: &str = "paused by a person; `dropreel resume` goes on";

/// `GET /api/v1/status`.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "line",
    summary = "How many jobs are in each state, and what stands still",
    responses(
        (status = 200, description = "As things stand", body = StatusView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn status(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let store = &admin.door.store;
    let suspensions = store.suspensions().await?;
    Ok(answer(StatusCode::OK, &status_view(store, suspensions).await?))
}

/// `POST /api/v1/pause`: outlives a restart.
#[utoipa::path(
    post,
    path = "/api/v1/pause",
    tag = "line",
    summary = "Stop submits, downloads, or both",
    request_body(content = Option<PauseRequest>, description = "Left out, or without `what`: both"),
    responses(
        (status = 200, description = "As things stand", body = StatusView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn pause(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let since = admin.door.clock.now();
    for cause in which(&request, body, &admin).await? {
        let pause = Suspension { cause, until: None, message: PAUSED.to_owned(), since };
        admin.door.store.suspend(pause).await?;
        failpoints::hit(FailPoint::PauseWritten);
        tracing::info!("a person's pause: {}", cause.as_str());
    }
    status(admin).await
}

/// `POST /api/v1/resume`: ends a person's pause; what the provider stopped, it alone lets go on.
#[utoipa::path(
    post,
    path = "/api/v1/resume",
    tag = "line",
    summary = "Go on after a pause",
    request_body(content = Option<PauseRequest>, description = "Left out, or without `what`: both"),
    responses(
        (status = 200, description = "As things stand", body = StatusView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn resume(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let causes = which(&request, body, &admin).await?;
    if admin.door.store.lift_suspensions(causes).await? {
        tracing::info!("a person's pause is over");
    }
    status(admin).await
}

/// `POST /api/v1/callback-secret/rotate`: new callback addresses are made under a new secret, those under way stay valid.
#[utoipa::path(
    post,
    path = "/api/v1/callback-secret/rotate",
    tag = "line",
    summary = "New callback addresses are made under a new secret; those under way stay valid",
    responses(
        (status = 200, description = "It is done", body = RotationResult),
        (status = "4XX", description = "What is wrong with the request", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn rotate_callback_secret(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    (admin.door.rotate)().map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    tracing::info!("a person's new callback secret; addresses made under the last three still count");
    Ok(answer(StatusCode::OK, &RotationResult { rotated: true }))
}

async fn which(
    request: &HttpRequest,
    mut body: web::Payload,
    admin: &Admin,
) -> Result<Vec<SuspensionCause>, Problem> {
    let bytes = read_body(request, &mut body, admin.limits.order, &admin.door.clock).await?;
    let which = match bytes.trim_ascii() {
        [] => PauseRequest::default(),
        bytes => read_object(bytes).map_err(|error| {
            Problem::bad_request(format!(
                r#"send nothing, {{"what":"submits"}} or {{"what":"downloads"}}: {error}"#
            ))
        })?,
    };
    Ok(match which.what {
        Some(PauseTarget::Submits) => vec![SuspensionCause::PausedSubmits],
        Some(PauseTarget::Downloads) => vec![SuspensionCause::PausedDownloads],
        None => vec![SuspensionCause::PausedSubmits, SuspensionCause::PausedDownloads],
    })
}
