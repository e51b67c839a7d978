//! Reads one JSON string (RFC 8259, section 7).

use std::borrow::Cow;

/// A string with its end and decoded text.
pub struct ScannedString<'a> {
    /// Byte after the closing quote.
    pub end: usize,
    /// Decoded, or as written if it contains a lone surrogate.
    pub text: Cow<'a, str>,
    /// Bytes at which lone surrogates are written: the grammar allows them, but they are not characters (section 8.2).
    pub halves: Vec<usize>,
}

/// Why a string could not be read.
pub enum StringFault {
    /// The text ends before the closing quote.
    Ended,
    /// A character that JSON strings do not allow, at byte `at`.
    Wrong { at: usize, message: String },
}

/// Reads the string whose opening quote is at byte `begun`.
///
/// # Errors
/// When the string does not end, or is not valid JSON.
pub fn read(text: &str, begun: usize) -> Result<ScannedString<'_>, StringFault> {
    let (mut at, mut escapes, mut halves) = (begun + 1, false, Vec::new());
    loop {
        match text.as_bytes().get(at) {
            None => return Err(StringFault::Ended),
            Some(b'"') => break,
            Some(b'\\') => {
                escapes = true;
                let (length, half) = escape(text, at)?;
                halves.extend(half.then_some(at));
                at += length;
            }
            Some(0..0x20) => return Err(wrong(at, control(text.as_bytes()[at]))),
            Some(_) => at += 1,
        }
    }
    let inner = &text[begun + 1..at];
    let written = Cow::Borrowed(inner);
    // `serde_json` rejects nothing here but lone surrogates.
    let decoded =
        if escapes { serde_json::from_str(&text[begun..=at]).map_or(written, Cow::Owned) } else { written };
    Ok(ScannedString { end: at + 1, text: decoded, halves })
}

/// The length in bytes of the escape at `at` (a surrogate pair counts as one), and whether it is a lone surrogate.
fn escape(text: &str, at: usize) -> Result<(usize, bool), StringFault> {
    match text[at + 1..].chars().next() {
        None => Err(StringFault::Ended),
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok((2, false)),
        Some('u') => match (code_unit(text, at), code_unit(text, at + 6)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => Ok((12, false)),
            (Some(code), _) => Ok((6, (0xD800..0xE000).contains(&code))),
            (None, _) if text.len() < at + 6 => Err(StringFault::Ended),
            (None, _) => Err(wrong(at, "`\\u` needs four hexadecimal digits".to_owned())),
        },
        Some(c) => {
            let c = if c.is_control() { String::new() } else { c.to_string() };
            Err(wrong(at, format!("`\\{c}` is not a JSON escape; a backslash itself is written `\\\\`")))
        }
    }
}

/// The four digits of a `\uXXXX` at `at`.
fn code_unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

fn control(byte: u8) -> String {
    match byte {
        b'\n' | b'\r' => {
            "a line break inside a string: write `\\n` (or a closing quote is missing)".to_owned()
        }
        b'\t' => "a tab inside a string: write `\\t`".to_owned(),
        byte => format!("a control character inside a string: write `\\u{byte:04x}`"),
    }
}

fn wrong(at: usize, message: String) -> StringFault {
    StringFault::Wrong { at, message }
}
