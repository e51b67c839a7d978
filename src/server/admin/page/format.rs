//! Amounts, sizes and times as texts, in both languages. `times.js` formats times in the same way.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::server::admin::page::messages::Messages;

/// A time: absolute for scripts, relative for people.
pub(super) struct DisplayTime {
    pub iso: String,
    pub relative: String,
}

impl DisplayTime {
    pub(super) fn new(m: &Messages, time: Timestamp, now: Timestamp) -> Self {
        Self { iso: time.to_string(), relative: relative_time(m, time, now) }
    }
}

pub(super) fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

/// A duration in its largest unit; below ten hours with the minutes.
pub(super) fn duration(m: &Messages, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}{}", m.unit_s),
        60..3_600 => format!("{minutes}{}", m.unit_min),
        3_600..86_400 if hours < 10 && minutes % 60 > 0 => {
            format!("{hours}{} {}{}", m.unit_h, minutes % 60, m.unit_min)
        }
        3_600..86_400 => format!("{hours}{}", m.unit_h),
        _ => format!("{days}{}", m.unit_d),
    }
}

fn relative_time(m: &Messages, time: Timestamp, now: Timestamp) -> String {
    if time > now {
        return format!("{}{}{}", m.in_before, duration(m, time.since(now)), m.in_after);
    }
    let past = now.since(time);
    if past.as_secs() < 5 { m.just_now.to_owned() } else { format!("{}{}", duration(m, past), m.ago) }
}

/// The estimated time left, rounded because it is not known exactly.
pub(super) fn time_left(m: &Messages, left: Duration) -> String {
    let seconds = left.as_secs();
    let rounded = if seconds < 60 { seconds.div_ceil(5) * 5 } else { seconds };
    format!("{}{}{}", m.left_before, duration(m, Duration::from_secs(rounded)), m.left_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::page::messages::chinese::CHINESE;
    use crate::server::admin::page::messages::english::ENGLISH;

    #[test]
    fn relative_times_use_the_units_that_matter() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let cases = [
            (1_000, "just now", "刚刚"),
            (970, "30 s ago", "30 秒前"),
            (940, "1 min ago", "1 分钟前"),
            (1_090, "in 1 min", "1 分钟后"),
            (12_000, "in 3 h 3 min", "3 小时 3 分钟后"),
            (-40_000, "11 h ago", "11 小时前"),
            (-200_000, "2 d ago", "2 天前"),
        ];
        for (time, english, chinese) in cases {
            assert_eq!(relative_time(&ENGLISH, at(time), at(1_000)), english);
            assert_eq!(relative_time(&CHINESE, at(time), at(1_000)), chinese);
        }
    }
}
