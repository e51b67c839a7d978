//! `Content-Range` (RFC 9110, section 14.4).

/// The total length in `bytes FROM-TO/TOTAL`, if the range begins at `offset` and ends with the file.
pub fn total_length(range: &str, offset: u64) -> Option<u64> {
    let (span, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = span.split_once('-')?;
    let (from, to, total) = (digits(from)?, digits(to)?, digits(total)?);
    (from == offset && from <= to && to.checked_add(1) == Some(total)).then_some(total)
}

/// Parses digits only: the standard parser also accepts a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_must_start_at_the_offset_and_reach_the_end() {
        let cases = [
            ("bytes 4-7/8", Some(8)),
            (" bytes 4-7/8 ", Some(8)),
            ("bytes 4-6/8", None),
            ("bytes 3-7/8", None),
            ("bytes 4-7/*", None),
            ("bytes */8", None),
            ("bytes +4-7/8", None),
            ("bytes 4-+7/8", None),
            ("bytes 4-7/+8", None),
            ("bytes 4-18446744073709551615/0", None),
            ("bytes 4-3/4", None),
            ("bytes 4-/8", None),
            ("items 4-7/8", None),
            ("", None),
        ];
        for (range, total) in cases {
            assert_eq!(total_length(range, 4), total, "{range}");
        }
    }
}
