//! Pruning: removes jobs that ended long ago, a few per commit.
//!
//! What must outlive a job stays: its key, so that it is never run again, and every row of a job that is not over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::intake::REPEAT_WINDOW;
use crate::store::writer::{WriteKind, Writing};

/// What ended less long ago is never forgotten. The longest time that something counts on it: what was spent in the
/// running month. Files dropped again (24 hours) and keys of submits (23 hours) are long past by then.
pub const MIN_PRUNE_AGE: Duration = Duration::from_secs(31 * 24 * 3600);
const _: () = assert!(MIN_PRUNE_AGE.as_secs() > REPEAT_WINDOW.as_secs());

/// Why an age is refused that is less than [`MIN_PRUNE_AGE`], for people.
pub fn below_min_age(age: &str) -> String {
    format!(
        "`{age}` is too short; at least {}d, so that what was spent this month stays known",
        MIN_PRUNE_AGE.as_secs() / 86_400
    )
}

/// Most jobs pruned in one commit.
const JOBS_AT_ONCE: u32 = 50;
/// Rows after which a commit prunes no further job: callbacks wait for its end.
const ROWS_AT_ONCE: u64 = 2_000;

/// A job that may be forgotten, once its state and its end say so, too. Its file was taken in before and has left the
/// inbox; every callback is processed and every hook call finished; and it is not the last change there was, whose number would be
/// given to another one after a restart.
const OVER: &str = "jobs.finished_at IS NOT NULL AND jobs.finished_at < ?1
    AND jobs.last_change < (SELECT max(last_change) FROM jobs)
    AND EXISTS (SELECT 1 FROM intakes WHERE intakes.nr = jobs.intake AND moved_at IS NOT NULL AND ingested_at < ?1)
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job = jobs.nr AND processed = 0)
    AND NOT EXISTS (SELECT 1 FROM hook_calls WHERE hook_calls.job = jobs.nr AND due_at IS NOT NULL)";

/// Job files that are still needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// By the day that each was taken in: its name in that day's folder.
    days: BTreeMap<String, DayNeeds>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DayNeeds {
    names: BTreeSet<String>,
    /// It is not known under which name one of them lies.
    all: bool,
}

impl Needed {
    /// Whether anything that was taken in that day (`YYYY-MM-DD`, UTC) is: what lies beside the job files may belong to
    /// it then.
    pub fn in_day(&self, day: &str) -> bool {
        self.days.contains_key(day)
    }

    /// Whether the job file of that name in that day's folder is.
    pub fn file(&self, day: &str, name: &str) -> bool {
        self.days.get(day).is_some_and(|needs| needs.all || needs.names.contains(name))
    }

    fn add(&mut self, ingested_at: Timestamp, moved_to: Option<&str>) {
        let needs = self.days.entry(ingested_at.date()).or_default();
        match moved_to.and_then(|path| path.rsplit('/').next()) {
            Some(name) => drop(needs.names.insert(name.to_owned())),
            None => needs.all = true,
        }
    }
}

impl Store {
    /// How many jobs ended before `before` and may be forgotten.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn count_prunable(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.read(move |connection| {
            let mut sum = 0;
            for state in ends() {
                let count: i64 = connection
                    .prepare_cached(&count_of(state))?
                    .query_row([before.millis()], |row| row.get(0))?;
                sum += count.unsigned_abs();
            }
            Ok(sum)
        })
        .await
    }

    /// Forgets some of the jobs that ended before `before`. How many; 0 when none are left.
    ///
    /// # Errors
    /// Any failure of the database; none of these jobs is pruned then.
    pub async fn prune_some(&self, before: Timestamp) -> Result<u64, StoreError> {
        // Looked for beforehand, so that the writer finds on hand what it has to read.
        if self.read(move |connection| old(connection, before)).await?.is_empty() {
            return Ok(0);
        }
        self.writer
            .write_as(WriteKind::Background, move |writing| {
                let mut gone = 0;
                let began = writing.connection.total_changes();
                for (nr, intake) in old(writing.connection, before)? {
                    forget(writing, nr, intake)?;
                    gone += 1;
                    if writing.connection.total_changes() - began >= ROWS_AT_ONCE {
                        break;
                    }
                }
                Ok(gone)
            })
            .await
    }

    /// The job files taken in before `before` that are still needed: those of a job that is not over, or is not to be
    /// forgotten yet, and those that have not left the inbox.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn needed_files(&self, before: Timestamp) -> Result<Needed, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&needed())?;
            let mut rows = statement.query([before.millis()])?;
            let mut needed = Needed::default();
            while let Some(row) = rows.next()? {
                let moved_to: Option<String> = row.get(1)?;
                needed.add(Timestamp::from_millis(row.get(0)?), moved_to.as_deref());
            }
            Ok(needed)
        })
        .await
    }
}

