//! Uploads spooled outputs to the bucket, then their sidecars. A bucket that is away, full or slow holds up no download:
//! the spool keeps what is paid for, and each upload is tried again with a backoff.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::{DownloadFailure, Event};
use crate::job::output::{Output, Stored, StoredFile};
use crate::library::Library;
use crate::library::bucket::{Bucket, BucketError};
use crate::stages::download::spool::{find_planned_part, is_plain_http, unpacked_name};
use crate::stages::download::{DownloadTools, LIBRARY_RECHECK, alert, sidecar};
use crate::stages::{InFlight, Stage, Wake, log_transition, run_blocking};
use crate::store::Store;
use crate::store::downloads::{JobToDownload, Plan};
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

/// The upload stage. It runs without a bucket too: then it gives what is spooled back to the download stage, which
/// publishes it in the folder.
pub struct UploadStage {
    uploader: Arc<Uploader>,
    concurrency: usize,
    /// How long before a link expires to warn.
    alert_before_expiry: Duration,
    in_flight: InFlight,
    notifications: Notifications,
}

struct Uploader {
    store: Store,
    clock: Clock,
    library: Library,
}

impl UploadStage {
    /// Subscribes to notifications; at most `concurrency` files are uploaded at once.
    pub fn new(
        store: Store,
        clock: Clock,
        library: Library,
        concurrency: usize,
        alert_before_expiry: Duration,
    ) -> Self {
        let notifications = store.listen(Topic::Upload);
        let in_flight = InFlight::new(concurrency, clock.clone());
        let uploader = Arc::new(Uploader { store, clock, library });
        Self { uploader, concurrency, alert_before_expiry, in_flight, notifications }
    }
}

impl Stage for UploadStage {
    const NAME: &'static str = "upload";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let Uploader { store, clock, library } = &*self.uploader;
        let now = clock.now();
        // A spooled output is not downloaded again, but it is not stored yet either.
        let limit = u32::try_from(self.concurrency + self.in_flight.count()).unwrap_or(u32::MAX);
        let queue = store.upload_queue(now, now.plus(self.alert_before_expiry), limit).await?;
        alert(store, queue.alerts, now).await?;
        if !queue.due.is_empty() && !library.is_present() {
            // What is missing on an unplugged disk is not gone.
            return Ok(Wake::At(now.plus(LIBRARY_RECHECK)));
        }
        for job in queue.due {
            if self.in_flight.is_full() {
                break;
            }
            self.in_flight.spawn(job, self.uploader.clone().upload_job(job));
        }
        Ok(Wake::at(queue.next))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // An upload that is cut off is made again, under the same key.
        self.in_flight.abort().await;
    }
}

impl Uploader {
    async fn upload_job(self: Arc<Self>, job: JobId) -> bool {
        let uploaded = self.try_upload_job(job).await;
        if let Err(error) = &uploaded {
            tracing::error!(%job, "upload of job {job} failed on our side; retrying later: {error}");
        }
        uploaded.is_ok()
    }

    async fn try_upload_job(&self, job: JobId) -> Result<(), StoreError> {
        if !self.store.claim_downloads(job).await? {
            return Ok(());
        }
        let queued = self.store.job_to_download(job).await?;
        let now = self.clock.now();
        let due: Vec<_> =
            queued.details.job.outputs().iter().filter(|output| output.is_upload_due(now)).cloned().collect();
        if due.is_empty() {
            // It has changed since the pass read it: what its row says is corrected.
            self.store.apply(job, Event::TimeElapsed, now).await?;
        }
        let mut is_lost = false;
        for output in due {
            let Some(task) = queued.details.job.task().cloned() else { break };
            let event = match self.upload(&queued, &output).await? {
                Ok(stored) => {
                    tracing::info!(%job, "stored {} of job {job}", stored.file().path);
                    Event::Stored(stored)
                }
                Err(failure) => Event::DownloadFailed { task, key: output.key, failure },
            };
            let is_stored = matches!(event, Event::Stored(_));
            is_lost |=
                matches!(&event, Event::DownloadFailed { failure: DownloadFailure::NotSpooled { .. }, .. });
            let applied = self.store.apply(job, event, self.clock.now()).await?;
            log_transition(&applied);
            if is_stored {
                failpoints::hit(FailPoint::UploadApplied);
                // What a crash leaves here is removed at the next start.
                let name = DownloadTools::part_name(job, output.key);
                self.library.remove_part(&unpacked_name(&name));
                self.library.remove_part(&name);
            }
        }
        if is_lost {
            // Whoever can downloads it again.
            self.store.release_downloads(job).await?;
        }
        Ok(())
    }

