//! One job: its videos, what was asked for, what happened, what it cost, and the others of its file.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::job::state::StateName;
use crate::server::admin::page::row::{Moment, Row};
use crate::server::admin::page::{Frame, shown};
use crate::server::admin::problem::Problem;
use crate::server::admin::selection::resolve_job;
use crate::server::admin::state::AdminState;

/// So many others of the same file are named before and after the job.
const NEIGHBOURS: u32 = 6;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    row: Row,
    prompt: Option<String>,
    task: Option<String>,
    submitted: Option<Moment>,
    completed: Option<Moment>,
    /// The user's own text, laid out to be read.
    request: String,
    history: Vec<Entry>,
    hooks: Vec<HookLine>,
    file_name: Option<String>,
    of_file: u64,
    neighbours: Vec<Row>,
    library: String,
}

/// Who was told what.
struct HookLine {
    event: String,
    /// When it is tried next.
    due: Option<Moment>,
    tried: Option<Moment>,
    outcome: String,
}

struct Entry {
    at: Moment,
    event: String,
    detail: String,
}

/// `GET /jobs/{job}`: by id, the beginning of one, or name.
pub(super) async fn show(
    request: HttpRequest,
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> HttpResponse {
    let page = look(&request, job.into_inner(), &admin).await;
    shown(&request, page)
}

async fn look(request: &HttpRequest, job: String, admin: &AdminState) -> Result<JobPage, Problem> {
    let (frame, store) = (Frame::of(request, admin).await?, &admin.server.store);
    let id = resolve_job(store, job).await?;
    let sight = store.look(id).await?;
    let body = store.request(id).await?;
    let family = store.family(id, NEIGHBOURS).await?;
    let (w, now) = (frame.w, frame.now);
    let moment = |at| Moment::of(w, at, now);
    let entry = |entry: crate::store::query::HistoryRow| Entry {
        at: moment(entry.at),
        event: entry.event.replace('_', " "),
        detail: entry.detail,
    };
    let line = |call: crate::store::hooks::CallState| HookLine {
        event: call.event.replace('_', " "),
        due: call.due_at.map(moment),
        tried: call.tried_at.map(moment),
        outcome: call.outcome.unwrap_or_default(),
    };
    let learned = sight.job.facts();
    let near = if family.jobs > 1 { family.near } else { Vec::new() };
    Ok(JobPage {
        prompt: sight.prompt.clone(),
        task: sight.job.task().map(|task| task.as_str().to_owned()),
        submitted: learned.submitted_at.map(moment),
        completed: learned.completed_at.map(moment),
        request: laid_out(&body),
        history: store.history(id).await?.into_iter().map(entry).collect(),
        hooks: store.calls_of(id).await?.into_iter().map(line).collect(),
        file_name: family.file_name,
        of_file: family.jobs,
        neighbours: near.iter().map(|sight| Row::of(sight, w, now)).collect(),
        row: Row::of(&sight, w, now),
        library: admin.server.library_dir().display().to_string(),
        frame,
    })
}

/// With one key on a line, if nothing of it changes by that: numbers stay as they were written.
fn laid_out(body: &str) -> String {
    use serde_json::value::RawValue;
    let keys: Result<std::collections::BTreeMap<String, &RawValue>, _> = serde_json::from_str(body);
    match keys {
        Ok(keys) if body.len() < 4096 => {
            // In the user's order: where each stands in the text.
            let mut keys: Vec<_> = keys.into_iter().collect();
            keys.sort_by_key(|(_, value)| value.get().as_ptr());
            let lines = keys.iter().map(|(key, value)| format!("  {}: {value}", serde_json::json!(key)));
            format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
        }
        _ => body.to_owned(),
    }
}
