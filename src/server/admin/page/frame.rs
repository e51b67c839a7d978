//! What all pages have in common: their frame, and the answer they are sent in.

use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;

use crate::api::problem::Candidate;
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::server::admin::page::form_models::form_models;
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::{assets, format, language};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::server::admin::status::counts;
use crate::store::notify::Topic;

/// What a page may load: its own scripts, styles and videos, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    media-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The data of `base.html`.
pub(super) struct Frame {
    pub m: &'static Messages,
    /// Part of the addresses of assets.
    pub version: &'static str,
    /// The address of this page, to return to after a change of language.
    pub here: String,
    pub now: Timestamp,
    pub counts: BTreeMap<StateName, u64>,
    /// Begins the title while batches run, with the progress of the newest: "31/40 · "; else empty.
    pub progress: String,
    pub suspensions: Vec<Suspension>,
    pub banners: Vec<Banner>,
    pub submits_paused: bool,
    pub downloads_paused: bool,
    /// The models of the form for new jobs, as JSON.
    pub form_models: String,
    /// The most variations of a job.
    pub max_expansion: u32,
    /// Whether pictures may be uploaded.
    pub serves_pictures: bool,
    /// Which of the daemons that share a database this is; empty if none could.
    pub role: String,
}

/// A suspension on top of every page.
pub(super) struct Banner {
    pub cause: &'static str,
    pub title: &'static str,
    /// Empty for a pause, whose title says it all.
    pub detail: String,
    pub since: format::DisplayTime,
    pub is_pause: bool,
    /// What to try at once, where an operator can.
    pub probe: Option<ProbeButton>,
}

/// A button that tries suspended calls at once.
pub(super) struct ProbeButton {
    /// What to resume.
    pub what: &'static str,
    pub label: &'static str,
    pub question: &'static str,
    pub decline: &'static str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemTemplate {
    m: &'static Messages,
    version: &'static str,
    title: &'static str,
    detail: String,
    /// The jobs that may be meant.
    candidates: Vec<Candidate>,
}

impl Frame {
    pub(super) async fn load(request: &HttpRequest, admin: &AdminState) -> Result<Self, Problem> {
        let store = &admin.server.store;
        if admin.server.watchers.page_fetched() {
            store.wake(Topic::Poll);
        }
        let suspensions = store.suspensions().await?;
        let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
        let is_in_force = |cause| suspensions.iter().any(|suspension| suspension.cause == cause);
        let (m, now) = (language::choose_messages(request), admin.server.clock.now());
        let counts = counts(store).await?;
        Ok(Self {
            m,
            version: &assets::VERSION,
            here: url::form_urlencoded::byte_serialize(here.as_bytes()).collect(),
            now,
            progress: progress(&counts, store.open_batch_jobs().await?),
            counts,
            submits_paused: is_in_force(SuspensionCause::PausedSubmits),
            downloads_paused: is_in_force(SuspensionCause::PausedDownloads),
            banners: banners(m, &suspensions, now),
            form_models: form_models(
                admin.server.catalogue.last().as_ref().map(|(catalogue, _)| &**catalogue),
            ),
            serves_pictures: admin.server.settings.media.serve,
            max_expansion: admin.server.file_limits.max_expansion,
            role: match store.leader() {
                Some(leader) => format!("{}{leader}", m.follows),
                None if store.has_others() => m.leads.to_owned(),
                None => String::new(),
            },
            suspensions,
        })
    }

    pub(super) fn count(&self, state: &StateName) -> u64 {
        self.counts.get(state).copied().unwrap_or(0)
    }
}

/// How far the newest batches are that have not ended, while any job runs or waits for its turn.
fn progress(counts: &BTreeMap<StateName, u64>, (ended, all): (u64, u64)) -> String {
    let moves = |state: &StateName| !state.is_end() && *state != StateName::Held;
    let is_running = counts.iter().any(|(state, jobs)| moves(state) && *jobs > 0);
    if is_running && all > 0 { format!("{ended}/{all} · ") } else { String::new() }
}

fn banners(m: &'static Messages, suspensions: &[Suspension], now: Timestamp) -> Vec<Banner> {
    let is_clock = |suspension: &Suspension| suspension.cause == SuspensionCause::ClockUnreliable;
    // A resumption vouches for the clock too: nobody does that by another button.
    let clock_in_doubt = suspensions.iter().any(is_clock);
    let try_provider = |label, question| ProbeButton { what: "provider", label, question, decline: m.no_try };
    let probe = |suspension: &Suspension| match suspension.cause {
        SuspensionCause::Superseded => Some(ProbeButton {
            what: "takeover",
            label: m.take_over,
            question: m.ask_take_over,
            decline: m.no_take_over,
        }),
        SuspensionCause::ClockUnreliable => Some(try_provider(m.trust_clock, m.ask_trust_clock)),
        cause if cause.needs_probe() && !clock_in_doubt => Some(try_provider(m.try_now, m.ask_try_now)),
        _ => None,
    };
    let are_both_paused = [SuspensionCause::PausedSubmits, SuspensionCause::PausedDownloads]
        .into_iter()
        .all(|cause| suspensions.iter().any(|suspension| suspension.cause == cause));
    // One resumption ends both pauses.
    let shown =
        suspensions.iter().filter(|one| !are_both_paused || one.cause != SuspensionCause::PausedDownloads);
    let banner = |suspension| Banner::new(m, suspension, probe(suspension), now);
    let mut banners: Vec<Banner> = shown.map(banner).collect();
    if are_both_paused {
        banners.iter_mut().filter(|banner| banner.is_pause).for_each(|banner| banner.title = m.both_paused);
    }
    banners
}

impl Banner {
    fn new(
        m: &'static Messages,
        suspension: &Suspension,
        probe: Option<ProbeButton>,
        now: Timestamp,
    ) -> Self {
        let is_pause = suspension.cause.is_pause();
        Self {
            title: m.suspension(suspension.cause),
            detail: if is_pause { String::new() } else { suspension.message.clone() },
            since: format::DisplayTime::new(m, suspension.since, now),
            is_pause,
            probe,
            cause: suspension.cause.into_str(),
        }
    }
}

/// Renders a page, or the problem as a page.
pub(super) fn render<T: Template>(request: &HttpRequest, page: Result<T, Problem>) -> HttpResponse {
    let (status, html) = match page {
        Ok(page) => (StatusCode::OK, page.render()),
        Err(problem) => {
            let (m, status) = (language::choose_messages(request), problem.status_code());
            let title = match status {
                StatusCode::NOT_FOUND => m.no_such_job,
                StatusCode::CONFLICT => m.ambiguous_job,
                status if status.is_client_error() => m.invalid_request,
                _ => m.failed,
            };
            let candidates = problem.candidates().to_vec();
            let detail = problem.to_string();
            let page = ProblemTemplate { m, version: &assets::VERSION, title, detail, candidates };
            (status, page.render())
        }
    };
    match html {
        Ok(html) => HttpResponse::build(status)
            .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
            .insert_header((header::VARY, "accept-language, cookie"))
            .content_type("text/html; charset=utf-8")
            .body(html),
        // A template writes into memory, and all its values can be displayed.
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug: {error}")).error_response()
        }
    }
}
