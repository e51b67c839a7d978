//! How long to wait before a step is tried again, and when to stop trying.

use std::time::Duration;

/// A key is never sent again once it is this old: the provider forgets keys after 24 hours
/// (docs/reference.md#job-states).
pub const KEY_LIFE: Duration = Duration::from_secs(23 * 3600);
/// A clock further off than this is not trusted with the age of a key.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long a submit is repeated that is refused after a try whose outcome is unknown, before a person is asked.
pub const REFUSAL_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long the provider may deny a task we own before a person is asked.
pub const MISSING_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long a completed task may go without naming an output before a person is asked.
pub const OUTPUT_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// A finished link may be refused for the first minutes; no link is given up before this.
pub const NOT_READY_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long a link lives where the provider does not say.
pub const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest link life of any version of the provider's pages.
pub const LONGEST_LINK_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a task given up on is asked about.
pub const SLOW_POLL: Duration = Duration::from_secs(15 * 60);
/// The least time between two status queries of one task, however many callbacks knock.
pub const QUERY_SPACING: Duration = Duration::from_secs(1);
/// After so many unfit downloads of one output a person is asked.
pub const UNFIT_LIMIT: u32 = 5;
/// After so many unanswered cancel calls the cancel is dropped, and the history says so.
pub const CALL_OFF_LIMIT: u32 = 8;

/// A wait that grows from `base` by `factor` with each try in vain up to `cap`, then shifted by up to a fifth
/// either way by `chance` (0 to 1), so that many jobs do not all try at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// What each further wait is multiplied by.
    pub factor: f64,
    /// The longest wait, before the shift.
    pub cap: Duration,
}

impl Backoff {
    /// Between the repeats of a submit.
    pub const SUBMIT: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(300) };
    /// Between the fetches of an output.
    pub const FETCH: Self = Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(300) };
    /// Between the questions for a fresh link: never within [`QUERY_SPACING`], whatever the jitter.
    pub const FRESH_LINK: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(60) };
    /// Between cancel calls.
    pub const CALL_OFF: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(120) };

    /// Between the polls of a task.
    pub fn polls(interval: Duration, max_interval: Duration) -> Self {
        Self { base: interval, factor: 1.5, cap: max_interval }
    }

    /// The wait after `tries` tries in vain.
    pub fn after(&self, tries: u32, chance: f64) -> Duration {
        // 64 doublings outgrow every cap; the clamp keeps the power finite.
        let grown = self.base.as_secs_f64() * self.factor.powi(i32::try_from(tries.min(64)).unwrap_or(64));
        let capped = grown.min(self.cap.as_secs_f64());
        Duration::from_secs_f64(capped * (0.8 + 0.4 * chance.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap_and_no_further() {
        let middle = |tries| Backoff::SUBMIT.after(tries, 0.5).as_secs();
        assert_eq!([0, 1, 2, 3].map(middle), [2, 4, 8, 16]);
        assert_eq!(middle(1000), 300);
        assert_eq!(Backoff::SUBMIT.after(1000, 1.0).as_secs(), 360);
        assert_eq!(Backoff::SUBMIT.after(1000, 0.0).as_secs(), 240);
    }
}
