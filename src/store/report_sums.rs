//! What a report adds up: sums of the jobs that have ended, by the day of their end. They are changed in the transaction that
//! changes a job, so that a report reads a few rows for each day, however many jobs there are. `doctor` compares them with the
//! jobs.
//!
//! Whatever changes what a job counts for calls [`uncount`] before and [`count`] after. Days are those of the time zone of the
//! budgets; in another zone all jobs are counted again.

mod recount;

use std::collections::BTreeMap;

use strum::{EnumString, IntoStaticStr};

use crate::api::report::ReportTotals;
use crate::clock::Timestamp;
use crate::job::Labels;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::db::{Connection, Row, Value, params_from_iter};
use crate::store::error::StoreError;
use crate::store::histogram::Histogram;
use crate::store::writer::Writing;

pub(super) use recount::find_wrong_sums;
#[cfg(test)]
pub(super) use recount::{count_again, wrong_sums};

/// A job that was retried has paid for more than one attempt.
const ENDED: &str = "SELECT jobs.state, jobs.finished_at, jobs.submitted_at, jobs.adopted, jobs.model,
        CASE WHEN batches.file_name IS NOT NULL THEN jobs.batch END, requests.labels,
        (SELECT coalesce(sum(charged_quota), 0) FROM attempts WHERE attempts.job = jobs.nr)
    FROM jobs JOIN requests ON requests.job = jobs.nr JOIN batches ON batches.nr = jobs.batch
    WHERE jobs.state IN ('succeeded', 'failed', 'cancelled', 'expired') AND jobs.finished_at IS NOT NULL";
/// The sums of a group. With `UNION ALL` and [`sums_to_set`], the groups of a job take two statements, however many there are.
const SUMS: &str =
    "SELECT kind, name, succeeded, failed, cancelled, expired, cost_quota, times FROM report_sums
    WHERE kind = ? AND day = ? AND name = ?";
const DELETE_SUMS: &str = "DELETE FROM report_sums WHERE kind = ?1 AND day = ?2 AND name = ?3";

/// What the jobs of a sum have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(super) enum SumKind {
    Model,
    /// `KEY=VALUE`
    Label,
    /// The number of their batch, in 19 digits, so that it sorts like a number; only of files with a name.
    File,
    /// The model of jobs that were removed since.
    Removed,
}

/// Sums of jobs that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportSums {
    succeeded: i64,
    failed: i64,
    cancelled: i64,
    expired: i64,
    cost: Quota,
    /// From submit to end, of those that succeeded.
    times: Histogram,
}

/// The sums of some jobs, by what they have in common.
pub(super) type GroupSums = BTreeMap<(SumKind, String), ReportSums>;

fn sums_to_set(groups: usize) -> String {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; groups].join(", ");
    format!(
        "INSERT INTO report_sums (kind, day, name, succeeded, failed, cancelled, expired, cost_quota, times) VALUES {rows}
         ON CONFLICT (kind, day, name) DO UPDATE SET succeeded = excluded.succeeded, failed = excluded.failed,
             cancelled = excluded.cancelled, expired = excluded.expired, cost_quota = excluded.cost_quota, times = excluded.times"
    )
}

impl ReportSums {
    /// Reads the columns from this one on.
    pub fn read(row: &Row<'_>, from: usize) -> Result<Self, StoreError> {
        Ok(Self {
            succeeded: row.get(from)?,
            failed: row.get(from + 1)?,
            cancelled: row.get(from + 2)?,
            expired: row.get(from + 3)?,
            cost: row.get(from + 4)?,
            // Only another program or a failing disk makes it unreadable. `doctor` finds that; no job may wait for it.
            times: row.text(from + 5)?.and_then(Histogram::parse).unwrap_or_default(),
        })
    }

    pub fn merge(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.cost = self.cost.plus(other.cost);
        self.times.merge(&other.times);
    }

