//! The report: how jobs ended, how long they took, what they cost, and which were billed without a video.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::query::{COLUMNS, JobDetails, read_details};

/// Most groups in each part of a report: those with the most jobs.
pub const GROUPS: u32 = 100;

/// Jobs that ended, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// How many ended.
    pub jobs: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many lost their video.
    pub expired: u64,
    /// What they were charged.
    pub cost: Quota,
    /// From submit to end, on average of those that succeeded, in seconds.
    pub seconds: Option<f64>,
    /// The longest of these times.
    pub longest_seconds: Option<f64>,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// All of them.
    pub total: Sums,
    /// By model.
    pub by_model: Vec<(String, Sums)>,
    /// By label, as `KEY=VALUE`. A job counts for each of its labels.
    pub by_label: Vec<(String, Sums)>,
    /// By the day of their end, UTC, newest first.
    pub by_day: Vec<(String, Sums)>,
}

const ENDED: &str = "SELECT COLUMNS state, finished_at, submitted_at, cost_quota FROM jobs JOINED
    WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL AND finished_at >= ?1";
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Charged, and no video for it: the provider's to explain.
const DISPUTED: &str = "jobs.cost_quota > 0 AND jobs.state IN ('failed', 'cancelled', 'expired', 'held')
    AND (jobs.finished_at IS NULL OR jobs.finished_at >= ?1)";

impl Store {
    /// What ended at `since` or later, in numbers.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn report(&self, since: Timestamp) -> Result<Report, StoreError> {
        self.read(move |connection| {
            // Added up here, row by row: to group them the database would sort them all, in memory.
            let mut total = Adding::default();
            let (mut by_model, mut by_day) = (BTreeMap::new(), BTreeMap::new());
            each_ended(connection, ["model,", ""], since, |row| {
                let ended = Ended::of(row)?;
                total.add(ended);
                add_to(&mut by_model, text(row, "model")?, ended);
                by_day.entry(ended.finished_at.div_euclid(DAY_MS)).or_insert_with(Adding::default).add(ended);
                Ok(())
            })?;
            let mut by_label = BTreeMap::new();
            each_ended(connection, ["key, value,", "JOIN labels ON labels.job = jobs.nr"], since, |row| {
                let label = format!("{}={}", text(row, "key")?, text(row, "value")?);
                add_to(&mut by_label, &label, Ended::of(row)?);
                Ok(())
            })?;
            let date = |day: i64| Timestamp::from_millis(day.saturating_mul(DAY_MS)).date();
            let days = by_day.into_iter().rev().take(GROUPS as usize);
            Ok(Report {
                total: total.sums(),
                by_model: of_the_most_jobs(by_model),
                by_label: of_the_most_jobs(by_label),
                by_day: days.map(|(day, adding)| (date(day), adding.sums())).collect(),
            })
        })
        .await
    }

    /// Jobs that were charged and have no video to show for it: failed, cancelled or expired at `since` or later, or
    /// held. The newest first, at most `limit`, and how many there are.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn disputed_jobs(&self, since: Timestamp, limit: u32) -> Result<Vec<JobDetails>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM jobs JOIN requests ON requests.job = jobs.nr WHERE {DISPUTED}
                 ORDER BY jobs.nr DESC LIMIT ?2"
            ))?;
            let mut rows = statement.query((since.millis(), limit))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let seen = read_details(connection, row)?;
                // A held job may have some of its files already; it is in dispute for what it lacks.
                if seen.job.state_name() == StateName::Held || seen.files.is_empty() {
                    found.push(seen);
                }
            }
            Ok(found)
        })
        .await
    }
}

fn each_ended(
    connection: &Connection,
    [columns, joined]: [&str; 2],
    since: Timestamp,
    mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = ENDED.replace("COLUMNS", columns).replace("JOINED", joined);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([since.millis()])?;
    while let Some(row) = rows.next()? {
        each(row)?;
    }
    Ok(())
}

