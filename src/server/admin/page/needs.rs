//! What needs a person, on the overview: jobs by cause, with what each button does and costs.

use serde_json::json;

use crate::clock::Timestamp;
use crate::job::event::OperatorAction;
use crate::job::state::StateName;
use crate::job::step::possible::possible_actions;
use crate::server::admin::page::effects::effect_text;
use crate::server::admin::page::frame::Frame;
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::row::{ActionButton, JobRow};
use crate::server::admin::problem::Problem;
use crate::store::Store;
use crate::store::needs::NeedGroup;

/// The most groups on the overview; the list has the others.
const MAX_GROUPS: usize = 12;

/// Everything that needs a person.
pub(super) struct Needs {
    /// All jobs, those of groups that are not shown too.
    pub total: u64,
    pub groups: Vec<NeedCard>,
    /// Jobs of groups that are not shown, in a sentence; empty for none.
    pub more: String,
}

/// Jobs with one cause.
pub(super) struct NeedCard {
    pub id: String,
    /// "492 × task_failed"; empty for a single job, which is shown as it is.
    pub title: String,
    pub state: StateName,
    pub state_text: &'static str,
    pub model: String,
    /// The list of all.
    pub address: String,
    pub show_all: String,
    pub actions: Vec<ActionButton>,
    /// The newest of them.
    pub newest: JobRow,
}

pub(super) async fn load(store: &Store, frame: &Frame) -> Result<Needs, Problem> {
    let (total, groups) = store.needs(MAX_GROUPS).await?;
    let shown: u64 = groups.iter().map(|group| group.jobs).sum();
    let groups: Vec<NeedCard> = groups.iter().map(|group| NeedCard::new(group, frame)).collect();
    let more = match total.saturating_sub(shown) {
        0 => String::new(),
        n => frame.m.batches.more_groups.replace("{n}", &n.to_string()),
    };
    Ok(Needs { total, groups, more })
}

impl NeedCard {
    fn new(group: &NeedGroup, frame: &Frame) -> Self {
        let NeedGroup { state, cause, model, jobs, newest, .. } = group;
        let (m, state) = (frame.m, *state);
        let n = jobs.to_string();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", state.into_str()).append_pair("cause", cause).append_pair("model", model);
        let title = match jobs {
            0 | 1 => String::new(),
            // Last: a cause may hold braces.
            _ => m.batches.times.replace("{n}", &n).replace("{cause}", cause),
        };
        Self {
            id: format!("need-{}", newest.job.id()),
            title,
            state,
            state_text: m.state(state),
            model: model.clone(),
            address: format!("/jobs?{}", query.finish()),
            show_all: m.batches.show_all.replace("{n}", &n),
            actions: actions(group, m, frame.now),
            newest: JobRow::new(newest, frame),
        }
    }
}

/// Those that the newest allows: the others have the same cause.
fn actions(group: &NeedGroup, m: &'static Messages, now: Timestamp) -> Vec<ActionButton> {
    let NeedGroup { state, cause, model, newest, estimate, .. } = group;
    // Most held jobs continue by a release, and a retry of all would buy all of them again.
    let possible = possible_actions(&newest.job, now).into_iter();
    let offered = possible.filter(|one| one.action != OperatorAction::Retry || *state != StateName::Held);
    let button = |action: OperatorAction| {
        let (label, question, decline, done) = match action {
            OperatorAction::Cancel => (m.cancel_all, m.ask_cancel_all, m.no_cancel, m.cancelled),
            OperatorAction::Retry => (m.retry_all, m.ask_retry_all, m.no_retry, m.retried),
            OperatorAction::Release => (m.release_all, m.ask_release_all, m.no_release, m.released),
            OperatorAction::Dismiss => (m.dismiss_all, m.ask_dismiss_all, m.no_dismiss, m.dismissed),
            OperatorAction::Undismiss => (m.undismiss, "", "", m.undismissed),
        };
        ActionButton {
            label,
            effect: effect_text(m, &newest.job, action, *estimate),
            address: "/api/v1/jobs/bulk".to_owned(),
            body: json!({"action": action, "state": state, "cause": cause, "model": model}).to_string(),
            question: question.to_owned(),
            confirm: label.to_owned(),
            decline,
            is_dangerous: action != OperatorAction::Dismiss,
            done: Some(done),
        }
    };
    offered.map(|possible| button(possible.action)).collect()
}
