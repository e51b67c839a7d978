//! The first page: what needs attention, what runs, and the newest videos.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::clock::Timestamp;
use crate::inbox::Leftovers;
use crate::job::budget::{Budget, Scope, Spent};
use crate::job::state::StateName;
use crate::money::Quota;
use crate::server::admin::health;
use crate::server::admin::page::batches::{self, BatchCard};
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::model_rows::{ModelRow, SlotsLine, model_rows, window_titles};
use crate::server::admin::page::needs::{self, Needs};
use crate::server::admin::page::row::JobRow;
use crate::server::admin::page::videos::card::find_posters;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::{AdminServer, AdminState};
use crate::server::admin::status::slots_view;

/// Most jobs whose link expires soon.
const MAX_EXPIRING: u32 = 6;
const MAX_RUNNING: u32 = 50;
const MAX_VIDEOS: u32 = 24;
/// What was spent is counted since then.
const RECENT: Duration = Duration::from_secs(24 * 3600);

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewTemplate {
    frame: Frame,
    /// Problems and warnings of the daemon, a sentence each.
    problems: Vec<String>,
    needs: Needs,
    /// Jobs whose link expires soon.
    expiring: Vec<JobRow>,
    batches: Vec<BatchCard>,
    running: Vec<JobRow>,
    /// Places at the provider.
    slots: Option<SlotsLine>,
    waiting: String,
    models: Vec<ModelRow>,
    /// The titles of what is said of each model.
    hours: Vec<String>,
    /// With whether the first file of each has a poster.
    newest: Vec<(JobRow, bool)>,
    spent: String,
    /// The balance, and what waiting jobs need of it.
    balance: String,
    /// Whether they need more than there is.
    is_balance_short: bool,
    /// A line for each budget.
    budgets: Vec<String>,
    inbox: String,
}

/// `GET /`.
pub(super) async fn get_overview(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<OverviewTemplate, Problem> {
    let (frame, server) = (Frame::load(request, admin).await?, &admin.server);
    let (m, now, store) = (frame.m, frame.now, &server.store);
    let row = |details: &_| JobRow::new(details, &frame);
    let recent = now.minus(RECENT);
    let needs = needs::load(store, &frame).await?;
    let soon = now.plus(server.settings.downloads.alert_before_expiry);
    // A held job whose link expires soon is among those that need a person.
    let expiring = store.expiring_jobs(soon, MAX_EXPIRING).await?;
    let expiring: Vec<JobRow> =
        expiring.iter().filter(|details| details.job.state_name() != StateName::Held).map(row).collect();
    let shown: BTreeSet<String> = expiring.iter().map(|row| row.id.clone()).collect();
    let running: Vec<JobRow> = store.active_jobs(MAX_RUNNING).await?.iter().map(row).collect();
    let running = running.into_iter().filter(|row| !shown.contains(&row.id)).collect();
    let newest = store.ended_jobs(StateName::Succeeded, Timestamp::from_millis(0), MAX_VIDEOS).await?;
    let spent = store.charged_since(recent).await?;
    let mut problems = health::problems(server);
    problems.extend(health::other_secret(store, &server.callback_secrets).await);
    problems.extend(health::warnings(server));
    problems.extend(leftovers(server, m, now).await);
    let budgets =
        store.spent(now).await?.iter().map(|(budget, spent)| budget_line(m, budget, *spent)).collect();
    let (waiting_cost, known_balance) = (store.waiting_cost().await?, server.balance.last());
    let slots = store.slots(now).await?;
    let slots_view = slots_view(&slots, frame.count(&StateName::Pending), &server.settings);
    Ok(OverviewTemplate {
        problems,
        needs,
        expiring,
        batches: batches::recent(store, &frame).await?,
        running,
        waiting: count_text(m.waiting, slots_view.waiting),
        slots: SlotsLine::new(m, &slots_view, now),
        models: model_rows(m, &*store.recent_activity(now).await?, &slots, &server.settings),
        hours: window_titles(m),
        newest: with_posters(newest.iter().map(row).collect(), admin).await?,
        spent: match spent.get() {
            0 => String::new(),
            _ => m.spent_day.replace("{cost}", &spent.to_string()),
        },
        balance: balance_line(m, known_balance, waiting_cost),
        is_balance_short: known_balance.is_some_and(|balance| balance < waiting_cost),
        budgets,
        inbox: server.settings.inbox.dir.display().to_string(),
        frame,
    })
}

impl OverviewTemplate {
    /// Everything that needs a person, shown or not.
    fn count_needs(&self) -> u64 {
        self.needs.total + (self.expiring.len() + self.problems.len()) as u64
    }
}

async fn with_posters(rows: Vec<JobRow>, admin: &AdminState) -> Result<Vec<(JobRow, bool)>, Problem> {
    let first = |row: &JobRow| row.files.first().map_or_else(String::new, |file| file.path.clone());
    let posters = find_posters(rows.iter().map(first).collect(), admin).await?;
    Ok(rows.into_iter().zip(posters).collect())
}

/// What lies in the inbox and is no job file, in a sentence.
async fn leftovers(server: &AdminServer, m: &Messages, now: Timestamp) -> Option<String> {
    let (inbox, recursive) = (server.settings.inbox.dir.clone(), server.settings.inbox.recursive);
    let serves_pictures = server.settings.media.serve;
    let found = move || Leftovers::in_inbox(&inbox, recursive, serves_pictures, now);
    let found = server.clock.run_blocking(found).await;
    // An inbox that cannot be read is in the log, from the intake stage.
    let found = found.ok().and_then(Result::ok).filter(|found| !found.is_empty())?;
    Some(m.leftovers.replace("{files}", &found.to_string()))
}

/// Empty if there is nothing to say.
fn balance_line(m: &Messages, balance: Option<Quota>, waiting: Quota) -> String {
    let text = match (balance, waiting) {
        (None, Quota::ZERO) => "",
        (Some(_), Quota::ZERO) => m.balance,
        (None, _) => m.waiting_need,
        (Some(_), _) => m.balance_and_need,
    };
    let balance = balance.unwrap_or_default().to_string();
    text.replace("{balance}", &balance).replace("{cost}", &waiting.to_string())
}

fn budget_line(m: &Messages, Budget { scope, limit }: &Budget, spent: Spent) -> String {
    let name = match scope {
        Scope::Day(_) => m.budget_day.to_owned(),
        Scope::Month(_) => m.budget_month.to_owned(),
        Scope::Label(label) => label.to_string(),
    };
    m.budget_line
        .replace("{spent}", &spent.settled.to_string())
        .replace("{reserved}", &spent.reserved.to_string())
        .replace("{limit}", &limit.to_string())
        // Last: a label may hold braces.
        .replace("{budget}", &name)
}

/// The text with the number for `{n}`; empty for zero.
fn count_text(text: &str, n: u64) -> String {
    if n == 0 { String::new() } else { text.replace("{n}", &n.to_string()) }
}
