//! What a terminal is shown: widths, colours, tables, and no text of others that it would obey.

use std::io::{IsTerminal, Write, stderr, stdout};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::{Exit, Failure};

/// Without a terminal, tables are made so wide.
const WIDTH: u16 = 100;

/// A text of others without control characters: what a terminal would obey is shown as a dot.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_turning(c) { '·' } else { c }).collect()
}

/// Marks that turn the direction of a line.
fn is_turning(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The text of a JSON value at `key`, made [`plain`]; empty if there is none.
pub fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// How wide stdout is, in columns.
pub fn width() -> u16 {
    if !stdout().is_terminal() {
        return WIDTH;
    }
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col >= 20 => size.ws_col,
        _ => 80,
    }
}

/// Whether progress can be drawn: people's messages go to stderr.
pub fn draws() -> bool {
    stderr().is_terminal()
}

/// Whether colours are welcome on stdout (no-color.org).
fn colours() -> bool {
    let refused =
        crate::settings::Environment::of_this_process().get("NO_COLOR").is_some_and(|set| !set.is_empty());
    stdout().is_terminal() && !refused
}

/// A state's word, in its colour where colours are welcome.
pub fn state(word: &str) -> String {
    let code = match word {
        "succeeded" => "32",
        "failed" | "expired" => "31",
        "held" => "33;1",
        "processing" | "downloading" => "36",
        _ => "",
    };
    if code.is_empty() || !colours() { word.to_owned() } else { format!("\u{1b}[{code}m{word}\u{1b}[0m") }
}

/// A table without lines, as wide as the terminal, that measures CJK text rightly.
pub fn table(heads: &[&str], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(heads.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Prints to stdout. A closed pipe ends the program quietly, as `list | head` expects.
pub fn say(text: &str) -> Result<(), Failure> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Done, "")),
        written => Ok(written?),
    }
}

/// Prints one JSON document to stdout.
pub fn say_json(value: &Value) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// `1.2 MiB`
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

/// How long ago or how long, for people: `42s`, `7m`, `3h`, `5d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        assert_eq!(plain("a\u{1b}[31mred\u{7}\r\nb\u{202E}c"), "a·[31mred···b·c");
        assert_eq!(plain("春天"), "春天");
    }

    #[test]
    fn a_table_measures_wide_text() {
        let rows = vec![vec!["春天".into(), "x".into()], vec!["ab".into(), "y".into()]];
        assert_eq!(table(&["NAME", "S"], rows, 40), " NAME  S\n 春天  x\n ab    y");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!([42, 420, 11_000, 432_000].map(span), ["42s", "7m", "3h", "5d"]);
        assert_eq!(bytes(1_258_291), "1.2 MiB");
    }
}
