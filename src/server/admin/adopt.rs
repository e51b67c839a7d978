//! `POST /api/v1/adopt`: tracks tasks that were made elsewhere.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::adopt::{AdoptError, AdoptErrorCode, AdoptRequest, AdoptResult, MAX_ADOPTED};
use crate::job::TaskId;
use crate::jobfile::MAX_NAME_CHARS;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::store::adopt::AdoptionKind;

/// `POST /api/v1/adopt`.
#[utoipa::path(
    post,
    path = "/api/v1/adopt",
    tag = "jobs",
    summary = "Track tasks that were made elsewhere",
    description = "Each task is polled once. One that the provider knows gets a job, which is tracked and downloaded like any \
        other; a task that has a job already keeps it. An adopted task counts in reports, not in budgets, and cannot be \
        retried.",
    request_body(content = AdoptRequest),
    responses(
        (status = 200, description = "The jobs of the tasks, and an error for each task that was not adopted", body = AdoptResult),
        ProblemResponses
    )
)]
pub(super) async fn adopt(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"task_ids":["task-..."]}"#;
    let AdoptRequest { task_ids, name } = admin.read_json(&request, &mut body, example).await?;
    if task_ids.is_empty() || task_ids.len() > MAX_ADOPTED {
        let count = task_ids.len();
        return Err(Problem::bad_request(format!("name 1 to {MAX_ADOPTED} tasks in a request, not {count}")));
    }
    let is_name = |name: &str| {
        (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    if name.as_deref().is_some_and(|name| !is_name(name)) {
        let detail = format!("`name` has 1 to {MAX_NAME_CHARS} characters, without control characters");
        return Err(Problem::bad_request(detail));
    }
    let mut seen = BTreeSet::new();
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for text in task_ids.iter().map(|text| text.trim()).filter(|text| seen.insert(*text)) {
        match TaskId::parse(text) {
            Some(task) => tasks.push(task),
            None => errors.push(AdoptError {
                task_id: text.to_owned(),
                code: AdoptErrorCode::InvalidId,
                message:
                    "this is not the id of a task; the provider's ids look like task-wave1775285160b950328499"
                        .into(),
            }),
        }
    }
    let Some(adopt) = &admin.server.adopt else {
        return Err(Problem::not_leader(&admin.server.store.leader().unwrap_or_default()));
    };
    let (adopted, refused) = adopt(tasks, name).await?;
    errors.extend(refused);
    let mut jobs = Vec::new();
    for adoption in &adopted {
        let job = adoption.job;
        if adoption.kind != AdoptionKind::Known {
            tracing::info!(%job, "job {job} has adopted a task");
        }
        jobs.push(admin.server.store.details(job).await?);
    }
    let known = adopted.iter().zip(&jobs).filter(|(adoption, _)| adoption.kind == AdoptionKind::Known);
    let known = known.filter_map(|(_, job)| job.job.task().map(TaskId::to_string)).collect();
    let result = AdoptResult { jobs: admin.job_views(&jobs).await?, known, errors };
    Ok(json_response(StatusCode::OK, &result))
}
