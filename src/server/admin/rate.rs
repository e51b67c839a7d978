//! `POST /api/v1/jobs/{job}/rate`: rates outputs. The sidecar stage writes the rating beside them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::action::ActionResult;
use crate::api::rating::{MAX_RATING, RatingRequest};
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::selection::resolve_job;
use crate::server::admin::state::AdminState;
use crate::store::ratings::RateError;

/// `POST /api/v1/jobs/{job}/rate`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/rate",
    tag = "jobs",
    summary = "Rate the outputs of a job, or one of them. Repeating a request is safe",
    params(
        ("job" = String, Path, description = "An id, a name, or a part that only one id has (at least 6 characters)")
    ),
    request_body(content = RatingRequest),
    responses(
        (status = 200, description = "The rating is committed, and its sidecars are about to be rewritten", body = ActionResult),
        ProblemResponses
    )
)]
pub(super) async fn rate_job(
    request: HttpRequest,
    mut body: web::Payload,
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"rating":4,"output":"video-0"}"#;
    let RatingRequest { rating, output } = admin.read_json(&request, &mut body, example).await?;
    if rating.is_some_and(|rating| rating > MAX_RATING) {
        return Err(Problem::bad_request(format!("`rating` must be from 0 to {MAX_RATING}, or null")));
    }
    let (store, clock) = (&admin.server.store, &admin.server.clock);
    let id = resolve_job(store, job.into_inner()).await?;
    let count = store.rate(id, output, rating, clock.now()).await?;
    let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let message = match rating {
        Some(rating) => format!("rated {rating}: {files}"),
        None => format!("rating cleared: {files}"),
    };
    let job = admin.job_view(&store.details(id).await?).await?;
    Ok(json_response(StatusCode::OK, &ActionResult { job, message }))
}

impl From<RateError> for Problem {
    fn from(error: RateError) -> Self {
        match error {
            RateError::NoFiles | RateError::NoSuchOutput { .. } => Self::action_rejected(error.to_string()),
            RateError::Store(error) => error.into(),
        }
    }
}
