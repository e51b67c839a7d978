//! File names made from any text.

/// Longest name made from a text, in bytes. Leaves room for numbers and suffixes below the limit of file systems.
pub(super) const MAX_BYTES: usize = 120;

/// Turns any text into one path component that is safe on every system: no separators, no control or direction
/// characters, no leading dot or dash, no trailing dot or space, no device name of Windows, at most 120 bytes.
pub fn safe_name(text: &str) -> String {
    safe_name_within(text, MAX_BYTES)
}

/// [`safe_name`] with another limit.
pub(super) fn safe_name_within(text: &str, max_bytes: usize) -> String {
    let replaced: String = text.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let trimmed = replaced.trim_start_matches(['.', '-', ' ']);
    let stem = trimmed.split('.').next().unwrap_or(trimmed);
    let prefix = if is_device_name(stem) { "_" } else { "" };
    let mut end = trimmed.len().min(max_bytes.saturating_sub(prefix.len()));
    while !trimmed.is_char_boundary(end) {
        end -= 1;
    }
    let cut = trimmed[..end].trim_end_matches(['.', ' ']);
    if cut.is_empty() { "_".to_owned() } else { format!("{prefix}{cut}") }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        // Characters without width, or that reverse the direction of text: they make one name look like another.
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}')
}

fn is_device_name(stem: &str) -> bool {
    let upper = stem.trim_end().to_ascii_uppercase();
    let is_numbered = |prefix: &str| {
        upper
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL") || is_numbered("COM") || is_numbered("LPT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unsafe_text_becomes_one_harmless_component() {
        let cases = [
            ("../../etc/passwd", "_.._etc_passwd"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("CON", "_CON"),
            ("com1.txt", "_com1.txt"),
            ("trailing. .", "trailing"),
            ("a\u{202E}gpj", "a_gpj"),
            ("nul\0byte", "nul_byte"),
            ("", "_"),
            ("...", "_"),
            ("春天的樱花", "春天的樱花"),
        ];
        for (text, safe) in cases {
            assert_eq!(safe_name(text), safe, "{text:?}");
        }
        let long = safe_name(&"春".repeat(100));
        assert_eq!((long.len(), long.chars().count()), (120, 40));
    }

    #[test]
    fn prefixed_device_name_keeps_to_the_limit() {
        assert_eq!(safe_name(&format!("con.{}", "x".repeat(300))), format!("_con.{}", "x".repeat(115)));
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_safe_component(text in "\\PC*|.*") {
            let safe = safe_name(&text);
            prop_assert!(!safe.is_empty() && safe.len() <= MAX_BYTES);
            prop_assert!(!safe.contains(['/', '\\', '\0']) && !safe.starts_with('.') && !safe.ends_with('.'));
        }
    }
}
