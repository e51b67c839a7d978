//! Fetches finished outputs into the library, the link that dies first before the others.

mod fetch;
mod permits;
mod publish;
mod sidecar;
pub mod worker_pool;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::job::event::Event;
use crate::job::history::HistoryEvent;
use crate::job::next_action::{NextAction, is_due};
use crate::job::state::StateName;
use crate::job::{JobId, output::OutputKey};
use crate::library::Library;
use crate::library::layout::Layout;
use crate::media::fetch::MediaClient;
use crate::stages::download::permits::{TransferPermit, TransferPermits};
use crate::stages::download::worker_pool::WorkerPool;
use crate::stages::{InFlight, Stage, Wake, isolate_corrupt_job, log_transition, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fetches::Fetches;
use crate::store::notify::{Notifications, Topic};

/// So many due jobs are looked at beyond those that can be fetched at once.
const BATCH: u32 = 32;
/// So many jobs beyond those whose bytes come may be under way: their files are flushed, checked and named.
const NAMED_MEANWHILE: usize = 4;
/// A library that went away is looked for again so soon.
const ABSENCE: Duration = Duration::from_secs(10);

/// What the download stage works with.
pub struct DownloadTools {
    /// All state.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What brings files in from media hosts.
    pub hands: WorkerPool,
    /// Where files go.
    pub library: Library,
    /// Where unfit files go.
    pub quarantine: PathBuf,
    /// How files are named.
    pub layout: Layout,
    /// How long before a link's death to warn.
    pub alert_before_expiry: Duration,
}

/// The download stage.
pub struct DownloadStage {
    tools: Arc<DownloadTools>,
    in_flight: InFlight,
    lanes: TransferPermits,
    notifications: Notifications,
    swept: AtomicBool,
    absent: AtomicBool,
}

impl DownloadStage {
    /// Listens from now on; at most `concurrency` files come over the network at once.
    pub fn new(tools: DownloadTools, concurrency: usize) -> Self {
        let notifications = tools.store.listen(Topic::Download);
        Self {
            in_flight: InFlight::new(concurrency.max(1) + NAMED_MEANWHILE, tools.clock.clone()),
            lanes: TransferPermits::new(concurrency),
            tools: Arc::new(tools),
            notifications,
            swept: AtomicBool::new(false),
            absent: AtomicBool::new(false),
        }
    }

    async fn alert(&self, jobs: Vec<JobId>) -> Result<(), StoreError> {
        let (store, now) = (&self.tools.store, self.tools.clock.now());
        for job in jobs {
            let applied = store.apply(job, Event::TimeElapsed, now).await;
            let Some(applied) = isolate_corrupt_job(store, job, applied).await? else { continue };
            failpoints::hit(FailPoint::AlertCommitted);
            for entry in applied.history.iter().filter(|entry| entry.event == HistoryEvent::Expiring) {
                tracing::warn!(%job, "job {job} is in danger: {}", entry.detail);
            }
        }
        Ok(())
    }

    /// Once after the start: throws away what was left of downloads whose jobs need them no more.
    async fn sweep(&self) -> Result<(), StoreError> {
        let library = self.tools.library.clone();
        let parts = match run_blocking(&self.tools.clock, move || library.list_parts()).await {
            Ok(parts) => parts,
            Err(error) => {
                tracing::warn!("unfinished downloads cannot be looked at: {error}");
                return Ok(());
            }
        };
        for part in parts {
            let job = part.get(..36).and_then(JobId::parse);
            let wanted = match job {
                Some(job) => match self.tools.store.look(job).await {
                    Ok(sight) => !sight.job.state_name().is_end(),
                    Err(StoreError::NoSuchJob(_)) => false,
                    Err(error) => return Err(error),
                },
                None => false,
            };
            if !wanted {
                self.tools.library.remove_part(&part);
            }
        }
        Ok(())
    }

    fn library_is_there(&self) -> bool {
        let present = self.tools.library.is_present();
        if self.absent.swap(!present, Ordering::Relaxed) == present {
            let root = self.tools.library.root().display();
            if present {
                tracing::info!("the library at {root} is there again; downloads go on");
            } else {
                tracing::error!(
                    "the library at {root} is gone (unmounted?); downloads wait until it is back"
                );
            }
        }
        present
    }
}

impl DownloadTools {
    /// The name of an output's unfinished download: the job's id comes first.
    fn part_name(job: JobId, key: OutputKey) -> String {
        format!("{job}-{key}")
    }

    /// Fetches all outputs of a job that wait, by one thread. One that fails does not keep the others from being tried.
    async fn fetch_job(self: Arc<Self>, job: JobId, lanes: TransferPermits, lane: TransferPermit) -> bool {
        let tools = self.clone();
        let work = move |client: Arc<MediaClient>| async move {
            tools.try_fetch_job(&client, job, &lanes, lane).await
        };
        let why = match self.hands.lend(work).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(%job, "the download of job {job} is tried again later: {why}");
        false
    }

    async fn try_fetch_job(
        &self,
        client: &MediaClient,
        job: JobId,
        lanes: &TransferPermits,
        lane: TransferPermit,
    ) -> Result<(), StoreError> {
        failpoints::hit(FailPoint::DownloadBegan);
        let fetching = self.store.fetching(job).await?;
        let sight = &fetching.sight;
        // Tried meanwhile, by a flight that has just landed.
        if !is_due(&sight.job, NextAction::Download, self.clock.now()) {
            return Ok(());
        }
        let mut first = Some(lane);
        for output in sight.job.outputs().iter().filter(|output| output.is_waiting()) {
            let lane = match first.take() {
                Some(lane) => lane,
                None => lanes.enter().await,
            };
            let event = match self.fetch_output(client, &fetching, output, lane).await? {
                Ok(stored) => {
                    tracing::info!(%job, "stored {} of job {job}", stored.file().path);
                    Event::Stored(stored)
                }
                Err(failure) => {
                    tracing::warn!(%job, "{} of job {job} is not stored yet: {failure}", output.key);
                    Event::DownloadFailed { key: output.key, failure }
                }
            };
            let site = match &event {
                Event::Stored(_) => FailPoint::StoredApplied,
                _ => FailPoint::DownloadFailureApplied,
            };
            let applied = self.store.apply(job, event, self.clock.now()).await?;
            failpoints::hit(site);
            log_transition(&applied);
            if applied.job.state_name() != StateName::Downloading {
                break;
            }
        }
        Ok(())
    }
}

impl Stage for DownloadStage {
    const NAME: &'static str = "download";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if !self.swept.load(Ordering::Relaxed) {
            self.sweep().await?;
            self.swept.store(true, Ordering::Relaxed);
        }
        let now = self.tools.clock.now();
        let alert_until = now.plus(self.tools.alert_before_expiry);
        let limit = BATCH.saturating_add(u32::try_from(self.in_flight.count()).unwrap_or(u32::MAX));
        let Fetches { alerts, suspensions, due } = self.tools.store.fetches(now, alert_until, limit).await?;
        self.alert(alerts).await?;
        if suspensions.iter().any(|suspension| suspension.cause.suspends_downloads()) {
            return Ok(Wake::OnNotify);
        }
        if !due.jobs.is_empty() && !self.library_is_there() {
            return Ok(Wake::At(now.plus(ABSENCE)));
        }
        for job in due.jobs {
            if self.in_flight.is_full() {
                break;
            }
            if self.in_flight.contains(job) {
                continue;
            }
            let Some(lane) = self.lanes.try_enter() else { break };
            self.in_flight.spawn(job, self.tools.clone().fetch_job(job, self.lanes.clone(), lane));
        }
        Ok(Wake::at(due.next))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
            () = self.lanes.left() => {}
        }
    }

    async fn drain(&self) {
        // What has come so far is gone on with after the start.
        self.in_flight.abort().await;
    }
}
