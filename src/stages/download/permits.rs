//! Permits that limit concurrent transfers and flushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::{Clock, Tick};
use crate::job::JobId;
use crate::stages::download::fairness::{
    Ending, Fairness, Pool, Progress, REVIEW, Review, SLOW, WaitingDownload,
};

/// How many files are flushed at once. The commit that a callback's answer waits for queues at the disk behind these
/// flushes; with two, the slowest answers take a third longer.
const CONCURRENT_FLUSHES: usize = 1;
/// A download that failed within this time has cost nobody anything.
const QUICK: Duration = Duration::from_secs(1);
/// A whole file within this time is never slow, however small it is.
const QUICK_FILE: Duration = Duration::from_secs(2);

/// All permits. Clones share them.
#[derive(Clone)]
pub(super) struct TransferPermits {
    fairness: Arc<Mutex<Fairness>>,
    flushes: Arc<Semaphore>,
    /// A slot became free while a download waited for one: for the stage, and for jobs with more outputs.
    released: Arc<(Notify, Notify)>,
    clock: Clock,
}

/// Allows one transfer, until it is dropped.
pub(super) struct TransferPermit {
    permits: TransferPermits,
    download: WaitingDownload,
    pool: Mutex<Pool>,
    began: Tick,
    received: AtomicU64,
    resumable: AtomicBool,
}

