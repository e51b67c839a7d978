//! The rows of a job file and of its jobs, and the checks that it may be ingested.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::next_action::{DueWork, due_work};
use crate::job::state::StateName;
use crate::job::{Identity, Job, JobId, Priority};
use crate::jobfile::{self, Draft};
use crate::money::Quota;
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::counts::count_new_jobs;
use crate::store::db::{self, Connection, OptionalExtension, Statement};
use crate::store::error::StoreError;
use crate::store::estimates::{Estimator, JobEstimate};
use crate::store::job_files::{FileToIngest, IngestError, REPEAT_WINDOW, Source};
use crate::store::job_rows::{INSERT_JOB, NewRow, insert_job};
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::pictures::insert_pictures;
use crate::store::writer::Writing;

/// When the jobs of a file are visible and due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    /// After their commit.
    AtOnce,
    /// Once the whole file is written (see [`staging`](crate::store::job_files::staging)).
    Staged,
}

/// Inserts the row of a file and returns its number. `inbox`: the number of the inbox here, where there are several.
pub(super) fn insert_file(
    connection: &Connection,
    (file, inbox): (&FileToIngest, Option<i32>),
    jobs: usize,
    visibility: Visibility,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let file_name = file.file_name.as_deref();
    let base_name = file_name.map(jobfile::base_name).filter(|base| Some(&**base) != file_name);
    let mut insert = connection.prepare_cached(
        "INSERT INTO batches (source, file_name, base_name, sha256, bytes, jobs, open_jobs, ingested_at, moved_at, staged,
                              inputs_sha256, inbox)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let nr = insert.insert((
        file.source.as_str(),
        &file.file_name,
        base_name.as_deref(),
        &file.sha256,
        i64::try_from(file.bytes).unwrap_or(i64::MAX),
        count(jobs),
        now,
        match file.source {
            Source::Inbox => None,
            Source::Api => Some(now),
        },
        visibility == Visibility::Staged,
        &file.inputs_sha256,
        inbox,
    ))?;
    Ok(nr)
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

/// Earlier files of the same bytes, defaults and pictures under the same base name, newest first, each with its first job.
pub(super) const REPEATED: &str =
    "SELECT (SELECT id FROM jobs WHERE jobs.batch = batches.nr ORDER BY jobs.nr LIMIT 1), ingested_at, file_name
     FROM batches
     WHERE coalesce(base_name, file_name) = ?1 AND sha256 = ?2 AND file_name IS NOT NULL AND staged <> 1
       AND ingested_at > ?3 AND inputs_sha256 IS NOT DISTINCT FROM ?4
     ORDER BY nr DESC";

/// Rejects a file that is a repeated copy.
pub(super) fn refuse_repeat(
    connection: &Connection,
    file: &FileToIngest,
    now: Timestamp,
) -> Result<(), IngestError> {
    match find_repeated(connection, file, now)? {
        None => Ok(()),
        Some((first, ingested_at)) => Err(IngestError::Duplicate { first, ingested_at }),
    }
}

/// The first job of the file that this one repeats, and when that was accepted.
pub(in crate::store) fn find_repeated(
    connection: &Connection,
    file: &FileToIngest,
    now: Timestamp,
) -> Result<Option<(JobId, Timestamp)>, StoreError> {
    let Some(file_name) = &file.file_name else { return Ok(None) };
    let mut statement = connection.prepare_cached(REPEATED)?;
    let base_name = jobfile::base_name(file_name);
    let mut rows =
        statement.query((&*base_name, &file.sha256, now.minus(REPEAT_WINDOW), &file.inputs_sha256))?;
    while let Some(row) = rows.next()? {
        let (first, name): (Option<JobId>, String) = (row.get(0)?, row.get(2)?);
        if let Some(first) = first
            && jobfile::are_same_or_copy(&name, file_name)
        {
            return Ok(Some((first, row.get(1)?)));
        }
    }
    Ok(None)
}

/// Inserts the first history entry of a job.
const INSERT_HISTORY: &str = "INSERT INTO history (job, at, event, detail) VALUES (?1, ?2, ?3, ?4)";

/// What decides about new jobs beside their drafts.
pub(in crate::store) struct InsertContext {
    /// What they will probably cost.
    pub book: Arc<PriceBook>,
    /// The label whose values take turns.
    pub fair_by: Option<String>,
}

impl Store {
    pub(in crate::store) fn insert_context(&self) -> InsertContext {
        InsertContext { book: self.prices.read().clone(), fair_by: self.fair_by() }
    }
}

/// The statements that insert a job, prepared once for many jobs.
pub(super) struct Inserts<'c> {
    connection: &'c Connection,
    visibility: Visibility,
    fair_by: Option<&'c str>,
    job: Statement<'c>,
    request: Statement<'c>,
    label: Statement<'c>,
    history: Statement<'c>,
    estimator: Estimator<'c>,
    /// Jobs of each model that are not in `job_counts` yet, and what they will probably cost.
    uncounted: BTreeMap<String, (i64, Quota)>,
}

