//! Cleans the provider's texts for terminals, logs and the database.

/// The longest sentence that is kept, in characters.
pub const SENTENCE: usize = 500;
/// The longest code or status word that is kept, in characters.
pub const WORD: usize = 64;
/// How much of an unreadable answer is shown, in characters.
const BEGINNING: usize = 60;
/// From how much of it that is taken: more, because addresses are cut down to their hosts.
const EXAMINED: usize = 400;

/// One line of at most `limit` characters, without control characters, and with every address cut down to its host: the
/// provider quotes callback and media URLs in its errors, and their paths and queries are secrets.
pub fn clean(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for (count, c) in hosts_only(text).trim().chars().enumerate() {
        if count == limit {
            line.push('…');
            break;
        }
        line.push(if is_unsafe(c) { ' ' } else { c });
    }
    line.trim().to_owned()
}

/// The first `limit` characters with every address cut down to its host, in lines as they are. Where it is cut, no part of
/// an address is left.
pub fn without_secrets(text: &str, limit: usize) -> String {
    let text = unquote(text);
    let shown = match text.char_indices().nth(limit) {
        Some((cut, _)) => &text[..text[..cut].rfind(is_address_end).unwrap_or(0)],
        None => &text,
    };
    hosts_only(shown).chars().map(|c| if is_unsafe(c) && c != '\n' { ' ' } else { c }).collect()
}

/// Control characters, and invisible ones that reorder text (Unicode Standard Annex 9).
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text, cleaned. What may be the first part of an address is left out: without its end, its secrets
/// could not be recognised.
pub fn beginning(text: &str) -> String {
    let Some((cut, _)) = text.char_indices().nth(EXAMINED) else { return clean(text, BEGINNING) };
    let shown = unquote(&text[..cut]);
    let end = shown.rfind(is_address_end).or_else(|| shown.find("://")).unwrap_or(shown.len());
    clean(&shown[..end], BEGINNING)
}

/// Spellings of the delimiters of an address where one text is quoted in another: JSON in JSON, an address in a query.
/// They are replaced, so that no spelling hides an address.
const SPELLINGS: [(&str, char); 10] = [
    ("\\/", '/'),
    ("\\u002f", '/'),
    ("\\u003a", ':'),
    ("%2f", '/'),
    ("%3a", ':'),
    ("%40", '@'),
    ("%3f", '?'),
    ("%23", '#'),
    ("%5c", '\\'),
    ("%25", '%'),
];

fn unquote(text: &str) -> String {
    if !text.contains(['%', '\\']) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        plain.push(c);
        // A replaced delimiter may complete another spelling, where text is quoted twice.
        while let Some((spelled, delimiter)) = SPELLINGS.iter().find(|(spelled, _)| {
            let end = plain.len().checked_sub(spelled.len()).and_then(|at| plain.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(spelled))
        }) {
            plain.truncate(plain.len() - spelled.len());
            plain.push(*delimiter);
        }
    }
    plain
}

fn is_address_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

fn hosts_only(text: &str) -> String {
    let text = unquote(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let (address, after) = address.split_at(address.find(is_address_end).unwrap_or(address.len()));
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
    fn texts_become_one_safe_line() {
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
            (r#"{\"url\":\"https:\\/\\/hooks.example\\/secret"#, r#"{\"url\":\"https://hooks.example/..."#),
            (r"https:\u002F\u002fhooks.example\u002fsecret", "https://hooks.example/..."),
            ("?to=https%3A%2F%2Fu%3Apw%40hooks.example%2Fsecret", "?to=https://hooks.example/..."),
            ("?to=https%253a%252f%252fhooks.example%252fsecret ok", "?to=https://hooks.example/... ok"),
            ("50% off, %20 stays", "50% off, %20 stays"),
        ];
        for (given, expected) in cases {
            assert_eq!(clean(given, SENTENCE), expected);
        }
    }

    #[test]
    fn addresses_cut_in_two_are_not_shown() {
        let url = format!("https://{}:{}@hooks.example/", "u".repeat(30), "secret".repeat(100));
        assert_eq!(beginning(&url), "https");
        assert_eq!(beginning(&format!("cannot reach {url} now")), "cannot reach");
        assert_eq!(beginning(&format!("cannot reach {}", url.replace("://", "%3A%2F%2F"))), "cannot reach");
        assert_eq!(beginning("see https://u:pw@h.example/x"), "see https://h.example/...");
        assert_eq!(beginning(&"樱".repeat(500)), format!("{}…", "樱".repeat(60)));
    }

    #[test]
    fn kept_text_has_its_lines_but_no_address() {
        let text = "<a href=\"https://h.example/secret\">\r\n\u{1b}next line https://u:pw@h.example/secret";
        let shown = "<a href=\"https://h.example/...\"> \n next line https://h.example/...";
        assert_eq!(without_secrets(text, 1000), shown);
        assert_eq!(without_secrets(text, 30), "<a href=");
        assert_eq!(without_secrets(&"x".repeat(50), 40), "");
    }

    #[test]
    fn deep_quotation_is_replaced_in_one_pass() {
        let text = format!("%{}", "25".repeat(500_000));
        assert_eq!(unquote(&text), "%");
    }

    #[test]
    fn long_texts_are_cut() {
        let cut = clean(&"樱".repeat(600), SENTENCE);
        assert_eq!(cut.chars().count(), SENTENCE + 1);
        assert!(cut.ends_with('…'));
    }
}
