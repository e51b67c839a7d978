//! Durations and sizes: a whole number and a unit.

use std::time::Duration;

/// A longer duration is a mistake; the limit also keeps clock arithmetic from overflowing.
const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);

/// Limit of an age given by a person.
const MAX_AGE: Duration = Duration::from_secs(3660 * 86_400);

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Parses `500ms`, `90s`, `5m`, `24h` or `2d`: above zero, at most 366 days.
///
/// # Errors
/// What is wrong and how durations are written, for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_at_most(MAX_DURATION, text)
}

/// Parses an age, written like a [`duration`]: above zero, at most 3660 days.
///
/// # Errors
/// As there.
pub fn age(text: &str) -> Result<Duration, String> {
    parse_at_most(MAX_AGE, text)
}

fn parse_at_most(max: Duration, text: &str) -> Result<Duration, String> {
    let how = "write a whole number and a unit without a space: 500ms, 90s, 5m, 24h or 2d";
    let millis =
        number_and_unit(text, &DURATION_UNITS).ok_or_else(|| format!("`{text}` is not a duration; {how}"))?;
    match Duration::from_millis(millis) {
        Duration::ZERO => Err("must be above zero".to_owned()),
        long if long > max => Err(format!("`{text}` is too long; at most {}d", max.as_secs() / 86_400)),
        fits => Ok(fits),
    }
}

/// Parses `1MiB`, `4GiB` or, in powers of ten, `500MB`: at least one byte.
///
/// # Errors
/// What is wrong and how sizes are written, for people.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let how = "write a whole number and a unit without a space: 512B, 64KiB, 1MiB or 4GiB";
    match number_and_unit(text, &SIZE_UNITS) {
        None => Err(format!("`{text}` is not a size; {how}")),
        Some(0) => Err("must be at least 1B".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_a_whole_number_and_a_unit() {
        let cases =
            [("500ms", 500), ("90s", 90_000), ("5m", 300_000), ("24h", 86_400_000), ("366d", 31_622_400_000)];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "5 m", " 5m", "5M", "1.5h", "-1s", "+1s", "s", "1h30m", "99999999999999999999s"]
        {
            let error = duration(bad).expect_err(bad);
            assert!(error.contains("90s, 5m, 24h"), "{bad}: {error}");
        }
        assert!(duration("0s").is_err());
        assert!(duration("367d").is_err());
        assert!(age("3660d").is_ok() && age("3661d").is_err());
    }

    #[test]
    fn size_is_a_whole_number_and_a_unit() {
        let cases =
            [("1B", 1), ("64KiB", 65_536), ("1MiB", 1_048_576), ("4GiB", 4_294_967_296), ("1MB", 1_000_000)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "1024", "1 MiB", "1mib", "1.5GiB", "MiB", "99999999TiB"] {
            let error = size(bad).expect_err(bad);
            assert!(error.contains("64KiB, 1MiB"), "{bad}: {error}");
        }
        assert!(size("0MiB").is_err());
    }
}
