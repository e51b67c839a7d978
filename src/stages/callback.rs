//! Tells jobs of the callbacks that were kept for them. A callback only makes us ask; what it says is
//! believed only where a person set that and it was signed (docs/reference.md#configuration,
//! `callbacks.trust`).

use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, Phase, StatusVerdict};
use crate::job::state::StateName;
use crate::provider::wire::{read_status, task_hint};
use crate::stages::{Stage, Wake, ring_of};
use crate::store::Store;
use crate::store::deliveries::Delivery;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

/// So many deliveries are told of in one pass; they share a commit.
const BATCH: u32 = 64;
/// What comes within so long of the first is told together: otherwise each callback would cost two commits, and the
/// sender of the next would wait for the second.
const GATHERING: Duration = Duration::from_millis(20);

/// The callback stage.
pub struct CallbackStage {
    store: Store,
    clock: Clock,
    bell: Mutex<watch::Receiver<u64>>,
    /// Deliveries after this one are believed.
    believed_after: Option<i64>,
}

impl CallbackStage {
    /// Listens from now on, and believes nothing.
    pub fn new(store: Store, clock: Clock) -> Self {
        let bell = Mutex::new(store.listen(Topic::Deliveries));
        Self { store, clock, bell, believed_after: None }
    }

    /// Listens from now on. Every delivery after `newest` was signed, and is believed; those kept before may have been
    /// kept when signatures were not asked for.
    pub fn believing_after(newest: i64, store: Store, clock: Clock) -> Self {
        Self { believed_after: Some(newest), ..Self::new(store, clock) }
    }

    /// What the provider says of a task that it has and that has not ended, as if it had been asked. What is not clear,
    /// or of another task, only makes us ask.
    async fn believed(&self, delivery: &Delivery, now: Timestamp) -> Option<Event> {
        if delivery.nr <= self.believed_after? || delivery.more > 0 {
            return None;
        }
        let job = self.store.look(delivery.job).await.ok()?.job;
        let task = job.task().filter(|_| at_provider(job.state_name()))?;
        let facts = read_status(&delivery.body, task, now).ok()?;
        let clear = match facts.phase {
            Phase::Completed => !facts.outputs.is_empty(),
            Phase::Queued | Phase::Processing | Phase::Failed | Phase::Cancelled => true,
            Phase::Unclear(_) => false,
        };
        // As if asked right after the knock, which so wants no question of its own any more.
        let began = now.plus(Duration::from_millis(1));
        clear.then_some(Event::Asked { began, verdict: StatusVerdict::Seen(facts) })
    }

    async fn fold(&self, delivery: &Delivery) -> bool {
        let event = Event::CallbackReceived { hint: task_hint(&delivery.body), quiet: delivery.more > 0 };
        let job = delivery.job;
        failpoints::hit(FailPoint::FoldBegan);
        let now = self.clock.now();
        let believed = self.believed(delivery, now).await;
        match self.store.fold(delivery, event, believed, now).await {
            Ok(applied) => {
                failpoints::hit(FailPoint::Folded);
                tracing::info!(%job, state = %applied.job.state_name(), "callback for job {job}");
                true
            }
            Err(error) => {
                tracing::error!(%job, "job {job} could not be told of its callback: {error}");
                false
            }
        }
    }
}

/// Whether a task in this state may still tell something new by itself.
fn at_provider(state: StateName) -> bool {
    matches!(state, StateName::Queued | StateName::Processing)
}

impl Stage for CallbackStage {
    const NAME: &'static str = "callback";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let deliveries = self.store.unfolded(BATCH).await?;
        let told =
            futures_util::future::join_all(deliveries.iter().map(|delivery| self.fold(delivery))).await;
        let progress = told.into_iter().any(|told| told);
        Ok(if progress && deliveries.len() == BATCH as usize { Wake::AtOnce } else { Wake::OnNotify })
    }

    async fn rung(&self) {
        ring_of(&self.bell).await;
        self.clock.sleep(GATHERING).await;
    }

    async fn land(&self) {}
}
