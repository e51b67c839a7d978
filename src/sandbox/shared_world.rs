//! The world of the simulated provider, shared by its server and its callback sender.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::sandbox::Options;
use crate::sandbox::signing::Signing;
use crate::sandbox::world::World;

/// The world, shared by the server and the callback sender, which learn of each other's changes.
#[derive(Clone)]
pub(crate) struct SharedWorld(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    changes: watch::Sender<u64>,
    callback_timeout: Duration,
    signing: Mutex<Option<Signing>>,
}

impl SharedWorld {
    /// A world that behaves as `options` say. Links lead to `base_url`.
    pub fn new(options: Options, base_url: &str) -> Self {
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Inner {
            callback_timeout: options.callback_timeout,
            signing: Mutex::new(options.signing.clone()),
            world: Mutex::new(World::new(options, base_url)),
            changes,
        }))
    }

    /// Replaces how callbacks are signed.
    pub fn set_signing(&self, signing: Option<Signing>) {
        *self.0.signing.lock() = signing;
    }

    /// Reads the world.
    pub fn read<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&self.0.world.lock())
    }

    /// Changes the world and wakes all subscribers.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.0.world.lock());
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
        changed
    }

    /// Sees every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    pub fn callback_timeout(&self) -> Duration {
        self.0.callback_timeout
    }

    /// The headers that sign a callback.
    pub fn signature_headers(&self, id: &str, body: &[u8], now: Timestamp) -> Vec<(&'static str, String)> {
        let signing = self.0.signing.lock();
        signing.as_ref().map(|signing| signing.headers(id, body, now)).unwrap_or_default()
    }
}
