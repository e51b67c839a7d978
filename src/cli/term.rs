//! What a terminal is shown: widths, colours, tables, and no text of others that it would obey.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin, stdout};

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
use serde_json::Value;

use crate::cli::{Exit, Failure};

/// A text of others without control characters: what a terminal would obey is shown as a dot.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_turning(c) { '·' } else { c }).collect()
}

/// Marks that turn the direction of a line, or end it.
fn is_turning(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The text of a JSON value at `key`, made [`plain`]; empty if there is none.
pub fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// How wide stdout is, in columns; `None` if it is no terminal, so that nothing need be cut.
pub fn width() -> Option<u16> {
    if !stdout().is_terminal() {
        return None;
    }
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col >= 20 => Some(size.ws_col),
        _ => Some(80),
    }
}

/// Whether progress can be drawn: people's messages go to stderr.
pub fn draws() -> bool {
    stderr().is_terminal()
}

/// Whether a person reads stdout.
pub fn is_read() -> bool {
    stdout().is_terminal()
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

/// A table without lines that measures CJK text rightly, a line to a row. In a narrow terminal the first column, the
/// names, is cut; the others stay whole, so that an id can always be copied.
pub fn table(heads: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.to_vec());
    for row in rows {
        let mut row = Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    match width {
        None => table.set_content_arrangement(ContentArrangement::Disabled),
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
    };
    for column in table.column_iter_mut().skip(1) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Prints to stdout. A closed pipe ends the program quietly, as `list | head` expects.
pub fn say(text: &str) -> Result<(), Failure> {
    put(format!("{text}\n").as_bytes())
}

/// Tells people something, on stderr. That nobody listens any more is no failure of the command.
pub fn tell(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Asks a person once; an error unless they say yes.
pub fn ask(question: &str) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{question} Without a terminal to ask on, say --yes")));
    }
    write!(stderr(), "{question} [y/N] ")?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was done"))
    }
}

/// Writes bytes to stdout as they are, as [`say`] does.
pub fn put(bytes: &[u8]) -> Result<(), Failure> {
    match stdout().write_all(bytes).and_then(|()| stdout().flush()) {
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
        assert_eq!(plain("\u{9b}2J \u{2028}\u{200F}"), "·2J ··");
        assert_eq!(plain("春天"), "春天");
    }

    #[test]
    fn a_table_measures_wide_text() {
        let rows = vec![vec!["春天".into(), "x".into()], vec!["ab".into(), "y".into()]];
        for width in [None, Some(40)] {
            assert_eq!(table(&["NAME", "S"], rows.clone(), width), " NAME  S\n 春天  x\n ab    y");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_an_id_never() {
        let id = "01a2069b-5192-7000-8002-4ba8a661699c";
        let cell = |name: &str| vec![vec![name.to_owned(), id.to_owned()]];
        for name in ["scene ".repeat(30), "樱花".repeat(60), "x".repeat(200)] {
            let cut = table(&["NAME", "ID"], cell(&name), Some(60));
            let lines: Vec<&str> = cut.lines().collect();
            assert_eq!(lines.len(), 2, "{cut}");
            assert!(lines[1].contains('…') && lines[1].ends_with(id), "{cut}");
            assert!(table(&["NAME", "ID"], cell(&name), None).contains(name.trim_end()));
        }
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!([42, 420, 11_000, 432_000].map(span), ["42s", "7m", "3h", "5d"]);
        assert_eq!(bytes(1_258_291), "1.2 MiB");
    }
}
