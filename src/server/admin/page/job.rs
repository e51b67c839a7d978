//! One job in full: its videos, request, history and cost, and the other jobs of its file.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::json;
use serde_json::value::RawValue;
use strum::VariantArray;

use crate::api::job::{AttemptView, HistoryView};
use crate::clock::Timestamp;
use crate::job::history::HistoryEvent;
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::jobfile::NamedPicture;
use crate::money::Quota;
use crate::server::admin::page::compare::{SiblingsLink, siblings_link};
use crate::server::admin::page::format::DisplayTime;
use crate::server::admin::page::frame::{Frame, render};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::quarantine::{self, QuarantinedRow};
use crate::server::admin::page::row::JobRow;
use crate::server::admin::page::timeline::{Step, timeline};
use crate::server::admin::problem::Problem;
use crate::server::admin::selection::resolve_job;
use crate::server::admin::state::AdminState;
use crate::store::details::JobDetails;
use crate::store::hooks::HookCallStatus;

/// Most other jobs of the same file shown before, and after, the job.
const MAX_SIBLINGS: u32 = 6;
/// Longer requests are shown as they are, in bytes.
const MAX_FORMATTED: usize = 4096;

/// Begins the history's line of an edit, before the text that was edited.
const EDITED_FROM: &str = "it was ";

#[derive(Template)]
#[template(path = "job.html")]
struct JobTemplate {
    frame: Frame,
    row: JobRow,
    /// What it will probably cost, or was expected to.
    estimate: Option<String>,
    prompt: Option<String>,
    /// The local pictures that it names: path and content.
    pictures: Vec<(String, String)>,
    warnings: Vec<String>,
    task: Option<String>,
    submitted: Option<DisplayTime>,
    completed: Option<DisplayTime>,
    /// The user's own text, one key per line.
    request: String,
    /// The states it was in.
    timeline: Vec<Step>,
    attempts: Vec<AttemptLine>,
    history: Vec<HistoryLine>,
    hooks: Vec<HookLine>,
    file_name: Option<String>,
    /// How many jobs the file has.
    file_jobs: u64,
    siblings: Vec<JobRow>,
    /// The job whose request it runs again; its name, unless it is pruned.
    again_of: Option<JobLink>,
    /// The jobs that run its request again.
    again_as: Vec<JobLink>,
    /// The address that shows its first output in the viewer.
    watch: Option<String>,
    /// Its downloads that were rejected.
    quarantine: Vec<QuarantinedRow>,
    compare: Option<SiblingsLink>,
    library: String,
}

/// A link to another job.
struct JobLink {
    id: String,
    name: String,
}

struct HistoryLine {
    at: DisplayTime,
    event: String,
    detail: String,
    /// The request before an edit, one key per line.
    text_before: Option<String>,
}

/// A billable submit.
struct AttemptLine {
    key: String,
    at: DisplayTime,
    /// What it was estimated at, and what it was charged or has frozen.
    cost: String,
}

/// A call of a hook.
struct HookLine {
    event: String,
    next_attempt: Option<DisplayTime>,
    last_attempt: Option<DisplayTime>,
    outcome: String,
}

