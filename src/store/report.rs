//! The report: how jobs ended, how long they took, what they cost, and which were billed without a video.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::api::report::{ReportGroup, ReportTotals};
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;

/// Most groups in each part of a report: those with the most jobs.
pub const GROUPS: u32 = 100;

/// The whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// All finished jobs.
    pub total: ReportTotals,
    /// By model.
    pub by_model: Vec<ReportGroup>,
    /// By label, as `KEY=VALUE`. A job counts for each of its labels.
    pub by_label: Vec<ReportGroup>,
    /// By the day of their end, UTC, newest first.
    pub by_day: Vec<ReportGroup>,
}

const FINISHED: &str = "SELECT COLUMNS state, finished_at, submitted_at, cost_quota FROM jobs JOINED
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL AND finished_at >= ?1";
const SPENT: &str = "SELECT coalesce(sum(cost_quota), 0) FROM jobs
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL AND finished_at >= ?1";
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Charged without a video.
const DISPUTED: &str = "jobs.cost_quota > 0 AND jobs.state IN ('failed', 'cancelled', 'expired', 'held')
    AND (jobs.finished_at IS NULL OR jobs.finished_at >= ?1) ORDER BY jobs.nr DESC LIMIT ?2";

impl Store {
    /// Totals of the jobs that finished at `since` or later.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn report(&self, since: Timestamp) -> Result<Report, StoreError> {
        self.read(move |connection| {
            // Added up row by row: with `GROUP BY` the database would sort all jobs in memory.
            let mut total = RunningTotals::default();
            let (mut by_model, mut by_day) = (BTreeMap::new(), BTreeMap::new());
            for_each_finished(connection, ["model,", ""], since, |row| {
                let job = FinishedJob::of(row)?;
                total.add(job);
                add_to(&mut by_model, text(row, "model")?, job);
                by_day
                    .entry(job.finished_at.div_euclid(DAY_MS))
                    .or_insert_with(RunningTotals::default)
                    .add(job);
                Ok(())
            })?;
            let mut by_label = BTreeMap::new();
            for_each_finished(
                connection,
                ["key, value,", "JOIN labels ON labels.job = jobs.nr"],
                since,
                |row| {
                    let label = format!("{}={}", text(row, "key")?, text(row, "value")?);
                    add_to(&mut by_label, &label, FinishedJob::of(row)?);
                    Ok(())
                },
            )?;
            let date = |day: i64| Timestamp::from_millis(day.saturating_mul(DAY_MS)).date();
            let days = by_day.into_iter().rev().take(GROUPS as usize);
            Ok(Report {
                total: total.finish(),
                by_model: largest_groups(by_model),
                by_label: largest_groups(by_label),
                by_day: days
                    .map(|(day, totals)| ReportGroup { key: date(day), totals: totals.finish() })
                    .collect(),
            })
        })
        .await
    }

    /// The cost of the jobs that finished at `since` or later.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn spent_since(&self, since: Timestamp) -> Result<Quota, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(SPENT)?;
            Ok(statement.query_row([since], |row| row.get(0))?)
        })
        .await
    }

    /// Jobs that were charged and have no video: failed, cancelled or expired at `since` or later, or held. The newest
    /// `limit` of them, newest first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn disputed_jobs(&self, since: Timestamp, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| {
            let mut found = details_where(connection, DISPUTED, (since, limit))?;
            // A held job may have some of its files already; the others are in dispute.
            found.retain(|details| details.job.state_name() == StateName::Held || details.files.is_empty());
            Ok(found)
        })
        .await
    }
}

fn for_each_finished(
    connection: &Connection,
    [columns, joined]: [&str; 2],
    since: Timestamp,
    mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = FINISHED.replace("COLUMNS", columns).replace("JOINED", joined);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        each(row)?;
    }
    Ok(())
}

fn text<'a>(row: &'a Row<'_>, column: &str) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn add_to(groups: &mut BTreeMap<String, RunningTotals>, key: &str, job: FinishedJob) {
    match groups.get_mut(key) {
        Some(totals) => totals.add(job),
        None => groups.entry(key.to_owned()).or_default().add(job),
    }
}