impl<'c> Inserts<'c> {
    pub(super) fn prepare(
        connection: &'c Connection,
        context: &'c InsertContext,
        visibility: Visibility,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            visibility,
            fair_by: context.fair_by.as_deref(),
            job: connection.prepare_cached(INSERT_JOB)?,
            request: connection.prepare_cached(
                "INSERT INTO requests (job, body, prompt, labels, warnings, defaults, key)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            label: connection.prepare_cached("INSERT INTO labels (key, value, job) VALUES (?1, ?2, ?3)")?,
            history: connection.prepare_cached(INSERT_HISTORY)?,
            estimator: Estimator::new(connection, &context.book),
            uncounted: BTreeMap::new(),
        })
    }

    /// Adds jobs of a file. Call [`finish`](Self::finish) after the last file.
    pub(super) fn add_jobs(
        &mut self,
        writing: &mut Writing<'_>,
        batch: i64,
        drafts: &[Draft],
        now: Timestamp,
        new_id: &impl Fn(u64) -> JobId,
    ) -> Result<Vec<JobId>, IngestError> {
        let mut jobs = Vec::with_capacity(drafts.len());
        // Those of a file that is refused are not counted.
        let mut uncounted: Vec<(&str, i64, Quota)> = Vec::new();
        for draft in drafts {
            let (job, estimate) = self.add_job(writing, batch, draft, now, new_id)?;
            jobs.push(job);
            match uncounted.last_mut() {
                Some((model, jobs, sum)) if *model == draft.model => {
                    (*jobs, *sum) = (*jobs + 1, sum.plus(estimate));
                }
                _ => uncounted.push((&draft.model, 1, estimate)),
            }
        }
        for (model, jobs, sum) in uncounted {
            match self.uncounted.get_mut(model) {
                Some(known) => *known = (known.0 + jobs, known.1.plus(sum)),
                None => drop(self.uncounted.insert(model.to_owned(), (jobs, sum))),
            }
        }
        Ok(jobs)
    }

    /// Counts the jobs that were added.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        let mut models = self.uncounted.iter();
        models.try_for_each(|(model, sum)| count_new_jobs(self.connection, StateName::Pending, model, *sum))
    }

    fn add_job(
        &mut self,
        writing: &mut Writing<'_>,
        batch: i64,
        draft: &Draft,
        now: Timestamp,
        new_id: &impl Fn(u64) -> JobId,
    ) -> Result<(JobId, Quota), IngestError> {
        for key in draft.keys() {
            if let Some(first) = job_of_key(self.connection, key)? {
                let (key, object) = (key.to_owned(), draft.place.clone());
                return Err(match is_staged_elsewhere(self.connection, first, batch)? {
                    true => IngestError::KeyStaged { key },
                    false => IngestError::KeyUsed { key, object, first },
                });
            }
        }
        let change = writing.next_change();
        let identity = Identity {
            id: new_id(change.unsigned_abs()),
            name: draft.name.clone(),
            model: draft.model.clone(),
            priority: Priority::new(draft.priority.into()).unwrap_or_default(),
            max_cost: draft.max_cost,
            adopted: false,
            created_at: now,
        };
        let mut job = Job::accept(identity, draft.not_before);
        if !draft.pictures.is_empty() {
            job = job.with_local_pictures();
        }
        let JobEstimate { estimate, .. } = self.estimator.estimate(&draft.body)?;
        let (due, change) = match self.visibility {
            Visibility::AtOnce => (due_work(&job, now), change),
            Visibility::Staged => (DueWork::default(), 0),
        };
        let turn = self.fair_by.and_then(|label| draft.labels.get(label)).map_or("", String::as_str);
        let row = NewRow { batch, estimate: Some(estimate.quota), turn };
        let nr = insert_job(&mut self.job, &job, row, due, change)?;
        self.add_request(nr, job.id(), draft).map_err(StoreError::from)?;
        let not_before = draft.not_before.map(|time| format!("not before {time}"));
        let detail: Vec<String> = draft.variation.clone().into_iter().chain(not_before).collect();
        self.history.execute((nr, now, "accepted", detail.join("; "))).map_err(StoreError::from)?;
        writing.notify_due(due);
        Ok((job.id(), estimate.quota))
    }

    fn add_request(&mut self, nr: i64, id: JobId, draft: &Draft) -> db::Result<()> {
        let labels = serde_json::to_string(&draft.labels).map_err(db::Error::unwritable)?;
        let warnings: Vec<&str> = draft.warnings.iter().map(|warning| warning.message.as_str()).collect();
        let warnings = serde_json::to_string(&warnings).map_err(db::Error::unwritable)?;
        let defaults = match &draft.defaults[..] {
            [] => None,
            used => Some(serde_json::to_string(used).map_err(db::Error::unwritable)?),
        };
        self.request.execute((nr, &draft.body, &draft.prompt, labels, warnings, defaults, &draft.key))?;
        for (key, value) in &draft.labels {
            self.label.execute((key, value, nr))?;
        }
        insert_pictures(self.connection, nr, &draft.pictures)?;
        for key in draft.keys() {
            let mut insert = self.connection.prepare_cached("INSERT INTO keys (key, job) VALUES (?1, ?2)")?;
            insert.execute((key, id.to_string()))?;
        }
        Ok(())
    }
}

