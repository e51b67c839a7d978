//! How many transfers there may be at once: as many as there are lanes.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// So many files are flushed at once: the flush that an answer to a callback waits for stands in the same line at the disk,
/// behind all that is there already. With two the slowest answers are slower by a third.
const FLUSHES: usize = 1;

/// All lanes. Clones share them.
#[derive(Clone)]
pub(super) struct TransferPermits {
    free: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
    left: Arc<Notify>,
}

/// The right to one transfer, until it is dropped.
pub(super) struct TransferPermit {
    permit: Option<OwnedSemaphorePermit>,
    flushes: Arc<Semaphore>,
    left: Arc<Notify>,
}

/// The right to flush a file, until it is dropped.
pub(super) struct Turn(#[expect(dead_code, reason = "held, not used")] Option<OwnedSemaphorePermit>);

impl TransferPermits {
    pub fn new(count: usize) -> Self {
        let flushes = Arc::new(Semaphore::new(FLUSHES));
        Self { free: Arc::new(Semaphore::new(count.max(1))), flushes, left: Arc::default() }
    }

    /// One, if one is free.
    pub fn try_enter(&self) -> Option<TransferPermit> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(self.lane(Some(permit)))
    }

    /// Waits for one.
    pub async fn enter(&self) -> TransferPermit {
        // Nobody closes them.
        let permit = self.free.clone().acquire_owned().await.ok();
        self.lane(permit)
    }

    fn lane(&self, permit: Option<OwnedSemaphorePermit>) -> TransferPermit {
        TransferPermit { permit, flushes: self.flushes.clone(), left: self.left.clone() }
    }

    /// Waits until somebody leaves one.
    pub async fn left(&self) {
        self.left.notified().await;
    }
}

impl TransferPermit {
    /// Gives it back, and waits for the turn to flush what came.
    pub async fn leave(self) -> Turn {
        let flushes = self.flushes.clone();
        drop(self);
        Turn(flushes.acquire_owned().await.ok())
    }
}

impl Drop for TransferPermit {
    fn drop(&mut self) {
        // First: who is told looks for a free one at once.
        drop(self.permit.take());
        self.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lane_is_free_again_before_anybody_hears_of_it() {
        let lanes = TransferPermits::new(1);
        let first = lanes.try_enter();
        assert!(first.is_some() && lanes.try_enter().is_none());
        let waits = lanes.clone();
        let heard = tokio::spawn(async move {
            waits.left().await;
            waits.try_enter().is_some()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(heard.await.unwrap());
        drop(lanes.enter().await);
    }
}