/// `GET /jobs/{job}`, by id, unique id prefix or name.
pub(super) async fn get_job_page(
    request: HttpRequest,
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> HttpResponse {
    let page = load(&request, job.into_inner(), &admin).await;
    render(&request, page)
}

async fn load(request: &HttpRequest, reference: String, admin: &AdminState) -> Result<JobTemplate, Problem> {
    let (frame, store) = (Frame::load(request, admin).await?, &admin.server.store);
    let id = resolve_job(store, reference).await?;
    let details = store.details(id).await?;
    let body = store.request(id).await?;
    let family = store.jobs_of_same_file(id, MAX_SIBLINGS).await?;
    let (m, now) = (frame.m, frame.now);
    let time = |at| DisplayTime::new(m, at, now);
    let history_line = |entry: HistoryView| {
        let text_before = entry.detail.strip_prefix(EDITED_FROM).filter(|_| entry.event == "edited");
        HistoryLine {
            at: time(entry.at),
            event: m.history_event(&entry.event),
            text_before: text_before.map(format_request),
            detail: if text_before.is_some() { String::new() } else { entry.detail.clone() },
        }
    };
    let hook_line = |call: HookCallStatus| HookLine {
        event: m.notification(&call.event),
        next_attempt: call.due_at.map(time),
        last_attempt: call.tried_at.map(time),
        outcome: call.outcome.unwrap_or_default(),
    };
    let again_of = match details.again_of {
        Some(origin) => store.find(origin.to_string()).await?.one(),
        None => None,
    };
    let again_of = match again_of {
        Some(origin) => Some(link(&store.details(origin).await?)),
        None => None,
    };
    let again_as = store.jobs_again(id).await?.iter().map(link).collect();
    let named = |picture: NamedPicture| Some((picture.path, picture.found?.content.file_name()));
    let pictures = store.pictures(id).await?.into_iter().filter_map(named).collect();
    let history = store.history(id).await?;
    let attempts = store.attempts(id).await?;
    let has_downloads = history.iter().any(|entry| entry.event == HistoryEvent::Quarantined.into_str());
    let quarantine = quarantine::load(admin, &details, has_downloads, &frame).await?;
    let facts = details.job.facts();
    let first_video = details.files.iter().position(|file| file.key.kind == OutputKind::Video);
    let number = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let compare = first_video.and_then(|index| siblings_link(m.videos, id, number(index), &family.near));
    let siblings = if family.jobs > 1 { family.near } else { Vec::new() };
    Ok(JobTemplate {
        estimate: details.current_estimate().map(|quota| quota.to_string()),
        prompt: details.prompt.clone(),
        pictures,
        warnings: details.warnings.iter().map(|warning| m.finding(warning)).collect(),
        task: details.job.task().map(|task| task.as_str().to_owned()),
        submitted: facts.submitted_at.map(time),
        completed: facts.completed_at.map(time),
        request: format_request(&body),
        timeline: timeline(m, &history, now),
        attempts: attempts.into_iter().map(|attempt| attempt_line(m, attempt, now)).collect(),
        history: history.into_iter().map(history_line).collect(),
        hooks: store.hook_calls_of(id).await?.into_iter().map(hook_line).collect(),
        file_name: family.file_name,
        file_jobs: family.jobs,
        siblings: siblings.iter().map(|details| JobRow::new(details, &frame)).collect(),
        watch: (!details.files.is_empty()).then(|| format!("/videos/{id}/1")),
        compare,
        quarantine,
        row: JobRow::new(&details, &frame),
        again_of,
        again_as,
        library: admin.server.library_dir().display().to_string(),
        frame,
    })
}

fn attempt_line(m: &Messages, attempt: AttemptView, now: Timestamp) -> AttemptLine {
    let estimated = attempt.estimate_usd.and_then(Quota::from_usd).map(|cost| (m.list.estimated, cost));
    let actual = match (attempt.charged_quota, attempt.frozen_quota) {
        (Some(charged), _) => Some((m.list.charged, Quota::new(charged))),
        (None, Some(frozen)) => Some((m.list.frozen, Quota::new(frozen))),
        (None, None) => None,
    };
    let text = |(text, cost): (&str, Quota)| text.replace("{cost}", &cost.to_string());
    AttemptLine {
        key: attempt.key,
        at: DisplayTime::new(m, attempt.at, now),
        cost: estimated.into_iter().chain(actual).map(text).collect::<Vec<_>>().join(" · "),
    }
}

fn link(details: &JobDetails) -> JobLink {
    JobLink { id: details.job.id().to_string(), name: details.job.identity().name.clone() }
}

/// Puts each key of the request on its own line. Key order and the spelling of values stay as the user wrote
/// them.
fn format_request(body: &str) -> String {
    let members: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_str(body);
    match members {
        Ok(members) if body.len() < MAX_FORMATTED => {
            let mut members: Vec<_> = members.into_iter().collect();
            // The values borrow from the text, so their addresses have the order of the keys.
            members.sort_by_key(|(_, value)| value.get().as_ptr());
            let lines = members.iter().map(|(key, value)| format!("  {}: {value}", json!(key)));
            format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
        }
        _ => body.to_owned(),
    }
}