/// Allows the flush of one file, until it is dropped.
pub(super) struct FlushPermit(#[expect(dead_code, reason = "held, not used")] Option<OwnedSemaphorePermit>);

impl TransferPermits {
    pub fn new(concurrency: usize, clock: Clock) -> Self {
        Self {
            fairness: Arc::new(Mutex::new(Fairness::new(concurrency))),
            flushes: Arc::new(Semaphore::new(CONCURRENT_FLUSHES)),
            released: Arc::default(),
            clock,
        }
    }

    /// How many transfers can run at once, slow ones included.
    pub fn slots(&self) -> usize {
        self.fairness.lock().slots()
    }

    /// How many transfers run.
    pub fn running(&self) -> usize {
        self.fairness.lock().running()
    }

    pub fn has_fast_slot(&self) -> bool {
        self.fairness.lock().has_fast_slot()
    }

    /// Permits for those of the waiting downloads that may begin now, with at most `most_fast` at full speed.
    pub fn admit(&self, waiting: &[WaitingDownload], most_fast: usize) -> Vec<TransferPermit> {
        let admitted = self.fairness.lock().admit(waiting, most_fast);
        admitted.into_iter().map(|(at, pool)| self.permit(waiting[at].clone(), pool)).collect()
    }

    fn permit(&self, download: WaitingDownload, pool: Pool) -> TransferPermit {
        TransferPermit {
            permits: self.clone(),
            download,
            pool: Mutex::new(pool),
            began: self.clock.tick(),
            received: AtomicU64::new(0),
            resumable: AtomicBool::new(false),
        }
    }

    /// Waits for a permit for another output of a running job.
    pub async fn acquire(&self, job: JobId, host: String) -> TransferPermit {
        let waiting = WaitingDownload { job, host };
        loop {
            let mut released = std::pin::pin!(self.released.1.notified());
            released.as_mut().enable();
            let admitted = self.fairness.lock().admit_one(&waiting);
            if let Some(pool) = admitted {
                return self.permit(waiting, pool);
            }
            released.await;
        }
    }

    /// Waits until a slot becomes free for which a download waits.
    pub async fn released(&self) {
        self.released.0.notified().await;
    }

    fn notify(&self) {
        self.released.0.notify_one();
        self.released.1.notify_waiters();
    }
}

impl TransferPermit {
    pub fn job(&self) -> JobId {
        self.download.job
    }

    /// The host and port of the link that it was given for.
    pub fn host(&self) -> &str {
        &self.download.host
    }

    /// Bytes have arrived.
    pub fn add(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A later try can continue where this one stops.
    pub fn set_resumable(&self) {
        self.resumable.store(true, Ordering::Relaxed);
    }

    /// Runs a transfer, until it ends or has to give way (`None`).
    pub async fn run<T, E>(&self, transfer: impl Future<Output = Result<T, E>>) -> Option<Result<T, E>> {
        let mut transfer = std::pin::pin!(transfer);
        let (mut reviewed, mut received) = (self.began, 0);
        let result = loop {
            if let Some(result) = self.permits.clock.within(REVIEW, transfer.as_mut()).await {
                break Some(result);
            }
            let (now, total) = (self.permits.clock.tick(), self.received.load(Ordering::Relaxed));
            let speed = speed(total - received, now.since(reviewed));
            (reviewed, received) = (now, total);
            if self.review(speed) == Review::GivesWay {
                break None;
            }
        };
        let (elapsed, speed) = (self.elapsed(), speed(self.received.load(Ordering::Relaxed), self.elapsed()));
        let ending = match result {
            Some(Ok(_)) if elapsed < QUICK_FILE || speed >= SLOW => Ending::Fast,
            Some(Ok(_)) => Ending::Slow,
            Some(Err(_)) if elapsed < QUICK || speed >= SLOW => Ending::Quick,
            None if elapsed < QUICK => Ending::Tried,
            Some(Err(_)) | None => Ending::Wasted,
        };
        self.permits.fairness.lock().record(self.download.job, &self.download.host, ending);
        result
    }

    fn review(&self, speed: u64) -> Review {
        let progress = Progress {
            elapsed: self.elapsed(),
            received: self.received.load(Ordering::Relaxed),
            speed,
            resumable: self.resumable.load(Ordering::Relaxed),
        };
        let mut pool = self.pool.lock();
        let WaitingDownload { job, host } = &self.download;
        let review = self.permits.fairness.lock().review(*job, host, *pool, &progress);
        if let Review::Moved(to) = review {
            *pool = to;
            self.permits.notify();
        }
        review
    }

    fn elapsed(&self) -> Duration {
        self.permits.clock.tick().since(self.began)
    }

    /// Gives the permit back and waits for one to flush the file.
    pub async fn into_flush_permit(self) -> FlushPermit {
        let flushes = self.permits.flushes.clone();
        drop(self);
        FlushPermit(flushes.acquire_owned().await.ok())
    }
}

impl Drop for TransferPermit {
    fn drop(&mut self) {
        let mut fairness = self.permits.fairness.lock();
        fairness.release(&self.download.host, *self.pool.lock());
        // Otherwise the pass that follows would have no use for the slot.
        let is_wanted = fairness.is_crowded();
        drop(fairness);
        if is_wanted {
            self.permits.released.0.notify_one();
        }
        // A running job that waits for its next output is not among those that the stage sees waiting.
        self.permits.released.1.notify_waiters();
    }
}

/// Bytes per second.
fn speed(bytes: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rng::Rng;

    fn waiting(host: &str) -> WaitingDownload {
        WaitingDownload { job: JobId::NONE, host: host.to_owned() }
    }

    #[tokio::test]
    async fn permit_is_free_before_waiters_are_notified() {
        let permits = TransferPermits::new(1, Clock::machine());
        let (first, others) = (permits.admit(&[waiting("a")], 9), [waiting("a")]);
        assert!(first.len() == 1 && permits.admit(&others, 9).is_empty());
        let waits = permits.clone();
        let acquired = tokio::spawn(async move {
            waits.released().await;
            waits.admit(&others, 9).len()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(acquired.await.unwrap(), 1);
        drop(permits.acquire(JobId::NONE, "a".into()).await);
    }

    #[tokio::test]
    async fn next_output_of_a_running_job_begins_once_a_slot_is_free() {
        let permits = TransferPermits::new(1, Clock::machine());
        let fast = permits.admit(&[waiting("a")], 9);
        let slow =
            permits.admit(&(0..16).map(|number| waiting(&format!("h{number}"))).collect::<Vec<_>>(), 9);
        assert_eq!((fast.len(), slow.len()), (1, 16), "every slot is taken");
        let waits = permits.clone();
        let acquired = tokio::spawn(async move { drop(waits.acquire(JobId::NONE, "a".into()).await) });
        tokio::task::yield_now().await;
        assert!(permits.admit(&[], 9).is_empty(), "a pass that sees nobody waiting");
        drop(fast);
        let limit = Clock::machine().within(Duration::from_secs(10), acquired).await;
        assert!(limit.is_some(), "the job waits for ever");
    }

    #[tokio::test]
    async fn silent_transfer_frees_its_place_and_gives_way() {
        let clock = Clock::paused(Timestamp::from_millis(0));
        let permits = TransferPermits::new(1, clock.clone());
        let silent: Vec<_> = (0..17).map(|number| waiting(&format!("h{number}"))).collect();
        let mut running = permits.admit(&silent, 9);
        assert_eq!(running.len(), 17, "one at full speed, and sixteen beside it");
        assert!(permits.admit(&[waiting("healthy"), waiting("healthy")], 9).is_empty());
        let permit = running.remove(1);
        let transfer = permit.run(std::future::pending::<Result<(), ()>>());
        let advance = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                clock.advance(REVIEW);
            }
        };
        let (result, ()) = tokio::join!(transfer, advance);
        assert_eq!(result, None);
        drop(permit);
        assert_eq!(permits.admit(&[waiting("healthy")], 9).len(), 1);
    }

    #[tokio::test]
    async fn transfer_that_gave_way_at_once_goes_before_those_that_wasted_more() {
        let clock = Clock::paused(Timestamp::from_millis(0));
        let permits = TransferPermits::new(1, clock.clone());
        let download = |number: u64| WaitingDownload {
            job: JobId::new(Timestamp::from_millis(0), number, &Rng::seeded(number)),
            host: "a".to_owned(),
        };
        // The share of the slow pool of one host is taken by silent ones, and another host waits for the fast slot.
        for _ in 0..4 {
            permits.fairness.lock().begin("a", Pool::Slow);
        }
        permits.fairness.lock().record(download(0).job, "a", Ending::Fast);
        let early = permits.permit(download(20), Pool::Fast);
        permits.fairness.lock().begin("a", Pool::Fast);
        permits.admit(&[waiting("b"), waiting("b")], 9);
        let transfer = early.run(std::future::pending::<Result<(), ()>>());
        let advance = async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
                clock.advance(REVIEW);
            }
        };
        assert_eq!(tokio::join!(transfer, advance).0, None, "it gives way at its first review");
        drop(early);
        permits.fairness.lock().release("a", Pool::Slow);
        for number in 1..20 {
            permits.fairness.lock().record(download(number).job, "a", Ending::Wasted);
        }
        let next = permits.admit(&(1..=20).map(download).collect::<Vec<_>>(), 0);
        assert_eq!(next.iter().map(TransferPermit::job).collect::<Vec<_>>(), [download(20).job]);
    }
}
