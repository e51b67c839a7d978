//! Standard output for results, standard error for messages to people, and one question before many changes.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin, stdout};

use serde::Serialize;

use crate::cli::exit::{CliError, Exit};
use crate::settings::Environment;

/// A table is never made for less.
const MIN_WIDTH: u16 = 20;

/// The width of standard output in columns, or what `COLUMNS` says; `None` if it is no terminal, so that nothing need be cut.
pub(crate) fn width() -> Option<u16> {
    let named =
        Environment::of_this_process().get("COLUMNS").and_then(|columns| columns.to_str()?.parse().ok());
    let named = named.filter(|columns| *columns >= MIN_WIDTH);
    if named.is_some() || !stdout().is_terminal() {
        return named;
    }
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col >= MIN_WIDTH => Some(size.ws_col),
        _ => Some(80),
    }
}

/// Whether progress can be drawn, which goes to standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    stderr().is_terminal()
}

/// Whether a person can be asked.
pub(crate) fn stdin_is_terminal() -> bool {
    stdin().is_terminal()
}

/// Whether a person reads the results.
pub(crate) fn stdout_is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether standard output may have colours (no-color.org).
pub(crate) fn colours() -> bool {
    let refused = Environment::of_this_process().get("NO_COLOR").is_some_and(|value| !value.is_empty());
    stdout().is_terminal() && !refused
}

/// Writes a line to standard output. A closed pipe ends the program quietly, as `list | head` expects.
pub(crate) fn print_line(text: &str) -> Result<(), CliError> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// [`print_line`] for bytes as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    match stdout().write_all(bytes).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::new(Exit::Done, "")),
        written => Ok(written?),
    }
}

/// Writes one JSON document to standard output.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(document).map_err(|error| CliError::failed(error.to_string()))?;
    print_line(&text)
}

/// Writes a message for people to standard error. That nobody reads it is no failure of the command.
pub(crate) fn eprint_line(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Asks once.
///
/// # Errors
/// Unless the answer is yes, or when there is no terminal to ask on.
pub(crate) fn confirm(question: &str) -> Result<(), CliError> {
    if !stdin().is_terminal() {
        return Err(CliError::usage(format!("{question} There is no terminal to ask on: add --yes")));
    }
    write!(stderr(), "{question} [y/N] ")?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::failed("nothing was done")),
    }
}
