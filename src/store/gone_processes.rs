//! What processes that share the database with this one and are gone have left undone.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::downloads::LINK_MARGIN;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

impl Store {
    /// The numbers of the processes that are not connected, though they have claims or were ingesting a file.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn gone_processes(&self) -> Result<Vec<i32>, StoreError> {
        self.read(|connection| {
            let conditions = (connection.is_gone("process"), connection.is_gone("inbox"));
            let (Some(process_is_gone), Some(inbox_is_gone)) = conditions else { return Ok(Vec::new()) };
            let mut gone = connection.prepare_cached(&format!(
                "SELECT process FROM claims WHERE {process_is_gone}
                 UNION SELECT inbox FROM batches
                 WHERE (staged = 1 OR staged = 2) AND inbox IS NOT NULL AND {inbox_is_gone}"
            ))?;
            let gone = gone.query_map([], |row| row.get(0))?;
            Ok(gone.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Finishes the files that a process was ingesting, unless it is back: what of them was accepted becomes due, the rest is
    /// deleted. Otherwise no other process could ingest the same file, for its keys are taken. Begins nothing
    /// after `longest`, except that each call gets further. Returns whether there is more to do.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn finish_files_of(&self, process: i32, longest: Duration) -> Result<bool, StoreError> {
        let (began, mut after, mut outcome) = (self.clock.tick(), 0, Ok(false));
        loop {
            let next = move |connection: &Connection| {
                let Some(is_gone) = connection.is_gone("inbox") else { return Ok(None) };
                let mut next = connection.prepare_cached(&format!(
                    "SELECT nr, staged FROM batches
                     WHERE (staged = 1 OR staged = 2) AND inbox = ?1 AND nr > ?2 AND {is_gone} ORDER BY nr LIMIT 1"
                ))?;
                let next =
                    next.query_row((process, after), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                Ok(next.map(|(nr, staged): (i64, i64)| (nr, staged == 1, is_gone)))
            };
            let Some((nr, is_staged, is_gone)) = self.read(next).await? else { return outcome };
            let left = longest.saturating_sub(self.clock.tick().since(began));
            let finished = match is_staged {
                true => self.discard(nr, &mut None, &is_gone, left).await,
                false => self.make_jobs_due(nr, left).await,
            };
            match finished {
                Ok(true) => {}
                Ok(false) => return outcome.and(Ok(true)),
                // The files behind it must not wait for what hinders this one.
                Err(error) => outcome = Err(error),
            }
            after = nr;
        }
    }

    /// Ends the claims of a process, unless it is back, but for what waits in its spool: others download that again where the
    /// links live by `now` and end by `until`. Those that are dead are the only copies. Returns of how many jobs in its spool.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn release_claims_of(
        &self,
        process: i32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<i64, StoreError> {
        let live = (process, now.plus(LINK_MARGIN), until);
        let known = move |connection: &Connection| {
            let Some(all) = releasable(connection, OTHERS) else { return Ok(0) };
            Ok(connection.query_row(&format!("SELECT count(*) {all}"), live, |row| row.get::<_, i64>(0))?)
        };
        // Looked at often, and there is seldom one.
        if self.read(known).await? == 0 {
            return Ok(0);
        }
        self.writer
            .write(move |writing| {
                let found = (releasable(writing.connection, ""), releasable(writing.connection, OTHERS));
                let (Some(spooled), Some(all)) = found else { return Ok(0) };
                let count = format!("SELECT count(*) {spooled}");
                let count = writing.connection.query_row(&count, live, |row| row.get(0))?;
                writing.connection.execute(&format!("DELETE {all}"), live)?;
                writing.notify(Topic::Upload);
                Ok(count)
            })
            .await
    }

    /// At most `limit` jobs whose links are dead by `now`, with outputs in the spool of a process whose upload is due; none if it
    /// is back.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn only_copies_of(
        &self,
        process: i32,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<JobId>, StoreError> {
        self.read(move |connection| {
            let Some(is_gone) = connection.is_gone("process") else { return Ok(Vec::new()) };
            let mut jobs = connection.prepare_cached(&format!(
                "SELECT id FROM claims JOIN jobs ON jobs.nr = claims.job
                 WHERE process = ?1 AND {is_gone} AND finished_at IS NULL AND upload_at <= ?2 AND expires_at < ?3
                 ORDER BY upload_at LIMIT ?4"
            ))?;
            let dead_by = now.plus(LINK_MARGIN);
            let jobs = jobs.query_map((process, now, dead_by, limit), |row| row.get(0))?;
            Ok(jobs.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Claims on jobs of which nothing is in a spool.
const OTHERS: &str = "upload_at IS NULL OR finished_at IS NOT NULL OR";

/// Claims of the process `?1`, if it is gone, on jobs in its spool whose links end from `?2` to `?3`, and on these `others`.
fn releasable(connection: &Connection, others: &str) -> Option<String> {
    let is_gone = connection.is_gone("process")?;
    Some(format!(
        "FROM claims WHERE process = ?1 AND {is_gone} AND EXISTS (SELECT 1 FROM jobs WHERE jobs.nr = claims.job
             AND ({others} upload_at IS NOT NULL AND finished_at IS NULL
                  AND coalesce(expires_at, ?3) BETWEEN ?2 AND ?3))"
    ))
}
