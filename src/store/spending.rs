//! The ledger: what each attempt was estimated at, frozen and charged, and what it counts for in budgets.
//!
//! An attempt counts from the commit that sends it: first as reserved, then as settled. One that was certainly not
//! executed counts for nothing until it is sent again. An unknown outcome stays reserved. An adopted task, which was made
//! elsewhere, counts for nothing.

use crate::clock::Timestamp;
use crate::clock::calendar::Period;
use crate::failpoints::{self, FailPoint};
use crate::job::budget::{Budget, BudgetLevel, BudgetVerdict, Budgets, Scope, Spent, judge};
use crate::job::label::Label;
use crate::job::notification::JobNotification;
use crate::job::step::Billing;
use crate::job::{Job, JobId, Labels, TaskId};
use crate::money::Quota;
use crate::money::estimate::Estimate;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension, Row};
use crate::store::error::StoreError;
use crate::store::hooks::{About, write_calls};
use crate::store::meta;
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::sidecars::outdate_sidecars;
use crate::store::writer::Writing;

/// The unit of `spending.quarter`.
const QUARTER_MS: i64 = 900_000;

const SPENT_BETWEEN: &str = "SELECT coalesce(sum(reserved), 0), coalesce(sum(settled), 0) FROM spending WHERE quarter >= ?1 AND quarter < ?2";
const SPENT_FOR_LABEL: &str = "SELECT coalesce(sum(reserved), 0), coalesce(sum(settled), 0) FROM label_spending WHERE key = ?1 AND value = ?2";
/// Jobs that wait for a budget, in the order of the queue.
const OVER_BUDGET: &str = "SELECT jobs.id, jobs.budget_wait_quota, requests.labels
    FROM jobs INDEXED BY jobs_over_budget JOIN requests ON requests.job = jobs.nr
    WHERE jobs.next_action = 'wait' AND jobs.budget_wait_quota IS NOT NULL
    ORDER BY jobs.priority DESC, jobs.nr";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("spent in a period", SPENT_BETWEEN),
        ("spent for a label", SPENT_FOR_LABEL),
        ("over budget", OVER_BUDGET),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

/// What an attempt counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    quota: Quota,
    settled: bool,
    at: Timestamp,
}

impl Counted {
    /// What it adds to the reserved and the settled sums.
    fn amounts(self, sign: i64) -> [i64; 2] {
        let amount = self.quota.get().saturating_mul(sign);
        if self.settled { [0, amount] } else { [amount, 0] }
    }
}

/// What has been spent of a budget.
pub(super) fn spent_of(connection: &Connection, scope: &Scope) -> Result<Spent, StoreError> {
    let read = |row: &Row<'_>| Ok(Spent { reserved: row.get(0)?, settled: row.get(1)? });
    let spent = match scope {
        Scope::Day(Period { start, end }) | Scope::Month(Period { start, end }) => {
            let quarters = [start, end].map(|time| time.millis().div_euclid(QUARTER_MS));
            connection.prepare_cached(SPENT_BETWEEN)?.query_row(quarters, read)?
        }
        Scope::Label(Label { key, value }) => {
            connection.prepare_cached(SPENT_FOR_LABEL)?.query_row([key, value], read)?
        }
    };
    Ok(spent)
}

/// Whether a job that probably costs `need` may be submitted.
pub(super) fn judge_in(
    connection: &Connection,
    nr: i64,
    need: Quota,
    budgets: &Budgets,
    now: Timestamp,
) -> Result<BudgetVerdict, StoreError> {
    if budgets.are_unlimited() {
        return Ok(BudgetVerdict::Fits);
    }
    let labels = labels_of(connection, nr)?;
    let spent: Vec<(Budget, Spent)> = budgets
        .of(&labels, now)
        .map(|budget| Ok((budget.clone(), spent_of(connection, &budget.scope)?)))
        .collect::<Result<_, StoreError>>()?;
    Ok(judge(need, &spent, &budgets.zone, now))
}

