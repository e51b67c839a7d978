//! Permits that limit concurrent transfers and flushes.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many files are flushed at once. The commit that a callback's answer waits for queues at the disk behind these
/// flushes; with two, the slowest answers take a third longer.
const CONCURRENT_FLUSHES: usize = 1;

/// All permits. Clones share them.
#[derive(Clone)]
pub(super) struct TransferPermits {
    free: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
    released: Arc<Notify>,
}

/// Allows one transfer, until it is dropped.
pub(super) struct TransferPermit {
    permit: Option<OwnedSemaphorePermit>,
    flushes: Arc<Semaphore>,
    released: Arc<Notify>,
}

/// Allows the flush of one file, until it is dropped.
pub(super) struct FlushPermit(#[expect(dead_code, reason = "held, not used")] Option<OwnedSemaphorePermit>);

impl TransferPermits {
    pub fn new(count: usize) -> Self {
        let flushes = Arc::new(Semaphore::new(CONCURRENT_FLUSHES));
        Self { free: Arc::new(Semaphore::new(count.max(1))), flushes, released: Arc::default() }
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<TransferPermit> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(self.permit(Some(permit)))
    }

    /// Waits for a permit.
    pub async fn acquire(&self) -> TransferPermit {
        // The semaphore is never closed.
        let permit = self.free.clone().acquire_owned().await.ok();
        self.permit(permit)
    }

    fn permit(&self, permit: Option<OwnedSemaphorePermit>) -> TransferPermit {
        TransferPermit { permit, flushes: self.flushes.clone(), released: self.released.clone() }
    }

    /// Waits until a permit is given back.
    pub async fn released(&self) {
        self.released.notified().await;
    }
}

impl TransferPermit {
    /// Gives the permit back and waits for one to flush the file.
    pub async fn into_flush_permit(self) -> FlushPermit {
        let flushes = self.flushes.clone();
        drop(self);
        FlushPermit(flushes.acquire_owned().await.ok())
    }
}

impl Drop for TransferPermit {
    fn drop(&mut self) {
        // Free the permit before notifying: the waiter tries to acquire one at once, and would find none.
        drop(self.permit.take());
        self.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permit_is_free_before_waiters_are_notified() {
        let permits = TransferPermits::new(1);
        let first = permits.try_acquire();
        assert!(first.is_some() && permits.try_acquire().is_none());
        let waits = permits.clone();
        let acquired = tokio::spawn(async move {
            waits.released().await;
            waits.try_acquire().is_some()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(acquired.await.unwrap());
        drop(permits.acquire().await);
    }
}
