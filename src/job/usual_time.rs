//! How long tasks of one kind usually take, learned from those that completed.

use std::fmt;
use std::time::Duration;

use crate::job::retry::SLOW_POLL_INTERVAL;

/// The newest times of a kind that are kept.
pub const MAX_TIMES: usize = 200;
/// Of fewer tasks nothing is said.
const MIN_TIMES: usize = 3;
/// Of fewer tasks the longest is not longer than 99 of 100.
const MANY_TIMES: usize = 100;

/// How long tasks of one kind usually take, from their submit to their completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsualTime {
    /// Half of the tasks take no longer.
    pub median: Duration,
    /// Nine of ten tasks take no longer.
    pub p90: Duration,
    /// A task that takes longer takes unusually long: 99 of 100 do not.
    pub long: Duration,
}

/// A range of times in the largest unit that suits both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub low: u64,
    pub high: u64,
    pub unit: TimeUnit,
}

/// The unit of a [`TimeRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Minutes,
    Hours,
}

impl UsualTime {
    /// Of these times in milliseconds; `None` of too few.
    pub fn of(times: &[u64]) -> Option<Self> {
        if times.len() < MIN_TIMES {
            return None;
        }
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let percentile = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1);
        let longest = *percentile(99)?;
        // The longest of few says little about the next: half as much again.
        let long = if sorted.len() < MANY_TIMES { longest.saturating_add(longest / 2) } else { longest };
        Some(Self {
            median: Duration::from_millis(*percentile(50)?),
            p90: Duration::from_millis(*percentile(90)?),
            long: Duration::from_millis(long),
        })
    }

    /// As programs see it: whole seconds, rounded up.
    pub fn seconds(self) -> [u64; 3] {
        [self.median, self.p90, self.long]
            .map(|time| u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// The reverse of [`Self::seconds`].
    pub fn from_seconds(seconds: [u64; 3]) -> Self {
        let [median, p90, long] = seconds.map(Duration::from_secs);
        Self { median, p90, long }
    }

    /// How long after its submit a task whose callback has not come is first polled. At the 90th percentile, since most
    /// callbacks have come by then: polled at the median, every second task would cost a call more. Never before `grace`:
    /// of few tasks nobody knows how long the next takes, and each poll too early is a call more.
    pub fn first_poll(self, grace: Duration) -> Duration {
        self.p90.min(SLOW_POLL_INTERVAL).max(grace)
    }

    /// An estimate of the progress after this time, in percent. It does not reach 100: only the provider knows.
    pub fn progress(self, elapsed: Duration) -> u8 {
        let share = elapsed.as_secs_f64() / self.p90.as_secs_f64().max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 95")]
        let percent = (share * 95.0).clamp(0.0, 95.0) as u8;
        percent
    }

    /// The median and the 90th percentile.
    pub fn range(self) -> TimeRange {
        let [low, high, _] = self.seconds();
        let (unit, divisor) = match high {
            0..=119 => (TimeUnit::Seconds, 1),
            120..=7_199 => (TimeUnit::Minutes, 60),
            _ => (TimeUnit::Hours, 3600),
        };
        TimeRange { low: (low + divisor / 2) / divisor, high: high.div_ceil(divisor), unit }
    }
}

impl fmt::Display for UsualTime {
    /// "usually 40-70 s".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimeRange { low, high, unit } = self.range();
        let unit = match unit {
            TimeUnit::Seconds => "s",
            TimeUnit::Minutes => "min",
            TimeUnit::Hours => "h",
        };
        if low == high {
            write!(f, "usually {high} {unit}")
        } else {
            write!(f, "usually {low}-{high} {unit}")
        }
    }
}

/// A time as a stopwatch shows it: "0:31", "1:02:03".
pub fn stopwatch(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(seconds: [u64; 3]) -> UsualTime {
        UsualTime::from_seconds(seconds)
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let hundred: Vec<u64> = (1..=100).map(|second| second * 1000).rev().collect();
        let cases: [(&[u64], Option<[u64; 3]>); 6] = [
            (&[], None),
            (&[5_000, 6_000], None),
            (&[6_000, 5_000, 4_000], Some([5, 6, 9])),
            (&[0, 0, 0], Some([0, 0, 0])),
            (&[1, 1, 1_001], Some([1, 2, 2])),
            (&hundred, Some([50, 90, 99])),
        ];
        for (times, expected) in cases {
            assert_eq!(UsualTime::of(times).map(UsualTime::seconds), expected, "{times:?}");
        }
        assert!(UsualTime::of(&[u64::MAX; 4]).is_some(), "no overflow");
    }

    #[test]
    fn first_poll_is_at_the_90th_percentile_and_not_before_the_grace() {
        let cases = [
            // Usual times, grace, the first poll.
            ([40, 70, 100], 120, 120),
            ([40, 70, 100], 60, 70),
            ([100, 200, 300], 120, 200),
            ([1_000, 7_000, 9_000], 120, 900),
            ([1_000, 7_000, 9_000], 1_200, 1_200),
            ([0, 0, 0], 120, 120),
        ];
        for (times, grace, expected) in cases {
            let first = usual(times).first_poll(Duration::from_secs(grace));
            assert_eq!(first.as_secs(), expected, "{times:?}, {grace} s");
        }
    }

    #[test]
    fn estimated_progress_never_reaches_the_end() {
        let percent = |elapsed| usual([40, 70, 100]).progress(Duration::from_secs(elapsed));
        assert_eq!([0, 35, 70, 7_000].map(percent), [0, 47, 95, 95]);
        assert_eq!(usual([0, 0, 0]).progress(Duration::ZERO), 0);
    }

    #[test]
    fn range_is_in_the_unit_that_suits() {
        let cases = [
            ([40, 70, 90], "usually 40-70 s"),
            ([5, 5, 9], "usually 5 s"),
            ([61, 119, 200], "usually 61-119 s"),
            ([95, 150, 200], "usually 2-3 min"),
            ([3_700, 7_200, 9_000], "usually 1-2 h"),
        ];
        for (times, text) in cases {
            assert_eq!(usual(times).to_string(), text);
        }
    }

    #[test]
    fn stopwatch_shows_hours_only_once_there_are_some() {
        let text = |seconds| stopwatch(Duration::from_secs(seconds));
        assert_eq!([0, 31, 605, 3_723].map(text), ["0:00", "0:31", "10:05", "1:02:03"]);
    }
}
