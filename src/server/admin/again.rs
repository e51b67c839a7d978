//! `POST /api/v1/jobs/{job}/again`: new jobs from the request of an old one, with the checks of any job file.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::again::AgainRequest;
use crate::api::estimate::EstimateView;
use crate::api::list::CreatedJobs;
use crate::failpoints::{self, FailPoint};
use crate::jobfile::rewrite::{OwnValues, job_file, with_value};
use crate::jobfile::{self, Draft, JobFileLimits, read_document};
use crate::rng::Rng;
use crate::server::admin::estimate::estimate_drafts;
use crate::server::admin::http::json_response;
use crate::server::admin::page::choose_messages;
use crate::server::admin::pictures::HandedOver;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::selection::resolve_job;
use crate::server::admin::state::AdminState;
use crate::server::admin::upload::{
    check_cost, created_response, panicked, read_idempotency_key, read_max_cost,
};
use crate::sha256::sha256_hex;
use crate::store::details::JobDetails;
use crate::store::job_files::idempotency::IdempotencyKey;
use crate::store::job_files::{FileToIngest, Source};

/// Seeds are whole numbers below this.
const SEED_END: u64 = 1 << 31;
/// Of the `dropreel` member, whose labels the job file had beside its request.
pub(super) const MAX_OWN_BYTES: u64 = 64 << 10;
const SAME_SEED: &str =
    "the same request with the same seed as before: the provider bills it, and may make the same video again";
const SAME_REQUEST: &str =
    "the same request several times without a new seed: each is billed, and they may be alike";

/// `POST /api/v1/jobs/{job}/again`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/again",
    tag = "jobs",
    summary = "Make new jobs from a job's request. The provider bills every job",
    params(
        ("job" = String, Path, description = "An id, a name, or a part that only one id has (at least 6 characters)"),
        ("max_cost_usd" = Option<f64>, Query, description = "Accept nothing if the estimate of all jobs is above this", minimum = 0),
        ("Idempotency-Key" = Option<String>, Header, description = "As for POST /api/v1/jobs")
    ),
    request_body(content = AgainRequest),
    responses(
        (status = 200, description = "`dry_run`: what the checks find and what the jobs would cost", body = EstimateView),
        (status = 201, description = "The jobs are committed", body = CreatedJobs),
        ProblemResponses
    )
)]
pub(super) async fn run_again(
    request: HttpRequest,
    mut body: web::Payload,
    job: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(&request, &["max_cost_usd"])?;
    let (max_cost, key) = (read_max_cost(&query)?, read_idempotency_key(&request)?);
    let example = r#"{"set":{"seed":7},"new_seed":false,"times":1}"#;
    let (again, text): (AgainRequest, _) = admin.read_long_json(&request, &mut body, example).await?;
    let store = &admin.server.store;
    let origin = resolve_job(store, job.into_inner()).await?;
    let details = store.details(origin).await?;
    if details.job.identity().adopted {
        let why = "its task was made elsewhere and adopted, so there is no request to run again; submit a job file \
                   with the request";
        return Err(Problem::action_rejected(why));
    }
    let old = store.request(origin).await?;
    let file = FileToIngest {
        source: Source::Api,
        file_name: None,
        sha256: sha256_hex(old.as_bytes()),
        bytes: old.len() as u64,
        inputs_sha256: None,
        idempotency_key: key.map(|key| {
            let request = format!("again\0{origin}\0{}", sha256_hex(&text));
            IdempotencyKey { key, request_sha256: sha256_hex(request.as_bytes()) }
        }),
    };
    let (limits, rng, dry_run) = (admin.server.file_limits.clone(), admin.server.rng.clone(), again.dry_run);
    let name = details.job.identity().name.clone();
    let pictures = HandedOver::of_job(&admin, origin, &again.pictures).await?;
    let _copies_stay = admin.server.pictures.keep_all().await;
    let drafts = web::block(move || pictures.resolve_all(drafts(&details, &old, &again, &limits, &rng)?));
    let messages = choose_messages(&request);
    let drafts = drafts
        .await
        .map_err(|_| panicked())?
        .map_err(|problem| problem.translated(|text| messages.finding(text)))?;
    if dry_run {
        let drafts = store.name_versions(origin, drafts).await?;
        return Ok(json_response(StatusCode::OK, &estimate_drafts(&admin, messages, name, drafts).await?));
    }
    if let Some(max_cost) = max_cost
        && !store.was_ingested(file.clone()).await?
    {
        let bodies: Vec<String> = drafts.iter().map(|draft| draft.body.clone()).collect();
        check_cost(&store.estimate_all(Box::new(bodies.into_iter())).await?, max_cost)?;
    }
    let ingested = store.ingest_again(origin, file, drafts, admin.server.clock.now()).await?;
    failpoints::hit(FailPoint::ApiJobsCommitted);
    tracing::info!(job = %origin, "accepted again: {} of job {origin}", ingested.jobs.len());
    Ok(created_response(&admin, &ingested.jobs).await)
}

