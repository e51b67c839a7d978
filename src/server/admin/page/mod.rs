//! The page at `/`: what needs a person, what runs, the newest videos; a list; a job in full.
//!
//! Rendered here, in whole (`templates`); scripts (`assets`) only take the newest rendering over into what is shown,
//! and carry orders to the API. So there is one place that says how anything looks, and it works without scripts, to
//! look at. Nothing is loaded from elsewhere.

mod assets;
mod format;
mod home;
mod job;
mod language;
mod list;
mod media;
mod messages;
mod row;

use std::collections::BTreeMap;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::server::admin::http::{get_or_head, resource};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::server::admin::status::counts;
use messages::Words;

/// What the page may do in a browser: its own scripts, styles and videos, and nothing besides.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The addresses of the page.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/", &[Method::GET]).route(get_or_head().to(home::show)))
        .service(resource("/jobs", &[Method::GET]).route(get_or_head().to(list::show)))
        .service(resource("/jobs/{job}", &[Method::GET]).route(get_or_head().to(job::show)))
        .service(resource("/media/{job}/{number}", &[Method::GET]).route(get_or_head().to(media::play)))
        .service(resource("/language/{language}", &[Method::GET]).route(get_or_head().to(language::choose)))
        .service(resource("/assets/{version}/{name}", &[Method::GET]).route(get_or_head().to(assets::give)));
}

/// What every page shows around its own.
struct Frame {
    w: &'static Words,
    /// In the addresses of assets.
    version: &'static str,
    /// Where the reader is, to come back to after a change of language.
    here: String,
    now: Timestamp,
    q: String,
    counts: BTreeMap<StateName, u64>,
    stops: Vec<Suspension>,
    paused_submits: bool,
    paused_downloads: bool,
}

impl Frame {
    async fn of(request: &HttpRequest, admin: &AdminState) -> Result<Self, Problem> {
        let store = &admin.server.store;
        let stops = store.suspensions().await?;
        let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
        let is = |cause| stops.iter().any(|stop| stop.cause == cause);
        Ok(Self {
            w: language::of(request),
            version: &assets::VERSION,
            here: url::form_urlencoded::byte_serialize(here.as_bytes()).collect(),
            now: admin.server.clock.now(),
            q: String::new(),
            counts: counts(store).await?,
            paused_submits: is(SuspensionCause::PausedSubmits),
            paused_downloads: is(SuspensionCause::PausedDownloads),
            stops,
        })
    }

    fn count(&self, state: &StateName) -> u64 {
        self.counts.get(state).copied().unwrap_or(0)
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    w: &'static Words,
    version: &'static str,
    what: String,
}

/// A page, or the problem as a page.
fn shown<T: Template>(request: &HttpRequest, page: Result<T, Problem>) -> HttpResponse {
    let (status, text) = match page {
        Ok(page) => (StatusCode::OK, page.render()),
        Err(problem) => {
            let w = language::of(request);
            let page = ProblemPage { w, version: &assets::VERSION, what: problem.to_string() };
            (problem.status_code(), page.render())
        }
    };
    match text {
        Ok(text) => HttpResponse::build(status)
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::VARY, "accept-language, cookie"))
            .content_type("text/html; charset=utf-8")
            .body(text),
        // A template writes into memory; what it is given can all be displayed.
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug: {error}")).error_response()
        }
    }
}
