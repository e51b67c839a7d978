//! The provider's texts, made fit for a terminal, a log and a record.

/// The longest sentence that is kept of the provider's words, in characters.
pub const SENTENCE: usize = 500;
/// The longest code or status word that is kept, in characters.
pub const WORD: usize = 64;
/// So many characters of an unreadable answer are shown ...
const BEGINNING: usize = 60;
/// ... out of so many that are looked at: addresses shrink to their hosts.
const LOOK: usize = 400;

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

/// How a text begins, for people, however long it is: what may be an address cut in two is left out, for no more than
/// its beginning would not be known as one.
pub fn begins(text: &str) -> String {
    let Some((cut, _)) = text.char_indices().nth(LOOK) else { return clean(text, BEGINNING) };
    let shown = plainly(&text[..cut]);
    let whole = shown.rfind(ends_address).or_else(|| shown.find("://")).unwrap_or(shown.len());
    clean(&shown[..whole], BEGINNING)
}

/// The spellings in which services quote one text inside another: JSON in JSON, an address in a query. What stands for
/// a mark of an address is read as that mark, so that none of them hides one.
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

fn plainly(text: &str) -> String {
    if !text.contains(['%', '\\']) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        plain.push(c);
        // What has become plain may end another spelling, where something is quoted twice.
        while let Some((spelled, mark)) = SPELLINGS.iter().find(|(spelled, _)| {
            let end = plain.len().checked_sub(spelled.len()).and_then(|at| plain.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(spelled))
        }) {
            plain.truncate(plain.len() - spelled.len());
            plain.push(*mark);
        }
    }
    plain
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

fn hosts_only(text: &str) -> String {
    let text = plainly(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let (address, after) = address.split_at(address.find(ends_address).unwrap_or(address.len()));
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
    fn an_address_that_is_cut_in_two_is_not_shown() {
        let url = format!("https://{}:{}@hooks.example/", "u".repeat(30), "secret".repeat(100));
        assert_eq!(begins(&url), "https");
        assert_eq!(begins(&format!("cannot reach {url} now")), "cannot reach");
        assert_eq!(begins(&format!("cannot reach {}", url.replace("://", "%3A%2F%2F"))), "cannot reach");
        assert_eq!(begins("see https://u:pw@h.example/x"), "see https://h.example/...");
        assert_eq!(begins(&"樱".repeat(500)), format!("{}…", "樱".repeat(60)));
    }

    #[test]
    fn a_text_of_nothing_but_quotations_is_read_in_one_pass() {
        let text = format!("%{}", "25".repeat(500_000));
        assert_eq!(plainly(&text), "%");
    }

    #[test]
    fn a_long_text_is_cut() {
        let cut = clean(&"樱".repeat(600), SENTENCE);
        assert_eq!(cut.chars().count(), SENTENCE + 1);
        assert!(cut.ends_with('…'));
    }
}
