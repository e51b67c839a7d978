//! Adopts tasks that an operator names: finds the job of each, or makes one.

use serde_json::json;

use crate::clock::Timestamp;
use crate::job::adoption::{FoundTask, TaskDescription};
use crate::job::attempt::attempt_key;
use crate::job::event::{Event, StatusVerdict};
use crate::job::next_action::due_work;
use crate::job::step::Moment;
use crate::job::{Identity, Job, JobId, Priority, TaskId};
use crate::jobfile::MAX_NAME_CHARS;
use crate::money::Quota;
use crate::rng::Rng;
use crate::sha256::sha256_hex;
use crate::store::Store;
use crate::store::apply::apply_in;
use crate::store::batch_ends::add_open_jobs;
use crate::store::counts::count_new_jobs;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::job_files::insert::count_accepted;
use crate::store::job_rows::{INSERT_JOB, NewRow, insert_job, read_job};
use crate::store::writer::Writing;

/// The model of a task whose status does not name it.
const UNKNOWN_MODEL: &str = "unknown";

const JOB_OF_TASK: &str =
    "SELECT jobs.id FROM attempts JOIN jobs ON jobs.nr = attempts.job WHERE attempts.task_id = ?1";
/// A job without a task whose own callback named this one. With an earlier attempt whose task is unknown too, the callback
/// may have been about that.
const JOB_OF_CALLBACK: &str = "SELECT jobs.id FROM jobs
    WHERE jobs.state IN ('submitting', 'held') AND jobs.task_id IS NULL
      AND (jobs.pending_attempt_number IS NOT NULL OR jobs.reason = 'database_restored')
      AND EXISTS (SELECT 1 FROM history
                  WHERE history.job = jobs.nr AND history.event = 'callback_received' AND history.detail = ?1)
      AND NOT EXISTS (SELECT 1 FROM attempts
                      WHERE attempts.job = jobs.nr AND attempts.task_id IS NULL AND attempts.number < jobs.attempts)
    LIMIT 1";

/// The job of an adopted task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub job: JobId,
    /// Where it comes from.
    pub kind: AdoptionKind,
}

impl Adoption {
    /// Of a task that had its job before.
    pub const fn known(job: JobId) -> Self {
        Self { job, kind: AdoptionKind::Known }
    }
}

/// Where the job of an adopted task comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionKind {
    /// It had the task already.
    Known,
    /// Its submit had an unknown outcome; its callback named the task.
    Bound,
    /// It was made for the task.
    Made,
}

impl Store {
    /// The job of a task.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn job_of_task(&self, task: TaskId) -> Result<Option<JobId>, StoreError> {
        self.read(move |connection| job_of_task(connection, &task)).await
    }

    /// Adopts tasks, all in one commit. A task that was made elsewhere gets a job named `name`, `name-2`, ...,
    /// by default after the task.
    ///
    /// # Errors
    /// Any failure of the database; then none is adopted.
    pub async fn adopt(
        &self,
        found: Vec<FoundTask>,
        name: Option<String>,
        base_url: String,
        now: Timestamp,
    ) -> Result<Vec<Adoption>, StoreError> {
        let (policy, jitter, rng) = (self.policy, self.rng.fraction(), self.rng.clone());
        self.writer
            .write(move |writing| {
                let moment = Moment { now, jitter, policy: &policy };
                let mut call = None;
                let mut made = 0;
                let mut adopted = Vec::new();
                for task in &found {
                    if let Some(job) = job_of_task(writing.connection, &task.task)? {
                        adopted.push(Adoption::known(job));
                        continue;
                    }
                    let (job, kind) = match job_of_callback(writing.connection, &task.task)? {
                        Some(job) => (job, AdoptionKind::Bound),
                        None => {
                            let call = match call {
                                Some(call) => call,
                                None => *call.insert(insert_call(writing.connection, &found, now)?),
                            };
                            made += 1;
                            let ending =
                                if name.is_some() && made > 1 { format!("-{made}") } else { String::new() };
                            let name = name.as_deref().unwrap_or(task.task.as_str());
                            let kept = name.chars().take(MAX_NAME_CHARS.saturating_sub(ending.len()));
                            let name = kept.chain(ending.chars()).collect();
                            (insert_adopted(writing, call, task, name, &rng, now)?, AdoptionKind::Made)
                        }
                    };
                    bind(writing, job, task, &base_url, moment)?;
                    adopted.push(Adoption { job, kind });
                }
                if let Some(call) = call {
                    let made = i64::try_from(made).unwrap_or(i64::MAX);
                    writing
                        .connection
                        .prepare_cached("UPDATE batches SET jobs = ?2 WHERE nr = ?1")?
                        .execute((call, made))?;
                    // Those whose tasks have ended are subtracted already.
                    add_open_jobs(writing, call, made, now)?;
                }
                count_accepted(writing, made);
                Ok(adopted)
            })
            .await
    }
}

