//! `POST /api/v1/jobs/{job}/edit`: changes a job that has not been submitted.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::action::ActionResult;
use crate::api::again::{EditAnswer, EditPreview, EditRequest};
use crate::job::step::ActionReply;
use crate::jobfile::rewrite::with_value;
use crate::jobfile::{self, Draft, JobFileLimits, read_document};
use crate::rng::Rng;
use crate::server::admin::again::{MAX_OWN_BYTES, new_seed, seed_of, with_seed};
use crate::server::admin::estimate::estimate_drafts;
use crate::server::admin::http::json_response;
use crate::server::admin::page::choose_messages;
use crate::server::admin::pictures::HandedOver;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::selection::resolve_job;
use crate::server::admin::state::AdminState;
use crate::server::admin::upload::panicked;

const ONE_JOB: &str =
    "an edit changes one job: `key`, `again`, `repeat` and `matrix` belong into the job file of a new one";

/// `POST /api/v1/jobs/{job}/edit`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/edit",
    tag = "jobs",
    summary = "Change a job that has not been submitted. The old text stays in its history",
    params(
        ("job" = String, Path, description = "An id, a name, or a part that only one id has (at least 6 characters)")
    ),
    request_body(content = EditRequest),
    responses(
        (status = 200, description = "The job is changed; with `dry_run`: its text, what the checks find and what it would cost", body = EditAnswer),
        ProblemResponses
    )
)]
pub(super) async fn edit_job(
    request: HttpRequest,
    mut body: web::Payload,
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"set":{"duration":10}} or {"text":"{...}"}"#;
    let (edit, _): (EditRequest, _) = admin.read_long_json(&request, &mut body, example).await?;
    let (store, now) = (&admin.server.store, admin.server.clock.now());
    let id = resolve_job(store, job.into_inner()).await?;
    let details = store.details(id).await?;
    let messages = choose_messages(&request);
    if let Some(why) = details.job.edit_refusal() {
        return Err(Problem::action_rejected(messages.edit_rejected(details.job.state_name(), why)));
    }
    let (old, dry_run) = (store.job_file(id, now).await?, edit.dry_run);
    let name = details.job.identity().name.clone();
    let (limits, rng) = (admin.server.file_limits.clone(), admin.server.rng.clone());
    let named = name.clone();
    let pictures = HandedOver::of_job(&admin, id, &edit.pictures).await?;
    let _copies_stay = admin.server.pictures.keep_all().await;
    let edited = web::block(move || {
        let (text, draft) = apply_edit(&old, edit, &named, &limits, &rng)?;
        let draft = pictures.resolve(draft).map_err(|problems| Problem::invalid_job_file(&problems))?;
        Ok::<_, Problem>((text, draft))
    });
    let edited = edited
        .await
        .map_err(|_| panicked())?
        .map_err(|problem| problem.translated(|text| messages.finding(text)));
    let (text, draft) = edited?;
    if dry_run {
        let estimate = estimate_drafts(&admin, messages, name, vec![draft]).await?;
        return Ok(json_response(StatusCode::OK, &EditAnswer::Preview(EditPreview { text, estimate })));
    }
    let applied = store.edit(id, draft, now).await?;
    let message = match applied.reply {
        Some(ActionReply::Rejected(why)) => {
            let why = messages.edit_rejected(applied.job.state_name(), why);
            return Err(Problem::action_rejected(why));
        }
        Some(ActionReply::Done(message)) => message,
        None => "",
    };
    tracing::info!(job = %id, "job {id} edited");
    let job = admin.job_view(&store.details(id).await?).await?;
    let done = ActionResult { job, message: message.to_owned() };
    Ok(json_response(StatusCode::OK, &EditAnswer::Done(Box::new(done))))
}

/// The changed text of a job, and the job that it makes.
fn apply_edit(
    old: &str,
    edit: EditRequest,
    name: &str,
    limits: &JobFileLimits,
    rng: &Rng,
) -> Result<(String, Draft), Problem> {
    if edit.new_seed && edit.set.contains_key("seed") {
        return Err(Problem::bad_request("`new_seed` draws the seed that `set` names: use one of them"));
    }
    let mut text = edit.text.unwrap_or_else(|| old.to_owned());
    for (key, value) in &edit.set {
        text = with_value(&text, key, value).map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    if edit.new_seed {
        text = with_seed(&text, new_seed(&mut seed_of(&text).into_iter().collect(), rng));
    }
    let limits =
        JobFileLimits { max_bytes: limits.max_bytes.saturating_add(MAX_OWN_BYTES), ..limits.clone() };
    let mut drafts = read_document(text.as_bytes(), name, &limits, rng)
        .map_err(|refusal| Problem::invalid_job_file(&refusal.problems))?;
    match (drafts.pop(), drafts.is_empty()) {
        (Some(draft), true) if draft.key.is_none() && !draft.again && draft.variation.is_none() => {
            Ok((text, draft))
        }
        _ => Err(Problem::invalid_job_file(&[jobfile::Problem {
            pointer: "/dropreel".to_owned(),
            message: ONE_JOB.to_owned(),
            line: 1,
            column: 1,
        }])),
    }
}
