use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use crate::clock::{Clock, Tick};

/// When each stage last began a pass: recorded by the loops, read by the watchdog.
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

    pub(super) fn record(&self, stage: &'static str) {
        let now = self.clock.tick();
        let mut last = lock(&self.last);
        match last.iter_mut().find(|heartbeat| heartbeat.0 == stage) {
            Some(heartbeat) => heartbeat.1 = now,
            None => last.push((stage, now)),
        }
    }

    /// The stages whose last heartbeat is older than `limit`.
    pub fn missing(&self, limit: Duration) -> Vec<&'static str> {
        let now = self.clock.tick();
        let last = lock(&self.last);
        last.iter().filter(|heartbeat| now.since(heartbeat.1) > limit).map(|heartbeat| heartbeat.0).collect()
    }
}
