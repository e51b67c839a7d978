//! Batches as the pages show them: a card for each job file, paste or call, and the page of all.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::json;
use strum::VariantArray;

use crate::api::batch::BatchView;
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::server::admin::page::effects::about;
use crate::server::admin::page::format;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::row::ActionButton;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;
use crate::store::Store;

const PAGE_SIZE: u32 = 20;
/// The most on the overview.
const MAX_RECENT: u32 = 6;
/// Those that ended before are on the page of all.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// A batch.
pub(super) struct BatchCard {
    pub id: String,
    pub name: String,
    /// Jobs that have ended, and all.
    pub ended: u64,
    pub jobs: u64,
    /// "31 of 40", "4 failed", "2 held", "$4.10 of about $5.20", "about 6 min left".
    pub facts: Vec<String>,
    pub created: format::DisplayTime,
    pub has_videos: bool,
    /// All its jobs have succeeded.
    pub is_all_well: bool,
    pub actions: Vec<ActionButton>,
}

#[derive(Template)]
#[template(path = "batches.html")]
struct BatchesTemplate {
    frame: Frame,
    batches: Vec<BatchCard>,
    /// The address of the next page.
    older: Option<String>,
    is_first: bool,
}

/// `GET /batches`.
pub(super) async fn get_batches(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<BatchesTemplate, Problem> {
    let frame = Frame::load(request, admin).await?;
    let cursor = Query::parse_form(request, &["cursor"])?.number("cursor")?;
    let store = &admin.server.store;
    let (batches, next) = store.batches(cursor, PAGE_SIZE, frame.now).await?;
    Ok(BatchesTemplate {
        batches: cards(store, batches, frame.m, frame.now).await?,
        older: next.map(|cursor| format!("/batches?cursor={cursor}")),
        is_first: cursor.is_none(),
        frame,
    })
}

/// The cards of the overview.
pub(super) async fn recent(store: &Store, frame: &Frame) -> Result<Vec<BatchCard>, Problem> {
    let now = frame.now;
    let batches = store.recent_batches(now.minus(RECENT), MAX_RECENT, now).await?;
    cards(store, batches, frame.m, now).await
}

async fn cards(
    store: &Store,
    batches: Vec<BatchView>,
    m: &'static Messages,
    now: Timestamp,
) -> Result<Vec<BatchCard>, Problem> {
    let mut cards = Vec::new();
    for batch in batches {
        let failed = match count(&batch, StateName::Failed) {
            0 => (0, Quota::ZERO),
            _ => store.failed_of_batch(batch.number().unwrap_or_default()).await?,
        };
        cards.push(BatchCard::new(&batch, failed, m, now));
    }
    Ok(cards)
}

fn count(batch: &BatchView, state: StateName) -> u64 {
    batch.states.get(&state).copied().unwrap_or(0)
}

impl BatchCard {
    /// `failed`: how many of its jobs can be retried, and for how much.
    fn new(batch: &BatchView, failed: (u64, Quota), m: &'static Messages, now: Timestamp) -> Self {
        let ended = batch.states.iter().filter(|(state, _)| state.is_end()).map(|(_, jobs)| jobs).sum();
        let name = batch.file.clone().unwrap_or_else(|| m.batches.unnamed.replace("{id}", &batch.id));
        Self {
            id: batch.id.clone(),
            name,
            ended,
            jobs: batch.jobs,
            facts: facts(batch, ended, m, now),
            created: format::DisplayTime::new(m, batch.created_at, now),
            has_videos: count(batch, StateName::Succeeded) > 0,
            is_all_well: count(batch, StateName::Succeeded) == batch.states.values().sum::<u64>(),
            actions: actions(batch, ended, failed, m),
        }
    }
}

fn facts(batch: &BatchView, ended: u64, m: &'static Messages, now: Timestamp) -> Vec<String> {
    let t = m.batches;
    let progress = t.progress.replace("{ended}", &ended.to_string());
    let mut facts = vec![progress.replace("{jobs}", &batch.jobs.to_string())];
    let to_tell = [StateName::Failed, StateName::Held, StateName::Expired, StateName::Cancelled];
    for state in to_tell.into_iter().filter(|state| count(batch, *state) > 0) {
        facts.push(format!("{} {}", count(batch, state), m.state(state)));
    }
    let amount = |usd| Quota::from_usd(usd).unwrap_or_default();
    let (cost, estimate) = (amount(batch.cost_usd), amount(batch.estimate_usd));
    // Once all have ended, what was expected says nothing any more.
    let text = if ended >= batch.jobs || estimate <= cost { t.cost } else { t.cost_of_about };
    facts.push(text.replace("{cost}", &cost.to_string()).replace("{estimate}", &estimate.to_string()));
    let left = batch.eta_at.filter(|at| *at > now).map(|at| format::time_left(m, at.since(now)));
    facts.extend(left);
    facts
}

fn actions(
    batch: &BatchView,
    ended: u64,
    (failed, price): (u64, Quota),
    m: &'static Messages,
) -> Vec<ActionButton> {
    let t = m.batches;
    let button = |label, body: serde_json::Value, question: &str, decline, done| ActionButton {
        label,
        address: "/api/v1/jobs/bulk".to_owned(),
        body: body.to_string(),
        question: question.to_owned(),
        confirm: label.to_owned(),
        decline,
        is_dangerous: true,
        done: Some(done),
        ..ActionButton::default()
    };
    let mut actions = Vec::new();
    if failed > 0 {
        let body = json!({"action": "retry", "state": "failed", "batch": batch.id});
        let retry = button(t.retry_failed, body, m.ask_retry_all, m.no_retry, m.retried);
        actions.push(ActionButton { effect: about(m, price), ..retry });
    }
    if ended < batch.states.values().sum() {
        let body = json!({"action": "cancel", "batch": batch.id});
        actions.push(button(t.cancel_rest, body, m.ask_cancel_all, m.no_cancel, m.cancelled));
    }
    actions
}
