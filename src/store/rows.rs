//! A job's row: to and from [`Record`].

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::clock::Timestamp;
use crate::job::hold::HoldReason;
use crate::job::next::{Next, next_move};
use crate::job::output::{Output, OutputKey, OutputKind, OutputState, Refusals, StoredFile};
use crate::job::record::Record;
use crate::job::state::{Pace, StateName, Trial};
use crate::job::{Identity, Job, JobError, JobId, Learned, Priority, TaskId};
use crate::money::Quota;
use crate::secret::Secret;
use crate::store::error::StoreError;

/// A job with the number of its row.
pub(super) struct Known {
    pub nr: i64,
    pub job: Job,
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

fn need_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

fn word<T>(what: &'static str, value: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    parse(value).ok_or_else(|| StoreError::UnknownWord { what, value: value.to_owned() })
}

fn optional_word<T>(
    what: &'static str,
    value: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    value.map(|value| word(what, &value, parse)).transpose()
}

/// Reads the job of `id`.
pub(super) fn read_job(connection: &Connection, id: JobId) -> Result<Known, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM jobs WHERE id = ?1")?;
    let mut rows = statement.query([id.to_string()])?;
    let row = rows.next()?.ok_or(StoreError::NoSuchJob(id))?;
    read_row(connection, row)
}

/// Reads the job of a row of `jobs`, with its outputs.
pub(super) fn read_row(connection: &Connection, row: &Row<'_>) -> Result<Known, StoreError> {
    let nr: i64 = row.get("nr")?;
    let task = optional_word("task id", row.get("task_id")?, TaskId::parse)?;
    let outputs = match &task {
        Some(task) => read_outputs(connection, nr, task)?,
        None => Vec::new(),
    };
    let record = Record {
        identity: Identity {
            id: word("job id", &row.get::<_, String>("id")?, JobId::parse)?,
            name: row.get("name")?,
            model: row.get("model")?,
            priority: Priority::new(row.get("priority")?).unwrap_or_default(),
            created_at: need_time(row, "created_at")?,
        },
        learned: read_learned(row)?,
        state: word("state", &row.get::<_, String>("state")?, StateName::parse)?,
        hold: optional_word("reason", row.get("reason")?, HoldReason::parse)?
            .map(|reason| Ok::<_, StoreError>((reason, row.get("reason_detail")?)))
            .transpose()?,
        back_to: optional_word("state", row.get("back_to")?, StateName::parse)?,
        attempts: row.get("attempts")?,
        trial: read_trial(row)?,
        task,
        pace: read_pace(row)?,
        missing_since: time(row, "missing_since")?,
        asked_at: time(row, "asked_at")?,
        refresh: row.get("refresh")?,
        cancel_wanted: row.get("cancel_wanted")?,
        alerted: row.get("alerted")?,
        knocked_at: time(row, "knocked_at")?,
        outputs,
    };
    Ok(Known { nr, job: Job::restore(record)? })
}

fn read_learned(row: &Row<'_>) -> Result<Learned, StoreError> {
    let code: Option<String> = row.get("error_code")?;
    Ok(Learned {
        progress: row.get("progress")?,
        reserved: row.get::<_, Option<i64>>("reserved_quota")?.map(Quota::new),
        cost: row.get::<_, Option<i64>>("cost_quota")?.map(Quota::new),
        submitted_at: time(row, "submitted_at")?,
        completed_at: time(row, "completed_at")?,
        finished_at: time(row, "finished_at")?,
        expires_at: time(row, "expires_at")?,
        error: match code {
            Some(code) => Some(JobError { code, message: row.get("error_message")? }),
            None => None,
        },
        remark: row.get("remark")?,
    })
}

fn read_trial(row: &Row<'_>) -> Result<Option<Trial>, StoreError> {
    let number: Option<u32> = row.get("trial_number")?;
    number
        .map(|number| {
            Ok(Trial {
                number,
                frozen_at: need_time(row, "trial_frozen_at")?,
                unknown: row.get("trial_unknown")?,
            })
        })
        .transpose()
}

