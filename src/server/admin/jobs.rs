//! Lists of jobs, one job in full, and actions on a job.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::value::RawValue;

use crate::api::action::ActionResult;
use crate::api::job::JobView;
use crate::api::list::{JobOrder, JobPage, MAX_PAGE};
use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, OperatorAction};
use crate::job::state::StateName;
use crate::job::step::ActionReply;
use crate::job::step::possible::possible_actions;
use crate::server::admin::http::json_response;
use crate::server::admin::page::choose_messages;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::selection::{FILTER_PARAMETERS, parse_filter, parse_order, resolve_job};
use crate::server::admin::state::AdminState;

/// Jobs per page by default.
const DEFAULT_LIMIT: u32 = 100;

/// `GET /api/v1/jobs`.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Jobs, newest first or sorted",
    params(
        ("state" = Option<StateName>, Query, description = "Only jobs in this state"),
        ("label" = Option<Vec<String>>, Query, description = "Only jobs with this label, `KEY=VALUE`; repeatable"),
        ("q" = Option<String>, Query, description = "Only jobs with all of these words in name, prompt, model, id, task, file or labels, in any case; and with none of those after a `-`"),
        ("rating" = Option<String>, Query, description = "Only jobs with this rating: `4`, `4+` (4 or 5), or `none`"),
        ("file" = Option<String>, Query, description = "Only jobs of the job files with this name, with or without their folder"),
        ("folder" = Option<String>, Query, description = "Only jobs whose label `folder` is this folder or one below it"),
        ("batch" = Option<String>, Query, description = "Only jobs of this batch"),
        ("needs" = Option<bool>, Query, description = "Only jobs that need a person: held ones, and those that failed or expired and were not dismissed"),
        ("cause" = Option<String>, Query, description = "Only jobs that need a person for this cause: the reason why they are held, or the code of their error"),
        ("model" = Option<String>, Query, description = "Only jobs of this model"),
        ("sort" = Option<JobOrder>, Query, description = "`created`: newest first; `cost`: most expensive first; `rating`: best first, then those that nobody has rated, then rejected ones; `name`"),
        ("limit" = Option<u64>, Query, description = "Most jobs in the answer; 100 by default, 500 at most", minimum = 1),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the previous page")
    ),
    responses(
        (status = 200, description = "A page of the list: short or empty before the last page if few jobs match", body = JobPage),
        ProblemResponses
    )
)]
pub(super) async fn list_jobs(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let known: Vec<&str> = FILTER_PARAMETERS.into_iter().chain(["sort", "limit", "cursor"]).collect();
    let query = Query::parse(&request, &known)?;
    let (filter, cursor) = (parse_filter(&query)?, query.number("cursor")?);
    let limit = query.limit(DEFAULT_LIMIT, MAX_PAGE)?;
    let page = admin.server.store.list_sorted(filter, parse_order(&query)?, cursor, limit).await?;
    let jobs = admin.job_views(&page.jobs).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(json_response(StatusCode::OK, &JobPage { jobs, next_cursor }))
}

/// `GET /api/v1/jobs/{job}`: one job in full.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{job}",
    tag = "jobs",
    summary = "One job, with its history and its request",
    params(
        ("job" = String, Path, description = "An id, a name, or a part that only one id has (at least 6 characters)")
    ),
    responses(
        (status = 200, description = "The job", body = JobView),
        ProblemResponses
    )
)]
pub(super) async fn get_job(
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let store = &admin.server.store;
    let id = resolve_job(store, job.into_inner()).await?;
    let details = store.details(id).await?;
    let mut view = admin.job_view(&details).await?;
    let possible = possible_actions(&details.job, admin.server.clock.now());
    view.attempts = Some(store.attempts(id).await?);
    view.again_as = Some(store.jobs_again(id).await?.iter().map(|details| details.job.id()).collect());
    view.actions = Some(possible.into_iter().map(Into::into).collect());
    view.history = Some(store.history(id).await?);
    view.defaults = Some(store.used_defaults(id).await?);
    // Byte for byte, with numbers and key order as the user wrote them.
    view.request = RawValue::from_string(store.request(id).await?).ok();
    let pictures = store.pictures(id).await?.into_iter();
    let named = pictures.filter_map(|picture| Some((picture.path, picture.found?.content.file_name())));
    view.pictures = Some(named.collect());
    view.text = Some(store.job_file(id, admin.server.clock.now()).await?);
    Ok(json_response(StatusCode::OK, &view))
}

/// `POST /api/v1/jobs/{job}/cancel|retry|release|dismiss|undismiss`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/{action}",
    tag = "jobs",
    summary = "Cancel, retry, release or dismiss a job, or undo the dismissal. `retry` may be billed again",
    params(
        ("job" = String, Path, description = "An id, a name, or a part that only one id has (at least 6 characters)"),
        ("action" = OperatorAction, Path, description = "What to do")
    ),
    responses(
        (status = 200, description = "The action was applied; its effect may still be under way", body = ActionResult),
        ProblemResponses
    )
)]
pub(super) async fn run_action(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let (reference, word) = path.into_inner();
    let action: OperatorAction = word.parse().map_err(|_| Problem::unknown_address())?;
    let store = &admin.server.store;
    let job = resolve_job(store, reference).await?;
    failpoints::hit(FailPoint::ActionReceived);
    let applied = store.apply(job, Event::Operator(action), admin.server.clock.now()).await?;
    failpoints::hit(FailPoint::ActionApplied);
    let messages = choose_messages(&request);
    let message = match applied.reply {
        Some(ActionReply::Rejected(reason)) => {
            let state = applied.job.state_name();
            return Err(Problem::action_rejected(messages.action_rejected(action, state, reason)));
        }
        Some(ActionReply::Done(message)) => message,
        None => "",
    };
    tracing::info!(%job, "{action} applied to job {job}: {message}");
    let message = messages.action_done(message).to_owned();
    let job = admin.job_view(&store.details(job).await?).await?;
    Ok(json_response(StatusCode::OK, &ActionResult { job, message }))
}
