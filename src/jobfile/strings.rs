//! One JSON string (RFC 8259, section 7): where it ends and what it says.

use std::borrow::Cow;

/// A string that was read.
pub struct Scanned<'a> {
    /// Byte behind its closing quote.
    pub end: usize,
    /// Decoded; as written if a surrogate in it has no other half.
    pub text: Cow<'a, str>,
    /// Bytes at which halves of surrogate pairs are written (section 8.2): grammar allows them, no text has them.
    pub halves: Vec<usize>,
}

/// Why a string could not be read.
pub enum Fault {
    /// The text ends first.
    Ended,
    /// What stands at byte `at` has no place in a string.
    Wrong { at: usize, message: String },
}

/// Reads the string whose opening quote stands at byte `begun`.
///
/// # Errors
/// When it is not ended, or not as JSON writes it.
pub fn read(text: &str, begun: usize) -> Result<Scanned<'_>, Fault> {
    let (mut at, mut escapes, mut halves) = (begun + 1, false, Vec::new());
    loop {
        match text.as_bytes().get(at) {
            None => return Err(Fault::Ended),
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
    // Refused by it are halves of surrogate pairs alone.
    let decoded =
        if escapes { serde_json::from_str(&text[begun..=at]).map_or(written, Cow::Owned) } else { written };
    Ok(Scanned { end: at + 1, text: decoded, halves })
}

/// The length in bytes of the escape at `at`, a whole surrogate pair included, and whether it is but half of one.
fn escape(text: &str, at: usize) -> Result<(usize, bool), Fault> {
    match text[at + 1..].chars().next() {
        None => Err(Fault::Ended),
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok((2, false)),
        Some('u') => match (code_unit(text, at), code_unit(text, at + 6)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => Ok((12, false)),
            (Some(code), _) => Ok((6, (0xD800..0xE000).contains(&code))),
            (None, _) if text.len() < at + 6 => Err(Fault::Ended),
            (None, _) => Err(wrong(at, "`\\u` needs four hexadecimal digits".to_owned())),
        },
        Some(c) => {
            let c = if c.is_control() { String::new() } else { c.to_string() };
            Err(wrong(at, format!("`\\{c}` is no JSON escape; a backslash itself is written `\\\\`")))
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

fn wrong(at: usize, message: String) -> Fault {
    Fault::Wrong { at, message }
}
