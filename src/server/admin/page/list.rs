//! The list of jobs: filters in the address, pages by cursor, actions for all jobs that match.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::api::action::BulkActionRequest;
use crate::api::list::JobFilter;
use crate::clock::Timestamp;
use crate::job::event::OperatorAction;
use crate::job::state::StateName;
use crate::job::step::possible::possible_actions;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::row::{ActionButton, JobRow};
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::selection::parse_filter;
use crate::server::admin::state::AdminState;
use crate::store::details::JobDetails;

const PAGE_SIZE: u32 = 50;

#[derive(Template)]
#[template(path = "list.html")]
struct ListTemplate {
    frame: Frame,
    rows: Vec<JobRow>,
    state: Option<StateName>,
    /// As in the address: `KEY=VALUE`.
    labels: Vec<String>,
    /// The address of the next page.
    older: Option<String>,
    is_first: bool,
    is_filtered: bool,
    /// For all jobs that match.
    bulk_actions: Vec<ActionButton>,
}

/// `GET /jobs`.
pub(super) async fn get_list(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<ListTemplate, Problem> {
    let mut frame = Frame::load(request, admin).await?;
    let query = Query::parse_form(request, &["state", "label", "q", "cursor"])?;
    let (filter, cursor) = (parse_filter(&query)?, query.number("cursor")?);
    let page = admin.server.store.list(filter.clone(), cursor, PAGE_SIZE).await?;
    frame.q = filter.text.clone().unwrap_or_default();
    let (m, now) = (frame.m, frame.now);
    Ok(ListTemplate {
        rows: page.jobs.iter().map(|details| JobRow::new(details, &frame)).collect(),
        older: page.next.map(|cursor| list_address(&filter, cursor)),
        is_first: cursor.is_none(),
        is_filtered: filter != JobFilter::default(),
        labels: filter.labels.iter().map(ToString::to_string).collect(),
        bulk_actions: bulk_actions(&filter, &page.jobs, m, now),
        state: filter.state,
        frame,
    })
}

impl ListTemplate {
    fn is_state(&self, state: &StateName) -> bool {
        self.state == Some(*state)
    }
}

fn list_address(filter: &JobFilter, cursor: i64) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filter.query_pairs()).append_pair("cursor", &cursor.to_string());
    format!("/jobs?{}", query.finish())
}

/// The actions that some of these jobs of one state allow.
fn bulk_actions(
    filter: &JobFilter,
    jobs: &[JobDetails],
    m: &'static Messages,
    now: Timestamp,
) -> Vec<ActionButton> {
    let Some(state) = filter.state else { return Vec::new() };
    let button = |action: OperatorAction| {
        let (label, q) = (filter.labels.clone(), filter.text.clone());
        let body = BulkActionRequest { action, state, label, q, dry_run: false, expect: None };
        let (label, question, decline, done) = match action {
            OperatorAction::Cancel => (m.cancel_all, m.ask_cancel_all, m.no_cancel, m.cancelled),
            OperatorAction::Retry => (m.retry_all, m.ask_retry_all, m.no_retry, m.retried),
            OperatorAction::Release => (m.release_all, m.ask_release_all, m.no_release, m.released),
            OperatorAction::Dismiss => (m.dismiss_all, m.ask_dismiss_all, m.no_dismiss, m.dismissed),
        };
        ActionButton {
            label,
            address: "/api/v1/jobs/bulk".to_owned(),
            // Strings always serialize.
            body: serde_json::to_string(&body).unwrap_or_default(),
            question: question.to_owned(),
            confirm: label.to_owned(),
            decline,
            is_dangerous: action != OperatorAction::Dismiss,
            done: Some(done),
        }
    };
    let mut actions = Vec::new();
    for possible in jobs.iter().flat_map(|details| possible_actions(&details.job, now)) {
        // Most held jobs continue by a release, and a retry of all would buy all of them again.
        let is_offered = possible.action != OperatorAction::Retry || state != StateName::Held;
        if is_offered && !actions.contains(&possible.action) {
            actions.push(possible.action);
        }
    }
    actions.into_iter().map(button).collect()
}
