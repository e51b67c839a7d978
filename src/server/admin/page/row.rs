//! A job as the pages show it: as a row of a list, a card of the gallery, or the head of its own page.

use serde_json::json;

use crate::clock::Timestamp;
use crate::job::event::OperatorAction;
use crate::job::state::{State, StateName};
use crate::job::step::possible::possible_actions;
use crate::job::waiting::{WaitReason, wait_reason};
use crate::money::Quota;
use crate::server::admin::page::effects::effect_text;
use crate::server::admin::page::format::{self, DisplayTime};
use crate::server::admin::page::frame::Frame;
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::rework::{self, ReworkButton};
use crate::server::admin::page::timing::{ProgressBar, Timing};
use crate::store::details::{JobDetails, LibraryFile};

/// Longest prompt in a row, in characters.
const MAX_PROMPT: usize = 160;

/// A button that sends an action after a confirmation.
#[derive(Default)]
pub(super) struct ActionButton {
    pub label: &'static str,
    /// What it does and costs, as far as the label does not say it.
    pub effect: String,
    /// The address that the action is sent to.
    pub address: String,
    /// The body of the request, as JSON.
    pub body: String,
    /// The text of the confirmation, and of its two buttons.
    pub question: String,
    pub confirm: String,
    pub decline: &'static str,
    /// It may cost money or end something.
    pub is_dangerous: bool,
    /// For a bulk action: the text after success, with `{jobs}`.
    pub done: Option<&'static str>,
}

/// A stored file and the address that plays it.
pub(super) struct MediaFile {
    pub address: String,
    pub kind: &'static str,
    pub path: String,
    /// The address of the bucket it is in; `None`: it is in the library's folder.
    pub bucket: Option<String>,
    pub size: String,
    pub sha256: String,
    pub host: String,
}

/// A job.
pub(super) struct JobRow {
    pub id: String,
    pub name: String,
    pub state: StateName,
    pub state_text: &'static str,
    pub model: String,
    /// Shortened.
    pub prompt: String,
    /// The bar of a task that runs.
    pub progress: Option<ProgressBar>,
    /// While its task is at the provider.
    pub timing: Option<Timing>,
    /// Until when it waits (`not_before`).
    pub waits_until: Option<DisplayTime>,
    /// What the job waits for, or why it failed.
    pub note: String,
    pub created: DisplayTime,
    pub finished: Option<DisplayTime>,
    /// When its first link expires, while an output is missing.
    pub link_expiry: Option<DisplayTime>,
    pub is_link_expired: bool,
    /// Estimated from the progress so far.
    pub time_left: Option<String>,
    pub cost: Option<String>,
    pub quota: i64,
    /// 0 to 5, of its best output.
    pub rating: Option<u8>,
    pub labels: Vec<(String, String)>,
    pub files: Vec<MediaFile>,
    pub actions: Vec<ActionButton>,
    pub reworks: Vec<ReworkButton>,
    /// Its text or picture was refused: another one helps, and nothing else does.
    pub is_refused_content: bool,
}

impl JobRow {
    pub(super) fn new(details: &JobDetails, frame: &Frame) -> Self {
        let (m, now) = (frame.m, frame.now);
        let (identity, facts, state) =
            (details.job.identity(), details.job.facts(), details.job.state_name());
        let waits_for = wait_reason(&details.job, &frame.suspensions, now);
        let note = match details.job.state() {
            State::Held(hold) => m.hold(hold),
            _ => match &facts.error {
                Some(error) if state.is_end() => format!("{} ({})", error.message, error.code),
                _ => waits_for.map_or_else(String::new, |why| wait_note(m, why)),
            },
        };
        let link_expiry =
            facts.expires_at.filter(|_| matches!(state, StateName::Downloading | StateName::Held));
        let percent = u32::from(facts.progress);
        let has_estimate = state == StateName::Processing && (5..100).contains(&percent);
        let elapsed = facts.submitted_at.map(|from| now.since(from)).filter(|_| has_estimate);
        Self {
            id: identity.id.to_string(),
            name: identity.name.clone(),
            state,
            state_text: m.state(state),
            model: identity.model.clone(),
            prompt: shorten(details.prompt.as_deref().unwrap_or("")),
            progress: ProgressBar::of(details, now),
            timing: Timing::of(details, m, now),
            waits_until: match waits_for {
                Some(WaitReason::NotBefore(time)) => Some(DisplayTime::new(m, time, now)),
                _ => None,
            },
            note,
            created: DisplayTime::new(m, identity.created_at, now),
            finished: facts.finished_at.map(|at| DisplayTime::new(m, at, now)),
            is_link_expired: link_expiry.is_some_and(|at| at <= now),
            link_expiry: link_expiry.map(|at| DisplayTime::new(m, at, now)),
            time_left: elapsed.map(|elapsed| format::time_left(m, elapsed * (100 - percent) / percent)),
            cost: details.cost.map(|cost| cost.to_string()),
            quota: details.cost.map_or(0, |cost| cost.get()),
            rating: details.rating,
            labels: details.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            files: media_files(details),
            actions: actions(details, m, now),
            reworks: rework::buttons(&details.job, m),
            is_refused_content: rework::is_refused_content(&details.job),
        }
    }
}

