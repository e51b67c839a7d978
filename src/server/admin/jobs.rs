//! Jobs: lists, one job in full, actions on a job, and the stream of changes.

use std::collections::BTreeSet;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::value::RawValue;

use crate::api::action::ActionResult;
use crate::api::job::JobView;
use crate::api::list::{JobFilter, JobPage, LabelError, MAX_PAGE};
use crate::api::problem::{Candidate, ProblemDetails};
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::{Event, Order};
use crate::job::state::StateName;
use crate::job::step::Reply;
use crate::server::admin::query::Query;
use crate::server::admin::{Admin, answer};
use crate::server::events::Follower;
use crate::server::problem::{Problem, ProblemKind};
use crate::store::query::Found;

/// How many jobs a list has if nobody says.
const LIST_LENGTH: u32 = 100;

/// `GET /api/v1/jobs`: newest first.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Jobs, newest first",
    params(
        ("state" = Option<StateName>, Query, description = "Only jobs in this state"),
        ("label" = Option<Vec<String>>, Query, description = "Only jobs with this label, `KEY=VALUE`; repeatable"),
        ("q" = Option<String>, Query, description = "Only jobs with this text in name, prompt or task id"),
        ("limit" = Option<u64>, Query, description = "Most jobs in the answer; 100 by default, 500 at most", minimum = 1),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the previous page")
    ),
    responses(
        (status = 200, description = "A page of the list", body = JobPage),
        (status = "4XX", description = "The request is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "The daemon failed to answer", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn list_jobs(
    request: HttpRequest,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["state", "label", "q", "limit", "cursor"])?;
    let (filter, cursor, limit) = (wanted(&query)?, query.number("cursor")?, limit(&query)?);
    let page = admin.door.store.list(filter, cursor, limit).await?;
    let jobs = page.jobs.iter().map(|details| details.view(&admin.door.library_dir)).collect();
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(answer(StatusCode::OK, &JobPage { jobs, next_cursor }))
}

/// The filter that an address names.
pub(super) fn wanted(query: &Query) -> Result<JobFilter, Problem> {
    let state =
        query.one("state")?.map(|word| StateName::parse(word).ok_or_else(|| no_state(word))).transpose()?;
    let labels = query.all("label").map(str::parse).collect::<Result<_, LabelError>>();
    let labels = labels.map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(JobFilter { state, labels, text: query.one("q")?.filter(|text| !text.is_empty()).map(str::to_owned) })
}

fn no_state(word: &str) -> Problem {
    let words = StateName::ALL.map(StateName::as_str).join(", ");
    Problem::bad_request(format!("unknown state `{word}`; use one of {words}"))
}

fn limit(query: &Query) -> Result<u32, Problem> {
    match query.number("limit")? {
        None => Ok(LIST_LENGTH),
        Some(0) => Err(Problem::bad_request("`limit` is 1 or more")),
        Some(limit) => Ok(u32::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE)),
    }
}

/// `GET /api/v1/jobs/{job}`: one job in full.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{job}",
    tag = "jobs",
    summary = "One job, with its history and its request",
    params(
        ("job" = String, Path, description = "An id, a unique prefix of one (at least 6 characters), or a name")
    ),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = "4XX", description = "The request is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "The daemon failed to answer", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn get_job(
    job: web::Path<String>,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let store = &admin.door.store;
    let id = meant(&admin, job.into_inner()).await?;
    let mut view = store.look(id).await?.view(&admin.door.library_dir);
    let history = store.history(id).await?;
    view.history = Some(history.into_iter().map(Into::into).collect());
    // Byte for byte, with numbers and order as the user wrote them.
    view.request = RawValue::from_string(store.request(id).await?).ok();
    Ok(answer(StatusCode::OK, &view))
}

/// The job a person means: by id, by the beginning of one, or by name.
pub(super) async fn meant(admin: &Admin, reference: String) -> Result<JobId, Problem> {
    let ids = match admin.door.store.find(reference.clone()).await? {
        Found::One(id) => return Ok(id),
        Found::None => {
            let detail = format!("no job has the id or name `{reference}`");
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
        Found::Many(ids) => ids,
    };
    let mut candidates = Vec::new();
    for id in ids {
        let sight = admin.door.store.look(id).await?;
        let (name, state) = (sight.job.identity().name.clone(), sight.job.state_name());
        candidates.push(Candidate { id, name, state });
    }
    let detail = format!("several jobs match `{reference}`; use a full id");
    Err(Problem::of(ProblemKind::AmbiguousJob, StatusCode::CONFLICT, detail).with_candidates(candidates))
}

/// `POST /api/v1/jobs/{job}/cancel|retry|release`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/{action}",
    tag = "jobs",
    summary = "Cancel, retry or release a job. `retry` is billed again",
    params(
        ("job" = String, Path, description = "An id, a unique prefix of one (at least 6 characters), or a name"),
        ("action" = Order, Path, description = "What to do")
    ),
    responses(
        (status = 200, description = "The action was applied; its effect may still be under way", body = ActionResult),
        (status = "4XX", description = "The request is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "The daemon failed to answer", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn run_action(
    path: web::Path<(String, String)>,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let (reference, word) = path.into_inner();
    let orders = [Order::Cancel, Order::Retry, Order::Release];
    let order = orders.into_iter().find(|order| order.as_str() == word).ok_or_else(Problem::nothing_here)?;
    let job = meant(&admin, reference).await?;
    failpoints::hit(FailPoint::OrderReceived);
    let applied = admin.door.store.apply(job, Event::Person(order), admin.door.clock.now()).await?;
    failpoints::hit(FailPoint::OrderApplied);
    let message = match applied.reply {
        Some(Reply::Refused(why)) => {
            return Err(Problem::of(ProblemKind::ActionRejected, StatusCode::CONFLICT, why));
        }
        Some(Reply::Done(message)) => message.to_owned(),
        None => String::new(),
    };
    tracing::info!(%job, "{word} applied to job {job}: {message}");
    let sight = admin.door.store.look(job).await?;
    let job = sight.view(&admin.door.library_dir);
    Ok(answer(StatusCode::OK, &ActionResult { job, message }))
}

/// `GET /api/v1/events`: changes as they happen.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "jobs",
    summary = "Changes as they happen, as server-sent events: `hello`, `job` (with an id to resume from) and `status`",
    params(
        ("after" = Option<i64>, Query, description = "Resume after this change; `Last-Event-ID` does the same"),
        ("job" = Option<Vec<String>>, Query, description = "Only this job, by its full id; repeatable")
    ),
    responses(
        (status = 200, description = "A stream without an end of its own", body = String, content_type = "text/event-stream"),
        (status = "4XX", description = "The request is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "5XX", description = "The daemon failed to answer", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn stream_events(
    request: HttpRequest,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["after", "job"])?;
    // A browser that lost the stream says where it was; that is later than where it first began.
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.or(query.number("after")?);
    let ids = query.all("job").map(|id| {
        JobId::parse(id).ok_or_else(|| Problem::bad_request(format!("`{id}` is not a full job id")))
    });
    let only = ids.collect::<Result<BTreeSet<_>, _>>()?;
    let door = &admin.door;
    let (store, clock, stop) = (door.store.clone(), door.clock.clone(), door.stop.clone());
    let follower = Follower::new(store, clock, door.library_dir.clone(), stop, after, only);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        // Said to proxies that would otherwise gather before they pass on.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(follower.stream()))
}
