//! The rows of outputs: to and from [`Output`].

use rusqlite::{Connection, Row, named_params};

use crate::job::output::{Output, OutputKey, OutputState, Refusals, StoredFile};
use crate::job::{Job, TaskId};
use crate::secret::Secret;
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
        outputs.push(read_output(row)?);
    }
    Ok(outputs)
}

fn read_output(row: &Row<'_>) -> Result<Output, StoreError> {
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
        key: OutputKey { kind: row.get("kind")?, index: row.get("idx")? },
        expires_at: row.get("expires_at")?,
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
        stored_at: row.get("stored_at")?,
    })
}

/// Writes the rows of a job's outputs. An output keeps its planned path.
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
            ":task": task,
            ":kind": output.key.kind,
            ":idx": output.key.index,
            ":position": position,
            ":state": state,
            ":link": link,
            ":refusals": refusals.count,
            ":gone": refusals.gone,
            ":confirmed": refusals.confirmed,
            ":invalid_downloads": invalid_downloads,
            ":expires_at": output.expires_at,
        })?;
        if let OutputState::Stored(file) = &output.state {
            connection
                .prepare_cached(
                    "UPDATE outputs SET path = ?5, bytes = ?6, sha256 = ?7, host = ?8, stored_at = ?9
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
                ))?;
        }
    }
    Ok(())
}
