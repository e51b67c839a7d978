//! Lists of batches: the job files that were ingested, with the states and the cost of their jobs, and when the rest will
//! probably have ended.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::batch::{BatchView, MAX_BATCH_PAGE, batch_id};
use crate::clock::Timestamp;
use crate::job::output::FilePlace;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::db::{Connection, Row};
use crate::store::error::StoreError;
use crate::store::estimates::{Estimator, JobEstimate};
use crate::store::learned_times::usual_time_of_class;
use crate::store::model_stats::median;

/// Files whose jobs are visible and not all pruned, newest first.
const FILES: &str = "SELECT nr, file_name, jobs, ingested_at FROM batches
    WHERE nr < ?1 AND staged <> 1 AND EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.nr)
    ORDER BY nr DESC LIMIT ?2";
/// One file.
const FILE: &str = "SELECT nr, file_name, jobs, ingested_at FROM batches WHERE nr = ?1";
/// The jobs of a file at the time `?2`. What differs comes first.
macro_rules! jobs_of_file {
    ($submitted:literal, $finished:literal, $jobs:literal, $grouped:literal) => {
        concat!(
            "SELECT state, model, attempts = 0, next_action IS NOT DISTINCT FROM 'wait',
                CASE WHEN attempts > 0 AND finished_at IS NULL THEN (SELECT price_class FROM attempts
                    WHERE attempts.job = jobs.nr AND attempts.number = jobs.attempts) END, ",
            $submitted,
            "(coalesce(submitted_at, ?2)), ",
            $finished,
            "(finished_at), ",
            $jobs,
            " FROM jobs INDEXED BY jobs_by_batch WHERE batch = ?1 ",
            $grouped
        )
    };
}
/// One by one: SQLite would sort them.
const JOBS: &str = jobs_of_file!("", "", "1", "");
/// Those that are alike together, where a server would have to send each of them.
const GROUPS_OF_JOBS: &str = jobs_of_file!("max", "max", "count(*)", "GROUP BY 1, 2, 3, 4, 5");
/// What the attempts of a file's jobs were charged, and estimated at. What earlier attempts were charged belongs to the
/// estimate, as it does to the cost.
const SUMS: &str = "SELECT sum(attempts.charged_quota),
        sum(CASE WHEN attempts.number = jobs.attempts THEN attempts.estimate_quota
                 ELSE coalesce(attempts.charged_quota, attempts.counted_quota) END)
    FROM jobs INDEXED BY jobs_by_batch CROSS JOIN attempts ON attempts.job = jobs.nr
    WHERE jobs.batch = ?1 AND jobs.attempts > 0";
/// Requests that are not submitted yet. In two steps: PostgreSQL would read the requests of all jobs before the first.
const NEW_REQUESTS: &str = "WITH unsent AS MATERIALIZED (
        SELECT nr FROM jobs INDEXED BY jobs_by_batch
        WHERE batch = ?1 AND attempts = 0 AND finished_at IS NULL LIMIT ?2)
    SELECT requests.body FROM unsent JOIN requests ON requests.job = unsent.nr";
/// The most of them that are estimated; the others will cost as much on average.
const MOST_ESTIMATED: u32 = 200;
/// How long the newest succeeded jobs took.
const TIMES: &str = "SELECT model, finished_at - submitted_at FROM jobs INDEXED BY jobs_by_end
    WHERE state = 'succeeded' AND finished_at IS NOT NULL AND submitted_at IS NOT NULL AND adopted = 0
    ORDER BY finished_at DESC LIMIT 500";

/// Where the files of a batch lie, below the library.
const PATHS: &str = "SELECT outputs.bucket, outputs.path FROM jobs INDEXED BY jobs_by_batch
    JOIN outputs ON outputs.job = jobs.nr AND outputs.state = 'stored'
    WHERE jobs.batch = ?1 ORDER BY jobs.nr LIMIT ?2";

/// Batches of several jobs, newest first.
const RECENT: &str = "SELECT nr, file_name, jobs, ingested_at FROM batches INDEXED BY batches_of_several
    WHERE jobs > 1 AND staged <> 1 AND EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.nr)
    ORDER BY nr DESC LIMIT ?1";
/// Those that have not ended.
const OPEN: &str = "SELECT nr, file_name, jobs, ingested_at FROM batches INDEXED BY batches_open
    WHERE open_jobs > 0 AND jobs > 1 AND staged <> 1 ORDER BY nr DESC LIMIT ?1";
/// Of the newest that have not ended: every page asks.
const PROGRESS: &str = "SELECT coalesce(sum(jobs - open_jobs), 0), coalesce(sum(jobs), 0) FROM
    (SELECT jobs, open_jobs FROM batches INDEXED BY batches_open WHERE open_jobs > 0 AND jobs > 1
     ORDER BY nr DESC LIMIT 20) AS newest";

