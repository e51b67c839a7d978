//! The report: how jobs ended, how long they took, what they cost, and which tasks were charged without a video.

use std::collections::BTreeMap;

use crate::api::report::{Dispute, ReportGroup, ReportTotals};
use crate::clock::Timestamp;
use crate::clock::calendar::Period;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{self, Connection, Row};
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
    /// By the name of the job file.
    pub by_file: Vec<ReportGroup>,
    /// By the day of their end, newest first.
    pub by_day: Vec<ReportGroup>,
    /// The zone of these days.
    pub time_zone: String,
}

/// A job that was retried has paid for more than one attempt.
const FINISHED: &str = "SELECT COLUMNS state, finished_at, submitted_at, adopted,
        (SELECT coalesce(sum(charged_quota), 0) FROM attempts WHERE attempts.job = jobs.nr) AS cost
    FROM jobs JOINED
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL AND finished_at >= ?1";
/// Charged without a video. A held job may have some of its files already; the others are in dispute.
const DISPUTED: &str =
    "SELECT jobs.id, jobs.name, jobs.state, attempts.task_id, jobs.model, attempts.created_at,
        attempts.charged_quota,
        (SELECT CASE detail WHEN '' THEN event ELSE event || ': ' || detail END FROM history
         WHERE history.job = jobs.nr AND event IN ('failed', 'cancelled', 'expired', 'held')
           AND at <= coalesce((SELECT min(later.created_at) FROM attempts AS later
                               WHERE later.job = attempts.job AND later.number > attempts.number),
                              history.at)
         ORDER BY history.nr DESC LIMIT 1)
    FROM jobs INDEXED BY jobs_to_dispute CROSS JOIN attempts ON attempts.job = jobs.nr
    WHERE jobs.attempts > 0 AND (jobs.attempts > 1 OR jobs.state = 'pending' OR jobs.state = 'held' OR jobs.state = 'failed'
                                 OR jobs.state = 'cancelled' OR jobs.state = 'expired')
      AND attempts.charged_quota > 0 AND attempts.task_id IS NOT NULL
      AND (jobs.finished_at IS NULL OR jobs.finished_at >= ?1)
      AND (jobs.task_id IS DISTINCT FROM attempts.task_id OR jobs.state IN ('failed', 'cancelled', 'expired', 'held'))
      AND (jobs.task_id IS NOT DISTINCT FROM attempts.task_id AND jobs.state = 'held'
           OR NOT EXISTS (SELECT 1 FROM outputs WHERE outputs.job = jobs.nr
                          AND outputs.task_id = attempts.task_id AND outputs.state = 'stored'))
    ORDER BY jobs.nr DESC, attempts.number DESC LIMIT ?2";

