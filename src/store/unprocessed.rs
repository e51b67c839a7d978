//! How many deliveries of each job are not processed yet, as the writer knows it: with an index by job, each callback would
//! change a page of its own before it is answered.

use crate::store::db::{self, Connection};
use std::collections::BTreeMap;

/// Exact: after a rollback, and at the start, it is read from the database when it is needed.
#[derive(Default)]
pub(super) struct Unprocessed {
    of_jobs: Option<BTreeMap<i64, OfJob>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OfJob {
    pub count: i64,
    /// The number of the newest one. It may be processed before older ones are.
    pub newest: i64,
}

impl Unprocessed {
    /// Call it before the change that [`add`](Self::add) follows.
    pub fn of_job(&mut self, connection: &Connection, job: i64) -> db::Result<OfJob> {
        if self.of_jobs.is_none() {
            self.of_jobs = Some(read(connection)?);
        }
        Ok(self.of_jobs.as_ref().and_then(|of_jobs| of_jobs.get(&job)).copied().unwrap_or_default())
    }

    pub fn add(&mut self, job: i64, nr: i64) {
        if let Some(of_jobs) = &mut self.of_jobs {
            let of_job = of_jobs.entry(job).or_default();
            (of_job.count, of_job.newest) = (of_job.count + 1, nr);
        }
    }

    pub fn remove(&mut self, job: i64) {
        if let Some(of_jobs) = &mut self.of_jobs
            && let Some(of_job) = of_jobs.get_mut(&job)
        {
            of_job.count -= 1;
            if of_job.count <= 0 {
                of_jobs.remove(&job);
            }
        }
    }

    /// After a rollback.
    pub fn forget(&mut self) {
        self.of_jobs = None;
    }
}

fn read(connection: &Connection) -> db::Result<BTreeMap<i64, OfJob>> {
    let mut statement =
        connection.prepare_cached("SELECT job, nr FROM deliveries WHERE processed = 0 ORDER BY nr")?;
    let mut rows = statement.query([])?;
    let mut of_jobs = BTreeMap::<i64, OfJob>::new();
    while let Some(row) = rows.next()? {
        let of_job = of_jobs.entry(row.get(0)?).or_default();
        (of_job.count, of_job.newest) = (of_job.count + 1, row.get(1)?);
    }
    Ok(of_jobs)
}
