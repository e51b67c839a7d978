//! `pause` and `resume`.

use crate::api::status::{PauseRequest, PauseTarget, ResumeRequest, ResumeTarget, StatusView};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::received::Received;
use crate::cli::suspensions::suspension_lines;
use crate::cli::terminal::{print_json, print_line};

/// `pause`
pub(crate) async fn pause(context: &Context, what: Option<PauseTarget>) -> Result<Exit, CliError> {
    print_status(context, &context.client()?.pause(PauseRequest { what }).await?)
}

/// `resume`
pub(crate) async fn resume(context: &Context, what: Option<ResumeTarget>) -> Result<Exit, CliError> {
    print_status(context, &context.client()?.resume(ResumeRequest { what }).await?)
}

fn print_status(context: &Context, status: &Received<StatusView>) -> Result<Exit, CliError> {
    if context.json {
        print_json(status)?;
        return Ok(Exit::Done);
    }
    let lines = suspension_lines(status);
    if lines.is_empty() {
        print_line("nothing is paused")?;
    }
    lines.iter().try_for_each(|line| print_line(line))?;
    Ok(Exit::Done)
}
