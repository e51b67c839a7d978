//! `POST /api/v1/prune`: deletes jobs that finished long ago, and old files of the archives.
//!
//! Each request works for a few seconds and says whether there is more, so a client can stop between two
//! requests. Rows are deleted before files; in the other order, a crash would leave a row whose job file is
//! gone.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::prune::{PruneRequest, PruneResult};
use crate::clock::Timestamp;
use crate::fs::prune::{FilePruner, PrunedFiles};
use crate::jobfile;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::settings;
use crate::store::prune::{MIN_PRUNE_AGE, ZONE_MARGIN, below_min_age};

/// How long one request deletes jobs, and then files, at most.
const TIME_SLICE: Duration = Duration::from_secs(5);

/// `POST /api/v1/prune`.
#[utoipa::path(
    post,
    path = "/api/v1/prune",
    tag = "control",
    summary = "Delete jobs that finished long ago, and old job files; never anything in the library",
    request_body(content = PruneRequest),
    responses(
        (status = 200, description = "What was deleted within a few seconds; `more` says whether to repeat the request", body = PruneResult),
        ProblemResponses
    )
)]
pub(super) async fn prune(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let example = r#"{"older_than":"90d","dry_run":true}"#;
    let prune: PruneRequest = admin.read_json(&request, &mut body, example).await?;
    let before = admin.server.clock.now().minus(parse_age(&prune.older_than)?);
    let result = if prune.dry_run { count(&admin, before).await? } else { remove(&admin, before).await? };
    Ok(json_response(StatusCode::OK, &result))
}

fn parse_age(text: &str) -> Result<Duration, Problem> {
    let age = settings::age(text).map_err(|why| Problem::bad_request(format!("`older_than`: {why}")))?;
    if age < MIN_PRUNE_AGE {
        let detail = format!("`older_than`: {}", below_min_age(text));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(age)
}

async fn count(admin: &AdminState, before: Timestamp) -> Result<PruneResult, Problem> {
    let jobs = admin.server.store.count_prunable(before).await?;
    Ok(result(before, jobs, prune_files(admin, before, true).await?))
}

async fn remove(admin: &AdminState, before: Timestamp) -> Result<PruneResult, Problem> {
    let (store, clock) = (&admin.server.store, &admin.server.clock);
    let end = clock.tick().plus(TIME_SLICE);
    let (mut jobs, mut pruned) = (0, PrunedFiles { more: true, ..PrunedFiles::default() });
    while clock.tick() < end {
        match store.prune_some(before).await? {
            0 => {
                pruned = prune_files(admin, before, false).await?;
                break;
            }
            deleted => jobs += deleted,
        }
    }
    tracing::info!("pruned what finished before {before}: {jobs} jobs, {} files", pruned.files);
    if let Some(failure) = &pruned.failure {
        tracing::warn!("{} old files not deleted: {failure}", pruned.failed);
    }
    Ok(result(before, jobs, pruned))
}

/// Deletes old files for one time slice, or counts all of them.
async fn prune_files(admin: &AdminState, before: Timestamp, dry_run: bool) -> Result<PrunedFiles, Problem> {
    let needed = admin.server.store.needed_files(before).await?;
    let (settings, clock) = (admin.server.settings.clone(), admin.server.clock.clone());
    let pruned = admin.server.clock.run_blocking(move || {
        let end = clock.tick().plus(TIME_SLICE);
        let is_time_up = || !dry_run && clock.tick() >= end;
        let mut pruner = FilePruner::new(
            before.into(),
            dry_run,
            &[&settings.library.dir, &settings.inbox.dir],
            &is_time_up,
        );
        let first_kept_day = before.minus(ZONE_MARGIN).date();
        pruner.prune_day_folders(&settings.accepted_dir(), &first_kept_day, &|day, name| {
            // Any other file belongs to a job file of the same day.
            needed.contains(day, name) || !jobfile::is_job_file_name(name) && needed.contains_day(day)
        });
        pruner.prune_with_companions(&settings.rejected_dir());
        pruner.prune_with_companions(&settings.quarantine_dir());
        pruner.finish()
    });
    pruned.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug: pruning files panicked"))
}

fn result(before: Timestamp, jobs: u64, pruned: PrunedFiles) -> PruneResult {
    let PrunedFiles { files, bytes, failed, failure, more } = pruned;
    PruneResult { before, jobs, files, bytes, failed, failure, more }
}
