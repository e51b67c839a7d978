//! What is paused or suspended, printed by every command that shows jobs: a job may be waiting for it.

use crate::api::budget::BudgetView;
use crate::api::status::StatusView;
use crate::cli::client::ApiClient;
use crate::cli::exit::CliError;
use crate::cli::format::printable;
use crate::cli::terminal::eprint_line;
use crate::job::suspension::Suspension;

/// Prints what is paused or suspended, on standard error.
pub(crate) async fn eprint_suspensions(client: &ApiClient) -> Result<(), CliError> {
    suspension_lines(&client.status().await?).iter().for_each(|line| eprint_line(line));
    Ok(())
}

/// What is paused or suspended, and budgets that are nearly spent, a line each.
pub(crate) fn suspension_lines(status: &StatusView) -> Vec<String> {
    let lines = status.suspensions.iter().map(|suspension| {
        let text = describe_suspension(suspension);
        match suspension.until {
            Some(until) => format!("! {text} (until {until})"),
            None => format!("! {text}"),
        }
    });
    let budgets = status
        .budgets
        .iter()
        .filter(|budget| budget.reserved_usd + budget.spent_usd >= budget.limit_usd * 0.8);
    lines.chain(budgets.map(budget_line)).collect()
}

fn budget_line(budget: &BudgetView) -> String {
    let BudgetView { budget, limit_usd, reserved_usd, spent_usd, .. } = budget;
    let budget = printable(budget);
    format!("! budget ({budget}): ${spent_usd:.2} spent and ${reserved_usd:.2} reserved of ${limit_usd:.2}")
}

/// What is paused or suspended, and why.
pub(crate) fn describe_suspension(suspension: &Suspension) -> String {
    let what = match suspension.cause {
        cause if cause.suspends_downloads() => "downloads",
        cause if cause.suspends_queries() => "calls to the provider",
        _ => "submitting",
    };
    format!("{what}: {}", printable(&suspension.message))
}
