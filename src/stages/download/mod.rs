//! Downloads finished outputs into the library or, if that is a bucket, into its spool: the link that expires first before
//! the others.

mod fairness;
mod fetch;
mod permits;
mod publish;
mod sidecar;
mod spool;
pub mod upload;
pub mod worker_pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::Event;
use crate::job::history::HistoryEvent;
use crate::job::next_action::next_download;
use crate::job::output::{Output, OutputKey, host_of_link};
use crate::library::Library;
use crate::library::layout::Layout;
use crate::library::quarantine::Quarantine;
use crate::media::client::MediaClient;
use crate::stages::download::fairness::WaitingDownload;
use crate::stages::download::permits::{TransferPermit, TransferPermits};
use crate::stages::download::worker_pool::WorkerPool;
use crate::stages::{InFlight, Stage, Wake, isolate_corrupt_job, log_transition, run_blocking};
use crate::store::Store;
use crate::store::downloads::DownloadQueue;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

/// How many due jobs a pass reads beyond those in flight.
const BATCH: u32 = 32;
/// The most that it reads, where those that may not begin yet hide others.
const MAX_BATCH: u32 = 100_000;
/// How many jobs may be in flight beyond those that transfer bytes: their files are flushed, checked and published.
const PUBLISHING: usize = 4;
/// How soon an absent library is checked again.
const LIBRARY_RECHECK: Duration = Duration::from_secs(10);

/// What the download stage works with.
pub struct DownloadTools {
    pub store: Store,
    pub clock: Clock,
    /// The threads that download.
    pub workers: WorkerPool,
    pub library: Library,
    /// For downloads that are not media.
    pub quarantine: Quarantine,
    pub layout: Layout,
    /// How long before a link expires to warn.
    pub alert_before_expiry: Duration,
}

pub struct DownloadStage {
    tools: Arc<DownloadTools>,
    concurrency: usize,
    in_flight: InFlight,
    permits: TransferPermits,
    notifications: Notifications,
    stale_parts_removed: AtomicBool,
    absent: AtomicBool,
}

impl DownloadStage {
    /// Subscribes to notifications; at most `concurrency` files are transferred at once.
    pub fn new(tools: DownloadTools, concurrency: usize) -> Self {
        let notifications = tools.store.listen(Topic::Download);
        let permits = TransferPermits::new(concurrency, tools.clock.clone());
        Self {
            concurrency,
            in_flight: InFlight::new(permits.slots() + PUBLISHING, tools.clock.clone()),
            permits,
            tools: Arc::new(tools),
            notifications,
            stale_parts_removed: AtomicBool::new(false),
            absent: AtomicBool::new(false),
        }
    }

    /// Begins those of the due downloads that may begin now. Returns whether more could.
    fn spawn_downloads(&self, due: Vec<(JobId, String)>) -> bool {
        let waiting: Vec<_> = due
            .into_iter()
            .filter(|(job, _)| !self.in_flight.contains(*job))
            .map(|(job, host)| WaitingDownload { job, host })
            .collect();
        let publishing = self.in_flight.count().saturating_sub(self.permits.running());
        // Files that are flushed, checked and published must not pile up.
        let most = (self.concurrency + PUBLISHING).saturating_sub(publishing);
        for permit in self.permits.admit(&waiting, most) {
            let job = permit.job();
            self.in_flight.spawn(job, self.tools.clone().download_job(job, self.permits.clone(), permit));
        }
        publishing < PUBLISHING && self.permits.has_fast_slot()
    }

    /// Removes the unfinished downloads of jobs that have ended. Once after the start.
    async fn remove_stale_parts(&self) -> Result<(), StoreError> {
        let library = self.tools.library.clone();
        let parts = match run_blocking(&self.tools.clock, move || library.list_parts()).await {
            Ok(parts) => parts,
            Err(error) => {
                tracing::warn!("cannot list unfinished downloads: {error}");
                return Ok(());
            }
        };
        for part in parts {
            let job = part.get(..36).and_then(JobId::parse);
            let needed = match job {
                Some(job) => match self.tools.store.details(job).await {
                    Ok(details) => !details.job.state_name().is_end(),
                    Err(StoreError::NoSuchJob(_)) => false,
                    Err(error) => return Err(error),
                },
                None => false,
            };
            if !needed {
                self.tools.library.remove_part(&part);
            }
        }
        Ok(())
    }

    fn check_library(&self) -> bool {
        let present = self.tools.library.is_present();
        if self.absent.swap(!present, Ordering::Relaxed) == present {
            let root = self.tools.library.root().display();
            if present {
                tracing::info!("the library at {root} is back; downloads continue");
            } else {
                tracing::error!(
                    "the library at {root} is missing (unmounted?); downloads wait until it is back"
                );
            }
        }
        present
    }
}

impl DownloadTools {
    /// The file name of an output's unfinished download. The job's id comes first.
    fn part_name(job: JobId, key: OutputKey) -> String {
        format!("{job}-{key}")
    }

