//! `POST /api/v1/estimate`: what a job file would cost, with the checks of the inbox. Nothing is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::api::budget::{BudgetNeedView, renewed_at};
use crate::api::estimate::{AcceptedBefore, EstimateView, FileEstimate, JobPreview};
use crate::api::problem::JobFileProblem;
use crate::jobfile::{Draft, Inspection, Problem as Finding};
use crate::money::Quota;
use crate::server::admin::http::json_response;
use crate::server::admin::page::{Messages, choose_messages};
use crate::server::admin::problem::{Problem, ProblemResponses, job_file_problem};
use crate::server::admin::state::AdminState;
use crate::server::admin::upload::{Upload, panicked};
use crate::server::body::read_body;
use crate::store::job_files::{FileToIngest, IngestError, Source};
use crate::store::new_jobs::{BudgetNeed, NewJobs, UsedKey};

/// Most jobs of a request for which the provider is asked.
const MAX_QUOTED: usize = 40;
/// How long an answer waits for quotes.
const QUOTE_TIMEOUT: Duration = Duration::from_secs(2);
/// Most jobs that are shown.
const MAX_PREVIEWS: usize = 5;
/// Longest beginning of a prompt that is shown, in characters.
const MAX_PROMPT_CHARS: usize = 300;
/// Most models whose jobs are counted.
const MAX_MODELS: usize = 50;

