//! The provider's texts, made fit for a terminal, a log and a record.

/// The longest sentence that is kept of the provider's words, in characters.
pub const SENTENCE: usize = 500;
/// The longest code or status word that is kept, in characters.
pub const WORD: usize = 64;

/// One line without control characters, at most `limit` characters long, in which every address is cut down to its
/// host: the provider quotes callback and media URLs in its errors, and their paths and queries are secrets.
pub fn clean(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for (count, c) in hosts_only(text).trim().chars().enumerate() {
        if count == limit {
            line.push('…');
            break;
        }
        line.push(if misleads(c) { ' ' } else { c });
    }
    line.trim().to_owned()
}

/// Controls, and the invisible characters that reorder text (Unicode Standard Annex 9).
fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn hosts_only(text: &str) -> String {
    // JSON quoted inside JSON writes its slashes escaped.
    let text = text.replace("\\/", "/");
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let (address, after) = address.split_at(address.find(ends).unwrap_or(address.len()));
        let authority = address.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        shown.push_str(authority.rsplit('@').next().unwrap_or_default());
        if authority.len() < address.len() {
            shown.push_str("/...");
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_text_becomes_one_harmless_line() {
        let cases = [
            ("  plain  ", "plain"),
            ("one\r\ntwo\u{1b}[31m red\u{0}", "one  two [31m red"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("春天的樱花", "春天的樱花"),
            (
                "can't reach https://hooks.example/callbacks/j/t0ken?x=1, sorry",
                "can't reach https://hooks.example/... sorry",
            ),
            (
                "see https://docs.example and \"http://u:pw@h:8080/p#f\"!",
                "see https://docs.example and \"http://h:8080/...\"!",
            ),
            (r#"{"url":"https:\/\/hooks.example\/secret"}"#, r#"{"url":"https://hooks.example/..."}"#),
        ];
        for (given, expected) in cases {
            assert_eq!(clean(given, SENTENCE), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let cut = clean(&"樱".repeat(600), SENTENCE);
        assert_eq!(cut.chars().count(), SENTENCE + 1);
        assert!(cut.ends_with('…'));
    }
}