    /// Downloads all waiting outputs of a job on one thread. A failed output does not stop the others.
    async fn download_job(
        self: Arc<Self>,
        job: JobId,
        permits: TransferPermits,
        permit: TransferPermit,
    ) -> bool {
        let tools = self.clone();
        let work = move |client: Arc<MediaClient>| async move {
            tools.try_download_job(&client, job, &permits, permit).await
        };
        let why = match self.workers.run(work).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(%job, "download of job {job} failed on our side; retrying later: {why}");
        false
    }

    async fn try_download_job(
        &self,
        client: &MediaClient,
        job: JobId,
        permits: &TransferPermits,
        permit: TransferPermit,
    ) -> Result<(), StoreError> {
        failpoints::hit(FailPoint::DownloadBegan);
        if !self.store.claim_downloads(job).await? {
            return Ok(());
        }
        let queued = self.store.job_to_download(job).await?;
        let details = &queued.details;
        let (Some(task), now) = (details.job.task().cloned(), self.clock.now()) else { return Ok(()) };
        let due = next_download(&details.job).map_or_else(Vec::new, |_| {
            details.job.outputs().iter().filter(|output| output.is_due(now)).collect()
        });
        if due.is_empty() {
            // Another download of this job has completed since the pass read it: what its row says is corrected.
            self.store.apply(job, Event::TimeElapsed, now).await?;
            return Ok(());
        }
        let mut outputs: Vec<_> = due.into_iter().filter_map(waiting_with_host).collect();
        // The permit was given for the host of one of them.
        outputs.sort_by_key(|(_, host)| host != permit.host());
        let (mut first, mut has_failed) = (Some(permit), false);
        for (output, host) in outputs {
            let permit = match first.take().filter(|permit| permit.host() == host) {
                Some(permit) => permit,
                None => permits.acquire(job, host).await,
            };
            let Some(ended) = self.download_output(client, &queued, output, permit).await? else {
                tracing::debug!(%job, "{} of job {job} gave way to other downloads", output.key);
                continue;
            };
            let event = match ended {
                Ok(event) => {
                    if let Event::Stored(stored) = &event {
                        tracing::info!(%job, "stored {} of job {job}", stored.file().path);
                    }
                    event
                }
                Err(failure) => {
                    tracing::warn!(%job, "{} of job {job} not stored yet: {failure}", output.key);
                    Event::DownloadFailed { task: task.clone(), key: output.key, failure }
                }
            };
            has_failed |= matches!(event, Event::DownloadFailed { .. });
            let failpoint = match &event {
                Event::Stored(_) => FailPoint::StoredApplied,
                Event::Spooled { .. } => FailPoint::SpooledApplied,
                _ => FailPoint::DownloadFailureApplied,
            };
            let applied = self.store.apply(job, event, self.clock.now()).await?;
            failpoints::hit(failpoint);
            log_transition(&applied);
            if next_download(&applied.job).is_none() {
                break;
            }
        }
        if has_failed {
            // Perhaps another machine gets it.
            self.store.release_downloads(job).await?;
        }
        Ok(())
    }
}

/// Warns of jobs whose links expire soon.
async fn alert(store: &Store, jobs: Vec<JobId>, now: Timestamp) -> Result<(), StoreError> {
    for job in jobs {
        let applied = store.apply(job, Event::TimeElapsed, now).await;
        let Some(applied) = isolate_corrupt_job(store, job, applied).await? else { continue };
        failpoints::hit(FailPoint::AlertCommitted);
        for entry in applied.history.iter().filter(|entry| entry.event == HistoryEvent::Expiring) {
            tracing::warn!(%job, "job {job} is at risk: {}", entry.detail);
        }
    }
    Ok(())
}

/// An output that waits, with the host of its link.
fn waiting_with_host(output: &Output) -> Option<(&Output, String)> {
    output.waiting().map(|waiting| (output, host_of_link(waiting.link.expose())))
}

impl Stage for DownloadStage {
    const NAME: &'static str = "download";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if !self.stale_parts_removed.load(Ordering::Relaxed) {
            self.remove_stale_parts().await?;
            self.stale_parts_removed.store(true, Ordering::Relaxed);
        }
        let mut limit = BATCH.saturating_add(u32::try_from(self.in_flight.count()).unwrap_or(u32::MAX));
        loop {
            let now = self.tools.clock.now();
            let alert_until = now.plus(self.tools.alert_before_expiry);
            let DownloadQueue { alerts, suspensions, due, next } =
                self.tools.store.download_queue(now, alert_until, limit).await?;
            alert(&self.tools.store, alerts, now).await?;
            if suspensions.iter().any(|suspension| suspension.cause.suspends_downloads()) {
                return Ok(Wake::OnNotify);
            }
            if !due.is_empty() && !self.check_library() {
                self.tools.store.release_own_claims(true, now).await?;
                return Ok(Wake::At(now.plus(LIBRARY_RECHECK)));
            }
            let is_all = due.len() < limit as usize;
            let has_room = self.spawn_downloads(due);
            if is_all || !has_room || limit >= MAX_BATCH {
                return Ok(Wake::at(next));
            }
            // Jobs that may not begin yet, such as those of a slow host, hide others.
            limit = limit.saturating_mul(8);
        }
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
            () = self.permits.released() => {}
        }
    }

    async fn drain(&self) {
        // Unfinished files resume after the next start.
        self.in_flight.abort().await;
    }
}
