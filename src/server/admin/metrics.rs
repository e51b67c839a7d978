//! `GET /metrics`: how it stands and what was done, for Prometheus (OpenMetrics 1.0 text).
//!
//! Counters begin at zero with the process, as Prometheus has it. What stands in the database is read at each scrape,
//! from indexes whose size is that of what is unfinished, never of the history.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::fs::file_system::FileSystem;
use crate::inbox::Inbox;
use crate::job::suspension::SuspensionCause;
use crate::jobfile;
use crate::money::QUOTA_PER_USD;
use crate::server::admin::{Admin, AdminServer};
use crate::server::problem::Problem;
use crate::store::metrics::Kind;
use crate::store::overview::Standing;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Folder {
    folder: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// `GET /metrics`.
pub(super) async fn scrape(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let mut registry = Registry::with_prefix("dropreel");
    done(&mut registry, &admin);
    is_suspended(&mut registry, &admin).await?;
    let door = admin.door.clone();
    // Folders may lie on disks that take their time.
    let registry = web::block(move || {
        folders(&mut registry, &door);
        registry
    });
    let registry = registry.await.map_err(|_| failed("a bug: a look at the folders panicked"))?;
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| failed(&error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, OPEN_METRICS)).body(text))
}

fn failed(why: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// What was done since the start.
fn done(registry: &mut Registry, admin: &Admin) {
    let tally = admin.door.store.tally();
    let version = Family::<Version, Gauge>::default();
    version.get_or_create(&Version { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build", "Always 1; the version is its label", version);
    registry.register("jobs_accepted", "Jobs taken in", tally.accepted.clone());
    registry.register("jobs_ended", "Jobs that ended, by state and model", tally.ended.clone());
    registry.register("submits", "Answers to submits", tally.submits.clone());
    registry.register("polls", "Answers to status queries", tally.polls.clone());
    registry.register("callbacks", "Callbacks kept", tally.callbacks.clone());
    let help = "Ends of tasks at the provider, by how they were learned";
    registry.register("completions", help, tally.completions.clone());
    let missed = Gauge::<i64>::default();
    missed.set(tally.missed_in_a_row().into());
    registry.register("callbacks_missed_in_a_row", "Ends in a row that no callback told of", missed);
    registry.register("fetches", "Outputs stored, and tries that failed", tally.fetches.clone());
    registry.register("stored_bytes", "Bytes of outputs stored", tally.stored_bytes.clone());
    let charged = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    #[expect(clippy::cast_precision_loss, reason = "exact below eighteen thousand million dollars")]
    charged.inc_by(tally.charged_quota.get() as f64 / QUOTA_PER_USD as f64);
    registry.register("charged_usd", "What ended jobs were charged, in US dollars", charged);
    registry.register("commit_pieces", "Pieces of work committed", tally.pieces.clone());
    let help = "How long a commit took, flush included";
    registry.register("commit_seconds", help, tally.commits.clone());
}

/// What stands in the database.
async fn is_suspended(registry: &mut Registry, admin: &Admin) -> Result<(), Problem> {
    let (store, now) = (&admin.door.store, admin.door.clock.now());
    let Standing { unfinished, nearest_expiry } = store.standing().await?;
    let jobs = Family::<Kind, Gauge>::default();
    let oldest = Family::<State, Gauge>::default();
    for group in unfinished {
        let kind = Kind { state: group.state.as_str(), model: store.tally().model(&group.model) };
        jobs.get_or_create(&kind).inc_by(group.jobs);
        let age = i64::try_from(now.since(group.oldest).as_secs()).unwrap_or(i64::MAX);
        let gauge = oldest.get_or_create(&State { state: group.state.as_str() });
        gauge.set(gauge.get().max(age));
    }
    registry.register("jobs", "Unfinished jobs, by state and model", jobs);
    let help = "How old the oldest unfinished job is, by the state it is in";
    registry.register("oldest_job_seconds", help, oldest);
    if let Some(expiry) = nearest_expiry {
        let gauge = Gauge::<i64>::default();
        gauge.set((expiry.millis() - now.millis()) / 1000);
        let help = "How long the first link of what is still to be downloaded lives; absent if there is none";
        registry.register("nearest_expiry_seconds", help, gauge);
    }
    let stops = Family::<Cause, Gauge>::default();
    let suspensions = store.suspensions().await?;
    for cause in SuspensionCause::ALL {
        let in_force = suspensions.iter().any(|suspension| suspension.cause == cause);
        stops.get_or_create(&Cause { cause: cause.as_str() }).set(in_force.into());
    }
    registry.register("stopped", "1 while nothing is submitted or downloaded for this cause", stops);
    let well = Gauge::<i64>::default();
    well.set((admin.door.health)().is_empty().into());
    registry.register("ready", "1 while /readyz says so", well);
    Ok(())
}

/// What lies in folders. Blocks.
fn folders(registry: &mut Registry, door: &AdminServer) {
    let free = Family::<Folder, Gauge>::default();
    for (folder, path) in [("data", &door.data_dir), ("library", &door.library_dir)] {
        if let Ok(found) = FileSystem::of(path) {
            let bytes = i64::try_from(found.free_bytes).unwrap_or(i64::MAX);
            free.get_or_create(&Folder { folder }).set(bytes);
        }
    }
    registry.register("free_bytes", "Room on the disk of a folder", free);
    let Ok(entries) = Inbox::new(door.inbox_dir.clone()).list() else { return };
    let waiting: Vec<_> = entries
        .iter()
        .filter(|entry| entry.irregular_kind.is_none() && jobfile::is_job_file_name(&entry.name))
        .collect();
    let (files, oldest) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    files.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    let age = waiting.iter().map(|entry| door.clock.now().since(entry.version.changed_at()).as_secs()).max();
    oldest.set(i64::try_from(age.unwrap_or(0)).unwrap_or(i64::MAX));
    registry.register("inbox_files", "Job files in the inbox", files);
    registry.register("inbox_oldest_seconds", "How old the oldest of them is", oldest);
}