/// The new jobs. The store names those that have the old one's name.
fn drafts(
    origin: &JobDetails,
    body: &str,
    again: &AgainRequest,
    limits: &JobFileLimits,
    rng: &Rng,
) -> Result<Vec<Draft>, Problem> {
    if !(1..=limits.max_expansion).contains(&again.times) {
        let max = limits.max_expansion;
        return Err(Problem::bad_request(format!("`times` must be from 1 to {max} (inbox.max_expansion)")));
    }
    if again.new_seed && again.set.contains_key("seed") {
        return Err(Problem::bad_request("`new_seed` draws the seed that `set` names: use one of them"));
    }
    let identity = origin.job.identity();
    // Its time of `not_before` is not that of the new jobs.
    let own = OwnValues { not_before: None, ..origin.own_values(identity.created_at) };
    let mut text = again.text.clone().unwrap_or_else(|| job_file(body, &own));
    for (key, value) in &again.set {
        text = with_value(&text, key, value).map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    let old_seed = seed_of(body);
    let mut seeds: BTreeSet<u64> = old_seed.into_iter().collect();
    let limits =
        JobFileLimits { max_bytes: limits.max_bytes.saturating_add(MAX_OWN_BYTES), ..limits.clone() };
    let mut drafts = Vec::new();
    for number in 1..=again.times {
        let text = if again.new_seed { with_seed(&text, new_seed(&mut seeds, rng)) } else { text.clone() };
        let mut made = read_document(text.as_bytes(), &identity.name, &limits, rng)
            .map_err(|refusal| Problem::invalid_job_file(&refusal.problems))?;
        for draft in made.iter_mut().filter(|draft| number > 1 && draft.name != identity.name) {
            draft.name = jobfile::numbered_name(&draft.name, number.into());
        }
        drafts.extend(made);
        if drafts.len() > limits.max_expansion as usize {
            return Err(too_many(limits.max_expansion));
        }
    }
    // White space between the values makes no other request.
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    let is_same = drafts.iter().all(|draft| draft.body == body || value(&draft.body) == value(body));
    let warning = match again {
        AgainRequest { new_seed: true, .. } => None,
        AgainRequest { times: 2.., .. } => Some(SAME_REQUEST),
        _ => (is_same && old_seed.is_some()).then_some(SAME_SEED),
    };
    if let Some(message) = warning {
        let warning =
            jobfile::Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 };
        drafts.iter_mut().for_each(|draft| draft.warnings.push(warning.clone()));
    }
    Ok(drafts)
}

fn too_many(max: u32) -> Problem {
    let detail = format!(
        "`times`, and the jobs that `repeat`, `matrix` or several objects make each time, come to more than {max} jobs \
         (inbox.max_expansion)"
    );
    Problem::bad_request(detail)
}

pub(super) fn seed_of(body: &str) -> Option<u64> {
    let request: Value = serde_json::from_str(body).ok()?;
    request.get("seed")?.as_u64()
}

pub(super) fn new_seed(used: &mut BTreeSet<u64>, rng: &Rng) -> u64 {
    loop {
        let seed = rng.below(SEED_END);
        if used.insert(seed) {
            return seed;
        }
    }
}

/// The text with a seed; as it is if it is no JSON object.
pub(super) fn with_seed(text: &str, seed: u64) -> String {
    let seed = RawValue::from_string(seed.to_string());
    let set = seed.map(|seed| with_value(text, "seed", &seed));
    match set {
        Ok(Ok(text)) => text,
        // The checks say where it is no JSON.
        _ => text.to_owned(),
    }
}
