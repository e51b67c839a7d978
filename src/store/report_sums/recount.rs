//! Counts all jobs again, for another time zone; and finds sums that differ from the jobs.

use std::time::Duration;

use strum::VariantArray;

use super::{GroupSums, ReportSums, SumKind, count_between, set_sums};
use crate::clock::Timestamp;
use crate::clock::calendar::Zone;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::fairness::digest;
use crate::store::meta::{get, set};

/// In `meta`: a digest of the zone whose days the sums have.
const ZONE: &str = "report_zone";

impl Store {
    /// Sets the zone of the sums to that of the budgets. If it was another one, or none yet, all jobs are counted again: some
    /// seconds for a million. Call it whenever the budgets may have another zone.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn count_days(&self) -> Result<(), StoreError> {
        let zone = self.budgets.read().zone.clone();
        self.writer
            .write(move |writing| {
                // A zone without a name, or whose rules have changed, has other midnights.
                let midnights = ["2026-01-15", "2026-07-15"].map(|day| zone.start_of(day));
                let digest = digest(&format!("{zone} {midnights:?}"));
                if get::<i64>(writing.connection, ZONE)? == Some(digest) {
                    return Ok(());
                }
                count_again(writing.connection, &zone)?;
                set(writing.connection, ZONE, digest)
            })
            .await
    }
}

/// Counts all jobs, day by day. The sums of removed jobs stay as they are.
pub(in crate::store) fn count_again(connection: &Connection, zone: &Zone) -> Result<(), StoreError> {
    let removed = SumKind::Removed.into_str();
    connection.prepare_cached("DELETE FROM report_sums WHERE kind <> ?1")?.execute([removed])?;
    let mut from = Timestamp::from_millis(i64::MIN);
    while let Some(next) = first_end(connection, from)? {
        let day = zone.day_of(next);
        let until = day.end.max(next.plus(Duration::from_millis(1)));
        for group in count_between(connection, next, until)? {
            set_sums(connection, day.start, &[group].into())?;
        }
        from = until;
    }
    Ok(())
}

/// When the first job ended that ended at `from` or later.
fn first_end(connection: &Connection, from: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let mut first: Option<Timestamp> = None;
    let sql = "SELECT finished_at FROM jobs INDEXED BY jobs_by_end
        WHERE state = ?1 AND finished_at IS NOT NULL AND finished_at >= ?2 ORDER BY finished_at LIMIT 1";
    for state in StateName::VARIANTS.iter().filter(|state| state.is_end()) {
        let found: Option<Timestamp> =
            connection.prepare_cached(sql)?.query_row((state, from), |row| row.get(0)).optional()?;
        first = first.into_iter().chain(found).min();
    }
    Ok(first)
}

/// How many sums differ from a count of the jobs, whichever zone their days are of.
pub(in crate::store) fn wrong_sums(connection: &Connection) -> Result<usize, StoreError> {
    let removed = SumKind::Removed.into_str();
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT day FROM report_sums WHERE kind <> ?1 ORDER BY day")?;
    let days: Vec<Timestamp> = statement.query_map([removed], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let mut wrong = count_between(connection, first, days.first().copied().unwrap_or(last))?.len();
    let ends = days.iter().skip(1).copied().chain([last]);
    for (day, end) in days.iter().copied().zip(ends) {
        let counted = count_between(connection, day, end)?;
        let mut statement = connection.prepare_cached(
            "SELECT kind, name, succeeded, failed, cancelled, expired, cost_quota, times FROM report_sums
             WHERE day = ?1 AND kind <> ?2",
        )?;
        let mut rows = statement.query((day, removed))?;
        let mut kept = GroupSums::new();
        while let Some(row) = rows.next()? {
            kept.insert((row.get(0)?, row.get(1)?), ReportSums::read(&row, 2)?);
        }
        wrong += counted.iter().filter(|(group, sums)| kept.get(group) != Some(sums)).count();
        wrong += kept.keys().filter(|group| !counted.contains_key(group)).count();
    }
    Ok(wrong)
}

/// What is wrong with the sums, if they were counted yet.
pub(in crate::store) fn find_wrong_sums(connection: &Connection) -> Result<Option<String>, StoreError> {
    if get::<i64>(connection, ZONE)?.is_none() {
        return Ok(None);
    }
    // The daemon may change jobs between the statements.
    connection.execute_batch("BEGIN")?;
    let wrong = wrong_sums(connection);
    connection.execute_batch("COMMIT")?;
    let wrong = wrong?;
    Ok((wrong > 0).then(|| format!("{wrong} rows of report_sums differ from a count of the jobs")))
}
