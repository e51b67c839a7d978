//! `GET /metrics`: gauges of the current state and counters since the start, for Prometheus: in its text format, or in
//! OpenMetrics 1.0 for who accepts that.
//!
//! Gauges are read from the database at each scrape, from counts and from indexes of unfinished jobs, so a scrape costs the
//! same however many jobs there are.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::http::header::{Accept, CONTENT_TYPE, Header, Quality};
use actix_web::{HttpRequest, HttpResponse, web};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use strum::VariantArray;

use crate::fs::file_system::FileSystem;
use crate::inbox::Inbox;
use crate::job::suspension::SuspensionCause;
use crate::jobfile;
use crate::money::QUOTA_PER_USD;
use crate::server::admin::health;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::{AdminServer, AdminState};
use crate::server::admin::status::budgets;
use crate::store::counts::UnfinishedJobs;
use crate::store::metrics::JobLabels;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextFormat {
    /// Prometheus' own, version 0.0.4, which every scraper reads.
    Prometheus,
    OpenMetrics,
}

impl TextFormat {
    /// OpenMetrics only for who asks for it by name, and not for something else rather.
    fn accepted_by(request: &HttpRequest) -> Self {
        let Ok(Accept(accepted)) = Accept::parse(request) else { return Self::Prometheus };
        let quality = |name: &str| {
            let named = accepted.iter().filter(|accepted| accepted.item.essence_str() == name);
            named.map(|accepted| accepted.quality).max().unwrap_or(Quality::ZERO)
        };
        let wanted = quality("application/openmetrics-text");
        if wanted > Quality::ZERO && wanted >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// From OpenMetrics text. The formats differ in the name of a counter, which OpenMetrics writes without `_total`
    /// above its samples, and in the end.
    fn convert(self, text: String) -> String {
        if self == Self::OpenMetrics {
            return text;
        }
        let counters: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let convert = |line: &str| {
            for kind in ["# HELP ", "# TYPE "] {
                if let Some((name, rest)) = line.strip_prefix(kind).and_then(|line| line.split_once(' '))
                    && counters.contains(name)
                {
                    return format!("{kind}{name}_total {rest}\n");
                }
            }
            format!("{line}\n")
        };
        text.lines().filter(|line| *line != "# EOF").map(convert).collect()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EngineLabel {
    engine: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FolderLabel {
    folder: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BudgetName {
    budget: String,
}

type UsdByBudget = Family<BudgetName, Gauge<f64, std::sync::atomic::AtomicU64>>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// `GET /metrics`.
pub(super) async fn get_metrics(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let mut registry = Registry::with_prefix("dropreel");
    register_counters(&mut registry, &admin);
    register_state(&mut registry, &admin).await?;
    let server = admin.server.clone();
    // On a thread of its own: a folder may lie on a slow disk.
    let registry = web::block(move || {
        register_folders(&mut registry, &server);
        registry
    });
    let registry = registry.await.map_err(|_| internal_error("a bug: reading the folders panicked"))?;
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| internal_error(&error.to_string()))?;
    let format = TextFormat::accepted_by(&request);
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, format.media_type())).body(format.convert(text)))
}

fn internal_error(why: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// Counters since the start of the process.
fn register_counters(registry: &mut Registry, admin: &AdminState) {
    let metrics = admin.server.store.metrics();
    let version = Family::<VersionLabel, Gauge>::default();
    version.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "Always 1; the version is a label", version);
    let database = Family::<EngineLabel, Gauge>::default();
    database.get_or_create(&EngineLabel { engine: admin.server.store.engine() }).set(1);
    registry.register("database_info", "Always 1; what keeps the state is a label", database);
    registry.register("jobs_accepted", "Jobs accepted", metrics.accepted_jobs.clone());
    let help = "Jobs that reached a final state, by state and model";
    registry.register("jobs_finished", help, metrics.finished_jobs.clone());
    registry.register("submits", "Submit calls to the provider, by outcome", metrics.submits.clone());
    registry.register("polls", "Status queries to the provider, by outcome", metrics.polls.clone());
    registry.register("callbacks_received", "Callbacks stored", metrics.callbacks.clone());
    let help = "Tasks that finished at the provider, by what reported it first: callback, poll or watched";
    registry.register("tasks_finished", help, metrics.finished_tasks.clone());
    let missed = Gauge::<i64>::default();
    missed.set(metrics.missed_callbacks().into());
    let help = "Consecutive tasks that finished without a callback";
    registry.register("consecutive_missed_callbacks", help, missed);
    registry.register("downloads", "Attempts to download an output, by outcome", metrics.downloads.clone());
    registry.register("stored_bytes", "Bytes of outputs stored in the library", metrics.stored_bytes.clone());
    let charged = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    #[expect(clippy::cast_precision_loss, reason = "exact below eighteen thousand million dollars")]
    charged.inc_by(metrics.charged_quota.get() as f64 / QUOTA_PER_USD as f64);
    registry.register("charged_usd", "US dollars that the provider charged", charged);
    let help = "Tasks that were charged more than their job was estimated at";
    registry.register("charges_above_estimate", help, metrics.charges_above_estimate.clone());
    let help = "Database writes committed; a commit is a batch of them";
    registry.register("commit_batch_writes", help, metrics.commit_batch_writes.clone());
    let help = "Duration of a database commit with its flush to disk, in seconds";
    registry.register("commit_duration_seconds", help, metrics.commit_durations.clone());
}

/// Gauges of the current state.
async fn register_state(registry: &mut Registry, admin: &AdminState) -> Result<(), Problem> {
    let (store, now) = (&admin.server.store, admin.server.clock.now());
    let UnfinishedJobs { unfinished, oldest: created, nearest_expiry, to_upload } =
        store.unfinished_jobs().await?;
    let jobs = Family::<JobLabels, Gauge>::default();
    let oldest = Family::<StateLabel, Gauge>::default();
    for group in unfinished {
        let model = store.metrics().model_label(&group.model);
        let labels = JobLabels { state: group.state.into_str(), model };
        jobs.get_or_create(&labels).inc_by(group.jobs);
    }
    for (state, created) in created {
        let age = i64::try_from(now.since(created).as_secs()).unwrap_or(i64::MAX);
        oldest.get_or_create(&StateLabel { state: state.into_str() }).set(age);
    }
    registry.register("jobs", "Unfinished jobs, including held ones, by state and model", jobs);
    let help = "Age of the oldest unfinished job in seconds, by state";
    registry.register("oldest_job_age_seconds", help, oldest);
    if let Some(expiry) = nearest_expiry {
        let gauge = Gauge::<i64>::default();
        gauge.set((expiry.millis() - now.millis()) / 1000);
        let help = "Seconds until the first link of a missing output expires; absent if no output is missing";
        registry.register("next_link_expiry_seconds", help, gauge);
    }
    let waiting = Gauge::<i64>::default();
    waiting.set(i64::try_from(to_upload).unwrap_or(i64::MAX));
    let help = "Jobs with downloaded outputs that the bucket does not have yet; 0 without a bucket";
    registry.register("jobs_to_upload", help, waiting);
    let suspended = Family::<CauseLabel, Gauge>::default();
    let suspensions = store.suspensions().await?;
    for cause in SuspensionCause::VARIANTS.iter().copied() {
        let in_force = suspensions.iter().any(|suspension| suspension.cause == cause);
        suspended.get_or_create(&CauseLabel { cause: cause.into_str() }).set(in_force.into());
    }
    let help = "1 while submits or downloads are suspended for this cause, else 0";
    registry.register("suspended", help, suspended);
    register_budgets(registry, admin).await?;
    register_balance(registry, admin).await?;
    let ready = Gauge::<i64>::default();
    ready.set(health::problems(&admin.server).is_empty().into());
    registry.register("ready", "1 while the daemon is ready (/readyz), else 0", ready);
    let leads = Gauge::<i64>::default();
    leads.set((!store.follows()).into());
    registry.register("leads", "1 if this daemon leads, 0 if it follows another one", leads);
    Ok(())
}

/// Gauges of budgets; none without a limit.
async fn register_budgets(registry: &mut Registry, admin: &AdminState) -> Result<(), Problem> {
    let budgets = budgets(&admin.server.store, admin.server.clock.now()).await?;
    if budgets.is_empty() {
        return Ok(());
    }
    let [limit, reserved, spent] = [(); 3].map(|()| UsdByBudget::default());
    for view in budgets {
        let label = BudgetName { budget: view.budget };
        limit.get_or_create(&label).set(view.limit_usd);
        reserved.get_or_create(&label).set(view.reserved_usd);
        spent.get_or_create(&label).set(view.spent_usd);
    }
    registry.register("budget_limit_usd", "The limit of a budget, in US dollars", limit);
    let help = "US dollars reserved of a budget for submitted jobs whose cost is not final";
    registry.register("budget_reserved_usd", help, reserved);
    registry.register("budget_spent_usd", "US dollars charged to a budget", spent);
    Ok(())
}

/// Gauges of the balance, if it is known, and of what waiting jobs need of it.
async fn register_balance(registry: &mut Registry, admin: &AdminState) -> Result<(), Problem> {
    let waiting = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    waiting.set(admin.server.store.waiting_cost().await?.usd());
    registry.register("waiting_usd", "US dollars that the pending jobs will probably cost", waiting);
    if let Some(known) = admin.server.balance.last() {
        let balance = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        balance.set(known.usd());
        registry.register("balance_usd", "Balance at the provider in US dollars, as last read", balance);
    }
    Ok(())
}

/// Gauges of folders. Blocks.
fn register_folders(registry: &mut Registry, server: &AdminServer) {
    let free = Family::<FolderLabel, Gauge>::default();
    for (folder, path) in [("data", server.settings.data_dir.as_path()), ("library", server.library_dir())] {
        if let Ok(found) = FileSystem::of(path) {
            let bytes = i64::try_from(found.free_bytes).unwrap_or(i64::MAX);
            free.get_or_create(&FolderLabel { folder }).set(bytes);
        }
    }
    registry.register("disk_free_bytes", "Free bytes on the disk of a folder", free);
    let inbox = &server.settings.inbox;
    let Ok(scan) = Inbox::new(inbox.dir.clone()).scan(inbox.recursive) else { return };
    let job_files: Vec<_> = scan
        .files
        .iter()
        .filter(|entry| entry.irregular_kind.is_none() && jobfile::is_job_file_name(&entry.name))
        .collect();
    let (count, oldest) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    count.set(i64::try_from(job_files.len()).unwrap_or(i64::MAX));
    let age =
        job_files.iter().map(|entry| server.clock.now().since(entry.version.changed_at()).as_secs()).max();
    oldest.set(i64::try_from(age.unwrap_or(0)).unwrap_or(i64::MAX));
    registry.register("inbox_files", "Job files in the inbox", count);
    let help = "Age of the oldest job file in the inbox, in seconds";
    registry.register("inbox_oldest_file_age_seconds", help, oldest);
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn open_metrics_is_for_who_accepts_that_by_name() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let cases = [
            (None, TextFormat::Prometheus),
            (Some(""), TextFormat::Prometheus),
            (Some("*/*"), TextFormat::Prometheus),
            (Some("text/plain"), TextFormat::Prometheus),
            (Some("text/html,*/*;q=0.8"), TextFormat::Prometheus),
            (Some("application/openmetrics-text;q=0"), TextFormat::Prometheus),
            (Some("application/openmetrics-text;q=0.2,text/plain"), TextFormat::Prometheus),
            (Some("application/openmetrics-text"), TextFormat::OpenMetrics),
            (Some(prometheus), TextFormat::OpenMetrics),
        ];
        for (accept, format) in cases {
            let request = TestRequest::get();
            let request = match accept {
                Some(accept) => request.insert_header(("accept", accept)),
                None => request,
            };
            assert_eq!(TextFormat::accepted_by(&request.to_http_request()), format, "{accept:?}");
        }
    }

    #[test]
    fn prometheus_text_has_counters_under_their_full_name() {
        let open = "# HELP a_jobs Jobs.\n# TYPE a_jobs counter\na_jobs_total 1\n\
                    # HELP a_jobs_now Now.\n# TYPE a_jobs_now gauge\na_jobs_now{s=\"# EOF\"} 2\n# EOF\n";
        let classic = "# HELP a_jobs_total Jobs.\n# TYPE a_jobs_total counter\na_jobs_total 1\n\
                       # HELP a_jobs_now Now.\n# TYPE a_jobs_now gauge\na_jobs_now{s=\"# EOF\"} 2\n";
        assert_eq!(TextFormat::Prometheus.convert(open.to_owned()), classic);
        assert_eq!(TextFormat::OpenMetrics.convert(open.to_owned()), open);
    }
}
