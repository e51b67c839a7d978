//! How often a time was measured, in classes that are about 3 % wide: a small text for any number of times, and sums of two
//! can be made and taken back. A percentile is within 2 % of the time that was measured.

use std::cmp::Ordering;

/// Times below 64 ms are counted exactly, others by their five leading bits after the first.
const LEADING_BITS: u32 = 5;

/// Counts of times, by class, in the order of the classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram(Vec<(u16, i64)>);

impl Histogram {
    /// Counts a time `count` times more, or less.
    pub fn add(&mut self, millis: i64, count: i64) {
        self.add_to_class(class(millis.max(0).unsigned_abs()), count);
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(class, count)| self.add_to_class(*class, *count));
    }

    fn add_to_class(&mut self, class: u16, count: i64) {
        match self.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => {
                self.0[at].1 += count;
                if self.0[at].1 == 0 {
                    self.0.remove(at);
                }
            }
            Err(at) => self.0.insert(at, (class, count)),
        }
    }

    /// The smallest time that at least `percent` of the times do not exceed, in milliseconds.
    pub fn percentile(&self, percent: u32) -> Option<u64> {
        let all: i64 = self.0.iter().map(|(_, count)| count).sum();
        let rank = all.saturating_mul(percent.into()).unsigned_abs().div_ceil(100);
        let mut below = 0;
        self.0.iter().find_map(|(class, count)| {
            below += count.unsigned_abs();
            (below >= rank).then(|| middle(*class))
        })
    }

    /// As it is stored: the classes with their counts, in JSON.
    pub fn to_text(&self) -> String {
        // Numbers always serialize.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }
}

fn class(millis: u64) -> u16 {
    let exponent = (u64::BITS - millis.leading_zeros()).saturating_sub(LEADING_BITS + 1);
    // At most 58 times 32, and 63.
    u16::try_from((u64::from(exponent) << LEADING_BITS) + (millis >> exponent)).unwrap_or(u16::MAX)
}

/// The middle of a class.
fn middle(class: u16) -> u64 {
    let class = u64::from(class);
    match class.cmp(&(2 << LEADING_BITS)) {
        Ordering::Less => class,
        Ordering::Equal | Ordering::Greater => {
            let exponent = (class >> LEADING_BITS) - 1;
            let leading = class - (exponent << LEADING_BITS);
            (leading << exponent) + ((1 << exponent) - 1) / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_within_two_percent_of_the_time() {
        let times = [0, 1, 63, 64, 65, 1_000, 59_999, 60_000, 61_237, 3_600_000, 604_800_000, i64::MAX / 2];
        for millis in times {
            let mut histogram = Histogram::default();
            histogram.add(millis, 1);
            let found = histogram.percentile(50).unwrap().cast_signed();
            assert!((found - millis).abs() <= millis / 60, "{millis}: {found}");
        }
        assert_eq!(class(i64::MAX.unsigned_abs()), 57 * 32 + 63);
    }

    #[test]
    fn percentile_is_a_time_that_so_many_do_not_exceed() {
        let hundred: Vec<i64> = (1..=50).flat_map(|millis| [millis, millis]).collect();
        let cases: [(&[i64], u32, Option<u64>); 6] = [
            (&[], 50, None),
            (&[7], 95, Some(7)),
            (&[1, 2], 50, Some(1)),
            (&[1, 2, 3], 50, Some(2)),
            (&hundred, 50, Some(25)),
            (&hundred, 95, Some(48)),
        ];
        for (times, percent, expected) in cases {
            let mut histogram = Histogram::default();
            times.iter().rev().for_each(|millis| histogram.add(*millis, 1));
            assert_eq!(histogram.percentile(percent), expected, "{percent} of {times:?}");
        }
    }

    #[test]
    fn times_that_are_taken_back_leave_nothing() {
        let (mut all, mut some) = (Histogram::default(), Histogram::default());
        for millis in [90_000, 30, 61_000, 61_001] {
            all.add(millis, 1);
        }
        some.add(61_000, 2);
        some.add(30, 1);
        let stored = Histogram::parse(&some.to_text()).unwrap();
        all.merge(&stored);
        for millis in [30, 61_000, 61_001, 30, 61_000, 61_001, 90_000] {
            all.add(millis, -1);
        }
        assert_eq!(all, Histogram::default());
    }
}
