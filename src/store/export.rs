//! Jobs as job files that can be dropped elsewhere, and their move to another machine.
//!
//! A move must buy each job once, whichever machine is killed when:
//!
//! 1. One commit cancels the jobs here, for ever, and keeps the line of each in `moved_jobs`. Only jobs that no attempt was made
//!    for are moved, so the provider has seen none of them. From here on this machine cannot buy them, and no crash loses them.
//! 2. The client prints the lines and, if they go to a file, flushes it.
//! 3. The client acknowledges them, and only then they are deleted.
//!
//! If either side dies between 1 and 3, the next move hands out what was not acknowledged before anything else. So a line may be
//! printed twice, but never lost. Each line has a key: a machine that gets it twice runs it once. (Printing before the commit
//! would buy a job twice if the commit never came; acknowledging before printing would lose it.)

use crate::api::list::{JobFilter, MAX_PAGE};
use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::Event;
use crate::job::step::{ActionReply, Moment};
use crate::jobfile::pictures::with_addresses;
use crate::jobfile::rewrite::{OwnValues, job_file, on_one_line};
use crate::store::Store;
use crate::store::apply::apply_in;
use crate::store::db::{Connection, Row, Value, params_from_iter};
use crate::store::details::{details_in, request_in};
use crate::store::error::StoreError;
use crate::store::job_rows::number_of;
use crate::store::lists::conditions_of;
use crate::store::pictures::pictures_of;

/// A job as a job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedJob {
    /// The job.
    pub id: JobId,
    /// Its job file, on one line.
    pub line: String,
    /// The local pictures that it names, by their content.
    pub pictures: Vec<String>,
}

/// What becomes of local pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportedPictures {
    /// The lines keep their paths.
    ByPath,
    /// The lines call them by their content, as they lie in a folder to which they are copied.
    ByContent,
}

/// Most jobs moved in one commit: callbacks wait for its end.
const MOVED_PER_COMMIT: u32 = 100;
/// The jobs that no attempt was made for and that are not in doubt, the same that may be edited: by state, so that an index
/// finds them.
const NOT_SUBMITTED: [&str; 2] = [
    "jobs.state = 'pending' AND jobs.attempts = 0 AND jobs.adopted = 0 AND jobs.pending_attempt_number IS NULL",
    "jobs.state = 'held' AND jobs.attempts = 0 AND jobs.adopted = 0 AND jobs.pending_attempt_number IS NULL
     AND jobs.held_from = 'pending' AND jobs.reason <> 'database_restored'",
];
const UNACKNOWLEDGED: &str =
    "SELECT jobs.id, moved_jobs.line, jobs.nr FROM moved_jobs JOIN jobs ON jobs.nr = moved_jobs.job
    ORDER BY moved_jobs.job LIMIT ?1";

