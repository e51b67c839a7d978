//! Places at the provider, and what waits for one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// The places at the provider that are taken, and the jobs that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Slots)]
pub struct SlotsView {
    /// Tasks that take a place.
    pub running: u32,
    /// `provider.max_running`.
    pub max: u32,
    /// Pending jobs whose time (`not_before`) has come.
    pub waiting: u64,
    /// Pending jobs that wait for their `not_before`.
    pub scheduled: u64,
    /// The nearest of these times.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_scheduled_at: Option<Timestamp>,
}
