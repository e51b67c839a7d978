//! `GET /api/v1/batches`: the job files, pastes and calls that made jobs.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::batch::{BatchPage, MAX_BATCH_PAGE};
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;

/// Batches per page by default.
const DEFAULT_LIMIT: u32 = 50;

/// `GET /api/v1/batches`: newest first.
#[utoipa::path(
    get,
    path = "/api/v1/batches",
    tag = "jobs",
    summary = "Batches, newest first: the jobs of one job file, paste or call",
    params(
        ("limit" = Option<u64>, Query, description = "Most batches in the answer; 50 by default, 100 at most", minimum = 1),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the previous page")
    ),
    responses(
        (status = 200, description = "A page of the list", body = BatchPage),
        ProblemResponses
    )
)]
pub(super) async fn list_batches(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(&request, &["limit", "cursor"])?;
    let (cursor, limit) = (query.number("cursor")?, query.limit(DEFAULT_LIMIT, MAX_BATCH_PAGE)?);
    let now = admin.server.clock.now();
    let (batches, next) = admin.server.store.batches(cursor, limit, now).await?;
    let next_cursor = next.map(|cursor| cursor.to_string());
    Ok(json_response(StatusCode::OK, &BatchPage { batches, next_cursor }))
}
