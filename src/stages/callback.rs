//! Tells jobs of the callbacks that were kept for them. A callback only makes us ask; what it says is not believed.

use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::job::event::Event;
use crate::lab::{self, Site};
use crate::provider::wire::task_hint;
use crate::stages::{Stage, Wake, ring_of};
use crate::store::Store;
use crate::store::bells::Bell;
use crate::store::deliveries::Delivery;
use crate::store::error::StoreError;

/// So many deliveries are told of in one pass; they share a commit.
const BATCH: u32 = 64;

/// The callback stage.
pub struct CallbackStage {
    store: Store,
    clock: Clock,
    bell: Mutex<watch::Receiver<u64>>,
}

impl CallbackStage {
    /// Listens from now on.
    pub fn new(store: Store, clock: Clock) -> Self {
        let bell = Mutex::new(store.listen(Bell::Deliveries));
        Self { store, clock, bell }
    }

    async fn fold(&self, delivery: &Delivery) -> bool {
        let event = Event::Knocked { hint: task_hint(&delivery.body), quiet: delivery.more > 0 };
        let job = delivery.job;
        lab::reach(Site::FoldBegan);
        match self.store.fold(delivery, event, self.clock.now()).await {
            Ok(applied) => {
                lab::reach(Site::Folded);
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

impl Stage for CallbackStage {
    const NAME: &'static str = "callback";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let deliveries = self.store.unfolded(BATCH).await?;
        let told =
            futures_util::future::join_all(deliveries.iter().map(|delivery| self.fold(delivery))).await;
        let progress = told.into_iter().any(|told| told);
        Ok(if progress && deliveries.len() == BATCH as usize { Wake::AtOnce } else { Wake::AtBell })
    }

    async fn rung(&self) {
        ring_of(&self.bell).await;
    }

    async fn land(&self) {}
}
