//! Messages for common mistakes: what people and other notations write where JSON expects something else.

use crate::jobfile::findings::quoted;

/// RFC 8259, section 6.
pub fn is_number(written: &str) -> bool {
    let unsigned = written.strip_prefix('-').unwrap_or(written);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// The leading characters that look like one bare word or number.
pub fn run(text: &str) -> &str {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '$');
    &text[..text.find(|c| !bare(c)).unwrap_or(text.len())]
}

/// Names a character for a message.
pub fn shown(c: char) -> String {
    quoted(c.encode_utf8(&mut [0; 4]))
}

/// The hint for what other notations and keyboards write instead of JSON's own characters.
pub fn misfit(rest: &str) -> Option<String> {
    let c = rest.chars().next()?;
    let meant = match c {
        '\'' => return Some("single quotes are not JSON: use double quotes".to_owned()),
        '`' => return Some("backticks are not JSON: use double quotes".to_owned()),
        '#' => return Some("comments are not JSON: remove it".to_owned()),
        '/' if rest.starts_with("//") || rest.starts_with("/*") => {
            return Some("comments are not JSON: remove it".to_owned());
        }
        '“' | '”' | '„' | '‘' | '’' | '＂' | '「' | '」' => '"',
        '，' | '、' => ',',
        '：' => ':',
        '｛' => '{',
        '｝' => '}',
        '［' | '【' => '[',
        '］' | '】' => ']',
        '\u{a0}' | '\u{3000}' => ' ',
        _ => return None,
    };
    Some(format!("{} is not JSON: `{meant}` is meant (check the keyboard or the editor's quotes)", shown(c)))
}

/// What is wrong with a number that is none.
pub fn of_number(written: &str) -> String {
    let digits = written.trim_start_matches('-');
    let fix =
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            ": leave out the leading zeros"
        } else if written.contains('_') {
            ": leave out `_`"
        } else {
            ""
        };
    format!("{} is not a JSON number{fix}", quoted(written))
}

/// What is wrong where a value should begin, but `first` stands, the first character of the bare word `written`.
pub fn of_word(first: char, written: &str) -> String {
    match written {
        "" if matches!(first, ',' | ']' | '}') => format!("a value is missing before {}", shown(first)),
        "" => format!("a value cannot begin with {}", shown(first)),
        "True" | "TRUE" => format!("`{written}` is not JSON: write `true`"),
        "False" | "FALSE" => format!("`{written}` is not JSON: write `false`"),
        "None" | "nil" | "undefined" | "NULL" | "Null" => {
            format!("`{written}` is not JSON: leave the key out, or write `null`")
        }
        "NaN" | "Infinity" | "+Infinity" => format!("`{written}` is not a JSON number"),
        _ if written.starts_with(['+', '.']) => format!("a JSON number cannot begin with {}", shown(first)),
        _ => format!("{} is not JSON: text must be in double quotes", quoted(written)),
    }
}
