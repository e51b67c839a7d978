//! What stops the line to the provider: not one job, but all calls or all submits (docs/provider.md#errors).

use std::time::Duration;

use crate::clock::Timestamp;

/// How long the line stands before one careful try, where the provider names no time
/// (docs/reference.md#job-states).
pub const CAREFUL_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The wait after a 429 that names no time.
pub const RATE_PAUSE: Duration = Duration::from_secs(30);
/// The longest wait that the provider may ask for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Why the line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SuspensionCause {
    /// Too many calls, or a quota window used up (429).
    RateLimited,
    /// The API key is refused (401).
    KeyRefused,
    /// The balance is empty (402). Stops submits only.
    BalanceEmpty,
    /// What answers under `base_url` is not the provider's API: a redirect, an error page.
    Misconfigured,
}

impl SuspensionCause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RateLimited, Self::KeyRefused, Self::BalanceEmpty, Self::Misconfigured];

    /// The word for programs and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::KeyRefused => "key_refused",
            Self::BalanceEmpty => "balance_empty",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The cause of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    /// Whether its end is not known, so that a single call must find out.
    pub const fn wants_probe(self) -> bool {
        match self {
            Self::RateLimited => false,
            Self::KeyRefused | Self::BalanceEmpty | Self::Misconfigured => true,
        }
    }
}

/// A stop of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Why.
    pub cause: SuspensionCause,
    /// No call before this time.
    pub until: Timestamp,
    /// What happened and what to do, in a sentence. Without secrets.
    pub message: String,
}

/// What an answer proves about the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing.
    Nothing,
    /// That the provider's API answers there and takes the key.
    Access,
    /// That, and that the balance pays for a task.
    Funds,
}

impl Proof {
    /// Whether it shows that a stop for `cause` is over. A limit ends by time alone.
    pub const fn ends(self, cause: SuspensionCause) -> bool {
        match (self, cause) {
            (Self::Nothing, _) | (_, SuspensionCause::RateLimited) => false,
            (Self::Access | Self::Funds, SuspensionCause::KeyRefused | SuspensionCause::Misconfigured) => {
                true
            }
            (proof, SuspensionCause::BalanceEmpty) => matches!(proof, Self::Funds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_one_word_that_reads_back() {
        for cause in SuspensionCause::ALL {
            assert_eq!(SuspensionCause::parse(cause.as_str()), Some(cause));
        }
        assert_eq!(SuspensionCause::parse("401"), None);
    }
}