impl Store {
    /// Batches of several jobs that have not ended, or ended at `since` or later: the newest of each, at most `limit`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn recent_batches(
        &self,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<BatchView>, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut reader = BatchReader::new(connection, &book, now);
            let mut found = Vec::new();
            for sql in [OPEN, RECENT] {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query([limit])?;
                while let Some(row) = rows.next()? {
                    let id = batch_id(row.get(0)?);
                    if found.len() < limit as usize && found.iter().all(|batch: &BatchView| batch.id != id) {
                        found.push(reader.read(&row)?);
                    }
                }
            }
            found.retain(|batch| batch.finished_at.is_none_or(|at| at >= since));
            Ok(found)
        })
        .await
    }

    /// Of the newest 20 batches of several jobs that have not ended: how many of their jobs have, and how many there are.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn open_batch_jobs(&self) -> Result<(u64, u64), StoreError> {
        self.read(|connection| {
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            let (ended, all) = connection.prepare_cached(PROGRESS)?.query_row([], read)?;
            Ok((ended.unsigned_abs(), all.unsigned_abs()))
        })
        .await
    }

    /// A batch and the paths of its files below the library, at most `max_paths`; `None`: it is pruned.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn batch(
        &self,
        nr: i64,
        max_paths: u32,
        now: Timestamp,
    ) -> Result<Option<(BatchView, Vec<FilePlace>)>, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut reader = BatchReader::new(connection, &book, now);
            let mut statement = connection.prepare_cached(FILE)?;
            let mut rows = statement.query([nr])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let batch = reader.read(&row)?;
            let mut statement = connection.prepare_cached(PATHS)?;
            let paths = statement
                .query_map((nr, max_paths), |row| Ok(FilePlace { bucket: row.get(0)?, path: row.get(1)? }))?;
            Ok(Some((batch, paths.collect::<Result<_, _>>()?)))
        })
        .await
    }

    /// The newest batches from `cursor` on, at most `limit` and never more than [`MAX_BATCH_PAGE`], and where the next page
    /// begins, if there is one.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn batches(
        &self,
        cursor: Option<i64>,
        limit: u32,
        now: Timestamp,
    ) -> Result<(Vec<BatchView>, Option<i64>), StoreError> {
        let limit = limit.clamp(1, MAX_BATCH_PAGE);
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut reader = BatchReader::new(connection, &book, now);
            let mut statement = connection.prepare_cached(FILES)?;
            // One more than asked for shows that there is another page.
            let rows = statement.query_and_then((cursor.unwrap_or(i64::MAX), limit + 1), |row| {
                Ok::<_, StoreError>((row.get(0)?, reader.read(row)?))
            })?;
            let mut found: Vec<(i64, BatchView)> = rows.collect::<Result<_, _>>()?;
            let more = found.len() > limit as usize;
            found.truncate(limit as usize);
            let next = found.last().filter(|_| more).map(|(nr, _)| *nr);
            Ok((found.into_iter().map(|(_, batch)| batch).collect(), next))
        })
        .await
    }
}

/// Reads batches, and what they need to know of other jobs once for all.
struct BatchReader<'a> {
    connection: &'a Connection,
    estimator: Estimator<'a>,
    /// The median time of the jobs of each model; `None`: not read yet.
    times: Option<BTreeMap<String, Duration>>,
    now: Timestamp,
}

/// Jobs that have not ended and are alike.
struct OpenJobs {
    count: u32,
    state: StateName,
    model: String,
    /// The last of them; now, if it is not.
    submitted_at: Timestamp,
    is_new: bool,
    /// Of its newest attempt.
    price_class: Option<String>,
}

impl<'a> BatchReader<'a> {
    fn new(connection: &'a Connection, book: &'a PriceBook, now: Timestamp) -> Self {
        Self { connection, estimator: Estimator::new(connection, book), times: None, now }
    }

