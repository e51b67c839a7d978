//! Jobs: lists, one in full, a person's orders, and the stream of changes.

use std::collections::BTreeSet;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::{Event, Order};
use crate::job::state::StateName;
use crate::job::step::Reply;
use crate::server::admin::query::Query;
use crate::server::admin::{Admin, answer};
use crate::server::events::Follower;
use crate::server::problem::{Kind, Problem, ProblemView};
use crate::server::view::{JobView, StateWord};
use crate::store::query::{Filter, Found, LIST_LIMIT};

/// What can be ordered.
#[derive(ToSchema)]
#[schema(as = Order, rename_all = "lowercase")]
#[allow(dead_code, reason = "says in the API's description what another room's type looks like")]
pub(super) enum ActionWord {
    Cancel,
    Retry,
    Release,
}

/// How many jobs a list has if nobody says.
const LIST_LENGTH: u32 = 100;

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = JobList)]
pub(super) struct ListView<'a> {
    jobs: Vec<JobView<'a>>,
    /// `cursor` of the next page; `null` on the last.
    next_cursor: Option<String>,
}

/// `GET /api/v1/jobs`: newest first.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Jobs, newest first",
    params(
        ("state" = Option<StateWord>, Query, description = "Only jobs in this state"),
        ("label" = Option<Vec<String>>, Query, description = "Only jobs with this label, `KEY=VALUE`; may be given again"),
        ("q" = Option<String>, Query, description = "Only jobs with this text in name, prompt or task id"),
        ("limit" = Option<u64>, Query, description = "At most so many; 100 if left out, never more than 500", minimum = 1),
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the page before")
    ),
    responses(
        (status = 200, description = "A page of the list", body = ListView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemView, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemView, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["state", "label", "q", "limit", "cursor"])?;
    let (filter, cursor, limit) = (wanted(&query)?, query.number("cursor")?, limit(&query)?);
    let page = admin.door.store.list(filter, cursor, limit).await?;
    let jobs = page.jobs.iter().map(|sight| JobView::of(sight, &admin.door.library_dir)).collect();
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(answer(StatusCode::OK, &ListView { jobs, next_cursor }))
}

/// The filter that an address names.
pub(super) fn wanted(query: &Query) -> Result<Filter, Problem> {
    let state =
        query.one("state")?.map(|word| StateName::parse(word).ok_or_else(|| no_state(word))).transpose()?;
    let labels = query.all("label").map(|label| {
        let pair = label
            .split_once('=')
            .ok_or_else(|| Problem::bad_request(format!("a label is KEY=VALUE, not `{label}`")))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    });
    let labels = labels.collect::<Result<_, Problem>>()?;
    Ok(Filter { state, labels, text: query.one("q")?.filter(|text| !text.is_empty()).map(str::to_owned) })
}

pub(super) fn no_state(word: &str) -> Problem {
    let words = StateName::ALL.map(StateName::as_str).join(", ");
    Problem::bad_request(format!("there is no state `{word}`; there are: {words}"))
}

fn limit(query: &Query) -> Result<u32, Problem> {
    match query.number("limit")? {
        None => Ok(LIST_LENGTH),
        Some(0) => Err(Problem::bad_request("`limit` is 1 or more")),
        Some(limit) => Ok(u32::try_from(limit).unwrap_or(LIST_LIMIT).min(LIST_LIMIT)),
    }
}

/// `GET /api/v1/jobs/{job}`: one job in full.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{job}",
    tag = "jobs",
    summary = "One job, with its history and its request",
    params(
        ("job" = String, Path, description = "An id, a unique beginning of one (6 characters at least), or a name")
    ),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemView, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemView, content_type = "application/problem+json")
    )
)]
pub(super) async fn show(job: web::Path<String>, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let store = &admin.door.store;
    let id = meant(&admin, job.into_inner()).await?;
    let sight = store.look(id).await?;
    let history = store.history(id).await?;
    // The user's own text: shown byte for byte, numbers and order as written.
    let request = RawValue::from_string(store.request(id).await?).ok();
    let view = JobView::in_full(&sight, &admin.door.library_dir, &history, request.as_deref());
    Ok(answer(StatusCode::OK, &view))
}

/// The job a person means: by id, by the beginning of one, or by name.
pub(super) async fn meant(admin: &Admin, reference: String) -> Result<JobId, Problem> {
    let ids = match admin.door.store.find(reference.clone()).await? {
        Found::One(id) => return Ok(id),
        Found::None => {
            let detail = format!("there is no job `{reference}`, neither by id nor by name");
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
        Found::Many(ids) => ids,
    };
    let mut candidates = Vec::new();
    for id in ids {
        let sight = admin.door.store.look(id).await?;
        let state = sight.job.state_name().as_str();
        candidates.push(json!({ "id": id, "name": sight.job.identity().name, "state": state }));
    }
    let detail = format!("several jobs are called `{reference}`; say which by id");
    Err(Problem::of(Kind::Ambiguous, StatusCode::CONFLICT, detail).with("candidates", candidates))
}

/// What came of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Ordered)]
pub(super) struct OrderedView<'a> {
    job: JobView<'a>,
    message: &'a str,
}

/// `POST /api/v1/jobs/{job}/cancel|retry|release`: a person's word.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/{order}",
    tag = "jobs",
    summary = "Cancel, retry or release a job. `retry` is billed again",
    params(
        ("job" = String, Path, description = "An id, a unique beginning of one (6 characters at least), or a name"),
        ("order" = ActionWord, Path, description = "What is to be done")
    ),
    responses(
        (status = 200, description = "It is done, or under way", body = OrderedView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemView, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemView, content_type = "application/problem+json")
    )
)]
pub(super) async fn order(
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
        Some(Reply::Refused(why)) => return Err(Problem::of(Kind::Refused, StatusCode::CONFLICT, why)),
        Some(Reply::Done(message)) => message,
        None => "",
    };
    tracing::info!(%job, "a person's {word} of job {job}: {message}");
    let sight = admin.door.store.look(job).await?;
    let job = JobView::of(&sight, &admin.door.library_dir);
    Ok(answer(StatusCode::OK, &OrderedView { job, message }))
}

/// `GET /api/v1/events`: changes as they happen.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "jobs",
    summary = "Changes as they happen, as server-sent events: `hello`, `job` (with an id to resume from) and `status`",
    params(
        ("after" = Option<i64>, Query, description = "Go on behind this change; `Last-Event-ID` does the same"),
        ("job" = Option<Vec<String>>, Query, description = "Only this job, by its whole id; may be given again")
    ),
    responses(
        (status = 200, description = "A stream that does not end", body = String, content_type = "text/event-stream"),
        (status = "4XX", description = "What is wrong with the request", body = ProblemView, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemView, content_type = "application/problem+json")
    )
)]
pub(super) async fn events(request: HttpRequest, admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["after", "job"])?;
    // A browser that lost the stream says where it was; that is later than where it first began.
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.or(query.number("after")?);
    let ids = query.all("job").map(|id| {
        JobId::parse(id).ok_or_else(|| Problem::bad_request(format!("`{id}` is not a whole job id")))
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
