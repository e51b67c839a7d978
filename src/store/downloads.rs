//! Downloads: which are due, everything that one needs, and the path planned for an output before it is published, so
//! that a publication interrupted by a crash can be finished.
//!
//! For the download stage each query is one read, because a read costs a switch to another thread and back, and hundreds
//! of files may be downloaded in a second.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::output::{OutputKey, host_of_link};
use crate::job::suspension::Suspension;
use crate::job::{JobId, TaskId};
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension, Row};
use crate::store::details::{JobDetails, details_in, request_in};
use crate::store::error::StoreError;
use crate::store::job_rows::number_of;
use crate::store::sidecars::outdate_sidecars;
use crate::store::suspensions::suspensions_in;

/// A link that ends within this time counts as dead where the only copy of its file is given up for it: others begin a while
/// later.
pub(crate) const LINK_MARGIN: Duration = Duration::from_secs(15 * 60);

/// What the download stage has to do.
#[derive(Clone, Debug)]
pub struct DownloadQueue {
    /// Jobs whose links expire soon and that have not been alerted about.
    pub alerts: Vec<JobId>,
    /// The suspensions in force.
    pub suspensions: Vec<Suspension>,
    /// Jobs with outputs to download, each with the host of one of its links.
    pub due: Vec<(JobId, String)>,
    /// When the first job that is not due yet will be.
    pub next: Option<Timestamp>,
}

/// What the upload stage has to do.
#[derive(Clone, Debug)]
pub struct UploadQueue {
    /// Jobs whose links expire soon and that have not been alerted about.
    pub alerts: Vec<JobId>,
    /// Jobs with outputs to upload.
    pub due: Vec<JobId>,
    /// When the first job that is not due yet will be.
    pub next: Option<Timestamp>,
}

/// A job with outputs to download or upload.
#[derive(Clone, Debug)]
pub struct JobToDownload {
    pub details: JobDetails,
    /// Its request: the user's own text.
    pub request: String,
    /// Outputs of its task whose path is planned and that are not stored yet: they are spooled, or a crash came.
    pub plans: Vec<(OutputKey, Plan)>,
}

/// An output about to be published. Committed before the file gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Below the library's folder.
    pub path: String,
    /// The checked file's length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// The host it came from.
    pub host: String,
}

/// First downloads, the link that expires first before the others. With the link of the output to be downloaded first, for
/// its host.
const FIRST: &str =
    "SELECT id, (SELECT link FROM outputs WHERE job = jobs.nr AND outputs.task_id = jobs.task_id
        AND state = 'waiting' AND spooled = 0 AND tries = 0 LIMIT 1)
    FROM jobs INDEXED BY jobs_to_download
    WHERE download_at IS NOT NULL AND download_failing = 0 ORDER BY expires_at NULLS FIRST, nr LIMIT ?1";
/// Downloads that have failed, the longest due first.
const AGAIN: &str =
    "SELECT id, (SELECT link FROM outputs WHERE job = jobs.nr AND outputs.task_id = jobs.task_id
        AND state = 'waiting' AND spooled = 0 AND due_at <= ?1 LIMIT 1)
    FROM jobs INDEXED BY jobs_to_download_again
    WHERE download_failing = 1 AND download_at <= ?1 ORDER BY download_at LIMIT ?2";
const NEXT: &str = "SELECT download_at FROM jobs INDEXED BY jobs_to_download_again
    WHERE download_failing = 1 AND download_at > ?1 ORDER BY download_at LIMIT 1";
const UPLOADS: &str = "SELECT id FROM jobs INDEXED BY jobs_to_upload
    WHERE upload_at IS NOT NULL AND upload_at <= ?1 ORDER BY upload_at LIMIT ?2";
const NEXT_UPLOAD: &str = "SELECT upload_at FROM jobs INDEXED BY jobs_to_upload
    WHERE upload_at IS NOT NULL AND upload_at > ?1 ORDER BY upload_at LIMIT 1";
const ALERTS: &str = "SELECT id FROM jobs INDEXED BY jobs_to_alert
    WHERE expiry_alerted = 0 AND expires_at IS NOT NULL AND finished_at IS NULL AND expires_at <= ?1
    ORDER BY expires_at LIMIT ?2";

