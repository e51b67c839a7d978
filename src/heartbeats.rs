//! When each stage last began a pass: recorded by the stages' loops, read by the watchdog and by `readyz`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Tick};

/// A stage without a heartbeat for this long is stalled. Long enough for the largest line file on a slow disk.
pub const STALLED_AFTER: Duration = Duration::from_secs(120);

/// The heartbeats of all stages. Clones share them.
#[derive(Clone)]
pub struct Heartbeats {
    clock: Clock,
    last: Arc<Mutex<Vec<(&'static str, Tick)>>>,
}

impl Heartbeats {
    /// No stage has begun yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: Arc::default() }
    }

    /// Records that `stage` begins a pass now.
    pub fn record(&self, stage: &'static str) {
        let now = self.clock.tick();
        let mut last = self.last.lock();
        match last.iter_mut().find(|heartbeat| heartbeat.0 == stage) {
            Some(heartbeat) => heartbeat.1 = now,
            None => last.push((stage, now)),
        }
    }

    /// The stages whose last heartbeat is older than `limit`.
    pub fn missing(&self, limit: Duration) -> Vec<&'static str> {
        let now = self.clock.tick();
        self.last
            .lock()
            .iter()
            .filter(|heartbeat| now.since(heartbeat.1) > limit)
            .map(|(stage, _)| *stage)
            .collect()
    }
}
