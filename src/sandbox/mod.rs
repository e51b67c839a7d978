//! The simulated provider: everything qingbo.dev's task API does, on a port of this machine, with faults at will. For
//! dry runs, for other people's tests, for the demo and for our own.
//!
//! It stands apart from the rest of the house: it writes its own literal JSON and shares no type with the daemon.
//! [`world::World`] is the provider without a wire, for simulations; [`start`] puts it on one. [`plan`] says how
//! faults are written. Beside the provider's paths it serves `GET /sandbox/ledger`, `GET` and `POST /sandbox/plan`,
//! `GET /sandbox/words`, `POST /sandbox/reset` and `GET /healthz`.

mod answers;
mod callbacks;
mod checks;
pub mod clip;
pub mod exchange;
pub mod faults;
pub mod ledger;
mod media_server;
pub mod outbox;
pub mod plan;
pub mod scheduled_fault;
mod server;
pub mod signing;
mod task;
pub mod value;
mod wire;
pub mod world;

use std::time::Duration;

use crate::money::Quota;
use crate::sandbox::plan::Plan;
use crate::sandbox::signing::Signing;
use crate::secret::Secret;

pub use crate::sandbox::server::{Sandbox, start};

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Faults and shapes for the whole run.
    pub plan: Plan,
    /// The same seed, calls and times give the same answers.
    pub seed: u64,
    /// How long tasks are queued, at least and at most.
    pub queue_time: (Duration, Duration),
    /// How long tasks run, at least and at most.
    pub run_time: (Duration, Duration),
    /// The one key let in; `None`: any.
    pub api_key: Option<Secret>,
    /// How long links live.
    pub link_life: Duration,
    /// What the account has at the start.
    pub balance: Quota,
    /// How long a receiver may take to answer a callback.
    pub callback_timeout: Duration,
    /// How callbacks are signed; `None`: they are not.
    pub signing: Option<Signing>,
    /// What links begin with, where that is not the address listened on: behind a proxy, in a container.
    pub public_url: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plan: Plan::default(),
            seed: 0,
            queue_time: (Duration::from_millis(300), Duration::from_millis(1200)),
            run_time: (Duration::from_secs(2), Duration::from_secs(6)),
            api_key: None,
            link_life: Duration::from_secs(24 * 3600),
            balance: Quota::new(50_000_000),
            callback_timeout: Duration::from_secs(10),
            signing: None,
            public_url: None,
        }
    }
}