    /// Uploads an output and its sidecar. The outer error is one of the database.
    async fn upload(
        &self,
        queued: &JobToDownload,
        output: &Output,
    ) -> Result<Result<Stored, DownloadFailure>, StoreError> {
        let (job, key) = (queued.details.job.id(), output.key);
        let not_spooled = |why: &str| Ok(Err(DownloadFailure::NotSpooled { why: why.to_owned() }));
        let Some(bucket) = self.library.bucket() else {
            return not_spooled("the library is a folder again");
        };
        let plan = queued.plans.iter().find(|(planned, _)| *planned == key).map(|(_, plan)| plan.clone());
        let Some(plan) = plan else { return not_spooled("no name is planned for it") };
        let (library, known) = (self.library.clone(), plan.clone());
        let part = run_blocking(&self.clock, move || find_planned_part(&library, job, key, &known)).await;
        let Some((part, verified)) = part else {
            return not_spooled(
                "the downloaded file is damaged, gone or on another machine; it is downloaded again",
            );
        };
        if let Err(error) = bucket.upload(&part, &plan.path, verified.mime, &self.clock).await {
            return Ok(Err(self.failed(bucket, job, &error)));
        }
        failpoints::hit(FailPoint::ObjectUploaded);
        // An upload takes long: what the sidecar says is read now.
        let latest = self.store.job_to_download(job).await?;
        let Some(task) = latest.details.job.task().cloned() else {
            return not_spooled("the job has no task");
        };
        let stored_at = self.clock.now();
        let file = stored_file(&plan, bucket, stored_at);
        let origin =
            sidecar::Origin { kind: key.kind, mime: verified.mime, plain_http: is_plain_http(output) };
        let text = sidecar::text(&latest.details, &latest.request, &origin, &file);
        match bucket.publish(&part, &plan.path, text).await {
            Ok(published) => {
                failpoints::hit(FailPoint::SidecarUploaded);
                // What has been charged since the sidecar's text was made is noted beside the file later.
                let cost = latest.details.job.facts().cost;
                self.store.plan_output(job, task.clone(), key, plan.clone(), cost).await?;
                if bucket.note(None) {
                    tracing::info!("the bucket {} takes files again", bucket.address());
                }
                Ok(Ok(Stored::new(task, key, &published, plan.host, stored_at)))
            }
            Err(error) => Ok(Err(self.failed(bucket, job, &error))),
        }
    }

    /// Logs the first failure in a row only: a bucket that is away fails for every file.
    fn failed(&self, bucket: &Bucket, job: JobId, error: &BucketError) -> DownloadFailure {
        let why = error.to_string();
        if bucket.note(Some(why.clone())) {
            tracing::warn!(%job, "files are not uploaded, and stay on this machine; they are tried again: {why}");
        } else {
            tracing::debug!(%job, "an output of job {job} is not uploaded yet: {why}");
        }
        DownloadFailure::NotUploaded { why }
    }
}

fn stored_file(plan: &Plan, bucket: &Bucket, stored_at: Timestamp) -> StoredFile {
    StoredFile {
        path: plan.path.clone(),
        bucket: Some(bucket.address().to_owned()),
        bytes: plan.bytes,
        sha256: plan.sha256.clone(),
        host: plan.host.clone(),
        stored_at,
    }
}
