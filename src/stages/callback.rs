//! Processes stored callbacks. A callback only makes its job due for a poll. Its content counts only where
//! `callbacks.trust` says so and it was signed (docs/reference.md#configuration).

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, Phase, StatusVerdict};
use crate::job::state::StateName;
use crate::provider::wire::{read_status, task_hint};
use crate::stages::{Stage, Wake, isolate_corrupt_job};
use crate::store::Store;
use crate::store::deliveries::Delivery;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

/// Most deliveries processed in one pass; they share a commit.
const BATCH: u32 = 64;
/// How soon deliveries are tried again whose processing failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How long a pass waits for more deliveries after the first. Without it, each callback would cost two commits, and the
/// sender of the next would wait for the second.
const GATHER_TIME: Duration = Duration::from_millis(20);

pub struct CallbackStage {
    store: Store,
    clock: Clock,
    notifications: Notifications,
    /// The content of deliveries after this one is trusted.
    trusted_after: Option<i64>,
    failed: Mutex<Option<Failed>>,
}

/// Deliveries whose processing failed: those behind them do not wait.
#[derive(Clone, Copy)]
struct Failed {
    /// The number of the last delivery that was read with them.
    last: i64,
    /// When they are read again.
    retry_at: Timestamp,
}

impl CallbackStage {
    /// Trusts no content. Listens from now on, so that no commit before the first pass is missed.
    pub fn new(store: Store, clock: Clock) -> Self {
        let notifications = store.listen(Topic::Deliveries);
        Self { store, clock, notifications, trusted_after: None, failed: Mutex::default() }
    }

    /// Trusts the content of every delivery after `newest`, since all of them are signed. Earlier ones may have been
    /// stored when no signature was required.
    pub fn trusting_after(newest: i64, store: Store, clock: Clock) -> Self {
        Self { trusted_after: Some(newest), ..Self::new(store, clock) }
    }

    /// The status in a trusted delivery, as if the task had been polled. `None` where the status is not clear, of
    /// another task, or too late to matter: then the task is polled.
    async fn trusted_status(&self, delivery: &Delivery, now: Timestamp) -> Option<Event> {
        if delivery.nr <= self.trusted_after? || delivery.more > 0 {
            return None;
        }
        let job = self.store.details(delivery.job).await.ok()?.job;
        let task = job.task().filter(|_| is_running(job.state_name()))?;
        let facts = read_status(&delivery.body, task, now, None).ok()?;
        let is_clear = match facts.phase {
            Phase::Completed => !facts.outputs.is_empty(),
            Phase::Queued | Phase::Processing | Phase::Failed | Phase::Cancelled => true,
            Phase::Unclear(_) => false,
        };
        // As if polled right after the callback, which then needs no poll of its own.
        let began = now.plus(Duration::from_millis(1));
        let (task, verdict) = (task.clone(), StatusVerdict::Answered(facts));
        is_clear.then_some(Event::StatusPolled { task, sent_at: began, verdict })
    }

    /// Returns whether the delivery is done with.
    async fn process(&self, delivery: &Delivery) -> bool {
        let received = Event::CallbackReceived { hint: task_hint(&delivery.body), quiet: delivery.more > 0 };
        let job = delivery.job;
        failpoints::hit(FailPoint::CallbackProcessingBegan);
        let now = self.clock.now();
        let status = self.trusted_status(delivery, now).await;
        let processed = self.store.process_delivery(delivery, received, status, now).await;
        let isolated = match isolate_corrupt_job(&self.store, job, processed).await {
            Ok(Some(applied)) => {
                failpoints::hit(FailPoint::CallbackProcessed);
                tracing::info!(%job, state = %applied.job.state_name(), "callback for job {job} received");
                return true;
            }
            Ok(None) => self.store.skip_delivery(delivery).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &isolated {
            tracing::error!(%job, "processing a callback for job {job} failed; it is tried again: {error}");
        }
        isolated.is_ok()
    }
}

fn is_running(state: StateName) -> bool {
    matches!(state, StateName::Queued | StateName::Processing)
}

impl Stage for CallbackStage {
    const NAME: &'static str = "callback";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let now = self.clock.now();
        let after = {
            let mut failed = self.failed.lock();
            *failed = failed.filter(|failed| failed.retry_at > now);
            failed.map_or(0, |failed| failed.last)
        };
        let deliveries = self.store.unprocessed_deliveries(after, BATCH).await?;
        let processed =
            futures_util::future::join_all(deliveries.iter().map(|delivery| self.process(delivery))).await;
        let mut failed = self.failed.lock();
        if let Some(last) = deliveries.last().map(|delivery| delivery.nr)
            && processed.contains(&false)
        {
            let retry_at = failed.map_or(now.plus(RETRY_INTERVAL), |failed| failed.retry_at);
            *failed = Some(Failed { last, retry_at });
        }
        // What failed is passed over until its time, so each pass reads others.
        let more = deliveries.len() == BATCH as usize;
        Ok(if more { Wake::AtOnce } else { Wake::at(failed.map(|failed| failed.retry_at)) })
    }

    async fn notified(&self) {
        self.notifications.next().await;
        self.clock.sleep(GATHER_TIME).await;
    }

    async fn drain(&self) {}
}