/// Counts the reserved cost of an attempt whose row is new.
pub(super) fn reserve_new(
    writing: &Writing<'_>,
    labels: String,
    quota: Quota,
    now: Timestamp,
) -> Result<(), StoreError> {
    add_to_sums(writing.connection, &parse_labels(labels)?, Counted { quota, settled: false, at: now }, 1)
}

/// Notifies hooks, once, of each budget that a job with these labels has brought to the share at which to warn, or that does
/// not allow it (`refused`).
pub(super) fn alert(
    writing: &mut Writing<'_>,
    nr: i64,
    budgets: &Budgets,
    refused: Option<Quota>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if budgets.are_unlimited() {
        return Ok(());
    }
    let labels = labels_of(writing.connection, nr)?;
    let of_job: Vec<Budget> = budgets.of(&labels, now).collect();
    for budget in of_job {
        let spent = spent_of(writing.connection, &budget.scope)?;
        let is_refused = refused.is_some_and(|need| spent.total().plus(need) > budget.limit);
        let level = if is_refused { BudgetLevel::Exhausted } else { budget.level(spent, budgets.warn_at) };
        let name = match level {
            BudgetLevel::Low => continue,
            BudgetLevel::High => format!("budget_high {}", budget.scope.name()),
            BudgetLevel::Exhausted => format!("budget_exhausted {}", budget.scope.name()),
        };
        if meta::get(writing.connection, &name)? == Some(budget.alerted_for()) {
            continue;
        }
        meta::set(writing.connection, &name, budget.alerted_for())?;
        write_calls(writing, About::Daemon, JobNotification::Budget, now)?;
        let Budget { scope, limit } = &budget;
        tracing::warn!("of {scope} budget of {limit}, {} are used or reserved", spent.total());
    }
    Ok(())
}

/// Reserves the estimated cost of an attempt that is about to be sent again after it was not executed.
pub(super) fn reserve(
    writing: &mut Writing<'_>,
    nr: i64,
    number: u32,
    estimate: Estimate,
    now: Timestamp,
) -> Result<(), StoreError> {
    writing
        .connection
        .prepare_cached(
            "UPDATE attempts SET estimate_quota = ?3, estimate_source = ?4 WHERE job = ?1 AND number = ?2",
        )?
        .execute((nr, number, estimate.quota, estimate.source.into_str()))?;
    set_counted(writing, nr, number, Counted { quota: estimate.quota, settled: false, at: now })
}

/// Records what became known about the cost of an attempt of a job.
pub(super) fn record_billing(
    writing: &mut Writing<'_>,
    (nr, job): (i64, &Job),
    billing: &Billing,
) -> Result<(), StoreError> {
    match billing {
        Billing::NotExecuted(number) => {
            let counted = counted_by(writing.connection, nr, *number)?;
            set_counted(writing, nr, *number, Counted { quota: Quota::ZERO, ..counted })
        }
        Billing::MayBeExecuted(number) => {
            let estimate: Option<Quota> = writing
                .connection
                .prepare_cached("SELECT estimate_quota FROM attempts WHERE job = ?1 AND number = ?2")?
                .query_row((nr, number), |row| row.get(0))?;
            let counted = counted_by(writing.connection, nr, *number)?;
            set_counted(writing, nr, *number, Counted { quota: estimate.unwrap_or_default(), ..counted })
        }
        Billing::Frozen(number, frozen) => {
            writing
                .connection
                .prepare_cached("UPDATE attempts SET frozen_quota = ?3 WHERE job = ?1 AND number = ?2")?
                .execute((nr, number, frozen))?;
            let counted = counted_by(writing.connection, nr, *number)?;
            if counted.settled {
                return Ok(());
            }
            // The charge can be larger than what is frozen, so the larger of both stays reserved.
            set_counted(writing, nr, *number, Counted { quota: counted.quota.max(*frozen), ..counted })
        }
        Billing::Charged { task, quota: charged, completed } => {
            let Some((number, sends, before)) = attempt_of(writing.connection, nr, task)? else {
                return Ok(());
            };
            let more = charged.get().saturating_sub(before.map_or(0, Quota::get));
            if more > 0 {
                writing.count(MetricEvent::Charged(more.unsigned_abs()));
            }
            // What a failed task cost says nothing about the next.
            let estimate: Option<Quota> = writing
                .connection
                .prepare_cached(
                    "UPDATE attempts SET charged_quota = ?3, price_class = CASE WHEN ?4 = 1 THEN price_class END
                     WHERE job = ?1 AND number = ?2 RETURNING estimate_quota",
                )?
                .query_row((nr, number, charged, completed), |row| row.get(0))?;
            // Most tasks have their final cost before they have files.
            if before != Some(*charged) && !(job.task() == Some(task) && job.outputs().is_empty()) {
                outdate_sidecars(writing, nr, task)?;
            }
            // Made elsewhere: no budget was asked.
            if sends == 0 {
                return Ok(());
            }
            let counted = counted_by(writing.connection, nr, number)?;
            if let Some(estimate) = estimate.filter(|estimate| charged > estimate)
                && !(counted.settled && counted.quota == *charged)
            {
                let job = job.id();
                tracing::warn!(%job, "job {job} was charged {charged}, more than its estimate of {estimate}");
                writing.count(MetricEvent::ChargedAboveEstimate);
            }
            set_counted(writing, nr, number, Counted { quota: *charged, settled: true, ..counted })
        }
    }
}

