//! How long to wait before a step is tried again, and when to give up.

use std::time::Duration;

/// A key is never sent again once it is this old: the provider forgets keys after 24 hours
/// (docs/provider.md#submit-answers).
pub const KEY_LIFETIME: Duration = Duration::from_secs(23 * 3600);
/// A clock that is off by more than this is not trusted with the age of a key.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long a submit that is refused after a send of unknown outcome is repeated before the job is held.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long something that is not the provider may refuse a submit before the job is held.
pub const BLOCKED_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// How long no submit of a job may work before it is held.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// A job is not held for submits that fail before this many tries: calls may have been suspended in between.
pub const MIN_SUBMIT_TRIES: u32 = 6;
/// How long status answers may be unreadable before the job is held.
pub const UNREADABLE_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// How long the provider may deny knowing a task before the job is held.
pub const MISSING_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long a completed task may go without naming an output before the job is held.
pub const NO_OUTPUT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A media host may refuse a new link for the first minutes; no link is given up before this.
pub const LINK_GRACE: Duration = Duration::from_secs(10 * 60);
/// How long after its link has expired an output is given up. No output is given up within this time of being known.
pub const OUTPUT_GRACE: Duration = Duration::from_secs(3600);
/// How long after its completion an output is given up where the provider does not say when its link expires.
pub const OUTPUT_TIMEOUT: Duration = Duration::from_secs(26 * 3600);
/// The longest wait that a media host may ask for: the link expires meanwhile.
pub const MAX_DOWNLOAD_WAIT: Duration = Duration::from_secs(3600);
/// A job that has failed for this long gives its place at the provider back and competes with other failing ones.
pub const FAILING_GRACE: Duration = Duration::from_secs(60);
/// The lifetime of a link where the provider does not say.
pub const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest lifetime of a link in any version of the provider's documentation.
pub const MAX_LINK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the task of a held job is polled.
pub const SLOW_POLL_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How often a task is polled while somebody watches.
pub const WATCHED_POLL_INTERVAL: Duration = Duration::from_secs(15);
/// The shortest time between two status queries for one task, however many callbacks arrive.
pub const MIN_POLL_SPACING: Duration = Duration::from_secs(1);
/// After this many invalid downloads of one output the job is held.
pub const MAX_INVALID_DOWNLOADS: u32 = 5;
/// After this many unanswered cancel calls dropreel stops trying to cancel.
pub const MAX_CANCEL_TRIES: u32 = 8;

/// A wait that starts at `base` and grows by `factor` with each try up to `cap`, shifted by up to 20 % either way so
/// that many jobs do not try at the same moment.
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
    /// Between sends of a submit.
    pub const SUBMIT: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(300) };
    /// Between downloads of an output.
    pub const DOWNLOAD: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(300) };
    /// Between polls for fresh links. Never below [`MIN_POLL_SPACING`], whatever the jitter.
    pub const FRESH_LINK: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(300) };
    /// Between polls for the final cost of a task that has ended.
    pub const SETTLEMENT: Self =
        Self { base: Duration::from_secs(5), factor: 3.0, cap: Duration::from_secs(3600) };
    /// Between cancel calls.
    pub const CANCEL: Self =
        Self { base: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(120) };

    /// Between polls of a task.
    pub fn polls(interval: Duration, max_interval: Duration) -> Self {
        Self { base: interval, factor: 1.5, cap: max_interval }
    }

    /// The wait after `tries` tries. `jitter` is a random number from 0 to 1.
    pub fn after(&self, tries: u32, jitter: f64) -> Duration {
        // 64 doublings exceed every cap; the clamp keeps the power finite.
        let grown = self.base.as_secs_f64() * self.factor.powi(i32::try_from(tries.min(64)).unwrap_or(64));
        let capped = grown.min(self.cap.as_secs_f64());
        Duration::from_secs_f64(capped * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)))
    }
}

/// Polls for the final cost of a task that has ended: about seven hours. Then it stays reserved.
pub const MAX_SETTLEMENT_TRIES: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_up_to_its_cap() {
        let middle = |tries| Backoff::SUBMIT.after(tries, 0.5).as_secs();
        assert_eq!([0, 1, 2, 3].map(middle), [2, 4, 8, 16]);
        assert_eq!(middle(1000), 300);
        assert_eq!(Backoff::SUBMIT.after(1000, 1.0).as_secs(), 360);
        assert_eq!(Backoff::SUBMIT.after(1000, 0.0).as_secs(), 240);
    }
}
