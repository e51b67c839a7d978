//! How amounts, lengths and times are written for people, in both languages. `times.js` writes times the same way.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::server::admin::page::messages::Words;

/// Dollars, with cents and what is below a cent only if there is something.
pub(super) fn money(quota: Quota) -> String {
    let text = quota.to_string();
    let cents = text.len() - 2;
    if text.ends_with("00") { text[..cents].to_owned() } else { text }
}

/// A file's length.
pub(super) fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

/// Which unit a span is told in, and how many: two units under a day where the second still says something.
pub(super) fn span(w: &Words, span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}{}", w.unit_s),
        60..3_600 => format!("{minutes}{}", w.unit_min),
        3_600..86_400 if hours < 10 && minutes % 60 > 0 => {
            format!("{hours}{} {}{}", w.unit_h, minutes % 60, w.unit_min)
        }
        3_600..86_400 => format!("{hours}{}", w.unit_h),
        _ => format!("{days}{}", w.unit_d),
    }
}

/// A moment, seen from now.
pub(super) fn ago(w: &Words, moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        return format!("{}{}{}", w.in_before, span(w, moment.since(now)), w.in_after);
    }
    let past = now.since(moment);
    if past.as_secs() < 5 { w.just_now.to_owned() } else { format!("{}{}", span(w, past), w.ago) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::page::messages::{CHINESE, ENGLISH};

    #[test]
    fn money_shows_what_there_is() {
        assert_eq!(money(Quota::new(75_000)), "$0.15");
        assert_eq!(money(Quota::new(75_050)), "$0.1501");
        assert_eq!(money(Quota::ZERO), "$0.00");
    }

    #[test]
    fn times_are_told_in_the_units_that_matter() {
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
        for (moment, english, chinese) in cases {
            assert_eq!(ago(&ENGLISH, at(moment), at(1_000)), english);
            assert_eq!(ago(&CHINESE, at(moment), at(1_000)), chinese);
        }
    }
}