fn read_pace(row: &Row<'_>) -> Result<Option<Pace>, StoreError> {
    time(row, "due_at")?
        .map(|due| Ok(Pace { due, tries: row.get("tries")?, since: need_time(row, "since")? }))
        .transpose()
}

fn read_outputs(connection: &Connection, nr: i64, task: &TaskId) -> Result<Vec<Output>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM outputs WHERE job = ?1 AND task_id = ?2 ORDER BY position, kind, idx",
    )?;
    let mut rows = statement.query((nr, task.as_str()))?;
    let mut outputs = Vec::new();
    while let Some(row) = rows.next()? {
        outputs.push(read_output(row)?);
    }
    Ok(outputs)
}

fn read_output(row: &Row<'_>) -> Result<Output, StoreError> {
    let kind = word("output kind", &row.get::<_, String>("kind")?, OutputKind::parse)?;
    let state = match row.get::<_, String>("state")?.as_str() {
        "waiting" => OutputState::Waiting {
            link: Secret::new(row.get::<_, String>("link")?),
            refusals: Refusals {
                count: row.get("refusals")?,
                gone: row.get("gone")?,
                confirmed: row.get("confirmed")?,
            },
            unfit: row.get("unfit")?,
        },
        "stored" => OutputState::Stored(read_stored(row)?),
        "lost" => OutputState::Lost,
        other => {
            return Err(StoreError::UnknownWord { what: "output state", value: other.to_owned() });
        }
    };
    Ok(Output {
        key: OutputKey { kind, index: row.get("idx")? },
        expires_at: need_time(row, "expires_at")?,
        state,
    })
}

/// The file of an output's row.
pub(super) fn read_stored(row: &Row<'_>) -> Result<StoredFile, StoreError> {
    Ok(StoredFile {
        path: row.get("planned")?,
        bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
        sha256: row.get("sha256")?,
        host: row.get("host")?,
        stored_at: need_time(row, "stored_at")?,
    })
}

/// Adds a new job's row and returns its number.
pub(super) fn insert_job(
    connection: &Connection,
    job: &Job,
    intake: i64,
    now: Timestamp,
    change: i64,
) -> Result<i64, StoreError> {
    let identity = job.identity();
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, intake, name, model, priority, created_at, state, attempts, refresh, cancel_wanted,
                               alerted, progress, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, 0, 0)",
        )?
        .execute((
            identity.id.to_string(),
            intake,
            &identity.name,
            &identity.model,
            identity.priority.get(),
            identity.created_at.millis(),
            job.state_name().as_str(),
        ))?;
    let nr = connection.last_insert_rowid();
    update_job(connection, nr, job, next_move(job, now), change)?;
    Ok(nr)
}

