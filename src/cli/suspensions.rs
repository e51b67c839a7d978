//! What is paused or suspended, printed by every command that shows jobs: a job may be waiting for it.

use crate::api::budget::BudgetView;
use crate::api::status::StatusView;
use crate::cli::client::ApiClient;
use crate::cli::exit::CliError;
use crate::cli::format::{printable, usd};
use crate::cli::terminal::eprint_line;
use crate::job::suspension::Suspension;

/// Prints what is paused or suspended, on standard error.
pub(crate) async fn eprint_suspensions(client: &ApiClient) -> Result<(), CliError> {
    suspension_lines(&client.status().await?).iter().for_each(|line| eprint_line(line));
    Ok(())
}

/// What is paused or suspended, budgets that are nearly spent, and a balance that is too low, a line each.
pub(crate) fn suspension_lines(status: &StatusView) -> Vec<String> {
    // What is suspended for the same reason shares a line, such as both pauses.
    let mut reasons: Vec<(Vec<&str>, String)> = Vec::new();
    for suspension in &status.suspensions {
        let until = suspension.until.map(|until| format!(" (until {until})")).unwrap_or_default();
        let reason = format!("{}{until}", printable(&suspension.message));
        match reasons.iter_mut().find(|(_, known)| *known == reason) {
            Some((suspended, _)) => suspended.push(what_is_suspended(suspension)),
            None => reasons.push((vec![what_is_suspended(suspension)], reason)),
        }
    }
    let lines =
        reasons.into_iter().map(|(suspended, reason)| format!("! {}: {reason}", suspended.join(" and ")));
    let budgets = status
        .budgets
        .iter()
        .filter(|budget| budget.reserved_usd + budget.spent_usd >= budget.limit_usd * 0.8);
    let short = status.balance_usd.is_some_and(|balance| balance < status.waiting_usd);
    let balance = short.then(|| balance_line(status)).flatten().map(|line| format!("! {line}"));
    lines.chain(budgets.map(budget_line)).chain(balance).collect()
}

/// The balance, and what waiting jobs need of it; `None`: neither is known.
pub(crate) fn balance_line(status: &StatusView) -> Option<String> {
    let StatusView { waiting_usd, balance_usd, .. } = status;
    let need = (*waiting_usd > 0.0).then(|| format!("waiting jobs need about {}", usd(*waiting_usd)));
    let balance = balance_usd.map(|balance| format!("balance {}", usd(balance)));
    let parts: Vec<String> = balance.into_iter().chain(need).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn budget_line(budget: &BudgetView) -> String {
    let BudgetView { budget, limit_usd, reserved_usd, spent_usd, .. } = budget;
    let budget = printable(budget);
    let [spent, reserved, limit] = [spent_usd, reserved_usd, limit_usd].map(|value| usd(*value));
    format!("! budget ({budget}): {spent} spent and {reserved} reserved of {limit}")
}

/// What is paused or suspended, and why.
pub(crate) fn describe_suspension(suspension: &Suspension) -> String {
    format!("{}: {}", what_is_suspended(suspension), printable(&suspension.message))
}

fn what_is_suspended(suspension: &Suspension) -> &'static str {
    match suspension.cause {
        cause if cause.suspends_downloads() => "downloads",
        cause if cause.suspends_queries() => "calls to the provider",
        _ => "submitting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::suspension::SuspensionCause;

    fn status() -> StatusView {
        StatusView {
            version: String::new(),
            counts: Default::default(),
            slots: Default::default(),
            suspensions: Vec::new(),
            message: None,
            budgets: Vec::new(),
            waiting_usd: 0.0,
            balance_usd: None,
        }
    }

    #[test]
    fn both_pauses_share_a_line() {
        let pause = |cause| Suspension {
            cause,
            until: None,
            message: "paused by an operator".into(),
            since: Timestamp::from_millis(0),
        };
        let unpaid = Suspension { message: "no money".into(), ..pause(SuspensionCause::BalanceEmpty) };
        let suspensions =
            vec![pause(SuspensionCause::PausedDownloads), pause(SuspensionCause::PausedSubmits), unpaid];
        assert_eq!(
            suspension_lines(&StatusView { suspensions, ..status() }),
            ["! downloads and submitting: paused by an operator", "! submitting: no money"]
        );
    }

    #[test]
    fn balance_is_a_warning_only_where_waiting_jobs_need_more() {
        let cases = [
            (None, 0.0, None, 0),
            (Some(3.1), 0.0, Some("balance $3.10"), 0),
            (Some(3.1), 5.2, Some("balance $3.10, waiting jobs need about $5.20"), 1),
            (Some(5.2), 3.1, Some("balance $5.20, waiting jobs need about $3.10"), 0),
            (None, 5.2, Some("waiting jobs need about $5.20"), 0),
        ];
        for (balance_usd, waiting_usd, line, warnings) in cases {
            let status = StatusView { waiting_usd, balance_usd, ..status() };
            assert_eq!(balance_line(&status).as_deref(), line);
            assert_eq!(suspension_lines(&status).len(), warnings, "{line:?}");
        }
    }
}
