//! The settings that decisions about a job depend on, as plain durations.

use std::time::Duration;

use crate::job::usual_time::UsualTime;

/// How tasks are polled (docs/reference.md#configuration: `[polling]`, `[downloads]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingPolicy {
    /// Whether tasks get a callback URL.
    pub callbacks: bool,
    /// Delay of the first poll of a task with a callback URL.
    pub callback_grace: Duration,
    /// Delay of the first poll of a task without one.
    pub interval: Duration,
    /// The longest wait between two polls.
    pub max_interval: Duration,
    /// A task that takes longer is held.
    pub give_up: Duration,
    /// How long before a link expires the alert is given.
    pub alert_before_expiry: Duration,
    /// Not a setting: how long the task of this very job usually takes, where that is learned.
    pub usual: Option<UsualTime>,
}

impl PollingPolicy {
    /// The documented defaults, with callbacks.
    pub const DEFAULT: Self = Self {
        callbacks: true,
        callback_grace: Duration::from_secs(120),
        interval: Duration::from_secs(5),
        max_interval: Duration::from_secs(60),
        give_up: Duration::from_secs(24 * 3600),
        alert_before_expiry: Duration::from_secs(4 * 3600),
        usual: None,
    };

    /// How long after the submit a task is first polled.
    pub fn first_poll(&self) -> Duration {
        if self.callbacks { self.callback_grace } else { self.interval }
    }
}
