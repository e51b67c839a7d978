//! Reads times: seconds, milliseconds or finer units, as numbers or text; the size shows the unit
//! (docs/provider.md#status-answers).

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;

/// 2020-01-01, before the service began.
const EARLIEST: Timestamp = Timestamp::from_millis(1_577_836_800_000);
/// No link lives longer, and no limit lasts longer.
const MAX_AHEAD: Duration = Duration::from_secs(400 * 24 * 3600);

/// A time of the provider; `None` when it is unreadable, before 2020, or over 400 days after `now`.
pub fn read_time(value: &Value, now: Timestamp) -> Option<Timestamp> {
    let time = match value {
        Value::Number(number) => from_number(number.as_f64()?)?,
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => from_number(number)?,
            Err(_) => Timestamp::parse_rfc3339(text.trim())?,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    plausible(time, now)
}

/// A `Date` or `Retry-After` header (RFC 9110, section 5.6.7), if plausible.
pub fn read_http_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    plausible(Timestamp::from_millis(parsed.as_millisecond()), now)
}

fn plausible(time: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (EARLIEST..=now.plus(MAX_AHEAD)).contains(&time).then_some(time)
}

/// The ranges of the four units do not overlap between the years 1973 and 5138.
fn from_number(number: f64) -> Option<Timestamp> {
    let millis = match number.abs() {
        size if size < 1e11 => number * 1e3,
        size if size < 1e14 => number,
        size if size < 1e17 => number / 1e3,
        size if size < 1e20 => number / 1e6,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below 1e14, and fractions of a millisecond do not matter"
    )]
    Some(Timestamp::from_millis(millis.round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_200_000);

    #[test]
    fn times_are_read_in_every_unit() {
        let moment = Timestamp::from_millis(1_775_285_160_000);
        for value in [
            json!(1_775_285_160),
            json!(1_775_285_160.0),
            json!(1_775_285_160_000_i64),
            json!(1_775_285_160_000_000_i64),
            json!(1_775_285_160_000_000_000_i64),
            json!("1775285160"),
            json!(" 1775285160000 "),
            json!("2026-04-04T06:46:00Z"),
            json!("2026-04-04T14:46:00+08:00"),
        ] {
            assert_eq!(read_time(&value, NOW), Some(moment), "{value}");
        }
    }

    #[test]
    fn implausible_times_count_as_absent() {
        for value in [
            json!(0),
            json!(-1),
            json!(-1_775_285_160),
            json!(1),
            json!(1_500_000_000),
            json!(1_900_000_000),
            json!("9999-12-31T23:59:59Z"),
            json!(1e300),
            json!("nan"),
            json!("inf"),
            json!(""),
            json!("yesterday"),
            json!(null),
            json!(true),
            json!([1_775_285_160]),
            json!({}),
        ] {
            assert_eq!(read_time(&value, NOW), None, "{value}");
        }
    }

    #[test]
    fn http_dates_are_read() {
        let read = |text| read_http_date(text, NOW).map(Timestamp::millis);
        assert_eq!(read("Sat, 04 Apr 2026 06:46:00 GMT"), Some(1_775_285_160_000));
        assert_eq!(read("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(read("soon"), None);
    }
}
