//! What is paused or suspended, printed by every command that shows jobs: a job may be waiting for it.

use crate::api::status::StatusView;
use crate::cli::client::ApiClient;
use crate::cli::exit::CliError;
use crate::cli::format::printable;
use crate::cli::terminal::eprint_line;

/// Prints what is paused or suspended, on standard error.
pub(crate) async fn eprint_suspensions(client: &ApiClient) -> Result<(), CliError> {
    suspension_lines(&client.status().await?).iter().for_each(|line| eprint_line(line));
    Ok(())
}

/// What is paused or suspended, a line each.
pub(crate) fn suspension_lines(status: &StatusView) -> Vec<String> {
    let lines = status.suspensions.iter().map(|suspension| {
        let message = printable(&suspension.message);
        match suspension.until {
            Some(until) => format!("! {message} (until {until})"),
            None => format!("! {message}"),
        }
    });
    lines.collect()
}
