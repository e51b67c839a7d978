//! `GET /api/v1/report`: outcomes, durations and costs of finished jobs, and charges without a video.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::list::MAX_PAGE;
use crate::api::report::{ReportGroup, ReportTotals, ReportView};
use crate::clock::Timestamp;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;
use crate::store::report::JobTotals;

/// How far back a report goes by default.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);

impl From<JobTotals> for ReportTotals {
    #[expect(clippy::cast_precision_loss, reason = "a rate, of fewer jobs than 2^53")]
    fn from(totals: JobTotals) -> Self {
        let counted = totals.jobs - totals.cancelled;
        Self {
            success_rate: (counted > 0).then(|| totals.succeeded as f64 / counted as f64),
            jobs: totals.jobs,
            succeeded: totals.succeeded,
            failed: totals.failed,
            cancelled: totals.cancelled,
            expired: totals.expired,
            cost_quota: totals.cost.get(),
            cost_usd: totals.cost.usd(),
            average_seconds: totals.seconds,
            longest_seconds: totals.longest_seconds,
        }
    }
}

/// `GET /api/v1/report?since=&disputes=true`.
#[utoipa::path(
    get,
    path = "/api/v1/report",
    tag = "jobs",
    summary = "Outcomes, durations and costs of finished jobs",
    params(
        ("since" = Option<String>, Query, format = DateTime, description = "Only jobs that finished at or after this time; 30 days ago by default"),
        ("disputes" = Option<bool>, Query, description = "Include the jobs that were charged and have no video")
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
    let now = admin.server.clock.now();
    let since = match query.single("since")? {
        None => now.minus(DEFAULT_PERIOD),
        Some(text) => Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Problem::bad_request(format!("`since` must be a time such as 2026-11-01T00:00:00Z, not `{text}`"))
        })?,
    };
    let disputes = match query.single("disputes")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Problem::bad_request(format!("`disputes` must be true or false, not `{other}`")));
        }
    };
    let store = &admin.server.store;
    let found = store.report(since).await?;
    let disputed = if disputes { Some(store.disputed_jobs(since, MAX_PAGE).await?) } else { None };
    let groups = |groups: Vec<(String, JobTotals)>| {
        groups.into_iter().map(|(key, totals)| ReportGroup { key, totals: totals.into() }).collect()
    };
    let view = ReportView {
        since,
        until: now,
        total: found.total.into(),
        by_model: groups(found.by_model),
        by_label: groups(found.by_label),
        by_day: groups(found.by_day),
        disputes: disputed
            .map(|jobs| jobs.iter().map(|details| details.view(admin.server.library_dir())).collect()),
    };
    Ok(json_response(StatusCode::OK, &view))
}