fn ends() -> impl Iterator<Item = StateName> {
    StateName::ALL.into_iter().filter(|state| state.is_end())
}

fn count_of(state: StateName) -> String {
    format!(
        "SELECT count(*) FROM jobs INDEXED BY jobs_by_end WHERE jobs.state = '{}' AND {OVER}",
        state.as_str()
    )
}

fn old_of(state: StateName) -> String {
    format!(
        "SELECT jobs.nr, jobs.intake FROM jobs INDEXED BY jobs_by_end WHERE jobs.state = '{}' AND {OVER}
         ORDER BY jobs.finished_at LIMIT {JOBS_AT_ONCE}",
        state.as_str()
    )
}

fn needed() -> String {
    let ended: Vec<String> = ends().map(|state| format!("jobs.state = '{}'", state.as_str())).collect();
    format!(
        "SELECT ingested_at, moved_to FROM intakes WHERE source = 'inbox' AND (moved_at IS NULL OR ingested_at < ?1
         AND EXISTS (SELECT 1 FROM jobs WHERE jobs.intake = intakes.nr AND NOT (({}) AND {OVER})))",
        ended.join(" OR ")
    )
}

/// Some jobs that may be forgotten, of one end, with the rows of their files.
fn old(connection: &Connection, before: Timestamp) -> Result<Vec<(i64, i64)>, StoreError> {
    for state in ends() {
        let mut statement = connection.prepare_cached(&old_of(state))?;
        let found = statement.query_map([before.millis()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// What is written of a job, but for its labels and its own row. Each is found by an index that begins with the job.
const ROWS: [&str; 6] = [
    "DELETE FROM requests WHERE job = ?1",
    "DELETE FROM attempts WHERE job = ?1",
    "DELETE FROM outputs WHERE job = ?1",
    "DELETE FROM history WHERE job = ?1",
    "DELETE FROM deliveries WHERE job = ?1",
    "DELETE FROM hook_calls WHERE job = ?1",
];
const LABEL: &str = "DELETE FROM labels WHERE key = ?1 AND value = ?2 AND job = ?3";
const JOB: &str = "DELETE FROM jobs WHERE nr = ?1";
/// The row of a file of which no job is left.
const INTAKE: &str = "DELETE FROM intakes WHERE nr = ?1 AND moved_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.intake = ?1)";

fn forget(writing: &Writing<'_>, nr: i64, intake: i64) -> Result<(), StoreError> {
    let connection = writing.connection;
    let labels: Option<String> = connection
        .prepare_cached("SELECT labels FROM requests WHERE job = ?1")?
        .query_row([nr], |row| row.get(0))
        .optional()?;
    let labels = labels.unwrap_or_else(|| "{}".to_owned());
    // Written by us from a map of strings; what cannot be read back has been tampered with.
    let labels: BTreeMap<String, String> = serde_json::from_str(&labels)
        .map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })?;
    for (key, value) in &labels {
        connection.prepare_cached(LABEL)?.execute((key, value, nr))?;
    }
    for rows in ROWS {
        connection.prepare_cached(rows)?.execute([nr])?;
    }
    connection.prepare_cached(JOB)?.execute([nr])?;
    connection.prepare_cached(INTAKE)?.execute([intake])?;
    Ok(())
}

/// What it runs while it writes, so that a test can look at the plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = ROWS.into_iter().chain([LABEL, JOB, INTAKE]).map(|sql| ("forget", sql.to_owned()));
    ends().map(|state| ("to forget", old_of(state))).chain(fixed).collect()
}

#[cfg(test)]
mod tests;
