//! The rows of outputs: to and from [`Output`].

use crate::job::output::{Blocked, Output, OutputKey, OutputState, Refusals, StoredFile, Waiting};
use crate::job::{Job, TaskId};
use crate::secret::Secret;
use crate::store::db::{Connection, Row};
use crate::store::error::StoreError;

/// Reads the outputs of a task, in the provider's order.
pub(super) fn read_outputs(
    connection: &Connection,
    nr: i64,
    task: &TaskId,
) -> Result<Vec<Output>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM outputs WHERE job = ?1 AND task_id = ?2 ORDER BY position, kind, idx",
    )?;
    let mut rows = statement.query((nr, task))?;
    let mut outputs = Vec::new();
    while let Some(row) = rows.next()? {
        outputs.push(read_output(&row)?);
    }
    Ok(outputs)
}

fn read_output(row: &Row<'_>) -> Result<Output, StoreError> {
    let state = match row.get::<_, String>("state")?.as_str() {
        "waiting" => OutputState::Waiting(read_waiting(row)?),
        "stored" => OutputState::Stored(read_stored(row)?),
        "lost" => OutputState::Lost,
        other => {
            return Err(StoreError::UnknownWord { what: "output state", value: other.to_owned() });
        }
    };
    Ok(Output {
        key: OutputKey { kind: row.get("kind")?, index: row.get("idx")? },
        expires_at: row.get("expires_at")?,
        state,
    })
}

fn read_waiting(row: &Row<'_>) -> Result<Waiting, StoreError> {
    let (reason, detail) = (row.get("blocked_reason")?, row.get("blocked_detail")?);
    Ok(Waiting {
        link: Secret::new(row.get::<_, String>("link")?),
        due: row.get("due_at")?,
        tries: row.get("tries")?,
        refusals: Refusals {
            count: row.get("link_refusals")?,
            last: row.get("refused_at")?,
            confirmed: row.get("refusal_confirmed")?,
        },
        invalid_downloads: row.get("invalid_downloads")?,
        give_up_at: row.get("give_up_at")?,
        blocked: Option::zip(reason, detail).map(|(reason, detail)| Blocked { reason, detail }),
        spooled: row.get("spooled")?,
    })
}

/// The file of an output's row.
pub(super) fn read_stored(row: &Row<'_>) -> Result<StoredFile, StoreError> {
    Ok(StoredFile {
        path: row.get("path")?,
        bucket: row.get("bucket")?,
        bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
        sha256: row.get("sha256")?,
        host: row.get("host")?,
        stored_at: row.get("stored_at")?,
    })
}

/// Writes the rows of a job's outputs. An output keeps its planned path.
pub(super) fn write_outputs(connection: &Connection, nr: i64, job: &Job) -> Result<(), StoreError> {
    let Some(task) = job.task() else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "INSERT INTO outputs (job, task_id, kind, idx, position, state, link, due_at, tries, link_refusals, refused_at,
                              refusal_confirmed, invalid_downloads, expires_at, give_up_at, blocked_reason,
                              blocked_detail, spooled)
         VALUES (:job, :task, :kind, :idx, :position, :state, :link, :due, :tries, :refusals, :refused, :confirmed,
                 :invalid_downloads, :expires_at, :give_up, :blocked_reason, :blocked_detail, :spooled)
         ON CONFLICT (job, task_id, kind, idx) DO UPDATE SET
            state = :state, link = :link, due_at = :due, tries = :tries, link_refusals = :refusals,
            refused_at = :refused, refusal_confirmed = :confirmed, invalid_downloads = :invalid_downloads,
            expires_at = :expires_at, give_up_at = :give_up, blocked_reason = :blocked_reason,
            blocked_detail = :blocked_detail, spooled = :spooled",
    )?;
    for (position, output) in (0_i64..).zip(job.outputs()) {
        let state = match &output.state {
            OutputState::Waiting(_) => "waiting",
            OutputState::Stored(_) => "stored",
            OutputState::Lost => "lost",
        };
        let waiting = output.waiting();
        let refusals = waiting.map(|waiting| waiting.refusals).unwrap_or_default();
        let blocked = waiting.and_then(|waiting| waiting.blocked.as_ref());
        // In the order in which the statement first names them.
        statement.execute((
            nr,
            task,
            output.key.kind,
            output.key.index,
            position,
            state,
            waiting.map(|waiting| waiting.link.expose()),
            waiting.map(|waiting| waiting.due),
            waiting.map_or(0, |waiting| waiting.tries),
            refusals.count,
            refusals.last,
            refusals.confirmed,
            waiting.map_or(0, |waiting| waiting.invalid_downloads),
            output.expires_at,
            waiting.map(|waiting| waiting.give_up_at),
            blocked.map(|blocked| blocked.reason),
            blocked.map(|blocked| &blocked.detail),
            waiting.is_some_and(|waiting| waiting.spooled),
        ))?;
        if let OutputState::Stored(file) = &output.state {
            connection
                .prepare_cached(
                    "UPDATE outputs SET path = ?5, bytes = ?6, sha256 = ?7, host = ?8, stored_at = ?9, bucket = ?10
                     WHERE job = ?1 AND task_id = ?2 AND kind = ?3 AND idx = ?4",
                )?
                .execute((
                    nr,
                    task,
                    output.key.kind,
                    output.key.index,
                    &file.path,
                    i64::try_from(file.bytes).unwrap_or(i64::MAX),
                    &file.sha256,
                    &file.host,
                    file.stored_at,
                    &file.bucket,
                ))?;
        }
    }
    Ok(())
}
