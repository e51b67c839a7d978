//! A job's row: to and from [`Record`].

use std::fmt::Write;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, OptionalExtension, Row, RowIndex, Statement, named_params, params, params_from_iter,
};

use crate::clock::Timestamp;
use crate::job::next_action::{DueAction, next_action};
use crate::job::output::{Output, OutputKey, OutputState, Refusals, StoredFile};
use crate::job::record::Record;
use crate::job::state::{PendingAttempt, Schedule};
use crate::job::{Identity, Job, JobError, JobFacts, JobId, Priority, TaskId};
use crate::money::Quota;
use crate::secret::Secret;
use crate::store::error::StoreError;
use crate::store::places::place;

/// A job with what its row knows besides.
pub(super) struct JobRow {
    pub nr: i64,
    pub job: Job,
    /// What it needed next when the row was written.
    pub next: Option<DueAction>,
    /// The number of its last change.
    pub change: i64,
}

pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

fn need_time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Timestamp> {
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
pub(super) fn read_job(connection: &Connection, id: JobId) -> Result<JobRow, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM jobs WHERE id = ?1")?;
    let mut rows = statement.query([id.to_string()])?;
    let row = rows.next()?.ok_or(StoreError::NoSuchJob(id))?;
    read_row(connection, row)
}

/// Reads the job of a row of `jobs`, with its outputs.
pub(super) fn read_row(connection: &Connection, row: &Row<'_>) -> Result<JobRow, StoreError> {
    let nr: i64 = row.get(const { place("nr") })?;
    let task = optional_word("task id", row.get(const { place("task_id") })?, TaskId::parse)?;
    let outputs = match &task {
        Some(task) => read_outputs(connection, nr, task)?,
        None => Vec::new(),
    };
    let record = Record {
        identity: Identity {
            id: word("job id", &row.get::<_, String>(const { place("id") })?, JobId::parse)?,
            name: row.get(const { place("name") })?,
            model: row.get(const { place("model") })?,
            priority: Priority::new(row.get(const { place("priority") })?).unwrap_or_default(),
            created_at: need_time(row, const { place("created_at") })?,
        },
        facts: read_learned(row)?,
        state: word("state", &row.get::<_, String>(const { place("state") })?, |word| word.parse().ok())?,
        hold: optional_word("reason", row.get(const { place("reason") })?, |word| word.parse().ok())?
            .map(|reason| Ok::<_, StoreError>((reason, row.get(const { place("reason_detail") })?)))
            .transpose()?,
        held_from: optional_word("state", row.get(const { place("held_from") })?, |word| word.parse().ok())?,
        attempts: row.get(const { place("attempts") })?,
        pending_attempt: read_trial(row)?,
        task,
        schedule: read_pace(row)?,
        missing_since: time(row, const { place("task_missing_since") })?,
        polled_at: time(row, const { place("polled_at") })?,
        refresh_links: row.get(const { place("refresh_links") })?,
        cancel_requested: row.get(const { place("cancel_requested") })?,
        expiry_alerted: row.get(const { place("expiry_alerted") })?,
        callback_at: time(row, const { place("callback_at") })?,
        outputs,
    };
    let change = row.get(const { place("last_change") })?;
    Ok(JobRow { nr, job: Job::restore(record)?, next: read_next(row)?, change })
}

fn read_next(row: &Row<'_>) -> Result<Option<DueAction>, StoreError> {
    let what =
        optional_word("next_action", row.get(const { place("next_action") })?, |word| word.parse().ok())?;
    let due = time(row, const { place("next_action_at") })?;
    Ok(what.zip(due).map(|(action, due)| DueAction { action, due }))
}

fn read_learned(row: &Row<'_>) -> Result<JobFacts, StoreError> {
    let code: Option<String> = row.get(const { place("error_code") })?;
    Ok(JobFacts {
        progress: row.get(const { place("progress") })?,
        reserved: row.get::<_, Option<i64>>(const { place("reserved_quota") })?.map(Quota::new),
        cost: row.get::<_, Option<i64>>(const { place("cost_quota") })?.map(Quota::new),
        submitted_at: time(row, const { place("submitted_at") })?,
        completed_at: time(row, const { place("completed_at") })?,
        finished_at: time(row, const { place("finished_at") })?,
        expires_at: time(row, const { place("expires_at") })?,
        error: match code {
            Some(code) => Some(JobError { code, message: row.get(const { place("error_message") })? }),
            None => None,
        },
        status_message: row.get(const { place("status_message") })?,
    })
}