impl Store {
    /// At most `limit` jobs with downloads due by `now`, and at most `limit` whose links expire by `alert_until`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn download_queue(
        &self,
        now: Timestamp,
        alert_until: Timestamp,
        limit: u32,
    ) -> Result<DownloadQueue, StoreError> {
        self.read(move |connection| {
            Ok(DownloadQueue {
                alerts: jobs_to_alert(connection, alert_until, limit)?,
                suspensions: suspensions_in(connection)?,
                due: due_downloads(connection, now, limit)?,
                next: next_download(connection, now)?,
            })
        })
        .await
    }

    /// The same for uploads: at most `limit` jobs are due.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn upload_queue(
        &self,
        now: Timestamp,
        alert_until: Timestamp,
        limit: u32,
    ) -> Result<UploadQueue, StoreError> {
        self.read(move |connection| {
            let mut due = connection.prepare_cached(&unclaimed(connection, UPLOADS))?;
            let due = due.query_map((now, limit), |row| row.get(0))?.collect::<Result<_, _>>()?;
            let next =
                connection.prepare_cached(NEXT_UPLOAD)?.query_row([now], |row| row.get(0)).optional()?;
            Ok(UploadQueue { alerts: jobs_to_alert(connection, alert_until, limit)?, due, next })
        })
        .await
    }

    /// A job with everything that its downloads and uploads need.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn job_to_download(&self, id: JobId) -> Result<JobToDownload, StoreError> {
        self.read(move |connection| {
            let details = details_in(connection, id)?;
            let plans = match details.job.task() {
                Some(task) => plans_in(connection, id, task)?,
                None => Vec::new(),
            };
            Ok(JobToDownload { request: request_in(connection, id)?, details, plans })
        })
        .await
    }

    /// Claims the downloads and uploads of a job for this process, where several share a database. False if another one has
    /// them, which is still there or has a file of it in its spool.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn claim_downloads(&self, job: JobId) -> Result<bool, StoreError> {
        if !self.has_others() {
            return Ok(true);
        }
        self.writer
            .write(move |writing| Ok(writing.connection.claim(number_of(writing.connection, job)?)?))
            .await
    }

    /// Lets another process try, unless a file of the job waits here to be uploaded.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn release_downloads(&self, job: JobId) -> Result<(), StoreError> {
        if !self.has_others() {
            return Ok(());
        }
        self.writer
            .write(move |writing| {
                let Some(own) = writing.connection.is_own("process") else { return Ok(()) };
                let release = format!(
                    "DELETE FROM claims WHERE {own} AND job = (SELECT nr FROM jobs WHERE id = ?1)
                     AND NOT EXISTS (SELECT 1 FROM outputs
                                     WHERE outputs.job = claims.job AND state = 'waiting' AND spooled = 1)"
                );
                writing.connection.execute(&release, [job])?;
                Ok(())
            })
            .await
    }

    /// Ends the claims of this process: those that an earlier run has left, which may have led while this one follows, or those of
    /// a spool whose disk is missing. Those of outputs in the spool only if it `gives_up_spool`, and while their links live, for
    /// others have to download them again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn release_own_claims(&self, gives_up_spool: bool, now: Timestamp) -> Result<(), StoreError> {
        if !self.has_others() {
            return Ok(());
        }
        self.writer
            .write(move |writing| {
                let Some(own) = writing.connection.is_own("process") else { return Ok(()) };
                let release = format!(
                    "DELETE FROM claims WHERE {own} AND NOT EXISTS
                         (SELECT 1 FROM jobs WHERE jobs.nr = claims.job AND upload_at IS NOT NULL
                              AND (?1 = 0 OR expires_at <= ?2))"
                );
                let dead_by = now.plus(LINK_MARGIN);
                writing.connection.execute(&release, (i64::from(gives_up_spool), dead_by))?;
                Ok(())
            })
            .await
    }

    /// Plans the path of an output whose file is whole here. Returns false if another output has this path. The sidecar will
    /// name `sidecar_cost`, and is rewritten if the cost has changed since that was read.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn plan_output(
        &self,
        job: JobId,
        task: TaskId,
        key: OutputKey,
        plan: Plan,
        sidecar_cost: Option<Quota>,
    ) -> Result<bool, StoreError> {
        self.writer
            .write(move |writing| {
                let (nr, cost, present): (i64, Option<Quota>, Option<TaskId>) = writing
                    .connection
                    .prepare_cached("SELECT nr, cost_quota, task_id FROM jobs WHERE id = ?1")?
                    .query_row([job], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?
                    .ok_or(StoreError::NoSuchJob(job))?;
                let taken = writing
                    .connection
                    .prepare_cached(
                        "SELECT 1 FROM outputs WHERE path = ?1
                         AND NOT (job = ?2 AND task_id = ?3 AND kind = ?4 AND idx = ?5)",
                    )?
                    .exists((&plan.path, nr, &task, key.kind, key.index))?;
                if taken {
                    return Ok(false);
                }
                writing
                    .connection
                    .prepare_cached(
                        "UPDATE outputs SET path = ?5, bytes = ?6, sha256 = ?7, host = ?8
                         WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4 AND state = 'waiting'",
                    )?
                    .execute((
                        nr,
                        &task,
                        key.kind,
                        key.index,
                        &plan.path,
                        i64::try_from(plan.bytes).unwrap_or(i64::MAX),
                        &plan.sha256,
                        &plan.host,
                    ))?;
                if cost != sidecar_cost {
                    outdate_sidecars(writing, nr, &task)?;
                }
                // Another process may have claimed the job while this one had lost its connection.
                if present.as_ref() == Some(&task) {
                    writing.connection.take_claim(nr)?;
                }
                Ok(true)
            })
            .await
    }
}

