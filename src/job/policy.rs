//! The settings that decisions about a job depend on, as plain durations.

use std::time::Duration;

/// On what terms jobs are watched (docs/reference.md#configuration: `[polling]`, `[downloads]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingPolicy {
    /// Whether tasks are given a callback URL.
    pub callbacks: bool,
    /// First poll of a task that should call back.
    pub callback_grace: Duration,
    /// First poll of a task without callbacks.
    pub interval: Duration,
    /// The longest wait between two polls.
    pub max_interval: Duration,
    /// A task not finished by then is held.
    pub give_up: Duration,
    /// How long before a link's death the early alert is given.
    pub alert_before_expiry: Duration,
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
    };

    /// How long after the submit a task is first asked about.
    pub fn first_poll(&self) -> Duration {
        if self.callbacks { self.callback_grace } else { self.interval }
    }
}