fn text<'a>(row: &'a Row<'_>, column: &str) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn add_to(groups: &mut BTreeMap<String, Adding>, key: &str, ended: Ended) {
    match groups.get_mut(key) {
        Some(adding) => adding.add(ended),
        None => groups.entry(key.to_owned()).or_default().add(ended),
    }
}

fn of_the_most_jobs(groups: BTreeMap<String, Adding>) -> Vec<(String, Sums)> {
    let mut groups: Vec<_> = groups.into_iter().map(|(key, adding)| (key, adding.sums())).collect();
    groups.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.jobs));
    groups.truncate(GROUPS as usize);
    groups
}

/// What of a job that ended is added up.
#[derive(Clone, Copy)]
struct Ended {
    state: StateName,
    finished_at: i64,
    cost: i64,
    seconds: Option<f64>,
}

impl Ended {
    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        let word = text(row, "state")?;
        let state = StateName::parse(word)
            .ok_or_else(|| StoreError::UnknownWord { what: "state", value: word.to_owned() })?;
        let (finished_at, submitted_at): (i64, Option<i64>) =
            (row.get("finished_at")?, row.get("submitted_at")?);
        let cost: Option<i64> = row.get("cost_quota")?;
        let seconds = submitted_at.map(|submitted_at| (finished_at - submitted_at) as f64 / 1000.0);
        Ok(Self { state, finished_at, cost: cost.unwrap_or(0), seconds })
    }
}

/// Sums on their way.
#[derive(Default)]
struct Adding {
    sums: Sums,
    cost: i64,
    seconds: f64,
    timed: u32,
}

impl Adding {
    fn add(&mut self, ended: Ended) {
        self.sums.jobs += 1;
        self.cost = self.cost.saturating_add(ended.cost);
        let succeeded = ended.state == StateName::Succeeded;
        match ended.state {
            StateName::Succeeded => self.sums.succeeded += 1,
            StateName::Failed => self.sums.failed += 1,
            StateName::Cancelled => self.sums.cancelled += 1,
            StateName::Expired => self.sums.expired += 1,
            // The statement asks for none of these.
            StateName::Pending
            | StateName::Submitting
            | StateName::Queued
            | StateName::Processing
            | StateName::Downloading
            | StateName::Held => {}
        }
        if let Some(seconds) = ended.seconds.filter(|_| succeeded) {
            self.seconds += seconds;
            self.timed += 1;
            let longest = self.sums.longest_seconds.map_or(seconds, |longest| longest.max(seconds));
            self.sums.longest_seconds = Some(longest);
        }
    }

    fn sums(self) -> Sums {
        let seconds = (self.timed > 0).then(|| self.seconds / f64::from(self.timed));
        Sums { cost: Quota::new(self.cost), seconds, ..self.sums }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_added_up_and_only_what_succeeded_is_timed() {
        let ended = |state, cost, seconds| Ended { state, finished_at: 0, cost, seconds };
        let mut adding = Adding::default();
        adding.add(ended(StateName::Succeeded, 5, Some(10.0)));
        adding.add(ended(StateName::Succeeded, 7, Some(20.0)));
        adding.add(ended(StateName::Succeeded, 0, None));
        adding.add(ended(StateName::Failed, 0, Some(900.0)));
        adding.add(ended(StateName::Cancelled, 0, None));
        adding.add(ended(StateName::Expired, 3, Some(800.0)));
        let expected = Sums {
            jobs: 6,
            succeeded: 3,
            failed: 1,
            cancelled: 1,
            expired: 1,
            cost: Quota::new(15),
            seconds: Some(15.0),
            longest_seconds: Some(20.0),
        };
        assert_eq!(adding.sums(), expected);
        assert_eq!(Adding::default().sums(), Sums::default());
    }

    #[test]
    fn the_groups_of_the_most_jobs_come_first_and_equal_ones_by_name() {
        let mut groups = BTreeMap::new();
        let one = Ended { state: StateName::Failed, finished_at: 0, cost: 0, seconds: None };
        for key in ["b", "c", "a", "c"] {
            add_to(&mut groups, key, one);
        }
        let names: Vec<String> = of_the_most_jobs(groups).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }
}