/// The query without the jobs that another process has claimed.
fn unclaimed(connection: &Connection, query: &'static str) -> Cow<'static, str> {
    match (connection.unclaimed(), query.rfind("ORDER BY")) {
        (Some(condition), Some(end)) => {
            Cow::Owned(format!("{}AND {condition} {}", &query[..end], &query[end..]))
        }
        _ => Cow::Borrowed(query),
    }
}

/// The jobs with outputs to download by `now`, at most `limit` that were not tried yet and as many that failed; with the
/// host of one of their links.
fn due_downloads(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(JobId, String)>, StoreError> {
    let job = |row: &Row<'_>| {
        let link: Option<String> = row.get(1)?;
        Ok((row.get(0)?, link.as_deref().map_or_else(String::new, host_of_link)))
    };
    let mut first = connection.prepare_cached(&unclaimed(connection, FIRST))?;
    let mut again = connection.prepare_cached(&unclaimed(connection, AGAIN))?;
    let jobs = first.query_map([limit], job)?.chain(again.query_map((now, limit), job)?);
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// When the first download that is not due yet will be.
fn next_download(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    Ok(connection.prepare_cached(NEXT)?.query_row([now], |row| row.get(0)).optional()?)
}

/// Jobs whose links expire by `until` and that have not been alerted about.
fn jobs_to_alert(connection: &Connection, until: Timestamp, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let mut statement = connection.prepare_cached(ALERTS)?;
    let jobs = statement.query_map((until, limit), |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// The plans of a task's outputs that are not stored yet, made before a crash.
fn plans_in(
    connection: &Connection,
    job: JobId,
    task: &TaskId,
) -> Result<Vec<(OutputKey, Plan)>, StoreError> {
    let nr = number_of(connection, job)?;
    let mut statement = connection.prepare_cached(
        "SELECT kind, idx, path, bytes, sha256, host FROM outputs
         WHERE job = ?1 AND task_id = ?2 AND state = 'waiting' AND path IS NOT NULL",
    )?;
    let plans = statement.query_map((nr, task), |row| {
        let plan = Plan {
            path: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.unsigned_abs(),
            sha256: row.get(4)?,
            host: row.get(5)?,
        };
        Ok((OutputKey { kind: row.get(0)?, index: row.get(1)? }, plan))
    })?;
    Ok(plans.collect::<Result<_, _>>()?)
}

/// The statements, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = [
        ("first downloads", FIRST),
        ("downloads that failed", AGAIN),
        ("next download", NEXT),
        ("to alert", ALERTS),
        ("uploads", UPLOADS),
        ("next upload", NEXT_UPLOAD),
    ];
    fixed.map(|(name, sql)| (name, sql.to_owned())).into()
}

#[cfg(test)]
mod tests;