/// The number of the attempt that made a task, how often it was sent, and what it was charged so far.
fn attempt_of(
    connection: &Connection,
    nr: i64,
    task: &TaskId,
) -> Result<Option<(u32, u32, Option<Quota>)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, sends, charged_quota FROM attempts WHERE job = ?1 AND task_id = ?2",
    )?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(statement.query_row((nr, task.as_str()), read).optional()?)
}

fn counted_by(connection: &Connection, nr: i64, number: u32) -> Result<Counted, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT counted_quota, counted_settled, counted_at FROM attempts WHERE job = ?1 AND number = ?2",
    )?;
    Ok(statement.query_row((nr, number), |row| {
        Ok(Counted { quota: row.get(0)?, settled: row.get(1)?, at: row.get(2)? })
    })?)
}

fn labels_of(connection: &Connection, nr: i64) -> Result<Labels, StoreError> {
    let labels: String = connection
        .prepare_cached("SELECT labels FROM requests WHERE job = ?1")?
        .query_row([nr], |row| row.get(0))?;
    parse_labels(labels)
}

fn parse_labels(labels: String) -> Result<Labels, StoreError> {
    serde_json::from_str(&labels).map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })
}

/// Changes what an attempt counts for, and the sums with it.
fn set_counted(writing: &mut Writing<'_>, nr: i64, number: u32, counted: Counted) -> Result<(), StoreError> {
    let before = counted_by(writing.connection, nr, number)?;
    if before == counted {
        return Ok(());
    }
    writing
        .connection
        .prepare_cached(
            "UPDATE attempts SET counted_quota = ?3, counted_settled = ?4, counted_at = ?5 WHERE job = ?1 AND number = ?2",
        )?
        .execute((nr, number, counted.quota, counted.settled, counted.at))?;
    let labels = labels_of(writing.connection, nr)?;
    add_to_sums(writing.connection, &labels, before, -1)?;
    add_to_sums(writing.connection, &labels, counted, 1)?;
    if counted.quota < before.quota {
        writing.notify(Topic::BudgetFreed);
    }
    Ok(())
}

fn add_to_sums(
    connection: &Connection,
    labels: &Labels,
    counted: Counted,
    sign: i64,
) -> Result<(), StoreError> {
    let [reserved, settled] = counted.amounts(sign);
    if (reserved, settled) == (0, 0) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO spending (quarter, reserved, settled) VALUES (?1, ?2, ?3)
             ON CONFLICT (quarter) DO UPDATE SET reserved = spending.reserved + ?2, settled = spending.settled + ?3",
        )?
        .execute((counted.at.millis().div_euclid(QUARTER_MS), reserved, settled))?;
    failpoints::hit(FailPoint::SpendingChanged);
    add_to_labels(connection, labels, counted, sign)
}

