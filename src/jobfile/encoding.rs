//! Decodes bytes: job files are UTF-8 without a byte order mark.

use crate::jobfile::Problem;

/// The text of a file, or of its first line.
pub struct DecodedText<'a> {
    /// Without the byte order mark.
    pub text: &'a str,
    /// The problem of a byte order mark: the text can be read all the same.
    pub mark: Option<Problem>,
}

/// Whether the bytes are UTF-16 or UTF-32: by their byte order mark, or by the zero beside the first character.
pub fn is_wide(bytes: &[u8]) -> bool {
    match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => true,
        [one, other, ..] => (*one == 0) != (*other == 0),
        _ => false,
    }
}

/// The problem of a UTF-16 or UTF-32 file.
pub fn wide_problem() -> Problem {
    at_start("the file is UTF-16 or UTF-32: save it as UTF-8, without a byte order mark")
}

/// Decodes bytes that begin on line `first_line` of the file.
///
/// # Errors
/// The first place that is not UTF-8.
pub fn read(bytes: &[u8], first_line: u64) -> Result<DecodedText<'_>, Problem> {
    if first_line == 1 && is_wide(bytes) {
        return Err(wide_problem());
    }
    let (bytes, mark) = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) if first_line == 1 => (
            rest,
            Some(at_start(
                "the file begins with a byte order mark (BOM): save it as UTF-8 without one; a shell does it with `tail -c +4`",
            )),
        ),
        _ => (bytes, None),
    };
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let message = "a NUL byte: this is not text, or the file was reserved and never filled";
        return Err(problem_at(bytes, at, first_line, message.to_owned()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(DecodedText { text, mark }),
        Err(error) => {
            let at = error.valid_up_to();
            let message = match (error.error_len(), bytes.get(at)) {
                (Some(_), Some(byte)) => {
                    format!(
                        "the byte 0x{byte:02X} here is not UTF-8: save the file as UTF-8 (not GBK, not Latin-1)"
                    )
                }
                _ => "the text ends in the middle of a UTF-8 character: cut short, or still being written"
                    .to_owned(),
            };
            Err(problem_at(bytes, at, first_line, message))
        }
    }
}

fn at_start(message: &str) -> Problem {
    Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 }
}

fn problem_at(bytes: &[u8], at: usize, first_line: u64, message: String) -> Problem {
    let before = bytes.get(..at).unwrap_or_default();
    let breaks = before.iter().filter(|byte| **byte == b'\n').count();
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    Problem { pointer: String::new(), message, line: first_line + breaks as u64, column: column as u64 }
}
