//! A simulated provider: the task API of qingbo.dev on a local port, with faults on request. For dry runs, the demo, and
//! tests, here and in other programs.
//!
//! It shares no type with the daemon and writes its JSON by hand, so that a misreading of the API cannot hide in code
//! that both use. [`world::World`] is the provider without a network, for simulations; [`start`] serves it. The grammar
//! of faults is in [`fault_plan`]. Beside the provider's paths it serves `GET /sandbox/ledger`,
//! `GET /sandbox/totals`, `GET` and `POST /sandbox/plan`, `GET /sandbox/faults`, `POST /sandbox/reset` and
//! `GET /healthz`.

mod callback_sender;
mod capabilities;
mod catalogue;
mod catalogue_json;
mod checks;
pub mod clip;
pub mod fault_plan;
pub mod faults;
pub mod http_types;
mod inputs;
pub mod ledger;
mod media_server;
pub mod outbox;
pub mod plan_value;
mod price;
mod raw_response;
mod responses;
pub mod scheduled_fault;
mod server;
mod shared_world;
pub mod signing;
mod task;
mod task_json;
pub mod world;

use std::time::Duration;

use crate::money::Quota;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::Generation;
use crate::sandbox::signing::Signing;
use crate::secret::Secret;

pub use crate::sandbox::server::{Sandbox, start};

/// The settings of a sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which generation of the service answers, unless the plan says another.
    pub generation: Generation,
    /// Faults and shapes for the whole run.
    pub fault_plan: FaultPlan,
    /// The same seed, requests and times give the same responses.
    pub seed: u64,
    /// How long tasks are queued, at least and at most.
    pub queue_time: (Duration, Duration),
    /// How long tasks are processed, at least and at most.
    pub run_time: (Duration, Duration),
    /// The only API key accepted; `None`: any.
    pub api_key: Option<Secret>,
    /// The balance at the start.
    pub balance: Quota,
    /// How long a receiver may take to answer a callback.
    pub callback_timeout: Duration,
    /// How callbacks are signed; `None`: not at all.
    pub signing: Option<Signing>,
    /// What links begin with if not with the listener's address: behind a proxy, or in a container.
    pub public_url: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            generation: Generation::Old,
            fault_plan: FaultPlan::default(),
            seed: 0,
            queue_time: (Duration::from_millis(300), Duration::from_millis(1200)),
            run_time: (Duration::from_secs(2), Duration::from_secs(6)),
            api_key: None,
            balance: Quota::new(50_000_000),
            callback_timeout: Duration::from_secs(10),
            signing: None,
            public_url: None,
        }
    }
}