/// `POST /api/v1/estimate`.
#[utoipa::path(
    post,
    path = "/api/v1/estimate",
    tag = "jobs",
    summary = "Check a job file and estimate what it would cost. Nothing is submitted",
    params(
        ("name" = Option<String>, Query, description = "The file name without its folder"),
        ("again" = Option<bool>, Query, description = "As for the submit"),
        ("pictures_bytes" = Option<u64>, Query, description = "As for the submit; pictures that are named here need not be uploaded yet"),
        ("defaults_bytes" = Option<u64>, Query, description = "As for the submit"),
        ("defaults_name" = Option<String>, Query, description = "As for the submit")
    ),
    request_body(description = "A job file (schema/job-file.schema.json): one object or an array; one object per line as application/x-ndjson; a table as text/csv; one prompt per line as text/x-prompts", content((Object = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"), (String = "text/x-prompts"))),
    responses(
        (status = 200, description = "What the checks find and what the jobs would cost; `errors` of a file that would be rejected", body = EstimateView),
        ProblemResponses
    )
)]
pub(super) async fn estimate_jobs(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let parameters = ["name", "again", "pictures_bytes", "defaults_bytes", "defaults_name"];
    let upload = Upload::from_request(&request, &admin, &parameters)?;
    let _permit = match upload.is_long(&request) {
        true => Some(admin.long_upload.acquire().await),
        false => None,
    };
    let limit = upload.limit(&admin);
    let bytes = Bytes::from(read_body(&request, &mut body, limit, &admin.server.clock).await?);
    if bytes.is_empty() {
        return Err(Problem::bad_request("the request has no body; it must be a job file"));
    }
    let (upload, bytes) = upload.take_picture_names(bytes, &admin)?;
    let (upload, bytes, bad_defaults) = match upload.clone().take_defaults(bytes)? {
        Ok((upload, bytes)) => (upload, bytes, Vec::new()),
        Err(problems) => (upload, Bytes::new(), problems),
    };
    let (checked, text) = (upload.clone(), bytes.clone());
    let inspect = move || {
        let mut preview = Preview::default();
        let found = match bad_defaults.is_empty() {
            true => checked.inspect(&text, |draft| preview.add(draft)),
            false => Inspection::of_problems(bad_defaults),
        };
        (found, preview)
    };
    let (found, preview) = web::block(inspect).await.map_err(|_| panicked())?;
    let is_whole = found.errors.is_empty();
    if let Some(quotes) = admin.server.wanted_quotes.as_ref().filter(|_| is_whole) {
        let (upload, text) = (upload.clone(), bytes.clone());
        let bodies = web::block(move || upload.bodies(text).take(MAX_QUOTED).collect());
        quotes.wait_for(bodies.await.map_err(|_| panicked())?, QUOTE_TIMEOUT).await;
    }
    let file = upload.name.clone().unwrap_or_else(|| "-".to_owned());
    let new = if is_whole {
        let now = admin.server.clock.now();
        admin.server.store.review(upload.file(&bytes), upload.drafts(bytes), now).await?
    } else {
        NewJobs::default()
    };
    let waiting = new.waiting;
    let messages = choose_messages(&request);
    let problem = |finding: &Finding| translate(messages, finding);
    let errors: Vec<Finding> =
        found.errors.iter().cloned().chain(new.used_keys.iter().map(used_key)).collect();
    let warnings = found.warnings().iter().map(problem).collect();
    let file = match errors.is_empty() {
        true => FileEstimate {
            warnings,
            defaults: found.defaults,
            ..accepted(file, found.objects as u64, new, preview)
        },
        false => FileEstimate {
            file,
            warnings,
            errors: errors.iter().map(problem).collect(),
            ..FileEstimate::default()
        },
    };
    Ok(json_response(StatusCode::OK, &answer(&admin, file, waiting)))
}

/// What the checks have found in new jobs that come from no file, and what they would cost.
pub(super) async fn estimate_drafts(
    admin: &AdminState,
    messages: &Messages,
    name: String,
    drafts: Vec<Draft>,
) -> Result<EstimateView, Problem> {
    if let Some(quotes) = &admin.server.wanted_quotes {
        let bodies = drafts.iter().map(|draft| draft.body.clone()).take(MAX_QUOTED);
        quotes.wait_for(bodies.collect(), QUOTE_TIMEOUT).await;
    }
    let mut preview = Preview::default();
    drafts.iter().for_each(|draft| preview.add(draft));
    let warnings: BTreeSet<&Finding> = drafts.iter().flat_map(|draft| &draft.warnings).collect();
    let warnings = warnings.into_iter().map(|finding| translate(messages, finding)).collect();
    let file = FileToIngest {
        source: Source::Api,
        file_name: None,
        sha256: String::new(),
        bytes: 0,
        inputs_sha256: None,
        idempotency_key: None,
    };
    let objects = drafts.len() as u64;
    let now = admin.server.clock.now();
    let new = admin.server.store.review(file, Box::new(drafts.into_iter()), now).await?;
    let (waiting, errors) = (new.waiting, new.used_keys.iter().map(used_key).collect::<Vec<_>>());
    let errors = errors.iter().map(|finding| translate(messages, finding)).collect::<Vec<_>>();
    let file = match errors.is_empty() {
        true => FileEstimate { warnings, ..accepted(name, objects, new, preview) },
        false => FileEstimate { file: name, warnings, errors, ..FileEstimate::default() },
    };
    Ok(answer(admin, file, waiting))
}

fn translate(messages: &Messages, finding: &Finding) -> JobFileProblem {
    let problem = job_file_problem(finding);
    JobFileProblem { message: messages.finding(&problem.message), ..problem }
}

/// With what the provider says about models and money.
fn answer(admin: &AdminState, mut file: FileEstimate, waiting: Quota) -> EstimateView {
    if let Some((catalogue, _)) = admin.server.catalogue.last() {
        let models = file.models.keys();
        file.unlisted_models = models.filter(|model| !catalogue.lists(model)).cloned().collect();
    }
    EstimateView {
        jobs: file.jobs,
        cost: file.cost.clone(),
        files: vec![file],
        waiting_usd: waiting.usd(),
        balance_usd: admin.server.balance.last().map(Quota::usd),
    }
}

/// A file that would be accepted.
fn accepted(file: String, objects: u64, new: NewJobs, preview: Preview) -> FileEstimate {
    FileEstimate {
        file,
        ok: true,
        jobs: new.cost.jobs,
        objects,
        cost: (&new.cost).into(),
        models: preview.models,
        first_jobs: preview.first_jobs,
        budgets: new.budgets.iter().filter(|need| need.need.get() > 0).map(budget_need).collect(),
        over_max_cost_jobs: new.over_max_cost,
        accepted_before: new.repeated.map(|file| AcceptedBefore { first_job: file.first, at: file.at }),
        ..FileEstimate::default()
    }
}

/// What the file would be refused for.
fn used_key(UsedKey { key, object, first }: &UsedKey) -> Finding {
    let refusal = IngestError::KeyUsed { key: key.clone(), object: object.clone(), first: *first };
    Finding { pointer: object.pointer.clone(), message: refusal.to_string(), line: object.line, column: 1 }
}

fn budget_need(need: &BudgetNeed) -> BudgetNeedView {
    BudgetNeedView {
        budget: need.budget.scope.name(),
        limit_usd: need.budget.limit.usd(),
        left_usd: need.left.usd(),
        need_usd: need.need.usd(),
        waiting_jobs: need.waiting,
        held_jobs: need.too_expensive,
        renewed_at: renewed_at(&need.budget.scope),
    }
}

/// What people recognize jobs by.
#[derive(Default)]
struct Preview {
    models: BTreeMap<String, u64>,
    first_jobs: Vec<JobPreview>,
}

impl Preview {
    fn add(&mut self, draft: &Draft) {
        if let Some(jobs) = self.models.get_mut(&draft.model) {
            *jobs += 1;
        } else if self.models.len() < MAX_MODELS {
            self.models.insert(draft.model.clone(), 1);
        }
        if self.first_jobs.len() < MAX_PREVIEWS {
            let beginning = |prompt: &String| prompt.chars().take(MAX_PROMPT_CHARS).collect();
            let prompt = draft.prompt.as_ref().map(beginning);
            self.first_jobs.push(JobPreview { name: draft.name.clone(), model: draft.model.clone(), prompt });
        }
    }
}
