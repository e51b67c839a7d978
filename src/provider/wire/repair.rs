//! Repairs JSON that only strict parsers refuse: a paid video must not be lost to that.

/// The text with what JSON does not know replaced: `NaN` and `Infinity` by null, numbers beyond all floats too, raw
/// control characters in strings by their escapes, half surrogate pairs by the replacement character, and unknown
/// escapes by what they escape.
pub(crate) fn repaired(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = repair_string(rest, &mut output);
            continue;
        }
        let end = rest.find(|c| !is_part_of_word(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let (token, after) = rest.split_at(end);
        output.push_str(if is_unknown(token) { "null" } else { token });
        rest = after;
    }
    output
}

fn is_part_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')
}

fn is_unknown(token: &str) -> bool {
    let is_number = token.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    matches!(token.trim_start_matches(['-', '+']), "NaN" | "Infinity" | "inf" | "undefined")
        || (is_number && token.parse::<f64>().is_ok_and(f64::is_infinite))
}

/// Repairs the string at the beginning of `text`, and returns what follows it.
fn repair_string<'a>(text: &'a str, output: &mut String) -> &'a str {
    output.push('"');
    let mut rest = &text[1..];
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' => {
                output.push('"');
                return after;
            }
            '\\' => rest = repair_escape(rest, output),
            c if c.is_ascii_control() => {
                output.push_str(&format!("\\u{:04x}", u32::from(c)));
                rest = after;
            }
            c => {
                output.push(c);
                rest = after;
            }
        }
    }
    rest
}

/// Repairs the escape at the beginning of `text`, and returns what follows it.
fn repair_escape<'a>(text: &'a str, output: &mut String) -> &'a str {
    let unit = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let length = match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
        (Some(0xd800..=0xdfff), _) => {
            output.push('\u{fffd}');
            return &text[6..];
        }
        (Some(_), _) => 6,
        (None, _) if text[1..].starts_with(['"', '\\', '/', 'b', 'f', 'n', 'r', 't']) => 2,
        // The backslash goes, what it escapes stays.
        (None, _) => return &text[1..],
    };
    output.push_str(&text[..length]);
    &text[length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_strict_parsers_refuse_is_repaired() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d b""#, "\"a\u{fffd} b\""),
            (r#""\ude00\ud83d""#, "\"\u{fffd}\u{fffd}\""),
            (r#""\\ud83d \n\u0041""#, r#""\\ud83d \n\u0041""#),
            (r#""it\'s \x41""#, r#""it's x41""#),
            ("\"one\ntwo\"", r#""one\u000atwo""#),
            (r#"{"a":NaN,"b":[-Infinity,undefined]}"#, r#"{"a":null,"b":[null,null]}"#),
            (r#"{"a":1e999,"b":-1.5e3,"c":true}"#, r#"{"a":null,"b":-1.5e3,"c":true}"#),
            (r#"{"NaN":"Infinity"}"#, r#"{"NaN":"Infinity"}"#),
            ("\"\\", "\""),
            ("樱 \"\\樱", "樱 \"樱"),
        ];
        for (given, expected) in cases {
            assert_eq!(repaired(given), expected);
        }
    }
}
