//! `GET /api/v1/report`: outcomes, durations and costs of finished jobs, and charges without a video.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::list::MAX_PAGE;
use crate::api::report::ReportView;
use crate::clock::Timestamp;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;

/// How far back a report goes by default.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GET /api/v1/report?since=&disputes=true`.
#[utoipa::path(
    get,
    path = "/api/v1/report",
    tag = "jobs",
    summary = "Outcomes, durations and costs of finished jobs",
    params(
        ("since" = Option<String>, Query, description = "Only jobs that finished at or after this time, or since the beginning of this day (2026-11-01) in `budget.time_zone`; by default since the beginning of the day 30 days ago"),
        ("disputes" = Option<bool>, Query, description = "Include the tasks that were charged and brought no video")
    ),
    responses(
        (status = 200, description = "The report", body = ReportView),
        ProblemResponses
    )
)]
pub(super) async fn get_report(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(&request, &["since", "disputes"])?;
    let (store, now) = (&admin.server.store, admin.server.clock.now());
    let since = match query.single("since")? {
        None => store.start_of_day_at(now.minus(DEFAULT_PERIOD)),
        Some(text) => {
            Timestamp::parse_rfc3339(text).or_else(|| store.start_of_day(text)).ok_or_else(|| {
                Problem::bad_request(format!(
                    "`since` must be a day such as 2026-11-01, or a time such as 2026-11-01T00:00:00Z, not `{text}`"
                ))
            })?
        }
    };
    let disputes = match query.single("disputes")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Problem::bad_request(format!("`disputes` must be true or false, not `{other}`")));
        }
    };
    let found = store.report(since).await?;
    let view = ReportView {
        since,
        until: now,
        time_zone: found.time_zone,
        total: found.total,
        by_model: found.by_model,
        by_label: found.by_label,
        by_file: found.by_file,
        by_day: found.by_day,
        disputes: if disputes { Some(store.disputes(since, MAX_PAGE).await?) } else { None },
    };
    Ok(json_response(StatusCode::OK, &view))
}