fn largest_groups(groups: BTreeMap<String, RunningTotals>) -> Vec<ReportGroup> {
    let mut groups: Vec<_> =
        groups.into_iter().map(|(key, totals)| ReportGroup { key, totals: totals.finish() }).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.totals.jobs));
    groups.truncate(GROUPS as usize);
    groups
}

/// The parts of a finished job that count in a report.
#[derive(Clone, Copy)]
struct FinishedJob {
    state: StateName,
    finished_at: i64,
    cost: i64,
    seconds: Option<f64>,
}

impl FinishedJob {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (finished_at, submitted_at): (i64, Option<i64>) =
            (row.get("finished_at")?, row.get("submitted_at")?);
        let cost: Option<i64> = row.get("cost_quota")?;
        let seconds = submitted_at.map(|submitted_at| (finished_at - submitted_at) as f64 / 1000.0);
        Ok(Self { state: row.get("state")?, finished_at, cost: cost.unwrap_or(0), seconds })
    }
}

/// Totals while jobs are being added.
#[derive(Default)]
struct RunningTotals {
    totals: ReportTotals,
    seconds: f64,
    timed: u32,
}

impl RunningTotals {
    fn add(&mut self, job: FinishedJob) {
        self.totals.jobs += 1;
        self.totals.cost_quota = self.totals.cost_quota.saturating_add(job.cost);
        let succeeded = job.state == StateName::Succeeded;
        match job.state {
            StateName::Succeeded => self.totals.succeeded += 1,
            StateName::Failed => self.totals.failed += 1,
            StateName::Cancelled => self.totals.cancelled += 1,
            StateName::Expired => self.totals.expired += 1,
            // The statement selects none of these.
            StateName::Pending
            | StateName::Submitting
            | StateName::Queued
            | StateName::Processing
            | StateName::Downloading
            | StateName::Held => {}
        }
        if let Some(seconds) = job.seconds.filter(|_| succeeded) {
            self.seconds += seconds;
            self.timed += 1;
            let longest = self.totals.longest_seconds.map_or(seconds, |longest| longest.max(seconds));
            self.totals.longest_seconds = Some(longest);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate, of fewer jobs than 2^53")]
    fn finish(self) -> ReportTotals {
        let totals = self.totals;
        let counted = totals.jobs - totals.cancelled;
        ReportTotals {
            success_rate: (counted > 0).then(|| totals.succeeded as f64 / counted as f64),
            cost_usd: Quota::new(totals.cost_quota).usd(),
            average_seconds: (self.timed > 0).then(|| self.seconds / f64::from(self.timed)),
            ..totals
        }
    }
}

/// The frequent statement, so that a test can check its query plan.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("spent", SPENT.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_succeeded_jobs_count_for_the_time() {
        let job = |state, cost, seconds| FinishedJob { state, finished_at: 0, cost, seconds };
        let mut totals = RunningTotals::default();
        totals.add(job(StateName::Succeeded, 5, Some(10.0)));
        totals.add(job(StateName::Succeeded, 7, Some(20.0)));
        totals.add(job(StateName::Succeeded, 0, None));
        totals.add(job(StateName::Failed, 0, Some(900.0)));
        totals.add(job(StateName::Cancelled, 0, None));
        totals.add(job(StateName::Expired, 3, Some(800.0)));
        let expected = ReportTotals {
            jobs: 6,
            succeeded: 3,
            failed: 1,
            cancelled: 1,
            expired: 1,
            success_rate: Some(0.6),
            cost_quota: 15,
            cost_usd: Quota::new(15).usd(),
            average_seconds: Some(15.0),
            longest_seconds: Some(20.0),
        };
        assert_eq!(totals.finish(), expected);
        assert_eq!(RunningTotals::default().finish(), ReportTotals::default());
    }

    #[test]
    fn groups_are_sorted_by_number_of_jobs_then_by_name() {
        let mut groups = BTreeMap::new();
        let job = FinishedJob { state: StateName::Failed, finished_at: 0, cost: 0, seconds: None };
        for key in ["b", "c", "a", "c"] {
            add_to(&mut groups, key, job);
        }
        let names: Vec<String> = largest_groups(groups).into_iter().map(|group| group.key).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }
}
