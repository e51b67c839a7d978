//! Pruning: deletes jobs that ended long ago, a few per commit. A job's key stays used, so that the same job file is
//! never run again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strum::VariantArray;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::job_files::REPEAT_WINDOW;
use crate::store::needs::uncount_need;
use crate::store::report_sums::count_as_removed;
use crate::store::writer::{WriteKind, Writing};

/// A job that ended less long ago is never pruned: the report needs what was spent this month. Repeated copies of a
/// file (24 hours) and keys of submits (23 hours) need a job for less time.
pub const MIN_PRUNE_AGE: Duration = Duration::from_secs(31 * 24 * 3600);
const _: () = assert!(MIN_PRUNE_AGE.as_secs() > REPEAT_WINDOW.as_secs());

/// The message for an age below [`MIN_PRUNE_AGE`].
pub fn below_min_age(age: &str) -> String {
    format!(
        "`{age}` is too short; at least {}d, so that what was spent this month stays known",
        MIN_PRUNE_AGE.as_secs() / 86_400
    )
}

/// Most that a folder's local date differs from the date in UTC.
pub const ZONE_MARGIN: Duration = Duration::from_secs(24 * 3600);

/// Most jobs pruned in one commit.
const JOBS_AT_ONCE: u32 = 50;
/// After deleting this many rows a commit prunes no further job: callbacks wait for the end of the commit.
const ROWS_AT_ONCE: u64 = 2_000;

/// The condition, beside a final state, under which a job can be pruned: its file was ingested before and has left
/// the inbox, every callback is processed, every hook call finished, and it is not about to be handed out. And it is not the last job that changed: its
/// change number would be used again after a restart.
const PRUNABLE: &str = "jobs.finished_at IS NOT NULL AND jobs.finished_at < ?1
    AND jobs.last_change < (SELECT max(last_change) FROM jobs WHERE last_change > 0)
    AND EXISTS (SELECT 1 FROM batches WHERE batches.nr = jobs.batch AND moved_at IS NOT NULL AND ingested_at < ?1)
    AND NOT EXISTS (SELECT 1 FROM moved_jobs WHERE moved_jobs.job = jobs.nr)
    AND jobs.nr NOT IN (SELECT job FROM deliveries WHERE processed = 0)
    AND NOT EXISTS (SELECT 1 FROM hook_calls WHERE hook_calls.job = jobs.nr AND due_at IS NOT NULL)";

/// Archived job files that a job still needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeededFiles {
    /// By the day of the folder that a file may be in: the names in that folder.
    days: BTreeMap<String, NeededOfDay>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NeededOfDay {
    names: BTreeSet<String>,
    /// The name of one of them is not known: all are needed.
    all: bool,
}

impl NeededFiles {
    /// Whether a file of that day (`YYYY-MM-DD`) is needed. Then the other files of its folder may belong to it.
    pub fn contains_day(&self, day: &str) -> bool {
        self.days.contains_key(day)
    }

    /// Whether the job file of that name in that day's folder is needed.
    pub fn contains(&self, day: &str, name: &str) -> bool {
        self.days.get(day).is_some_and(|of_day| of_day.all || of_day.names.contains(name))
    }

    /// Folders have the date of the time zone that was in use then, at most a day from that in UTC.
    fn add(&mut self, ingested_at: Timestamp, moved_to: Option<&str>) {
        for moment in [ingested_at.minus(ZONE_MARGIN), ingested_at, ingested_at.plus(ZONE_MARGIN)] {
            let of_day = self.days.entry(moment.date()).or_default();
            match moved_to.and_then(|path| path.rsplit('/').next()) {
                Some(name) => drop(of_day.names.insert(name.to_owned())),
                None => of_day.all = true,
            }
        }
    }
}

impl Store {
    /// How many jobs ended before `before` and can be pruned.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn count_prunable(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.read(move |connection| {
            let mut sum = 0;
            for state in final_states() {
                let count: i64 = connection
                    .prepare_cached(&count_statement(state))?
                    .query_row([before], |row| row.get(0))?;
                sum += count.unsigned_abs();
            }
            Ok(sum)
        })
        .await
    }

    /// Prunes some of the jobs that ended before `before`. Returns how many; 0 when none are left.
    ///
    /// # Errors
    /// Any failure of the database; then none of these jobs is pruned.
    pub async fn prune_some(&self, before: Timestamp) -> Result<u64, StoreError> {
        // Read before the write, so that the writer, for which callbacks wait, finds the pages in the cache.
        if self.read(move |connection| prunable_jobs(connection, before)).await?.is_empty() {
            return Ok(0);
        }
        self.writer
            .write_as(WriteKind::Background, move |writing| {
                let mut pruned = 0;
                let changes_before = writing.connection.total_changes();
                for (nr, batch) in prunable_jobs(writing.connection, before)? {
                    delete_job(writing, nr, batch)?;
                    pruned += 1;
                    if writing.connection.total_changes() - changes_before >= ROWS_AT_ONCE {
                        break;
                    }
                }
                Ok(pruned)
            })
            .await
    }

    /// The job files ingested before `before` that are still needed: those of a job that cannot be pruned, and those
    /// that have not left the inbox.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn needed_files(&self, before: Timestamp) -> Result<NeededFiles, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&needed_statement())?;
            let mut rows = statement.query([before])?;
            let mut needed = NeededFiles::default();
            while let Some(row) = rows.next()? {
                let moved_to: Option<String> = row.get(1)?;
                needed.add(row.get(0)?, moved_to.as_deref());
            }
            Ok(needed)
        })
        .await
    }
}

