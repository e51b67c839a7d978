//! A job's row: to and from [`Job`].

use std::fmt::Write;

use crate::clock::Timestamp;
use crate::job::next_action::{DueAction, DueDownload, DueWork, NextAction};
use crate::job::record::Record;
use crate::job::{Identity, Job, JobFacts, JobId};
use crate::money::Quota;
use crate::store::columns_macro::columns;
use crate::store::db::{Connection, OptionalExtension, Row, Statement, ToSql, ToSqlOutput, params_from_iter};
use crate::store::error::StoreError;
use crate::store::output_rows::read_outputs;

/// The condition that a job is not staged.
pub(super) const NOT_STAGED: &str = "jobs.batch NOT IN (SELECT nr FROM batches WHERE staged = 1)";

/// What a job's row holds, column by column.
#[derive(Default)]
pub(super) struct JobColumns {
    nr: i64,
    batch: i64,
    /// What it will probably cost, as far as was known when it was accepted or quoted (`store/waiting.rs`).
    estimate: Option<Quota>,
    /// The value with which it takes turns.
    turn: String,
    record: Record,
    next_action: Option<NextAction>,
    next_action_at: Option<Timestamp>,
    download_at: Option<Timestamp>,
    download_failing: Option<bool>,
    upload_at: Option<Timestamp>,
    last_change: i64,
}

columns! {
    JobColumns as row in jobs;
    key { nr }
    fixed {
        JobColumns: row => { batch = batch, estimate_quota = estimate, turn = turn, } rest { .. }
        Identity: row.record.identity => {
            id = id,
            adopted = adopted,
            created_at = created_at,
        } rest { .. }
    }
    changing {
        Identity: row.record.identity => {
            name = name,
            model = model,
            priority = priority,
            max_cost_quota = max_cost,
        } rest { id: _, adopted: _, created_at: _ }
        JobColumns: row => {
            next_action = next_action,
            next_action_at = next_action_at,
            download_at = download_at,
            download_failing = download_failing,
            upload_at = upload_at,
            last_change = last_change,
        } rest { .. }
        Record: row.record => {
            state = state,
            reason = reason,
            reason_detail = reason_detail,
            held_from = held_from,
            due_at = due_at,
            tries = tries,
            state_since = state_since,
            failing_since = failing_since,
            attempts = attempts,
            pending_attempt_number = pending_attempt_number,
            pending_attempt_created_at = pending_attempt_created_at,
            pending_attempt_outcome_unknown = pending_attempt_outcome_unknown,
            task_id = task_id,
            polled_at = polled_at,
            callback_at = callback_at,
            cancel_requested = cancel_requested,
            expiry_alerted = expiry_alerted,
            unattended_entries = unattended_entries,
            budget_wait_quota = budget_wait,
            settlement_at = settlement_at,
            settlement_tries = settlement_tries,
            checks_waived = checks_waived,
            unlisted_allowed = unlisted_allowed,
            pictures_checked = pictures_checked,
            error_code = error_code,
            error_message = error_message,
        } rest { identity: _, facts: _, outputs: _ }
        JobFacts: row.record.facts => {
            status_message = status_message,
            progress = progress,
            reserved_quota = reserved,
            cost_quota = cost,
            submitted_at = submitted_at,
            completed_at = completed_at,
            finished_at = finished_at,
            expires_at = expires_at,
            moved_at = moved_at,
            dismissed_at = dismissed_at,
        } rest { error: _ }
    }
}

impl JobColumns {
    fn new(job: &Job, due: DueWork, last_change: i64) -> Self {
        Self {
            record: job.record(),
            next_action: due.action.map(|next| next.action),
            next_action_at: due.action.map(|next| next.due),
            download_at: due.download.map(|download| download.due),
            download_failing: due.download.map(|download| download.failing),
            upload_at: due.upload,
            last_change,
            ..Self::default()
        }
    }
}

/// A job with the other values of its row.
pub(super) struct JobRow {
    pub nr: i64,
    /// The row of its job file.
    pub batch: i64,
    pub job: Job,
    /// What it needed next when the row was written.
    pub due: DueWork,
    /// The number of its last change.
    pub change: i64,
}

/// Reads the job of `id`.
pub(super) fn read_job(connection: &Connection, id: JobId) -> Result<JobRow, StoreError> {
    let select = format!("SELECT {} FROM jobs WHERE id = ?1", JobColumns::SELECT);
    let mut statement = connection.prepare_cached(&select)?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or(StoreError::NoSuchJob(id))?;
    read_row(connection, &row)
}

/// Reads the job of a row that begins with [`JobColumns::SELECT`], with its outputs.
pub(super) fn read_row(connection: &Connection, row: &Row<'_>) -> Result<JobRow, StoreError> {
    let columns = JobColumns::read(row)?;
    let action = columns.next_action.zip(columns.next_action_at);
    let download = columns.download_at.zip(columns.download_failing);
    let due = DueWork {
        action: action.map(|(action, due)| DueAction { action, due }),
        download: download.map(|(due, failing)| DueDownload { due, failing }),
        upload: columns.upload_at,
    };
    let JobColumns { nr, batch, mut record, last_change, .. } = columns;
    if let Some(task) = &record.task_id {
        record.outputs = read_outputs(connection, nr, task)?;
    }
    Ok(JobRow { nr, batch, job: Job::restore(record)?, due, change: last_change })
}

/// What the row of a new job has beside the job.
pub(super) struct NewRow<'t> {
    /// The row of its batch.
    pub batch: i64,
    /// What it will probably cost.
    pub estimate: Option<Quota>,
    /// The value with which it takes turns.
    pub turn: &'t str,
}

/// Adds a new job's row and returns its number.
pub(super) fn insert_job(
    insert: &mut Statement<'_>,
    job: &Job,
    NewRow { batch, estimate, turn }: NewRow<'_>,
    due: DueWork,
    change: i64,
) -> Result<i64, StoreError> {
    let turn = turn.to_owned();
    let columns = JobColumns { batch, estimate, turn, ..JobColumns::new(job, due, change) };
    let changing = columns.changing()?.map(|(_, value)| value);
    Ok(insert.insert(params_from_iter(columns.fixed()?.into_iter().chain(changing)))?)
}

/// For [`insert_job`].
pub(super) const INSERT_JOB: &str = JobColumns::INSERT;

/// Writes the changed columns of a job's row. Naming an unchanged column would also write each index that has it.
pub(super) fn update_job(
    connection: &Connection,
    known: &JobRow,
    job: &Job,
    due: DueWork,
    change: i64,
) -> Result<(), StoreError> {
    let before = JobColumns::new(&known.job, known.due, known.change);
    let after = JobColumns::new(job, due, change);
    let (before, after) = (before.changing()?, after.changing()?);
    let changed = || before.iter().zip(&after).filter(|(old, new)| old != new).map(|(_, new)| new);
    let mut update = String::from("UPDATE jobs SET ");
    for (place, (name, _)) in (2..).zip(changed()) {
        let comma = if place == 2 { "" } else { ", " };
        // Writing to a String never fails.
        let _ = write!(update, "{comma}{name} = ?{place}");
    }
    update.push_str(" WHERE nr = ?1");
    let nr = ToSqlOutput::from(known.nr);
    let values = std::iter::once(&nr).chain(changed().map(|(_, value)| value));
    connection.prepare_cached(&update)?.execute(params_from_iter(values))?;
    Ok(())
}

/// The number of a job's row.
pub(super) fn number_of(connection: &Connection, id: JobId) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT nr FROM jobs WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoSuchJob(id))
}
