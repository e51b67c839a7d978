//! The list of jobs: filters and search in the address, pages by cursor, orders for all that pass the filter.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::api::action::BulkActionRequest;
use crate::api::list::JobFilter;
use crate::job::event::OperatorAction;
use crate::job::state::StateName;
use crate::server::admin::page::messages::Words;
use crate::server::admin::page::row::{Action, Row};
use crate::server::admin::page::{Frame, shown};
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::selection::parse_filter;
use crate::server::admin::state::AdminState;

const LENGTH: u32 = 50;

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    state: Option<StateName>,
    /// As written in the address: `KEY=VALUE`.
    labels: Vec<String>,
    /// The address of the next page.
    older: Option<String>,
    is_first: bool,
    filtered: bool,
    /// For all that pass the filter.
    bulk: Vec<Action>,
}

/// `GET /jobs`.
pub(super) async fn show(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = look(&request, &admin).await;
    shown(&request, page)
}

async fn look(request: &HttpRequest, admin: &AdminState) -> Result<List, Problem> {
    let mut frame = Frame::of(request, admin).await?;
    let query = Query::parse_form(request, &["state", "label", "q", "cursor"])?;
    let (filter, cursor) = (parse_filter(&query)?, query.number("cursor")?);
    let page = admin.server.store.list(filter.clone(), cursor, LENGTH).await?;
    frame.q = filter.text.clone().unwrap_or_default();
    let (w, now) = (frame.w, frame.now);
    Ok(List {
        rows: page.jobs.iter().map(|sight| Row::of(sight, w, now)).collect(),
        older: page.next.map(|cursor| address(&filter, Some(cursor))),
        is_first: cursor.is_none(),
        filtered: filter != JobFilter::default(),
        labels: filter.labels.iter().map(ToString::to_string).collect(),
        bulk: bulk(&filter, w),
        state: filter.state,
        frame,
    })
}

impl List {
    fn is_state(&self, state: &StateName) -> bool {
        self.state == Some(*state)
    }
}

fn address(filter: &JobFilter, cursor: Option<i64>) -> String {
    let cursor = cursor.map(|cursor| ("cursor", cursor.to_string()));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filter.query_pairs().into_iter().chain(cursor));
    format!("/jobs?{}", query.finish())
}

/// Orders for all of one state, where there is one that all of them could follow.
fn bulk(filter: &JobFilter, w: &'static Words) -> Vec<Action> {
    let Some(state) = filter.state else { return Vec::new() };
    let action = |action: OperatorAction, label, ask: &'static str| {
        let (label_filter, q) = (filter.labels.clone(), filter.text.clone());
        let body = BulkActionRequest { action, state, label: label_filter, q, dry_run: false, expect: None };
        Action {
            label,
            post: "/api/v1/jobs/bulk".to_owned(),
            // Texts always have a JSON form.
            body: serde_json::to_string(&body).unwrap_or_default(),
            ask: ask.to_owned(),
            grave: true,
        }
    };
    match state {
        StateName::Failed | StateName::Cancelled | StateName::Expired => {
            vec![action(OperatorAction::Retry, w.retry_all, w.ask_retry_all)]
        }
        StateName::Held => vec![
            action(OperatorAction::Release, w.release_all, w.ask_release_all),
            action(OperatorAction::Cancel, w.cancel_all, w.ask_cancel_all),
        ],
        StateName::Pending | StateName::Submitting | StateName::Queued | StateName::Processing => {
            vec![action(OperatorAction::Cancel, w.cancel_all, w.ask_cancel_all)]
        }
        StateName::Downloading | StateName::Succeeded => Vec::new(),
    }
}
