//! The report: how jobs ended, how long they took and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::report::{ReportGroup, ReportTotals};
use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::report_sums::{GroupSums, ReportSums, SumKind, count_between};

/// Most groups in each part of a report: those with the most jobs; of files and days, the last.
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
    /// By the name of the job file: those whose jobs ended last.
    pub by_file: Vec<ReportGroup>,
    /// By the day of their end, newest first.
    pub by_day: Vec<ReportGroup>,
    /// The zone of these days.
    pub time_zone: String,
}

/// The middle of a day, whatever zone and season its midnights are of.
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);

const SUMS_BY_NAME: &str =
    "SELECT day, name, succeeded, failed, cancelled, expired, cost_quota, times FROM report_sums
    WHERE kind = ?1 AND day >= ?2";
/// The files of which jobs ended, those of the last days first. Only the first are read.
const FILES: &str =
    "SELECT name FROM report_sums WHERE kind = 'file' AND day >= ?1 ORDER BY day DESC, name DESC";
const FILE_NAME: &str = "SELECT file_name FROM batches WHERE nr = CAST(?1 AS INTEGER)";
const SUMS_OF_FILE: &str = "SELECT succeeded, failed, cancelled, expired, cost_quota, times
    FROM report_sums INDEXED BY report_sums_of_files WHERE kind = 'file' AND name = ?1 AND day >= ?2";
impl Store {
    /// Totals of the jobs that ended at `since` or later. Those that were removed since count for the whole day.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn report(&self, since: Timestamp) -> Result<Report, StoreError> {
        let zone = self.budgets.read().zone.clone();
        self.read(move |connection| {
            // A period that begins within a day: its jobs of that day are counted one by one.
            let first = zone.day_of(since);
            let from = if first.start == since { since } else { first.end };
            let of_first_day = count_between(connection, since, from)?;
            let mut by_day = BTreeMap::new();
            for ((_, _), sums) in of_first_day.iter().filter(|((kind, _), _)| *kind == SumKind::Model) {
                merge(&mut by_day, first.start, sums);
            }
            let (mut by_model, mut by_label) = (BTreeMap::new(), BTreeMap::new());
            for kind in [SumKind::Model, SumKind::Removed, SumKind::Label] {
                let mut statement = connection.prepare_cached(SUMS_BY_NAME)?;
                let mut rows = statement.query((kind, from))?;
                while let Some(row) = rows.next()? {
                    let (name, sums): (String, _) = (row.get(1)?, ReportSums::read(&row, 2)?);
                    if kind == SumKind::Label {
                        merge(&mut by_label, name, &sums);
                        continue;
                    }
                    // Removed jobs may have been counted in days of another zone.
                    let noon = row.get::<_, Timestamp>(0)?.plus(HALF_A_DAY);
                    merge(&mut by_day, zone.day_of(noon).start, &sums);
                    merge(&mut by_model, name, &sums);
                }
            }
            let by_file = by_file(connection, from, &of_first_day)?;
            for ((kind, name), sums) in of_first_day {
                match kind {
                    SumKind::Model => merge(&mut by_model, name, &sums),
                    SumKind::Label => merge(&mut by_label, name, &sums),
                    SumKind::File | SumKind::Removed => {}
                }
            }
            let mut total = ReportSums::default();
            by_day.values().for_each(|sums| total.merge(sums));
            let days = by_day.into_iter().rev().take(GROUPS as usize);
            Ok(Report {
                total: total.totals(),
                by_model: largest_groups(by_model),
                by_label: largest_groups(by_label),
                by_file: largest_groups(by_file),
                by_day: days
                    .map(|(day, sums)| ReportGroup { key: zone.date_of(day), totals: sums.totals() })
                    .collect(),
                time_zone: zone.to_string(),
            })
        })
        .await
    }

    /// When the day began that `moment` is in, in the zone of the budgets.
    pub fn start_of_day_at(&self, moment: Timestamp) -> Timestamp {
        self.budgets.read().zone.day_of(moment).start
    }

    /// The first moment of the day `YYYY-MM-DD` in the zone of the budgets; `None` if there is no such day.
    pub fn start_of_day(&self, day: &str) -> Option<Timestamp> {
        self.budgets.read().zone.start_of(day)
    }
}

/// Files of which jobs ended in the period, by name: those whose jobs ended last.
fn by_file(
    connection: &Connection,
    from: Timestamp,
    first_day: &GroupSums,
) -> Result<BTreeMap<String, ReportSums>, StoreError> {
    let mut batches = BTreeSet::new();
    let mut statement = connection.prepare_cached(FILES)?;
    let mut rows = statement.query([from])?;
    while batches.len() < GROUPS as usize
        && let Some(row) = rows.next()?
    {
        batches.insert(row.get::<_, String>(0)?);
    }
    let of_first_day = first_day.keys().rev().filter(|(kind, _)| *kind == SumKind::File);
    let room = (GROUPS as usize).saturating_sub(batches.len());
    let more: Vec<String> = of_first_day
        .map(|(_, batch)| batch.clone())
        .filter(|batch| !batches.contains(batch))
        .take(room)
        .collect();
    batches.extend(more);

    let mut by_file = BTreeMap::new();
    for batch in batches {
        let name = connection.prepare_cached(FILE_NAME)?.query_row([&batch], |row| row.get(0)).optional()?;
        // Its last job may have been removed a moment ago.
        let Some(file) = name else { continue };
        let mut statement = connection.prepare_cached(SUMS_OF_FILE)?;
        let mut rows = statement.query((&batch, from))?;
        let mut sums = ReportSums::default();
        while let Some(row) = rows.next()? {
            sums.merge(&ReportSums::read(&row, 0)?);
        }
        if let Some(first) = first_day.get(&(SumKind::File, batch)) {
            sums.merge(first);
        }
        merge(&mut by_file, file, &sums);
    }
    Ok(by_file)
}

fn merge<K: Ord>(groups: &mut BTreeMap<K, ReportSums>, key: K, sums: &ReportSums) {
    groups.entry(key).or_default().merge(sums);
}

fn largest_groups(groups: BTreeMap<String, ReportSums>) -> Vec<ReportGroup> {
    let mut groups: Vec<_> =
        groups.into_iter().map(|(key, sums)| ReportGroup { key, totals: sums.totals() }).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.totals.jobs));
    groups.truncate(GROUPS as usize);
    groups
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("sums by name", SUMS_BY_NAME),
        ("files", FILES),
        ("file name", FILE_NAME),
        ("sums of a file", SUMS_OF_FILE),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

#[cfg(test)]
mod tests;
