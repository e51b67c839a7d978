//! Rewrites sidecars whose job has changed since their file was published: the provider may settle the cost of a task
//! long after its video is in the library, and a person rates it later still.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};

use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::library::Library;
use crate::library::sidecar::SidecarError;
use crate::money::Quota;
use crate::stages::{Stage, Wake, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};
use crate::store::sidecars::{OutdatedSidecar, SidecarFacts};

/// Most sidecars read at once.
const BATCH: u32 = 64;
/// How soon sidecars are tried again that could not be written.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// The sidecar stage.
pub struct SidecarStage {
    store: Store,
    library: Library,
    clock: Clock,
    notifications: Notifications,
    /// When the sidecars are tried again that could not be written: not at each notification.
    retries: Mutex<BTreeMap<String, Timestamp>>,
}

impl SidecarStage {
    /// Listens from now on.
    pub fn new(store: Store, library: Library, clock: Clock) -> Self {
        let notifications = store.listen(Topic::Sidecars);
        Self { store, library, clock, notifications, retries: Mutex::default() }
    }

    /// Rewrites one. A crash after it is harmless: the same is written again.
    async fn rewrite(&self, path: String, facts: SidecarFacts) -> Result<(), SidecarError> {
        let (library, job) = (self.library.clone(), facts.job);
        let owner = job.to_string();
        let quota = to_raw_value(&facts.cost.map(Quota::get));
        let usd = to_raw_value(&facts.cost.map(Quota::usd));
        let rating = to_raw_value(&facts.rating);
        let labels = RawValue::from_string(facts.labels.unwrap_or_else(|| "null".to_owned()));
        let values = [("cost_quota", quota), ("cost_usd", usd), ("rating", rating), ("labels", labels)];
        // Numbers always serialize, and labels are stored as JSON.
        let values = values.map(|(key, value)| value.map(|value| (key, value)));
        let values: Vec<_> = values.into_iter().flatten().collect();
        let rewritten = match facts.bucket {
            Some(bucket) => library.set_in_uploaded_sidecar(&bucket, &path, &owner, &values).await,
            None => run_blocking(&self.clock, move || library.set_in_sidecar(&path, &owner, &values)).await,
        };
        failpoints::hit(FailPoint::SidecarRewritten);
        match rewritten {
            Ok(_) => Ok(()),
            Err(error @ (SidecarError::File(_) | SidecarError::Bucket(_))) => Err(error),
            Err(error @ SidecarError::NotASidecar { .. }) => {
                tracing::warn!(%job, "cost, rating and labels of job {job} are not noted beside its file: {error}");
                Ok(())
            }
        }
    }
}

impl Stage for SidecarStage {
    const NAME: &'static str = "sidecars";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let (mut after, mut wake, now) = (String::new(), Wake::OnNotify, self.clock.now());
        // A clock that was ahead made them wait for a time that is far away, now that it is right.
        self.retries.lock().retain(|_, at| *at > now && *at <= now.plus(RETRY_INTERVAL));
        loop {
            let outdated = self.store.outdated_sidecars(after, BATCH).await?;
            let Some(last) = outdated.last() else { return Ok(wake) };
            after = last.path.clone();
            let library = self.library.clone();
            // Its disk is unplugged: what is missing there is not gone.
            if !run_blocking(&self.clock, move || library.is_present()).await {
                return Ok(Wake::At(self.clock.now().plus(RETRY_INTERVAL)));
            }
            for OutdatedSidecar { path, version, facts } in outdated {
                let retry_at = self.retries.lock().get(&path).copied();
                if let Some(at) = retry_at {
                    wake = wake.or(Wake::At(at));
                    continue;
                }
                if let Some(facts) = facts
                    && let job = facts.job
                    && let Err(error) = self.rewrite(path.clone(), facts).await
                {
                    tracing::warn!(%job, "a sidecar of job {job} could not be rewritten; it is tried again: {error}");
                    let at = self.clock.now().plus(RETRY_INTERVAL);
                    self.retries.lock().insert(path, at);
                    wake = wake.or(Wake::At(at));
                    continue;
                }
                self.store.sidecar_rewritten(path, version).await?;
            }
        }
    }

    async fn notified(&self) {
        self.notifications.next().await;
    }

    async fn drain(&self) {}
}
