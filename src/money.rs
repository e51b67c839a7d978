//! Amounts in the provider's quota: integers, 500,000 to the US dollar (docs/provider.md#status-answers).

pub mod estimate;

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in the provider's quota. An integer, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quota(i64);

/// Quota per US dollar.
pub const QUOTA_PER_USD: i64 = 500_000;

impl Quota {
    /// No quota: also the cost of a refunded task.
    pub const ZERO: Self = Self(0);

    /// From the provider's integer.
    pub const fn new(quota: i64) -> Self {
        Self(quota)
    }

    /// The provider's integer.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// From US dollars, written as digits with at most six decimal places after a point, such as `0.5`; `None` for anything
    /// else. Half a quota is dropped, so that a whole amount is above the dollars exactly if it is above this.
    pub fn parse_usd(written: &str) -> Option<Self> {
        let (whole, decimals) = written.split_once('.').unwrap_or((written, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let millionths: i64 = format!("{whole}{decimals:0<6}").parse().ok()?;
        Some(Self(millionths / (1_000_000 / QUOTA_PER_USD)))
    }

    /// From US dollars, rounded to whole quota. `None`: no finite amount.
    pub fn from_usd(usd: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "within the bounds")]
        {
            let quota = (usd * QUOTA_PER_USD as f64).round();
            (quota.abs() < 9e15).then_some(Self(quota as i64))
        }
    }

    /// In US dollars, for people and reports; calculations stay in quota.
    pub fn usd(self) -> f64 {
        // Exact below 2^53 quota: 18 billion dollars.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        {
            self.0 as f64 / QUOTA_PER_USD as f64
        }
    }

    /// The sum; saturates.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; saturates.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Quota {
    /// Dollars and cents, rounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = (i128::from(self.0.unsigned_abs()) * 100 + i128::from(QUOTA_PER_USD) / 2)
            / i128::from(QUOTA_PER_USD);
        match cents {
            0 if self.0 != 0 => write!(f, "{sign}<$0.01"),
            _ => write!(f, "{sign}${}.{:02}", cents / 100, cents % 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        let read = [
            ("0", 0),
            ("0.000002", 1),
            ("0.000003", 1),
            ("0.1", 50_000),
            ("12.345678", 6_172_839),
            ("9223372036854.775807", i64::MAX / 2),
        ];
        for (written, quota) in read {
            assert_eq!(Quota::parse_usd(written), Some(Quota::new(quota)), "{written}");
        }
        for wrong in ["", ".5", "1.", "-1", "+1", "1e2", "1.0000000", "1,5", "9223372036855"] {
            assert_eq!(Quota::parse_usd(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn quota_is_printed_in_dollars() {
        assert_eq!(Quota::new(75_000).to_string(), "$0.15");
        assert_eq!(Quota::new(-1_250_000).to_string(), "-$2.50");
        assert_eq!(Quota::ZERO.to_string(), "$0.00");
        assert_eq!(Quota::new(2400).to_string(), "<$0.01");
        assert_eq!(Quota::new(i64::MIN).plus(Quota::new(-1)), Quota::new(i64::MIN));
        assert_eq!(Quota::from_usd(0.15), Some(Quota::new(75_000)));
        assert_eq!((Quota::from_usd(f64::NAN), Quota::from_usd(1e300)), (None, None));
        assert!((Quota::new(75_000).usd() - 0.15).abs() < f64::EPSILON);
    }
}