/// Gives the job its task and the task's status.
fn bind(
    writing: &mut Writing<'_>,
    id: JobId,
    found: &FoundTask,
    base_url: &str,
    moment: Moment<'_>,
) -> Result<(), StoreError> {
    let FoundTask { task, description, facts, sent_at } = found;
    let known = read_job(writing.connection, id)?;
    let submitted_at = description.created_at;
    // A job that lost its attempt, or never had one.
    if known.job.record().pending_attempt_number.is_none() {
        let number = known.job.attempts().saturating_add(1);
        insert_attempt(
            writing.connection,
            known.nr,
            attempt_key(id, number),
            number,
            base_url,
            submitted_at.unwrap_or(moment.now),
        )?;
    }
    apply_in(writing, id, &Event::Adopted { task: task.clone(), submitted_at }, moment)?;
    let verdict = StatusVerdict::Answered(facts.clone());
    let polled = Event::StatusPolled { task: task.clone(), sent_at: *sent_at, verdict };
    apply_in(writing, id, &polled, moment)?;
    Ok(())
}

fn insert_attempt(
    connection: &Connection,
    nr: i64,
    key: String,
    number: u32,
    base_url: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO attempts (job, number, key, body, body_sha256, created_at, sends, last_sent_at, base_url,
                                   counted_quota, counted_settled, counted_at, settlement_tries)
             VALUES (?1, ?2, ?3, '', ?4, ?5, 0, ?5, ?6, 0, 0, ?5, 0)",
        )?
        .execute((nr, number, key, sha256_hex(b""), at, base_url))?;
    Ok(())
}

/// Adds the row of a request that adopts tasks; its jobs are counted later.
fn insert_call(connection: &Connection, found: &[FoundTask], now: Timestamp) -> Result<i64, StoreError> {
    let tasks: Vec<&str> = found.iter().map(|found| found.task.as_str()).collect();
    let text = tasks.join("\n");
    let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let mut insert = connection.prepare_cached(
        "INSERT INTO batches (source, sha256, bytes, jobs, open_jobs, ingested_at, moved_at, staged)
         VALUES ('api', ?1, ?2, 0, 0, ?3, ?3, 0)",
    )?;
    Ok(insert.insert((sha256_hex(text.as_bytes()), bytes, now))?)
}

/// Adds a job for a task that was made elsewhere. It is pending until [`bind`] has given it the task.
fn insert_adopted(
    writing: &mut Writing<'_>,
    call: i64,
    found: &FoundTask,
    name: String,
    rng: &Rng,
    now: Timestamp,
) -> Result<JobId, StoreError> {
    let TaskDescription { model, prompt, .. } = &found.description;
    let mut request = json!({});
    for (key, value) in [("model", model), ("prompt", prompt)] {
        if let Some(value) = value {
            request[key] = json!(value);
        }
    }
    let connection = writing.connection;
    let change = writing.next_change();
    let identity = Identity {
        id: JobId::new(now, change.unsigned_abs(), rng),
        name,
        model: model.clone().unwrap_or_else(|| UNKNOWN_MODEL.to_owned()),
        priority: Priority::default(),
        max_cost: None,
        adopted: true,
        created_at: now,
    };
    let job = Job::accept(identity, None);
    let mut insert = connection.prepare_cached(INSERT_JOB)?;
    let row = NewRow { batch: call, estimate: None, turn: "" };
    let nr = insert_job(&mut insert, &job, row, due_work(&job, now), change)?;
    count_new_jobs(connection, job.state_name(), &job.identity().model, (1, Quota::ZERO))?;
    connection
        .prepare_cached("INSERT INTO requests (job, body, prompt, labels) VALUES (?1, ?2, ?3, '{}')")?
        .execute((nr, request.to_string(), prompt))?;
    connection
        .prepare_cached("INSERT INTO history (job, at, event, detail) VALUES (?1, ?2, 'accepted', ?3)")?
        .execute((nr, now, "its task was made elsewhere"))?;
    Ok(job.id())
}

pub(super) fn job_of_task(connection: &Connection, task: &TaskId) -> Result<Option<JobId>, StoreError> {
    let mut statement = connection.prepare_cached(JOB_OF_TASK)?;
    Ok(statement.query_row([task.as_str()], |row| row.get(0)).optional()?)
}

fn job_of_callback(connection: &Connection, task: &TaskId) -> Result<Option<JobId>, StoreError> {
    let mut statement = connection.prepare_cached(JOB_OF_CALLBACK)?;
    // As the step writes it.
    let detail = format!("for task {task}");
    Ok(statement.query_row([detail], |row| row.get(0)).optional()?)
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [("job of a task", JOB_OF_TASK), ("job of a callback", JOB_OF_CALLBACK)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}

#[cfg(test)]
mod tests;
