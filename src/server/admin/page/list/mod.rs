//! The list of jobs: filters and order in the address, pages by cursor, actions for the jobs that are selected.

mod query;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use strum::VariantArray;

use crate::api::action::BulkActionRequest;
use crate::api::list::JobOrder;
use crate::job::event::OperatorAction;
use crate::job::state::StateName;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::list::query::{Chip, ListQuery};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::row::{ActionButton, JobRow};
use crate::server::admin::page::videos::filter::rating_text;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::store::lists::JobOrigin;

const PAGE_SIZE: u32 = 50;
/// The ratings to select, as in the address.
const RATINGS: [&str; 7] = ["5", "4+", "3+", "2+", "1+", "none", "0"];

#[derive(Template)]
#[template(path = "list.html")]
struct ListTemplate {
    frame: Frame,
    query: ListQuery,
    rows: Vec<ListRow>,
    heads: Vec<Head>,
    chips: Vec<Chip>,
    ratings: Vec<(&'static str, String)>,
    orders: [(&'static str, &'static str); 4],
    /// The order's word.
    order: &'static str,
    /// The address of the next page, and of the first.
    older: Option<String>,
    first: String,
    is_first: bool,
    /// All jobs that match, as the API selects them; JSON.
    bulk_filter: String,
    bulk_actions: Vec<BulkButton>,
}

/// A job with what only the list shows.
struct ListRow {
    row: JobRow,
    batch: String,
    /// The name of its job file, or the id of its batch.
    file: String,
    seed: Option<String>,
    /// Its rating in words.
    rating: String,
}

/// The head of a column. With an address, it sorts.
struct Head {
    text: &'static str,
    class: &'static str,
    address: Option<String>,
    is_current: bool,
    direction: &'static str,
}

/// An action for the jobs that are selected.
struct BulkButton {
    word: &'static str,
    button: ActionButton,
}

/// `GET /jobs`.
pub(super) async fn get_list(request: HttpRequest, admin: web::Data<AdminState>) -> HttpResponse {
    let page = load(&request, &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, admin: &AdminState) -> Result<ListTemplate, Problem> {
    let query = ListQuery::parse(request)?;
    let (frame, store) = (Frame::load(request, admin).await?, &admin.server.store);
    let page = store.list_sorted(query.filter.clone(), query.order, query.cursor, PAGE_SIZE).await?;
    let ids = page.jobs.iter().map(|details| details.job.id()).collect();
    let mut origins = store.origins(ids).await?;
    let m = frame.m;
    let rows = page.jobs.iter().map(|details| {
        let origin = origins.remove(&details.job.id()).unwrap_or_default();
        ListRow::new(JobRow::new(details, &frame), origin, m)
    });
    let rows: Vec<ListRow> = rows.collect();
    // A batch is shown by the name of its file.
    let file_name = rows.first().map(|line| line.file.as_str());
    Ok(ListTemplate {
        chips: query.chips(m, file_name),
        heads: heads(m, &query),
        ratings: RATINGS.map(|word| (word, rating_text(m.videos, word))).into(),
        orders: JobOrder::VARIANTS
            .iter()
            .map(|order| (order.into_str(), order_text(m, *order)))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default(),
        order: query.order.into_str(),
        older: page.next.map(|cursor| query.address_of_page(cursor)),
        first: query.address_in_order(query.order),
        is_first: query.cursor.is_none(),
        bulk_filter: bulk_filter(&query),
        bulk_actions: bulk_actions(m),
        rows,
        query,
        frame,
    })
}

impl ListRow {
    fn new(row: JobRow, origin: JobOrigin, m: &Messages) -> Self {
        let rating = row.rating.map(|rating| rating_text(m.videos, &rating.to_string()));
        Self {
            file: origin.file.unwrap_or_else(|| origin.batch.clone()),
            batch: origin.batch,
            seed: origin.seed,
            rating: rating.unwrap_or_default(),
            row,
        }
    }

    /// Without its folder.
    fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    fn stars(&self) -> String {
        match self.row.rating {
            None => String::new(),
            Some(0) => "✕".to_owned(),
            Some(stars) => "★".repeat(stars.into()),
        }
    }
}

fn heads(m: &Messages, query: &ListQuery) -> Vec<Head> {
    let head = |text, class, order: Option<JobOrder>| Head {
        text,
        class,
        address: order.map(|order| query.address_in_order(order)),
        is_current: order == Some(query.order),
        direction: if order == Some(JobOrder::Name) { "ascending" } else { "descending" },
    };
    vec![
        head(m.name, "what", Some(JobOrder::Name)),
        head(m.state, "", None),
        head(m.model, "", None),
        head(m.list.seed, "number", None),
        head(m.list.batch, "", None),
        head(m.cost, "number", Some(JobOrder::Cost)),
        head(m.list.rating, "", Some(JobOrder::Rating)),
        head(m.created, "", Some(JobOrder::Created)),
    ]
}

const fn order_text(m: &Messages, order: JobOrder) -> &'static str {
    match order {
        JobOrder::Created => m.list.newest,
        JobOrder::Cost => m.list.expensive,
        JobOrder::Rating => m.list.best,
        JobOrder::Name => m.list.by_name,
    }
}

fn bulk_filter(query: &ListQuery) -> String {
    let text = |name| Some(query.value(name).to_owned()).filter(|value| !value.is_empty());
    let body = BulkActionRequest {
        state: query.filter.state,
        label: query.filter.labels.clone(),
        q: text("q"),
        rating: text("rating"),
        file: text("file"),
        folder: text("folder"),
        batch: text("batch"),
        needs: query.filter.needs,
        cause: text("cause"),
        model: text("model"),
        ..BulkActionRequest::default()
    };
    // Texts always serialize.
    serde_json::to_string(&body).unwrap_or_default()
}

/// A button for each action; scripts show those that some of the selected jobs allow.
fn bulk_actions(m: &'static Messages) -> Vec<BulkButton> {
    let button = |action: OperatorAction| {
        let (label, all, question, decline, done) = match action {
            OperatorAction::Cancel => (m.cancel, m.cancel_all, m.ask_cancel_all, m.no_cancel, m.cancelled),
            OperatorAction::Retry => (m.retry, m.retry_all, m.ask_retry_all, m.no_retry, m.retried),
            OperatorAction::Release => {
                (m.release, m.release_all, m.ask_release_all, m.no_release, m.released)
            }
            OperatorAction::Dismiss => {
                (m.dismiss, m.dismiss_all, m.ask_dismiss_all, m.no_dismiss, m.dismissed)
            }
            OperatorAction::Undismiss => (m.undismiss, m.undismiss, "", "", m.undismissed),
        };
        let button = ActionButton {
            label,
            effect: String::new(),
            address: "/api/v1/jobs/bulk".to_owned(),
            body: String::new(),
            question: question.to_owned(),
            confirm: all.to_owned(),
            decline,
            is_dangerous: !matches!(action, OperatorAction::Dismiss | OperatorAction::Undismiss),
            done: Some(done),
        };
        BulkButton { word: action.into_str(), button }
    };
    [
        OperatorAction::Retry,
        OperatorAction::Release,
        OperatorAction::Cancel,
        OperatorAction::Dismiss,
        OperatorAction::Undismiss,
    ]
    .map(button)
    .into()
}
