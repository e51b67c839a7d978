//! One order for all jobs that pass a filter: counted first, then given to exactly those.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::job::event::{Event, Order};
use crate::job::state::StateName;
use crate::job::step::Reply;
use crate::job::{Job, JobId};
use crate::money::Quota;
#[allow(unused_imports, reason = "named in the description of the API")]
use crate::server::admin::jobs::ActionWord;
use crate::server::admin::jobs::no_state;
use crate::server::admin::{Admin, answer};
use crate::server::problem::{Kind, Problem, ProblemView};
#[allow(unused_imports, reason = "named in the description of the API")]
use crate::server::view::StateWord;
use crate::store::query::{Filter, LIST_LIMIT};

/// More jobs than this are not ordered at once: the filter is to be narrower.
const MOST: usize = 10_000;
/// So many of those that could not follow are named in the answer.
const NAMED: usize = 20;

/// The body of the request.
#[derive(Deserialize, ToSchema)]
#[schema(as = OrderForMany)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[schema(value_type = ActionWord)]
    order: String,
    /// All of this state; an order for jobs of every state is nobody's wish.
    #[schema(value_type = StateWord)]
    state: String,
    /// `KEY=VALUE`, each of which they must have.
    #[serde(default)]
    label: Vec<String>,
    /// A text in name, prompt or task id.
    #[serde(default)]
    q: Option<String>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
    /// So many were counted; if there are others by now, nothing is done.
    #[serde(default)]
    expect: Option<usize>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderedMany)]
pub(super) struct OrderedView {
    /// How many pass the filter.
    jobs: usize,
    /// What they have cost so far, as far as it is known.
    #[schema(value_type = i64)]
    cost_quota: Quota,
    cost_usd: f64,
    /// How many follow the order; in a dry run none.
    done: usize,
    refused: Vec<RefusedView>,
    message: String,
}

/// A job that could not follow.
#[derive(Serialize, ToSchema)]
#[schema(as = Refused)]
struct RefusedView {
    #[schema(value_type = String, format = "uuid")]
    job: JobId,
    name: String,
    why: String,
}

/// `POST /api/v1/orders`.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "jobs",
    summary = "One order for all jobs that pass a filter",
    request_body(content = Wanted),
    responses(
        (status = 200, description = "It is done, or was only counted", body = OrderedView),
        (status = "4XX", description = "What is wrong with the request", body = ProblemView, content_type = "application/problem+json"),
        (status = "5XX", description = "What is wrong here", body = ProblemView, content_type = "application/problem+json")
    )
)]
pub(super) async fn order(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let how = r#"{"order":"retry","state":"failed","dry_run":true}"#;
    let wanted: Wanted = admin.read_order(&request, &mut body, how).await?;
    let orders = [Order::Cancel, Order::Retry, Order::Release];
    let order = orders.into_iter().find(|order| order.as_str() == wanted.order).ok_or_else(|| {
        Problem::bad_request(format!(
            "there is no order `{}`; there are: cancel, retry, release",
            wanted.order
        ))
    })?;
    let jobs = passing(&admin, wanted.filter()?).await?;
    if let Some(expect) = wanted.expect.filter(|expect| *expect != jobs.len()) {
        let detail =
            format!("{expect} jobs were expected and there are {} now; nothing was done", jobs.len());
        return Err(Problem::of(Kind::Refused, StatusCode::CONFLICT, detail));
    }
    let cost_quota = jobs.iter().filter_map(|job| job.learned().cost).fold(Quota::ZERO, Quota::plus);
    let (mut done, mut refused) = (0, Vec::new());
    for job in jobs.iter().filter(|_| !wanted.dry_run) {
        let id = job.id();
        match admin.door.store.apply(id, Event::Person(order), admin.door.clock.now()).await?.reply {
            Some(Reply::Refused(why)) => {
                refused.push(RefusedView { job: id, name: job.identity().name.clone(), why });
            }
            _ => done += 1,
        }
    }
    let message = if wanted.dry_run {
        format!("{} jobs pass the filter", jobs.len())
    } else {
        tracing::info!("a person's {} of {done} {} jobs", order.as_str(), wanted.state);
        match refused.len() {
            0 => format!("{done} jobs"),
            not => format!("{done} jobs; {not} could not: {}", refused[0].why),
        }
    };
    refused.truncate(NAMED);
    let view =
        OrderedView { jobs: jobs.len(), cost_quota, cost_usd: cost_quota.usd(), done, refused, message };
    Ok(answer(StatusCode::OK, &view))
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Problem> {
        let state = StateName::parse(&self.state).ok_or_else(|| no_state(&self.state))?;
        let pair = |label: &String| {
            let pair = label.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| Problem::bad_request(format!("a label is KEY=VALUE, not `{label}`")))
        };
        let labels = self.label.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(Filter { state: Some(state), labels, text: self.q.clone().filter(|text| !text.is_empty()) })
    }
}

/// All jobs that pass, newest first.
async fn passing(admin: &Admin, filter: Filter) -> Result<Vec<Job>, Problem> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = admin.door.store.list(filter.clone(), cursor, LIST_LIMIT).await?;
        jobs.extend(page.jobs.into_iter().map(|sight| sight.job));
        if jobs.len() > MOST {
            let detail = format!("more than {MOST} jobs pass this filter; narrow it by label or text");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(jobs),
        }
    }
}
