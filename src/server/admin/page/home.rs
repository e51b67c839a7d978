//! The first page: what needs a person, what runs, and the newest videos.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::api::list::JobFilter;
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::server::admin::health;
use crate::server::admin::page::row::Row;
use crate::server::admin::page::{Frame, format, shown};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

/// So many of each kind that needs a person; the list has the rest.
const NEEDY: u32 = 6;
const RUNNING: u32 = 50;
const FILMS: u32 = 24;
/// What went wrong longer ago is no news.
const NEWS: Duration = Duration::from_secs(24 * 3600);

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    /// What is wrong with the machine, a sentence each.
    unwell: Vec<String>,
    /// What needs a person: held, dying, and lately ended without a video.
    needy: Vec<Row>,
    /// How many there are of them beyond those shown.
    more_held: u64,
    running: Vec<Row>,
    pending: u64,
    newest: Vec<Row>,
    spent: Option<String>,
    inbox: String,
}

/// `GET /`.
pub(super) async fn show(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = look(&request, &admin).await;
    shown(&request, page)
}

async fn look(request: &HttpRequest, admin: &AdminState) -> Result<Home, Problem> {
    let (frame, store) = (Frame::of(request, admin).await?, &admin.server.store);
    let (w, now) = (frame.w, frame.now);
    let row = |sight: &_| Row::of(sight, w, now);
    let always = Timestamp::from_millis(0);
    let news = now.minus(NEWS);
    let held = store.list(filter(StateName::Held), None, NEEDY).await?.jobs;
    let dying = store.dying(now.plus(admin.server.settings.downloads.alert_before_expiry), NEEDY).await?;
    let mut needy: Vec<Row> = held.iter().chain(&dying).map(row).collect();
    for state in [StateName::Expired, StateName::Failed] {
        needy.extend(store.ended(state, news, NEEDY).await?.iter().map(row));
    }
    let running = store.under_way(RUNNING).await?;
    let newest = store.ended(StateName::Succeeded, always, FILMS).await?;
    let spent = store.spent(news).await?;
    Ok(Home {
        unwell: health::problems(&admin.server).into_iter().chain(health::warnings(&admin.server)).collect(),
        more_held: frame.count(&StateName::Held).saturating_sub(held.len() as u64),
        needy,
        running: running.iter().map(row).collect(),
        pending: frame.count(&StateName::Pending),
        newest: newest.iter().map(row).collect(),
        spent: (spent.get() > 0).then(|| format::money(spent)),
        inbox: admin.server.settings.inbox.dir.display().to_string(),
        frame,
    })
}

fn filter(state: StateName) -> JobFilter {
    JobFilter { state: Some(state), ..Default::default() }
}