impl Store {
    /// The jobs that pass `filter`, oldest first, from those after the row `after` on; and where the next page begins, if there
    /// is one. Adopted jobs have no request and are left out.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn export(
        &self,
        filter: JobFilter,
        after: i64,
        limit: u32,
        pictures: ExportedPictures,
        now: Timestamp,
    ) -> Result<(Vec<ExportedJob>, Option<i64>), StoreError> {
        self.read(move |connection| {
            let found = jobs_of(connection, &filter, "jobs.adopted = 0", after, limit)?;
            let next = found.last().filter(|_| found.len() >= limit as usize).map(|(nr, _)| *nr);
            let jobs = found.into_iter().map(|(nr, id)| exported(connection, nr, id, pictures, now));
            let jobs = jobs.collect::<Result<_, _>>()?;
            Ok((jobs, next))
        })
        .await
    }

    /// Hands out jobs to another machine: those that a move handed out earlier and that were not acknowledged; only if there
    /// are none, some of those that pass `filter`, oldest first. Empty: there are no more. True: they were handed out earlier.
    /// Jobs that name local pictures stay unless those go with them.
    ///
    /// # Errors
    /// Any failure of the database; no job is moved then.
    pub async fn move_jobs(
        &self,
        filter: JobFilter,
        pictures: ExportedPictures,
        now: Timestamp,
    ) -> Result<(Vec<ExportedJob>, bool), StoreError> {
        let (policy, jitter) = (self.policy, self.rng.fraction());
        self.writer
            .write(move |writing| {
                let mut statement = writing.connection.prepare_cached(UNACKNOWLEDGED)?;
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                let rows: Vec<(JobId, String, i64)> =
                    statement.query_map([MOVED_PER_COMMIT], read)?.collect::<Result<_, _>>()?;
                let earlier = rows.into_iter().map(|(id, line, nr)| {
                    Ok::<_, StoreError>(ExportedJob { id, line, pictures: names_of(writing.connection, nr)? })
                });
                let earlier: Vec<_> = earlier.collect::<Result<_, _>>()?;
                if !earlier.is_empty() {
                    return Ok((earlier, true));
                }
                let without_pictures = match pictures {
                    ExportedPictures::ByPath => " AND jobs.pictures_checked IS NULL",
                    ExportedPictures::ByContent => "",
                };
                let mut found = Vec::new();
                for condition in NOT_SUBMITTED {
                    if found.is_empty() {
                        let condition = format!("{condition}{without_pictures}");
                        found = jobs_of(writing.connection, &filter, &condition, 0, MOVED_PER_COMMIT)?;
                    }
                }
                let mut moved = Vec::new();
                for (nr, id) in found {
                    let job = exported(writing.connection, nr, id, pictures, now)?;
                    let moment = Moment { now, jitter, policy: &policy };
                    let (applied, _) = apply_in(writing, id, &Event::MovedOut, moment)?;
                    if matches!(applied.reply, Some(ActionReply::Done(_))) {
                        writing
                            .connection
                            .prepare_cached("INSERT INTO moved_jobs (job, line) VALUES (?1, ?2)")?
                            .execute((nr, &job.line))?;
                        moved.push(job);
                    }
                }
                failpoints::hit(FailPoint::MovedJobsWritten);
                Ok((moved, false))
            })
            .await
    }

    /// How many jobs a move leaves here because they name local pictures, at most 500.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unmoved_with_pictures(&self, filter: JobFilter) -> Result<usize, StoreError> {
        self.read(move |connection| {
            let mut count = 0;
            for condition in NOT_SUBMITTED {
                let condition = format!("{condition} AND jobs.pictures_checked IS NOT NULL");
                count += jobs_of(connection, &filter, &condition, 0, MAX_PAGE)?.len();
            }
            Ok(count)
        })
        .await
    }

    /// Records that the lines of these jobs are where they were to go. Repeating it is safe.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn acknowledge_moved(&self, jobs: Vec<JobId>) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let mut delete =
                    writing.connection.prepare_cached("DELETE FROM moved_jobs WHERE job = ?1")?;
                for id in &jobs {
                    delete.execute([number_of(writing.connection, *id)?])?;
                }
                Ok(())
            })
            .await
    }
}

fn jobs_of(
    connection: &Connection,
    filter: &JobFilter,
    condition: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, JobId)>, StoreError> {
    let (mut conditions, mut values) = conditions_of(filter);
    conditions.push(format!("jobs.nr > ? AND {condition}"));
    values.extend([Value::from(after), Value::from(i64::from(limit))]);
    let sql = format!(
        "SELECT jobs.nr, jobs.id FROM jobs JOIN requests ON requests.job = jobs.nr WHERE {} ORDER BY jobs.nr LIMIT ?",
        conditions.join(" AND ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn exported(
    connection: &Connection,
    nr: i64,
    id: JobId,
    pictures: ExportedPictures,
    now: Timestamp,
) -> Result<ExportedJob, StoreError> {
    let key: Option<String> = connection
        .prepare_cached("SELECT key FROM requests JOIN jobs ON jobs.nr = requests.job WHERE jobs.id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let own = OwnValues {
        key: Some(key.unwrap_or_else(|| id.to_string())),
        ..details_in(connection, id)?.own_values(now)
    };
    let mut request = request_in(connection, id)?;
    if pictures == ExportedPictures::ByContent {
        let named = pictures_of(connection, nr)?.into_iter();
        let names = named.filter_map(|picture| Some((picture.path, picture.found?.content.file_name())));
        request = with_addresses(&request, &names.collect());
    }
    let line = on_one_line(&job_file(&request, &own));
    Ok(ExportedJob { id, line, pictures: names_of(connection, nr)? })
}

/// The local pictures of the job in this row, by their content.
fn names_of(connection: &Connection, nr: i64) -> Result<Vec<String>, StoreError> {
    let named = pictures_of(connection, nr)?.into_iter();
    Ok(named.filter_map(|picture| Some(picture.found?.content.file_name())).collect())
}