/// Writes a job's row anew.
pub(super) fn update_job(
    connection: &Connection,
    nr: i64,
    job: &Job,
    next: Option<Next>,
    change: i64,
) -> Result<(), StoreError> {
    let record = job.record();
    let learned = &record.learned;
    let millis = |time: Option<Timestamp>| time.map(Timestamp::millis);
    connection
        .prepare_cached(
            "UPDATE jobs SET state = :state, reason = :reason, reason_detail = :reason_detail, back_to = :back_to,
                remark = :remark, move = :move, move_due_at = :move_due_at, due_at = :due_at, tries = :tries,
                since = :since, attempts = :attempts, trial_number = :trial_number,
                trial_frozen_at = :trial_frozen_at, trial_unknown = :trial_unknown, task_id = :task_id,
                missing_since = :missing_since, asked_at = :asked_at, knocked_at = :knocked_at, refresh = :refresh,
                cancel_wanted = :cancel_wanted, alerted = :alerted, progress = :progress,
                reserved_quota = :reserved_quota, cost_quota = :cost_quota, submitted_at = :submitted_at,
                completed_at = :completed_at, finished_at = :finished_at, expires_at = :expires_at,
                error_code = :error_code, error_message = :error_message, changed = :changed
             WHERE nr = :nr",
        )?
        .execute(named_params! {
            ":state": record.state.as_str(),
            ":reason": record.hold.as_ref().map(|hold| hold.0.as_str()),
            ":reason_detail": record.hold.as_ref().map(|hold| hold.1.as_str()),
            ":back_to": record.back_to.map(StateName::as_str),
            ":remark": learned.remark,
            ":move": next.map(|next| next.what.as_str()),
            ":move_due_at": next.map(|next| next.due.millis()),
            ":due_at": record.pace.map(|pace| pace.due.millis()),
            ":tries": record.pace.map(|pace| pace.tries),
            ":since": record.pace.map(|pace| pace.since.millis()),
            ":attempts": record.attempts,
            ":trial_number": record.trial.map(|trial| trial.number),
            ":trial_frozen_at": record.trial.map(|trial| trial.frozen_at.millis()),
            ":trial_unknown": record.trial.map(|trial| trial.unknown),
            ":task_id": record.task.as_ref().map(TaskId::as_str),
            ":missing_since": millis(record.missing_since),
            ":asked_at": millis(record.asked_at),
            ":knocked_at": millis(record.knocked_at),
            ":refresh": record.refresh,
            ":cancel_wanted": record.cancel_wanted,
            ":alerted": record.alerted,
            ":progress": learned.progress,
            ":reserved_quota": learned.reserved.map(Quota::get),
            ":cost_quota": learned.cost.map(Quota::get),
            ":submitted_at": millis(learned.submitted_at),
            ":completed_at": millis(learned.completed_at),
            ":finished_at": millis(learned.finished_at),
            ":expires_at": millis(learned.expires_at),
            ":error_code": learned.error.as_ref().map(|error| error.code.as_str()),
            ":error_message": learned.error.as_ref().map(|error| error.message.as_str()),
            ":changed": change,
            ":nr": nr,
        })?;
    Ok(())
}

/// Writes the rows of a job's outputs anew. A plan already made for one stays.
pub(super) fn write_outputs(connection: &Connection, nr: i64, job: &Job) -> Result<(), StoreError> {
    let Some(task) = job.task() else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "INSERT INTO outputs (job, task_id, kind, idx, position, state, link, refusals, gone, confirmed, unfit,
                              expires_at)
         VALUES (:job, :task, :kind, :idx, :position, :state, :link, :refusals, :gone, :confirmed, :unfit, :expires_at)
         ON CONFLICT (job, task_id, kind, idx) DO UPDATE SET
            state = :state, link = :link, refusals = :refusals, gone = :gone, confirmed = :confirmed, unfit = :unfit,
            expires_at = :expires_at",
    )?;
    for (position, output) in (0_i64..).zip(job.outputs()) {
        let (state, link, refusals, unfit) = match &output.state {
            OutputState::Waiting { link, refusals, unfit } => {
                ("waiting", Some(link.expose()), *refusals, *unfit)
            }
            OutputState::Stored(_) => ("stored", None, Refusals::default(), 0),
            OutputState::Lost => ("lost", None, Refusals::default(), 0),
        };
        statement.execute(named_params! {
            ":job": nr,
            ":task": task.as_str(),
            ":kind": output.key.kind.as_str(),
            ":idx": output.key.index,
            ":position": position,
            ":state": state,
            ":link": link,
            ":refusals": refusals.count,
            ":gone": refusals.gone,
            ":confirmed": refusals.confirmed,
            ":unfit": unfit,
            ":expires_at": output.expires_at.millis(),
        })?;
        if let OutputState::Stored(file) = &output.state {
            connection
                .prepare_cached(
                    "UPDATE outputs SET planned = ?5, bytes = ?6, sha256 = ?7, host = ?8, stored_at = ?9
                     WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4",
                )?
                .execute((
                    nr,
                    task.as_str(),
                    output.key.kind.as_str(),
                    output.key.index,
                    &file.path,
                    i64::try_from(file.bytes).unwrap_or(i64::MAX),
                    &file.sha256,
                    &file.host,
                    file.stored_at.millis(),
                ))?;
        }
    }
    Ok(())
}

/// The number of a job's row.
pub(super) fn number_of(connection: &Connection, id: JobId) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT nr FROM jobs WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoSuchJob(id))
}