    fn read(&mut self, file: &Row<'_>) -> Result<BatchView, StoreError> {
        let nr: i64 = file.get(0)?;
        let jobs = if self.connection.is_remote() { GROUPS_OF_JOBS } else { JOBS };
        let mut statement = self.connection.prepare_cached(jobs)?;
        let mut rows = statement.query((nr, self.now))?;
        let (mut states, mut last, mut finished) = (BTreeMap::new(), None, true);
        let (mut new, mut open, mut any_waits) = (0, Vec::new(), false);
        while let Some(row) = rows.next()? {
            let (state, count): (StateName, u32) = (row.get(0)?, row.get(7)?);
            *states.entry(state).or_insert(0) += u64::from(count);
            last = last.max(row.get::<_, Option<Timestamp>>(6)?);
            finished &= state.is_end();
            if !state.is_end() {
                any_waits |= row.get::<_, bool>(3)?;
                let is_new = row.get(2)?;
                new += if is_new { i64::from(count) } else { 0 };
                let (model, price_class, submitted_at) = (row.get(1)?, row.get(4)?, row.get(5)?);
                open.push(OpenJobs { count, state, model, submitted_at, is_new, price_class });
            }
        }
        let sums = |row: &Row<'_>| Ok((row.get::<_, Option<Quota>>(0)?, row.get::<_, Option<Quota>>(1)?));
        let (cost, estimate) = self.connection.prepare_cached(SUMS)?.query_row([nr], sums)?;
        let (estimate_of_new, time_of_new) = self.estimate_new(nr, new)?;
        Ok(BatchView {
            id: batch_id(nr),
            file: file.get(1)?,
            jobs: file.get::<_, i64>(2)?.unsigned_abs(),
            states,
            cost_usd: cost.unwrap_or_default().usd(),
            estimate_usd: estimate.unwrap_or_default().plus(estimate_of_new).usd(),
            created_at: file.get(3)?,
            finished_at: last.filter(|_| finished),
            // A budget or a time is waited for, which no earlier job says anything about.
            eta_at: if any_waits { None } else { self.expected_end(open, time_of_new)? },
        })
    }

    /// What the `count` jobs of a batch without an attempt will probably cost, and how long one will take, where that is
    /// learned.
    fn estimate_new(&mut self, batch: i64, count: i64) -> Result<(Quota, Option<Duration>), StoreError> {
        if count == 0 {
            return Ok((Quota::ZERO, None));
        }
        let mut statement = self.connection.prepare_cached(NEW_REQUESTS)?;
        let mut rows = statement.query((batch, MOST_ESTIMATED))?;
        let (mut sum, mut estimated) = (Quota::ZERO, 0_i64);
        let (mut time, mut timed) = (Duration::ZERO, 0_u32);
        while let Some(row) = rows.next()? {
            let JobEstimate { estimate, price_class, .. } =
                self.estimator.estimate(&row.get::<_, String>(0)?)?;
            sum = sum.plus(estimate.quota);
            estimated += 1;
            if let Some(usual) = self.usual_time(price_class.as_deref())? {
                time += usual;
                timed += 1;
            }
        }
        let all = i128::from(sum.get()) * i128::from(count) / i128::from(estimated.max(1));
        Ok((Quota::new(i64::try_from(all).unwrap_or(i64::MAX)), (timed > 0).then(|| time / timed)))
    }

    /// The median time of a class, where it is learned.
    fn usual_time(&self, price_class: Option<&str>) -> Result<Option<Duration>, StoreError> {
        let Some(class) = price_class else { return Ok(None) };
        Ok(usual_time_of_class(self.connection, class)?.map(|usual| usual.median))
    }

    /// When the jobs that run or wait for their turn will probably have ended, if the waiting ones run as many at a time as
    /// run now. `None` while none runs, or while nothing is known of one of their models.
    fn expected_end(
        &mut self,
        open: Vec<OpenJobs>,
        time_of_new: Option<Duration>,
    ) -> Result<Option<Timestamp>, StoreError> {
        if open.is_empty() {
            return Ok(None);
        }
        let times = match self.times.take() {
            Some(times) => times,
            None => times_of_models(self.connection)?,
        };
        let (mut running, mut waiting, mut last, mut known) = (0_u32, Duration::ZERO, self.now, true);
        for jobs in open.iter().filter(|jobs| jobs.state != StateName::Held) {
            let learned = match time_of_new.filter(|_| jobs.is_new) {
                Some(time) => Some(time),
                None => self.usual_time(jobs.price_class.as_deref())?,
            };
            let Some(time) = learned.or_else(|| times.get(&jobs.model).copied()) else {
                known = false;
                break;
            };
            if jobs.state == StateName::Pending {
                waiting += time * jobs.count;
            } else {
                running += jobs.count;
                last = last.max(jobs.submitted_at.plus(time));
            }
        }
        self.times = Some(times);
        Ok((known && running > 0).then(|| last.plus(waiting / running)))
    }
}

fn times_of_models(connection: &Connection) -> Result<BTreeMap<String, Duration>, StoreError> {
    let mut millis: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut statement = connection.prepare_cached(TIMES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        millis.entry(row.get(0)?).or_default().push(row.get::<_, i64>(1)?.max(0).unsigned_abs());
    }
    let medians = millis.into_iter().filter_map(|(model, millis)| Some((model, median(millis)?)));
    Ok(medians.map(|(model, millis)| (model, Duration::from_millis(millis))).collect())
}

/// The statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("batches", FILES),
        ("jobs of a batch", JOBS),
        ("sums of a batch", SUMS),
        ("new requests of a batch", NEW_REQUESTS),
        ("times of models", TIMES),
        ("one batch", FILE),
        ("paths of a batch", PATHS),
        ("recent batches", RECENT),
        ("open batches", OPEN),
        ("progress of open batches", PROGRESS),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

#[cfg(test)]
mod tests;