/// The job that used a key.
pub(in crate::store) fn job_of_key(connection: &Connection, key: &str) -> Result<Option<JobId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT job FROM keys WHERE key = ?1")?;
    let found = statement.query_row([key], |row| row.get(0)).optional()?;
    match JobId::parse(key) {
        // The key of a job without one that was exported from here.
        Some(id) if found.is_none() => {
            let mut statement = connection.prepare_cached("SELECT id FROM jobs WHERE id = ?1")?;
            Ok(statement.query_row([id], |row| row.get(0)).optional()?)
        }
        _ => Ok(found),
    }
}

/// Whether `job` is staged, in another file than `batch`.
fn is_staged_elsewhere(connection: &Connection, job: JobId, batch: i64) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM jobs JOIN batches ON batches.nr = jobs.batch
         WHERE jobs.id = ?1 AND batches.staged = 1 AND batches.nr <> ?2",
    )?;
    Ok(statement.exists((job, batch))?)
}

/// Runs `work`, and undoes its writes if it rejects the file.
pub(super) fn undoing_refusal<T>(
    connection: &Connection,
    may_refuse: bool,
    work: impl FnOnce() -> Result<T, IngestError>,
) -> Result<T, IngestError> {
    if !may_refuse {
        return work();
    }
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]).map_err(StoreError::from);
    execute("SAVEPOINT file")?;
    let done = work();
    if matches!(done, Err(IngestError::KeyUsed { .. } | IngestError::KeyStaged { .. })) {
        execute("ROLLBACK TO file")?;
    }
    execute("RELEASE file")?;
    done
}

/// Counts and announces the jobs of an ingested file once they are committed.
pub(in crate::store) fn count_accepted(writing: &mut Writing<'_>, jobs: usize) {
    for _ in 0..jobs {
        writing.count(MetricEvent::Accepted);
    }
    writing.notify(Topic::Changes);
    failpoints::hit(FailPoint::IntakeRowsWritten);
}