    fn add(&mut self, job: &EndedJob, count: i64) {
        match job.state {
            StateName::Succeeded => self.succeeded += count,
            StateName::Failed => self.failed += count,
            StateName::Cancelled => self.cancelled += count,
            // The statement selects no other.
            _ => self.expired += count,
        }
        self.cost = Quota::new(self.cost.get().saturating_add(job.cost.get().saturating_mul(count)));
        if let Some(millis) = job.millis {
            self.times.add(millis, count);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate and times, of fewer than 2^53")]
    pub fn totals(&self) -> ReportTotals {
        let [succeeded, failed, cancelled, expired] =
            [self.succeeded, self.failed, self.cancelled, self.expired]
                .map(|jobs| jobs.max(0).unsigned_abs());
        let counted = succeeded + failed + expired;
        let seconds = |percent| self.times.percentile(percent).map(|millis| millis as f64 / 1000.0);
        ReportTotals {
            jobs: counted + cancelled,
            succeeded,
            failed,
            cancelled,
            expired,
            success_rate: (counted > 0).then(|| succeeded as f64 / counted as f64),
            cost_quota: self.cost.get(),
            cost_usd: self.cost.usd(),
            median_seconds: seconds(50),
            p95_seconds: seconds(95),
        }
    }
}

/// What a job that has ended counts for.
struct EndedJob {
    state: StateName,
    finished_at: Timestamp,
    model: String,
    batch: Option<i64>,
    labels: Labels,
    /// Of all its attempts.
    cost: Quota,
    /// From submit to end, if it succeeded and was submitted here.
    millis: Option<i64>,
}

impl EndedJob {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let (state, finished_at): (StateName, Timestamp) = (row.get(0)?, row.get(1)?);
        let submitted_at: Option<Timestamp> = row.get(2)?;
        // An adopted job ends when it is adopted, perhaps days after its task.
        let is_timed = state == StateName::Succeeded && !row.get::<_, bool>(3)?;
        // dropreel wrote a map of strings. Anything else comes from another program, and must not keep the others from
        // being counted.
        let labels = row.text(6)?.and_then(|labels| serde_json::from_str(labels).ok()).unwrap_or_default();
        Ok(Self {
            state,
            finished_at,
            model: row.get(4)?,
            batch: row.get(5)?,
            labels,
            cost: row.get(7)?,
            millis: submitted_at.filter(|_| is_timed).map(|at| finished_at.millis() - at.millis()),
        })
    }

    fn of(connection: &Connection, nr: i64) -> Result<Option<Self>, StoreError> {
        let sql = format!("{ENDED} AND jobs.nr = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([nr])?;
        rows.next()?.map(|row| Self::read(&row)).transpose()
    }

    /// The groups that it belongs to.
    fn groups(&self) -> impl Iterator<Item = (SumKind, String)> {
        let labels = self.labels.iter().map(|(key, value)| (SumKind::Label, format!("{key}={value}")));
        let file = self.batch.map(|batch| (SumKind::File, format!("{batch:019}")));
        std::iter::once((SumKind::Model, self.model.clone())).chain(labels).chain(file)
    }
}

/// Counts a job that has just changed, if it has ended.
pub(super) fn count(writing: &Writing<'_>, nr: i64) -> Result<(), StoreError> {
    let job = EndedJob::of(writing.connection, nr)?;
    job.map_or(Ok(()), |job| add_to_groups(writing, &job, 1))
}

/// Takes back what a job counts for, before it changes.
pub(super) fn uncount(writing: &Writing<'_>, nr: i64) -> Result<(), StoreError> {
    let job = EndedJob::of(writing.connection, nr)?;
    job.map_or(Ok(()), |job| add_to_groups(writing, &job, -1))
}

/// A job is about to be removed. It still counts for its day and its model.
pub(super) fn count_as_removed(writing: &Writing<'_>, nr: i64) -> Result<(), StoreError> {
    let Some(job) = EndedJob::of(writing.connection, nr)? else { return Ok(()) };
    add_to_groups(writing, &job, -1)?;
    let removed = (SumKind::Removed, job.model.clone());
    add(writing, [removed].into_iter(), &job, 1)
}

fn add_to_groups(writing: &Writing<'_>, job: &EndedJob, count: i64) -> Result<(), StoreError> {
    add(writing, job.groups(), job, count)
}

fn add(
    writing: &Writing<'_>,
    groups: impl Iterator<Item = (SumKind, String)>,
    job: &EndedJob,
    count: i64,
) -> Result<(), StoreError> {
    let (connection, day) = (writing.connection, writing.zone().day_of(job.finished_at).start);
    let mut groups: GroupSums = groups.map(|group| (group, ReportSums::default())).collect();
    let key = |(kind, name): &(SumKind, String)| -> [Value; 3] {
        [Value::from(kind.into_str().to_owned()), Value::from(day.millis()), Value::from(name.clone())]
    };
    let mut statement = connection.prepare_cached(&vec![SUMS; groups.len()].join(" UNION ALL "))?;
    let mut rows = statement.query(params_from_iter(groups.keys().flat_map(key)))?;
    while let Some(row) = rows.next()? {
        groups.insert((row.get(0)?, row.get(1)?), ReportSums::read(&row, 2)?);
    }
    drop(rows);
    groups.values_mut().for_each(|sums| sums.add(job, count));
    let is_empty = |sums: &ReportSums| *sums == ReportSums::default();
    for (group, _) in groups.iter().filter(|(_, sums)| is_empty(sums)) {
        connection.prepare_cached(DELETE_SUMS)?.execute(params_from_iter(key(group)))?;
    }
    groups.retain(|_, sums| !is_empty(sums));
    set_sums(connection, day, &groups)
}

fn set_sums(connection: &Connection, day: Timestamp, groups: &GroupSums) -> Result<(), StoreError> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut values: Vec<Value> = Vec::with_capacity(9 * groups.len());
    for ((kind, name), sums) in groups {
        let ReportSums { succeeded, failed, cancelled, expired, cost, times } = sums;
        values.extend([Value::from(kind.into_str().to_owned()), day.millis().into(), name.clone().into()]);
        values.extend([*succeeded, *failed, *cancelled, *expired, cost.get()].map(Value::from));
        values.push(times.to_text().into());
    }
    connection.prepare_cached(&sums_to_set(groups.len()))?.execute(params_from_iter(values))?;
    Ok(())
}

/// The sums of the jobs that ended from then on until then, counted one by one.
pub(super) fn count_between(
    connection: &Connection,
    from: Timestamp,
    until: Timestamp,
) -> Result<GroupSums, StoreError> {
    let mut groups = GroupSums::new();
    let sql = ENDED.replace("FROM jobs", "FROM jobs INDEXED BY jobs_by_end");
    let mut statement =
        connection.prepare_cached(&format!("{sql} AND jobs.finished_at >= ?1 AND jobs.finished_at < ?2"))?;
    let mut rows = statement.query((from, until))?;
    while let Some(row) = rows.next()? {
        let job = EndedJob::read(&row)?;
        job.groups().for_each(|group| groups.entry(group).or_default().add(&job, 1));
    }
    Ok(groups)
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("ended job", format!("{ENDED} AND jobs.nr = ?1")), ("sums", [SUMS; 3].join(" UNION ALL "))]
}

#[cfg(test)]
mod tests;