fn read_trial(row: &Row<'_>) -> Result<Option<PendingAttempt>, StoreError> {
    let number: Option<u32> = row.get(const { place("pending_attempt_number") })?;
    number
        .map(|number| {
            Ok(PendingAttempt {
                number,
                created_at: need_time(row, const { place("pending_attempt_created_at") })?,
                outcome_unknown: row.get(const { place("pending_attempt_outcome_unknown") })?,
            })
        })
        .transpose()
}

fn read_pace(row: &Row<'_>) -> Result<Option<Schedule>, StoreError> {
    time(row, const { place("due_at") })?
        .map(|due| {
            Ok(Schedule {
                due,
                tries: row.get(const { place("tries") })?,
                since: need_time(row, const { place("state_since") })?,
            })
        })
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
    let kind = word("output kind", &row.get::<_, String>("kind")?, |word| word.parse().ok())?;
    let state = match row.get::<_, String>("state")?.as_str() {
        "waiting" => OutputState::Waiting {
            link: Secret::new(row.get::<_, String>("link")?),
            refusals: Refusals {
                count: row.get("link_refusals")?,
                gone: row.get("link_gone")?,
                confirmed: row.get("refusal_confirmed")?,
            },
            invalid_downloads: row.get("invalid_downloads")?,
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
        path: row.get("path")?,
        bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
        sha256: row.get("sha256")?,
        host: row.get("host")?,
        stored_at: need_time(row, "stored_at")?,
    })
}

/// What of a job's row changes: columns with their values.
type Changing<'a> = [(&'static str, ToSqlOutput<'a>); 31];

fn changing(record: &Record, next: Option<DueAction>, change: i64) -> Changing<'_> {
    let facts = &record.facts;
    let (hold, pending_attempt, schedule) = (record.hold.as_ref(), record.pending_attempt, record.schedule);
    [
        ("state", text(Some(record.state.into_str()))),
        ("reason", text(hold.map(|hold| hold.0.into_str()))),
        ("reason_detail", text(hold.map(|hold| hold.1.as_str()))),
        ("held_from", text(record.held_from.map(<&str>::from))),
        ("status_message", text(facts.status_message.as_deref())),
        ("next_action", text(next.map(|next| next.action.into_str()))),
        ("next_action_at", at(next.map(|next| next.due))),
        ("due_at", at(schedule.map(|schedule| schedule.due))),
        ("tries", number(schedule.map(|schedule| schedule.tries.into()))),
        ("state_since", at(schedule.map(|schedule| schedule.since))),
        ("attempts", number(Some(record.attempts.into()))),
        (
            "pending_attempt_number",
            number(pending_attempt.map(|pending_attempt| pending_attempt.number.into())),
        ),
        ("pending_attempt_created_at", at(pending_attempt.map(|pending_attempt| pending_attempt.created_at))),
        (
            "pending_attempt_outcome_unknown",
            number(pending_attempt.map(|pending_attempt| pending_attempt.outcome_unknown.into())),
        ),
        ("task_id", text(record.task.as_ref().map(TaskId::as_str))),
        ("task_missing_since", at(record.missing_since)),
        ("polled_at", at(record.polled_at)),
        ("callback_at", at(record.callback_at)),
        ("refresh_links", number(Some(record.refresh_links.into()))),
        ("cancel_requested", number(Some(record.cancel_requested.into()))),
        ("expiry_alerted", number(Some(record.expiry_alerted.into()))),
        ("progress", number(Some(facts.progress.into()))),
        ("reserved_quota", number(facts.reserved.map(Quota::get))),
        ("cost_quota", number(facts.cost.map(Quota::get))),
        ("submitted_at", at(facts.submitted_at)),
        ("completed_at", at(facts.completed_at)),
        ("finished_at", at(facts.finished_at)),
        ("expires_at", at(facts.expires_at)),
        ("error_code", text(facts.error.as_ref().map(|error| error.code.as_str()))),
        ("error_message", text(facts.error.as_ref().map(|error| error.message.as_str()))),
        ("last_change", number(Some(change))),
    ]
}

fn text(text: Option<&str>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())))
}

fn number(number: Option<i64>) -> ToSqlOutput<'static> {
    ToSqlOutput::Borrowed(number.map_or(ValueRef::Null, ValueRef::Integer))
}

fn at(time: Option<Timestamp>) -> ToSqlOutput<'static> {
    number(time.map(Timestamp::millis))
}

