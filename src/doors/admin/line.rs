//! The line as a whole: how it stands, and a person's pause.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::doors::admin::{Admin, answer};
use crate::doors::body::read_body;
use crate::doors::problem::Problem;
use crate::doors::status::StatusView;
use crate::lab::{self, Site};
use crate::store::line::{Stop, StopCause};

/// What is told of a pause until it is over.
const PAUSED: &str = "paused by a person; `dropreel resume` goes on";

/// The body of a pause or a resume.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    what: Option<What>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Submits,
    Downloads,
}

/// `GET /api/v1/status`.
pub(super) async fn status(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let store = &admin.door.store;
    let stops = store.stops().await?;
    Ok(answer(StatusCode::OK, &StatusView::look(store, stops).await?))
}

/// `POST /api/v1/pause`: outlives a restart.
pub(super) async fn pause(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let since = admin.door.clock.now();
    for cause in which(&request, body, &admin).await? {
        let stop = Stop { cause, until: None, message: PAUSED.to_owned(), since };
        admin.door.store.put_stop(stop).await?;
        lab::reach(Site::PauseWritten);
        tracing::info!("a person's pause: {}", cause.as_str());
    }
    status(admin).await
}

/// `POST /api/v1/resume`: ends a person's pause; what the provider stopped, it alone lets go on.
pub(super) async fn resume(
    request: HttpRequest,
    body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let causes = which(&request, body, &admin).await?;
    if admin.door.store.lift_stops(causes).await? {
        tracing::info!("a person's pause is over");
    }
    status(admin).await
}

/// `POST /api/v1/callback-secret/rotate`: new callback addresses are made under a new secret, those under way stay valid.
pub(super) async fn rotate_callback_secret(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    (admin.door.rotate)().map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    tracing::info!("a person's new callback secret; addresses made under the last three still count");
    Ok(answer(StatusCode::OK, &json!({ "rotated": true })))
}

async fn which(
    request: &HttpRequest,
    mut body: web::Payload,
    admin: &Admin,
) -> Result<Vec<StopCause>, Problem> {
    let bytes = read_body(request, &mut body, admin.limits.order, &admin.door.clock).await?;
    let which = match bytes.trim_ascii() {
        [] => Which::default(),
        bytes => serde_json::from_slice(bytes).map_err(|error| {
            Problem::bad_request(format!(
                r#"send nothing, {{"what":"submits"}} or {{"what":"downloads"}}: {error}"#
            ))
        })?,
    };
    Ok(match which.what {
        Some(What::Submits) => vec![StopCause::PausedSubmits],
        Some(What::Downloads) => vec![StopCause::PausedDownloads],
        None => vec![StopCause::PausedSubmits, StopCause::PausedDownloads],
    })
}