/// Why a job waits. A suspension has its details in the banner on top of the page.
fn wait_note(m: &'static Messages, reason: WaitReason<'_>) -> String {
    match reason {
        WaitReason::Stored(sentence) => sentence.to_owned(),
        // Shown as a time.
        WaitReason::NotBefore(_) => String::new(),
        WaitReason::Suspended(suspension) => m.suspension(suspension.cause).to_owned(),
    }
}

fn shorten(prompt: &str) -> String {
    match prompt.char_indices().nth(MAX_PROMPT) {
        Some((end, _)) => format!("{}…", &prompt[..end]),
        None => prompt.to_owned(),
    }
}

fn media_files(details: &JobDetails) -> Vec<MediaFile> {
    let id = details.job.id();
    let media_file = |(index, LibraryFile { key, file, .. }): (usize, &LibraryFile)| MediaFile {
        address: format!("/media/{id}/{}", index + 1),
        kind: key.kind.into_str(),
        path: file.path.clone(),
        bucket: file.bucket.clone(),
        size: format::bytes(file.bytes),
        sha256: file.sha256.clone(),
        host: file.host.clone(),
    };
    details.files.iter().enumerate().map(media_file).collect()
}

/// The actions that the job allows, the most likely first.
fn actions(details: &JobDetails, m: &'static Messages, now: Timestamp) -> Vec<ActionButton> {
    let (id, name) = (details.job.id(), &details.job.identity().name);
    let button = |action: &str, label, question: &str, is_dangerous| ActionButton {
        label,
        address: format!("/api/v1/jobs/{id}/{action}"),
        body: json!({}).to_string(),
        question: question.replace("{name}", name),
        is_dangerous,
        ..ActionButton::default()
    };
    let cancel = |question| ActionButton {
        confirm: m.confirm_cancel.to_owned(),
        decline: m.no_cancel,
        ..button("cancel", m.cancel, question, true)
    };
    let shown = |cost: Option<Quota>| cost.filter(|cost| cost.get() > 0).map(|cost| cost.to_string());
    let next_cost = details.next_cost();
    let retry = || {
        let question = match shown(details.cost) {
            Some(cost) => m.ask_retry_cost.replace("{cost}", &cost),
            None => m.ask_retry.to_owned(),
        };
        let confirm = match shown(next_cost) {
            Some(cost) => m.about_cost.replace("{label}", m.retry).replace("{cost}", &cost),
            None => m.retry.to_owned(),
        };
        ActionButton { confirm, decline: m.no_retry, ..button("retry", m.retry, &question, true) }
    };
    let cancel_question = || match details.job.state() {
        State::Pending { .. } => m.ask_cancel_pending,
        State::Held(_) => m.ask_cancel_held,
        State::Downloading(_) => m.ask_cancel_downloading,
        _ => m.ask_cancel_running,
    };
    let release = |may_pay| {
        let question = if may_pay { m.ask_release_may_pay } else { m.ask_release };
        ActionButton {
            confirm: m.release.to_owned(),
            decline: m.no_release,
            ..button("release", m.release, question, may_pay)
        }
    };
    let buttons = possible_actions(&details.job, now).into_iter().map(|possible| {
        let button = match possible.action {
            OperatorAction::Cancel => cancel(cancel_question()),
            OperatorAction::Retry => retry(),
            OperatorAction::Release => release(possible.may_be_billed_again),
            // Without a question: either takes the other back.
            OperatorAction::Dismiss => button("dismiss", m.dismiss, "", false),
            OperatorAction::Undismiss => button("undismiss", m.undismiss, "", false),
        };
        (button, possible.action)
    });
    let with_effect = |(button, action): (ActionButton, OperatorAction)| ActionButton {
        effect: effect_text(m, &details.job, action, next_cost.unwrap_or_default()),
        ..button
    };
    buttons.map(with_effect).collect()
}