impl Store {
    /// Totals of the jobs that finished at `since` or later.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn report(&self, since: Timestamp) -> Result<Report, StoreError> {
        let zone = self.budgets.read().zone.clone();
        self.read(move |connection| {
            // Added up row by row: with `GROUP BY` the database would sort all jobs in memory.
            let mut total = RunningTotals::default();
            let (mut by_model, mut by_file, mut by_day) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            let mut day: Option<Period> = None;
            let named = ["model, file_name,", "JOIN batches ON batches.nr = jobs.batch"];
            for_each_finished(connection, named, since, |row| {
                let job = FinishedJob::of(row)?;
                total.add(job);
                add_to(&mut by_model, text(row, "model")?, job);
                if let Some(file) = row.text("file_name")? {
                    add_to(&mut by_file, file, job);
                }
                let is_in = |day: &Period| (day.start..day.end).contains(&job.finished_at);
                let its_day = day.filter(is_in).unwrap_or_else(|| zone.day_of(job.finished_at));
                day = Some(its_day);
                by_day.entry(its_day.start).or_insert_with(RunningTotals::default).add(job);
                Ok(())
            })?;
            let mut by_label = BTreeMap::new();
            let labelled = ["key, value,", "JOIN labels ON labels.job = jobs.nr"];
            for_each_finished(connection, labelled, since, |row| {
                let label = format!("{}={}", text(row, "key")?, text(row, "value")?);
                add_to(&mut by_label, &label, FinishedJob::of(row)?);
                Ok(())
            })?;
            let days = by_day.into_iter().rev().take(GROUPS as usize);
            Ok(Report {
                total: total.finish(),
                by_model: largest_groups(by_model),
                by_label: largest_groups(by_label),
                by_file: largest_groups(by_file),
                by_day: days
                    .map(|(day, totals)| ReportGroup { key: zone.date_of(day), totals: totals.finish() })
                    .collect(),
                time_zone: zone.to_string(),
            })
        })
        .await
    }

    /// The first moment of the day `YYYY-MM-DD` in the zone of the budgets; `None` if there is no such day.
    pub fn start_of_day(&self, day: &str) -> Option<Timestamp> {
        self.budgets.read().zone.start_of(day)
    }

    /// Tasks that were charged and have no video, of jobs that ended at `since` or later or have not ended: the newest
    /// `limit`, newest first. A job that was retried may have several.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn disputes(&self, since: Timestamp, limit: u32) -> Result<Vec<Dispute>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DISPUTED)?;
            let rows = statement.query_map((since, limit), |row| {
                let charged: Quota = row.get(6)?;
                let why: Option<String> = row.get(7)?;
                Ok(Dispute {
                    job: row.get(0)?,
                    name: row.get(1)?,
                    state: row.get(2)?,
                    task_id: row.get(3)?,
                    model: row.get(4)?,
                    submitted_at: row.get(5)?,
                    charged_quota: charged.get(),
                    charged_usd: charged.usd(),
                    why: why.unwrap_or_else(|| "no video was stored".to_owned()),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
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
        each(&row)?;
    }
    Ok(())
}

fn text<'a>(row: &'a Row<'_>, column: &str) -> db::Result<&'a str> {
    Ok(row.text(column)?.unwrap_or_default())
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
    finished_at: Timestamp,
    /// Of all its attempts.
    cost: Quota,
    /// From submit to end, if it was submitted here.
    millis: Option<i64>,
}

impl FinishedJob {
    fn of(row: &Row<'_>) -> db::Result<Self> {
        let finished_at: Timestamp = row.get("finished_at")?;
        let submitted_at: Option<Timestamp> = row.get("submitted_at")?;
        // An adopted job ends when it is adopted, perhaps days after its task.
        let submitted_at = submitted_at.filter(|_| !row.get("adopted").unwrap_or(false));
        let millis = submitted_at.map(|submitted_at| finished_at.millis() - submitted_at.millis());
        Ok(Self { state: row.get("state")?, finished_at, cost: row.get("cost")?, millis })
    }
}

/// Totals while jobs are being added.
#[derive(Default)]
struct RunningTotals {
    totals: ReportTotals,
    cost: Quota,
    /// How long each succeeded job took.
    millis: Vec<i64>,
}

impl RunningTotals {
    fn add(&mut self, job: FinishedJob) {
        self.totals.jobs += 1;
        self.cost = self.cost.plus(job.cost);
        match job.state {
            StateName::Succeeded => {
                self.totals.succeeded += 1;
                self.millis.extend(job.millis);
            }
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
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate and times, of fewer than 2^53")]
    fn finish(mut self) -> ReportTotals {
        let totals = self.totals;
        let counted = totals.jobs - totals.cancelled;
        self.millis.sort_unstable();
        let seconds = |percent| percentile(&self.millis, percent).map(|millis| millis as f64 / 1000.0);
        ReportTotals {
            success_rate: (counted > 0).then(|| totals.succeeded as f64 / counted as f64),
            cost_quota: self.cost.get(),
            cost_usd: self.cost.usd(),
            median_seconds: seconds(50),
            p95_seconds: seconds(95),
            ..totals
        }
    }
}

/// The smallest of the sorted values that at least `percent` of them do not exceed.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
