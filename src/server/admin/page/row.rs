//! A job as pages show it: one line of a list, a card, or the head of its own page.

use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::job::output::OutputKind;
use crate::job::state::{State, StateName};
use crate::server::admin::page::format;
use crate::server::admin::page::messages::Words;
use crate::store::query::JobDetails;

/// So much of a prompt is shown in a line, in characters.
const SNIPPET: usize = 160;

/// A moment, absolute for machines and relative for people.
pub(super) struct Moment {
    pub iso: String,
    pub relative: String,
}

impl Moment {
    pub(super) fn of(w: &Words, moment: Timestamp, now: Timestamp) -> Self {
        Self { iso: moment.to_string(), relative: format::ago(w, moment, now) }
    }
}

/// A button that gives an order, after one question.
pub(super) struct Action {
    pub label: &'static str,
    /// Where the order goes.
    pub post: String,
    /// What it says; JSON.
    pub body: String,
    /// What is asked before.
    pub ask: String,
    /// It may cost money, or end something.
    pub grave: bool,
}

/// A stored file, and where it is played.
pub(super) struct Clip {
    pub address: String,
    pub kind: &'static str,
    pub path: String,
    pub size: String,
    pub sha256: String,
    pub host: String,
}

/// The job.
pub(super) struct Row {
    pub id: String,
    pub name: String,
    pub state: StateName,
    pub state_word: &'static str,
    pub model: String,
    pub prompt: String,
    pub progress: u8,
    /// What it waits for, or what went wrong.
    pub note: String,
    pub created: Moment,
    pub ended: Option<Moment>,
    /// While a link may die.
    pub deadline: Option<Moment>,
    /// An estimate from its progress until now.
    pub to_go: Option<String>,
    pub cost: Option<String>,
    pub quota: i64,
    pub labels: Vec<(String, String)>,
    pub films: Vec<Clip>,
    pub actions: Vec<Action>,
}

impl Row {
    pub(super) fn of(sight: &JobDetails, w: &'static Words, now: Timestamp) -> Self {
        let (identity, learned, state) = (sight.job.identity(), sight.job.facts(), sight.job.state_name());
        let note = match sight.job.state() {
            State::Held(hold) => hold.description(),
            _ => match &learned.error {
                Some(error) if state.is_end() => format!("{} ({})", error.message, error.code),
                _ => learned.status_message.clone().unwrap_or_default(),
            },
        };
        let prompt = sight.prompt.as_deref().unwrap_or("");
        let cut = prompt.char_indices().nth(SNIPPET).map_or(prompt.len(), |(at, _)| at);
        let elapsed = learned.submitted_at.map(|from| now.since(from));
        let percent = u32::from(learned.progress);
        let to_go = elapsed.filter(|_| state == StateName::Processing && (5..100).contains(&percent));
        Self {
            id: identity.id.to_string(),
            name: identity.name.clone(),
            state,
            state_word: w.state(state),
            model: identity.model.clone(),
            prompt: if cut < prompt.len() { format!("{}…", &prompt[..cut]) } else { prompt.to_owned() },
            progress: learned.progress,
            note,
            created: Moment::of(w, identity.created_at, now),
            ended: learned.finished_at.map(|at| Moment::of(w, at, now)),
            deadline: learned
                .expires_at
                .filter(|_| matches!(state, StateName::Downloading | StateName::Held))
                .map(|at| Moment::of(w, at, now)),
            to_go: to_go.map(|elapsed| to_go_in_words(w, elapsed, percent)),
            cost: learned.cost.map(format::money),
            quota: learned.cost.map_or(0, |cost| cost.get()),
            labels: sight.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            films: films(sight),
            actions: actions(sight, w),
        }
    }

    /// Whether its progress says something.
    pub(super) fn has_progress(&self) -> bool {
        matches!(self.state, StateName::Processing | StateName::Downloading)
    }

    /// The first of its files, if that is a film.
    pub(super) fn first_film(&self) -> Option<&Clip> {
        self.films.first().filter(|film| film.kind == "video")
    }

    pub(super) fn first_image(&self) -> Option<&Clip> {
        self.films.first().filter(|film| film.kind == "image")
    }
}

fn to_go_in_words(w: &Words, elapsed: Duration, percent: u32) -> String {
    let left = elapsed * (100 - percent) / percent;
    // Not told more exactly than it is known.
    let seconds = left.as_secs();
    let rounded = if seconds < 60 { seconds.div_ceil(5) * 5 } else { seconds };
    format!("{}{}{}", w.about_before, format::span(w, Duration::from_secs(rounded)), w.about_after)
}

fn films(sight: &JobDetails) -> Vec<Clip> {
    let id = sight.job.id();
    let film = |(place, (kind, file)): (usize, &(OutputKind, crate::job::output::StoredFile))| Clip {
        address: format!("/media/{id}/{}", place + 1),
        kind: kind.as_str(),
        path: file.path.clone(),
        size: format::bytes(file.bytes),
        sha256: file.sha256.clone(),
        host: file.host.clone(),
    };
    sight.files.iter().enumerate().map(film).collect()
}

/// What a person may order in this state, the likeliest first.
fn actions(sight: &JobDetails, w: &'static Words) -> Vec<Action> {
    let (id, name) = (sight.job.id(), &sight.job.identity().name);
    let paid = sight.job.facts().cost.filter(|cost| cost.get() > 0);
    let price = match paid {
        Some(cost) => w.costs_again.replace("{cost}", &format::money(cost)),
        None => w.billed_again.to_owned(),
    };
    let action = |order: &str, label, ask: &str, grave| Action {
        label,
        post: format!("/api/v1/jobs/{id}/{order}"),
        body: json!({}).to_string(),
        ask: ask.replace("{name}", name),
        grave,
    };
    let cancel = |ask| action("cancel", w.cancel, ask, true);
    let retry = || action("retry", w.retry, &format!("{} {price}", w.ask_retry), true);
    match sight.job.state() {
        State::Held(hold) => {
            let pays = hold.reason.release_may_pay();
            let why = if pays { w.release_pays } else { w.release_free };
            let release = action("release", w.release, &format!("{} {why}", w.ask_release), pays);
            vec![release, retry(), cancel(w.ask_cancel_held)]
        }
        State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } => vec![retry()],
        State::Pending { .. } => vec![cancel(w.ask_cancel_pending)],
        State::Submitting { .. } | State::Queued(_) | State::Processing(_) => {
            vec![cancel(w.ask_cancel_running)]
        }
        State::Downloading(_) | State::Succeeded { .. } => Vec::new(),
    }
}
