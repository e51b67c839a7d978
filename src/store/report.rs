//! Looking back: how jobs ended, how long they took and what they cost; and what was charged without a video.

use rusqlite::{Connection, Row};

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::look::{COLUMNS, Sight, sight};

/// So many groups of a kind are told, those of the most jobs.
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

const SUMS: &str = "count(*) AS jobs, sum(state = 'succeeded') AS succeeded, sum(state = 'failed') AS failed,
    sum(state = 'cancelled') AS cancelled, sum(state = 'expired') AS expired,
    coalesce(sum(cost_quota), 0) AS cost,
    avg(CASE WHEN state = 'succeeded' THEN (finished_at - submitted_at) / 1000.0 END) AS seconds,
    max(CASE WHEN state = 'succeeded' THEN (finished_at - submitted_at) / 1000.0 END) AS longest";
const ENDED: &str = "state IN ('succeeded', 'failed', 'cancelled', 'expired') AND finished_at IS NOT NULL
    AND finished_at >= ?1";
/// Charged, and no video for it: the provider's to explain.
const DISPUTED: &str = "jobs.cost_quota > 0 AND jobs.state IN ('failed', 'cancelled', 'expired', 'held')
    AND (jobs.finished_at IS NULL OR jobs.finished_at >= ?1)";

impl Store {
    /// What ended at `since` or later, in numbers.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn report(&self, since: Timestamp) -> Result<Report, StoreError> {
        self.read(move |connection| {
            let grouped = |key: &str, from: &str, order: &str| {
                let sql = format!(
                    "SELECT {key} AS key, {SUMS} FROM {from} WHERE {ENDED} GROUP BY 1 ORDER BY {order} LIMIT ?2"
                );
                groups(connection, &sql, since)
            };
            let mut total = connection.prepare_cached(&format!("SELECT {SUMS} FROM jobs WHERE {ENDED}"))?;
            let day = "strftime('%Y-%m-%d', finished_at / 1000, 'unixepoch')";
            let labelled = "jobs JOIN labels ON labels.job = jobs.nr";
            Ok(Report {
                total: total.query_row([since.millis()], sums)?,
                by_model: grouped("model", "jobs", "jobs DESC, 1")?,
                by_label: grouped("labels.key || '=' || labels.value", labelled, "jobs DESC, 1")?,
                by_day: grouped(day, "jobs", "1 DESC")?,
            })
        })
        .await
    }

    /// Jobs that were charged and have no video to show for it: failed, cancelled or expired at `since` or later, or
    /// held. The newest first, at most `limit`, and how many there are.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn disputed(&self, since: Timestamp, limit: u32) -> Result<Vec<Sight>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM jobs JOIN requests ON requests.job = jobs.nr WHERE {DISPUTED}
                 ORDER BY jobs.nr DESC LIMIT ?2"
            ))?;
            let mut rows = statement.query((since.millis(), limit))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let seen = sight(connection, row)?;
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

fn groups(connection: &Connection, sql: &str, since: Timestamp) -> Result<Vec<(String, Sums)>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((since.millis(), GROUPS), |row| Ok((row.get("key")?, sums(row)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sums(row: &Row<'_>) -> rusqlite::Result<Sums> {
    let count = |name: &str| row.get::<_, Option<i64>>(name).map(|count| count.unwrap_or(0).unsigned_abs());
    Ok(Sums {
        jobs: count("jobs")?,
        succeeded: count("succeeded")?,
        failed: count("failed")?,
        cancelled: count("cancelled")?,
        expired: count("expired")?,
        cost: Quota::new(row.get("cost")?),
        seconds: row.get("seconds")?,
        longest_seconds: row.get("longest")?,
    })
}