fn final_states() -> impl Iterator<Item = StateName> {
    StateName::VARIANTS.iter().copied().filter(|state| state.is_end())
}

fn count_statement(state: StateName) -> String {
    format!(
        "SELECT count(*) FROM jobs INDEXED BY jobs_by_end WHERE jobs.state = '{}' AND {PRUNABLE}",
        state.into_str()
    )
}

fn prunable_statement(state: StateName) -> String {
    format!(
        "SELECT jobs.nr, jobs.batch FROM jobs INDEXED BY jobs_by_end WHERE jobs.state = '{}' AND {PRUNABLE}
         ORDER BY jobs.finished_at LIMIT {JOBS_AT_ONCE}",
        state.into_str()
    )
}

fn needed_statement() -> String {
    let ended: Vec<String> =
        final_states().map(|state| format!("jobs.state = '{}'", state.into_str())).collect();
    format!(
        "SELECT ingested_at, moved_to FROM batches WHERE source = 'inbox' AND (moved_at IS NULL OR ingested_at < ?1
         AND EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.nr AND NOT (({}) AND {PRUNABLE})))",
        ended.join(" OR ")
    )
}

/// Some jobs of one final state that can be pruned, with the rows of their files.
fn prunable_jobs(connection: &Connection, before: Timestamp) -> Result<Vec<(i64, i64)>, StoreError> {
    for state in final_states() {
        let mut statement = connection.prepare_cached(&prunable_statement(state))?;
        let found = statement.query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Delete the rows of a job but its labels and its own row. Each statement uses an index that begins with the job.
const DELETE_ROWS: [&str; 7] = [
    "DELETE FROM job_pictures WHERE job = ?1",
    "DELETE FROM requests WHERE job = ?1",
    "DELETE FROM attempts WHERE job = ?1",
    "DELETE FROM outputs WHERE job = ?1",
    "DELETE FROM history WHERE job = ?1",
    "DELETE FROM deliveries WHERE job = ?1 AND processed = 1",
    "DELETE FROM hook_calls WHERE job = ?1",
];
const DELETE_LABEL: &str = "DELETE FROM labels WHERE key = ?1 AND value = ?2 AND job = ?3";
const DELETE_JOB: &str = "DELETE FROM jobs WHERE nr = ?1";
/// Deletes the row of a file once none of its jobs is left. The newest row stays: its number would be used again, and it
/// is the id of a batch.
const DELETE_BATCH: &str = "DELETE FROM batches WHERE nr = ?1 AND moved_at IS NOT NULL
    AND nr < (SELECT max(nr) FROM batches)
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = ?1)";

const DELETE_BATCH_CALLS: &str = "DELETE FROM hook_calls WHERE batch = ?1";

pub(super) fn delete_job(writing: &Writing<'_>, nr: i64, batch: i64) -> Result<(), StoreError> {
    let connection = writing.connection;
    count_as_removed(writing, nr)?;
    let labels: Option<String> = connection
        .prepare_cached("SELECT labels FROM requests WHERE job = ?1")?
        .query_row([nr], |row| row.get(0))
        .optional()?;
    let labels = labels.unwrap_or_else(|| "{}".to_owned());
    // dropreel wrote a map of strings; anything else comes from another program.
    let labels: BTreeMap<String, String> = serde_json::from_str(&labels)
        .map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })?;
    for (key, value) in &labels {
        connection.prepare_cached(DELETE_LABEL)?.execute((key, value, nr))?;
    }
    for rows in DELETE_ROWS {
        connection.prepare_cached(rows)?.execute([nr])?;
    }
    uncount_need(connection, nr)?;
    connection.prepare_cached(DELETE_JOB)?.execute([nr])?;
    if connection.prepare_cached(DELETE_BATCH)?.execute([batch])? > 0 {
        connection.prepare_cached(DELETE_BATCH_CALLS)?.execute([batch])?;
    }
    Ok(())
}

/// The statements of a prune, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = DELETE_ROWS
        .into_iter()
        .chain([DELETE_LABEL, DELETE_JOB, DELETE_BATCH, DELETE_BATCH_CALLS])
        .map(|sql| ("prune", sql.to_owned()));
    final_states().map(|state| ("prunable jobs", prunable_statement(state))).chain(fixed).collect()
}

#[cfg(test)]
mod tests;
