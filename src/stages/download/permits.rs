//! Permits that limit concurrent transfers and flushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many files are flushed at once. The commit that a callback's answer waits for queues at the disk behind these
/// flushes; with two, the slowest answers take a third longer.
const CONCURRENT_FLUSHES: usize = 1;

/// All permits. Clones share them.
#[derive(Clone)]
pub(super) struct TransferPermits {
    transfers: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
    /// Whether the last try found no permit.
    exhausted: Arc<AtomicBool>,
}

/// Allows one transfer, until it is dropped.
pub(super) struct TransferPermit {
    permit: Option<OwnedSemaphorePermit>,
    flushes: Arc<Semaphore>,
}

/// Allows the flush of one file, until it is dropped.
pub(super) struct FlushPermit(#[expect(dead_code, reason = "held, not used")] Option<OwnedSemaphorePermit>);

impl TransferPermits {
    pub fn new(count: usize) -> Self {
        let transfers = Arc::new(Semaphore::new(count.max(1)));
        Self { transfers, flushes: Arc::new(Semaphore::new(CONCURRENT_FLUSHES)), exhausted: Arc::default() }
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<TransferPermit> {
        let permit = self.transfers.clone().try_acquire_owned().ok();
        self.exhausted.store(permit.is_none(), Ordering::Relaxed);
        Some(self.permit(Some(permit?)))
    }

    /// Waits for a permit.
    pub async fn acquire(&self) -> TransferPermit {
        // The semaphore is never closed.
        self.permit(self.transfers.clone().acquire_owned().await.ok())
    }

    fn permit(&self, permit: Option<OwnedSemaphorePermit>) -> TransferPermit {
        TransferPermit { permit, flushes: self.flushes.clone() }
    }

    /// After a try that found no permit: waits until one is free. Otherwise forever.
    pub async fn released(&self) {
        if !self.exhausted.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        drop(self.transfers.acquire().await);
        // Not again before the next try: the pass that follows may have no use for a permit.
        self.exhausted.store(false, Ordering::Relaxed);
    }
}

impl TransferPermit {
    /// Gives the permit back and waits for one to flush the file.
    pub async fn into_flush_permit(self) -> FlushPermit {
        let Self { permit, flushes } = self;
        drop(permit);
        FlushPermit(flushes.acquire_owned().await.ok())
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
