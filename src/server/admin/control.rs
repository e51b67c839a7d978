//! The daemon as a whole: its status, pausing and resuming, and rotation of the callback secret.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::DeserializeOwned;

use crate::api::status::{
    PauseRequest, PauseTarget, ResumeRequest, ResumeTarget, RotationResult, StatusView,
};
use crate::failpoints::{self, FailPoint};
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::{AdminServer, AdminState};
use crate::server::admin::status::status_view;
use crate::server::body::{parse_object, read_body};
use crate::settings;

/// The message of a pause.
const PAUSED: &str = "paused by an operator; `dropreel resume` continues";

/// How long a status waits for the balance if it was read long ago.
const BALANCE_TIMEOUT: Duration = Duration::from_millis(500);

/// How often, and how many times, to look whether the leader has taken over.
const TAKEOVER_LOOK: Duration = Duration::from_millis(100);
const TAKEOVER_LOOKS: u32 = 50;

/// `GET /api/v1/status`.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "control",
    summary = "How many jobs are in each state, and what is suspended",
    responses(
        (status = 200, description = "The current status", body = StatusView),
        ProblemResponses
    )
)]
pub(super) async fn get_status(admin: web::Data<AdminState>) -> Result<HttpResponse, Problem> {
    if !admin.server.store.follows() {
        admin.server.balance.recent(BALANCE_TIMEOUT).await;
    }
    let suspensions = admin.server.store.suspensions().await?;
    Ok(json_response(StatusCode::OK, &status_view(&admin.server, suspensions).await?))
}

/// `POST /api/v1/pause`: a pause survives a restart.
#[utoipa::path(
    post,
    path = "/api/v1/pause",
    tag = "control",
    summary = "Pause submits, downloads or both",
    request_body(content = Option<PauseRequest>, description = "An empty body, or no `what`, means both"),
    responses(
        (status = 200, description = "The current status", body = StatusView),
        ProblemResponses
    )
)]
pub(super) async fn pause(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let since = admin.server.clock.now();
    let example = r#"{"what":"submits"} or {"what":"downloads"}"#;
    let PauseRequest { what } = read_request(&request, body, &admin, example).await?;
    let causes: &[_] = match what {
        Some(PauseTarget::Submits) => &[SuspensionCause::PausedSubmits],
        Some(PauseTarget::Downloads) => &[SuspensionCause::PausedDownloads],
        None => &[SuspensionCause::PausedSubmits, SuspensionCause::PausedDownloads],
    };
    for &cause in causes {
        let pause = Suspension { cause, until: None, message: PAUSED.to_owned(), since };
        admin.server.store.suspend(pause).await?;
        failpoints::hit(FailPoint::PauseCommitted);
        tracing::info!("{} paused", target_name(cause));
    }
    get_status(admin).await
}

/// `POST /api/v1/resume`: ends a pause. Calls that the provider's answers suspended are tried at once.
#[utoipa::path(
    post,
    path = "/api/v1/resume",
    tag = "control",
    summary = "Resume submits, downloads or both, and try suspended calls at once",
    request_body(
        content = Option<ResumeRequest>,
        description = "An empty body, or no `what`, means all pauses; `provider` leaves them as they are, `takeover` also ends `superseded`"
    ),
    responses(
        (status = 200, description = "The current status", body = StatusView),
        ProblemResponses
    )
)]
pub(super) async fn resume(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"what":"submits"}, {"what":"downloads"}, {"what":"provider"} or {"what":"takeover"}"#;
    let ResumeRequest { what } = read_request(&request, body, &admin, example).await?;
    let causes = match what {
        Some(ResumeTarget::Submits) => vec![SuspensionCause::PausedSubmits],
        Some(ResumeTarget::Downloads) => vec![SuspensionCause::PausedDownloads],
        Some(ResumeTarget::Provider) => Vec::new(),
        // Not for every reason that somebody had to pause: it stops the daemon elsewhere.
        Some(ResumeTarget::Takeover) if admin.server.store.has_others() => {
            // The leader first holds what others have accepted meanwhile.
            admin.server.store.ask_to_take_over(admin.server.clock.now()).await?;
            Vec::new()
        }
        Some(ResumeTarget::Takeover) => vec![SuspensionCause::Superseded],
        None => vec![SuspensionCause::PausedSubmits, SuspensionCause::PausedDownloads],
    };
    let names: Vec<_> = causes.iter().map(|cause| target_name(*cause)).collect();
    if admin.server.store.lift_suspensions(causes).await? {
        tracing::info!("{} resumed", names.join(" and "));
    }
    admin.server.store.resume_calls(admin.server.clock.now()).await?;
    if what == Some(ResumeTarget::Takeover) && admin.server.store.has_others() {
        wait_for_takeover(&admin).await?;
    }
    get_status(admin).await
}

/// Waits a few seconds until the leader has taken over, so that the answer tells of it.
async fn wait_for_takeover(admin: &AdminState) -> Result<(), Problem> {
    let AdminServer { store, clock, .. } = &admin.server;
    for _ in 0..TAKEOVER_LOOKS {
        if store.suspensions().await?.iter().all(|one| one.cause != SuspensionCause::Superseded) {
            break;
        }
        clock.sleep(TAKEOVER_LOOK).await;
    }
    Ok(())
}

/// `POST /api/v1/callback-secret/rotate`: signs new callback addresses with a new secret; addresses in use
/// stay valid.
#[utoipa::path(
    post,
    path = "/api/v1/callback-secret/rotate",
    tag = "control",
    summary = "Sign new callback addresses with a new secret; addresses in use stay valid",
    responses(
        (status = 200, description = "The new secret is in use", body = RotationResult),
        ProblemResponses
    )
)]
pub(super) async fn rotate_callback_secret(admin: web::Data<AdminState>) -> Result<HttpResponse, Problem> {
    let server = &admin.server;
    if server.store.has_others() {
        let file = server.settings.callbacks.secret_file.display();
        let why = format!(
            "several daemons may share this database: write the new secret in front of the others into {file} on every \
             machine, and send each daemon SIGHUP, the leader last"
        );
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let secrets = settings::rotate_callback_secret(&server.settings)
        .map_err(|error| Problem::new(StatusCode::CONFLICT, error.to_string()))?;
    *server.callback_secrets.write() = secrets;
    tracing::info!("callback secret rotated; addresses signed with the last three secrets stay valid");
    Ok(json_response(StatusCode::OK, &RotationResult { rotated: true }))
}

/// The request body; an empty one means everything.
async fn read_request<T: Default + DeserializeOwned>(
    request: &HttpRequest,
    mut body: web::Payload,
    admin: &AdminState,
    example: &str,
) -> Result<T, Problem> {
    let bytes = read_body(request, &mut body, admin.limits.request, &admin.server.clock).await?;
    match bytes.trim_ascii() {
        [] => Ok(T::default()),
        bytes => parse_object(bytes)
            .map_err(|error| Problem::bad_request(format!("send an empty body, {example}: {error}"))),
    }
}

fn target_name(cause: SuspensionCause) -> &'static str {
    if cause == SuspensionCause::PausedDownloads { "downloads" } else { "submitting" }
}