/// Adds a new job's row and returns its number. What only a job that was at work has, is null in it.
pub(super) fn insert_job(
    insert: &mut Statement<'_>,
    job: &Job,
    intake: i64,
    now: Timestamp,
    change: i64,
) -> Result<i64, StoreError> {
    let (identity, next, schedule) = (job.identity(), next_action(job, now), job.state().schedule());
    Ok(insert.insert(params![
        identity.id.to_string(),
        intake,
        identity.name,
        identity.model,
        identity.priority.get(),
        identity.created_at.millis(),
        job.state_name().into_str(),
        text(next.map(|next| next.action.into_str())),
        at(next.map(|next| next.due)),
        at(schedule.map(|schedule| schedule.due)),
        number(schedule.map(|schedule| schedule.tries.into())),
        at(schedule.map(|schedule| schedule.since)),
        job.attempts(),
        job.facts().progress,
        change,
    ])?)
}

/// For [`insert_job`].
pub(super) const INSERT_JOB: &str =
    "INSERT INTO jobs (id, intake, name, model, priority, created_at, state, next_action, next_action_at, due_at,
                       tries, state_since, attempts, progress, last_change, refresh_links, cancel_requested,
                       expiry_alerted)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, 0, 0)";

/// Writes what has changed of a job's row: a column that is named is also written to each index that has it.
pub(super) fn update_job(
    connection: &Connection,
    known: &JobRow,
    job: &Job,
    next: Option<DueAction>,
    change: i64,
) -> Result<(), StoreError> {
    let (before, after) = (known.job.record(), job.record());
    let before = changing(&before, known.next, known.change);
    let after = changing(&after, next, change);
    let changed = || before.iter().zip(&after).filter(|(old, new)| old != new).map(|(_, new)| new);
    let mut update = String::from("UPDATE jobs SET ");
    for (place, (name, _)) in (2..).zip(changed()) {
        let comma = if place == 2 { "" } else { ", " };
        // Writing to a String never fails.
        let _ = write!(update, "{comma}{name} = ?{place}");
    }
    update.push_str(" WHERE nr = ?1");
    let nr = number(Some(known.nr));
    let values = std::iter::once(&nr).chain(changed().map(|(_, value)| value));
    connection.prepare_cached(&update)?.execute(params_from_iter(values))?;
    Ok(())
}

/// Writes the rows of a job's outputs anew. A plan already made for one stays.
pub(super) fn write_outputs(connection: &Connection, nr: i64, job: &Job) -> Result<(), StoreError> {
    let Some(task) = job.task() else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "INSERT INTO outputs (job, task_id, kind, idx, position, state, link, link_refusals, link_gone,
                              refusal_confirmed, invalid_downloads, expires_at)
         VALUES (:job, :task, :kind, :idx, :position, :state, :link, :refusals, :gone, :confirmed,
                 :invalid_downloads, :expires_at)
         ON CONFLICT (job, task_id, kind, idx) DO UPDATE SET
            state = :state, link = :link, link_refusals = :refusals, link_gone = :gone, refusal_confirmed = :confirmed,
            invalid_downloads = :invalid_downloads, expires_at = :expires_at",
    )?;
    for (position, output) in (0_i64..).zip(job.outputs()) {
        let (state, link, refusals, invalid_downloads) = match &output.state {
            OutputState::Waiting { link, refusals, invalid_downloads } => {
                ("waiting", Some(link.expose()), *refusals, *invalid_downloads)
            }
            OutputState::Stored(_) => ("stored", None, Refusals::default(), 0),
            OutputState::Lost => ("lost", None, Refusals::default(), 0),
        };
        statement.execute(named_params! {
            ":job": nr,
            ":task": task.as_str(),
            ":kind": output.key.kind.into_str(),
            ":idx": output.key.index,
            ":position": position,
            ":state": state,
            ":link": link,
            ":refusals": refusals.count,
            ":gone": refusals.gone,
            ":confirmed": refusals.confirmed,
            ":invalid_downloads": invalid_downloads,
            ":expires_at": output.expires_at.millis(),
        })?;
        if let OutputState::Stored(file) = &output.state {
            connection
                .prepare_cached(
                    "UPDATE outputs SET path = ?5, bytes = ?6, sha256 = ?7, host = ?8, stored_at = ?9
                     WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4",
                )?
                .execute((
                    nr,
                    task.as_str(),
                    output.key.kind.into_str(),
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