fn add_to_labels(
    connection: &Connection,
    labels: &Labels,
    counted: Counted,
    sign: i64,
) -> Result<(), StoreError> {
    let [reserved, settled] = counted.amounts(sign);
    for (key, value) in labels {
        connection
            .prepare_cached(
                "INSERT INTO label_spending (key, value, reserved, settled) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key, value) DO UPDATE
                 SET reserved = label_spending.reserved + ?3, settled = label_spending.settled + ?4",
            )?
            .execute((key, value, reserved, settled))?;
    }
    Ok(())
}

/// A job has other labels: what its attempts count for moves to them.
pub(super) fn move_label_spending(
    connection: &Connection,
    nr: i64,
    old: &Labels,
    new: &Labels,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT counted_quota, counted_settled, counted_at FROM attempts WHERE job = ?1 AND counted_quota <> 0",
    )?;
    let read = |row: &Row<'_>| Ok(Counted { quota: row.get(0)?, settled: row.get(1)?, at: row.get(2)? });
    let counted: Vec<Counted> = statement.query_map([nr], read)?.collect::<Result<_, _>>()?;
    for counted in counted {
        let only = |labels: &Labels, others: &Labels| -> Labels {
            let kept = labels.iter().filter(|(key, value)| others.get(*key) != Some(value));
            kept.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        add_to_labels(connection, &only(old, new), counted, -1)?;
        add_to_labels(connection, &only(new, old), counted, 1)?;
    }
    Ok(())
}

impl Store {
    /// Sets the budgets. Jobs that wait for one are tried again.
    pub fn set_budgets(&self, budgets: Budgets) {
        *self.budgets.write() = budgets;
        self.wake(Topic::BudgetFreed);
    }

    /// The budgets as of `now`, with what has been spent of each.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn spent(&self, now: Timestamp) -> Result<Vec<(Budget, Spent)>, StoreError> {
        let budgets: Vec<Budget> = self.budgets.read().all(now).collect();
        self.read(move |connection| {
            budgets
                .into_iter()
                .map(|budget| {
                    let spent = spent_of(connection, &budget.scope)?;
                    Ok((budget, spent))
                })
                .collect()
        })
        .await
    }

    /// What the provider has charged for the attempts since then, to a quarter of an hour; not for adopted tasks.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn charged_since(&self, since: Timestamp) -> Result<Quota, StoreError> {
        let since = Scope::Day(Period { start: since, end: Timestamp::from_millis(i64::MAX) });
        Ok(self.read(move |connection| spent_of(connection, &since)).await?.settled)
    }

    /// The first `limit` jobs that wait for a budget and fit now, in the order of the queue.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn jobs_that_fit_now(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let budgets = self.budgets.read().clone();
        self.read(move |connection| {
            let mut spent: Vec<(Budget, Spent)> = budgets
                .all(now)
                .map(|budget| Ok((budget.clone(), spent_of(connection, &budget.scope)?)))
                .collect::<Result<_, StoreError>>()?;
            let mut statement = connection.prepare_cached(OVER_BUDGET)?;
            let mut rows = statement.query([])?;
            let mut fitting = Vec::new();
            while let Some(row) = rows.next()? {
                let (need, labels): (Quota, String) = (row.get(1)?, row.get(2)?);
                let labels = parse_labels(labels)?;
                let of_job: Vec<_> =
                    spent.iter().filter(|(budget, _)| budget.scope.includes(&labels)).cloned().collect();
                if judge(need, &of_job, &budgets.zone, now) == BudgetVerdict::Fits {
                    fitting.push(row.get(0)?);
                    if fitting.len() >= limit {
                        break;
                    }
                    // Those behind it get what it leaves.
                    for (budget, spent) in &mut spent {
                        if budget.scope.includes(&labels) {
                            spent.reserved = spent.reserved.plus(need);
                        }
                    }
                }
            }
            Ok(fitting)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
