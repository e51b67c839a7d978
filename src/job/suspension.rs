//! Why nothing is submitted, polled or downloaded for a while: the provider's limits and refusals, and a person's pauses
//! (docs/provider.md#errors, docs/reference.md#job-states).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// How long calls stay suspended before a single probe, where only a probe can find out whether the cause is gone.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The longest suspension that the provider may request.
pub const MAX_SUSPENSION: Duration = Duration::from_secs(24 * 3600);

/// Why work is suspended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum SuspensionCause {
    /// A person paused submits.
    PausedSubmits,
    /// A person paused downloads.
    PausedDownloads,
    /// Another daemon has used a newer state of this database, or may have: what waits here may have been submitted there.
    Superseded,
    /// Too many calls, or a quota window is used up (429).
    RateLimited,
    /// The provider refuses the API key (401).
    KeyRefused,
    /// The balance is empty (402).
    BalanceEmpty,
    /// The server at `provider.base_url` is not the provider's API: it redirects, or sends an error page.
    Misconfigured,
    /// No connection to the provider can be made.
    Unreachable,
    /// The clock went back, or disagrees with the provider's: the age of an idempotency key is not known.
    ClockUnreliable,
}

impl SuspensionCause {
    /// Whether a person paused the work.
    pub const fn is_pause(self) -> bool {
        matches!(self, Self::PausedSubmits | Self::PausedDownloads)
    }

    /// Whether an answer of the provider is the cause, and another one lifts it.
    pub const fn is_of_provider(self) -> bool {
        !self.is_pause() && !matches!(self, Self::Superseded)
    }

    /// Whether jobs are not submitted.
    pub const fn suspends_submits(self) -> bool {
        !matches!(self, Self::PausedDownloads)
    }

    /// Whether the provider is not called about existing tasks either.
    pub const fn suspends_queries(self) -> bool {
        matches!(self, Self::RateLimited | Self::KeyRefused | Self::Misconfigured | Self::Unreachable)
    }

    /// Whether nothing is downloaded.
    pub const fn suspends_downloads(self) -> bool {
        matches!(self, Self::PausedDownloads)
    }

    /// Whether its end is not known in advance, so that a single call must find out.
    pub const fn needs_probe(self) -> bool {
        matches!(
            self,
            Self::KeyRefused
                | Self::BalanceEmpty
                | Self::Misconfigured
                | Self::Unreachable
                | Self::ClockUnreliable
        )
    }
}

/// A pause or suspension in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suspension {
    /// Why, for programs.
    pub cause: SuspensionCause,
    /// No call before this time; without it, a pause lasts until a person resumes.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// What happened and what to do, in a sentence. Without secrets.
    pub message: String,
    /// When the work was suspended.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}
