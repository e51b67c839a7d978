//! The balance of the account as last read, for people. Nothing is decided by it: that a submit is not paid for, only
//! the provider says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Tick};
use crate::money::Quota;

/// How long a balance is shown without reading it again.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// See the module. Clones share it.
#[derive(Clone)]
pub struct SharedBalance(Arc<Shared>);

struct Shared {
    clock: Clock,
    last: Mutex<Option<LastBalance>>,
    /// Somebody wants to know it.
    is_wanted: AtomicBool,
    wanted: Notify,
    /// It was read.
    updated: Notify,
}

#[derive(Clone, Copy)]
struct LastBalance {
    /// `None`: the provider does not tell it now.
    balance: Option<Quota>,
    tick: Tick,
}

impl SharedBalance {
    /// Not read yet.
    pub fn new(clock: Clock) -> Self {
        let (wanted, updated) = (Notify::new(), Notify::new());
        let is_wanted = AtomicBool::new(false);
        Self(Arc::new(Shared { clock, last: Mutex::default(), is_wanted, wanted, updated }))
    }

    /// It was read; `None`: the provider does not tell it now.
    pub fn record(&self, balance: Option<Quota>) {
        *self.0.last.lock() = Some(LastBalance { balance, tick: self.0.clock.tick() });
        self.0.updated.notify_waiters();
    }

    /// Another key may belong to another account.
    pub fn forget(&self) {
        *self.0.last.lock() = None;
    }

    /// The balance as last read. If that was long ago, it is read again.
    pub fn last(&self) -> Option<Quota> {
        if !self.is_fresh() {
            self.want();
        }
        self.0.last.lock().and_then(|last| last.balance)
    }

    /// The same, and waits as long as `timeout` while it is read again.
    pub async fn recent(&self, timeout: Duration) -> Option<Quota> {
        // Before the look: a balance that is read in between must not be missed.
        let updated = self.0.updated.notified();
        if !self.is_fresh() {
            self.want();
            let _ = self.0.clock.within(timeout, updated).await;
        }
        self.last()
    }

    /// Whether somebody wants to know it, once.
    pub fn take_wanted(&self) -> bool {
        self.0.is_wanted.swap(false, Ordering::Relaxed)
    }

    fn want(&self) {
        self.0.is_wanted.store(true, Ordering::Relaxed);
        self.0.wanted.notify_one();
    }

    /// Waits until somebody may want to know it.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    fn is_fresh(&self) -> bool {
        let now = self.0.clock.tick();
        self.0.last.lock().is_some_and(|last| now.since(last.tick) < FRESH_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test]
    async fn balance_is_wanted_again_when_it_is_old() {
        let clock = Clock::paused(Timestamp::from_millis(1_775_285_160_000));
        let shared = SharedBalance::new(clock.clone());
        assert_eq!(shared.last(), None);
        assert!(shared.take_wanted() && !shared.take_wanted());
        shared.record(Some(Quota::new(7)));
        clock.advance(FRESH_FOR - Duration::from_secs(1));
        assert_eq!(shared.recent(Duration::from_secs(9)).await, Some(Quota::new(7)));
        assert!(!shared.take_wanted(), "it is fresh");
        clock.advance(Duration::from_secs(1));
        assert_eq!(shared.last(), Some(Quota::new(7)), "the old one is shown meanwhile");
        assert!(shared.take_wanted());
        shared.forget();
        assert_eq!(shared.last(), None, "another key");
    }
}
