//! What belongs to one of the processes that share a database: the job files that it takes in, and the jobs whose outputs it
//! downloads and uploads, its *claims*. Each process has the number of its inbox, and holds an advisory lock of that number
//! while it is connected to write. So no clock says who is there.
//!
//! Claims save work, and keep others from the only copy of a file whose link is dead. Two processes that store the same output find
//! that out in the transaction that names it.

use super::link::Link;
use crate::store::db::{Error, ErrorKind, Result};

/// The class of the locks of numbers, which is of the schema, as two databases of ours may lie in one.
const CLASS: &str = "hashtext('dropreel ' || current_schema())";
/// The numbers of the processes that are connected to write.
const CONNECTED: &str = "(SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted
      AND classid::bigint = hashtext('dropreel ' || current_schema())::bigint & 4294967295
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// Shows that the process with this number is connected, as long as the connection lasts.
///
/// # Errors
/// When a process with the same number is.
pub(super) fn hold_number(link: &Link, process: i32) -> Result<()> {
    let held = link.query_one(&format!("SELECT pg_advisory_lock({CLASS}, {process})"));
    held.map(drop).map_err(|error| match error.kind() {
        ErrorKind::Busy => Error::Server {
            kind: ErrorKind::Busy,
            message: format!(
                "a daemon with the same `inbox_number` ({process}) is connected, perhaps this one a moment ago; if the data \
                 folder was copied, empty the inbox of the copy and remove its file `inbox_number`"
            ),
        },
        _ => error,
    })
}

/// The processes with a number that are connected to write, and what each of them does.
const PROCESSES: &str = "SELECT string_agg(
        name || ' (' || host || ') ' || CASE WHEN leads THEN 'leads' ELSE 'follows' END
             || CASE WHEN jobs > 0 THEN ', stores the outputs of ' || jobs || ' jobs' ELSE '' END,
        '; ' ORDER BY leads DESC, number)
    FROM (SELECT locks.objid::bigint AS number, coalesce(application_name, '') AS name,
              coalesce(host(client_addr), 'the same machine as the server') AS host,
              EXISTS (SELECT 1 FROM pg_locks AS led
                  WHERE led.pid = locks.pid AND led.locktype = 'advisory' AND led.granted
                    AND led.classid = 1685221484
                    AND led.objid::bigint = hashtext(current_schema())::bigint & 4294967295) AS leads,
              (SELECT count(*) FROM claims JOIN jobs ON jobs.nr = claims.job
                  WHERE claims.process = locks.objid::bigint AND finished_at IS NULL) AS jobs
          FROM pg_locks AS locks JOIN pg_stat_activity AS activity ON activity.pid = locks.pid
          WHERE locks.locktype = 'advisory' AND locks.granted
            AND locks.classid::bigint = hashtext('dropreel ' || current_schema())::bigint & 4294967295
            AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS processes";

/// The processes that are connected to write, for people.
pub(super) fn processes(link: &Link) -> Result<Option<String>> {
    Ok(link.query_one(PROCESSES)?.get(0))
}

/// The condition that no other process has claimed a row of `jobs`. What waits in the spool of one that is gone is its own
/// until its claims are released (`release_claims_of`): it may come back, and the links may be dead.
pub(super) fn unclaimed(process: i32) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM claims WHERE claims.job = jobs.nr AND process <> {process}
             AND (process IN {CONNECTED} OR jobs.upload_at IS NOT NULL))"
    )
}

/// The condition that a row of `batches` is of the inbox of this process, or of none if this one leads.
pub(super) fn own_batches(process: i32, leads: bool) -> String {
    match leads {
        true => format!("(inbox IS NULL OR inbox = {process})"),
        false => format!("inbox = {process}"),
    }
}

/// The condition that a column has the number of another process, which is not connected to write.
pub(super) fn is_gone(column: &str, process: i32) -> String {
    format!("({column} <> {process} AND {column} NOT IN {CONNECTED})")
}

/// Claims the job with the number `?1` unless another process has, and ends the claims that nobody needs.
pub(super) fn claim(process: i32) -> [String; 2] {
    [
        format!(
            "DELETE FROM claims USING jobs WHERE jobs.nr = claims.job
                 AND (finished_at IS NOT NULL OR process NOT IN {CONNECTED} AND upload_at IS NULL)"
        ),
        format!(
            "INSERT INTO claims (job, process) SELECT nr, {process} FROM jobs WHERE nr = ?1 AND {}
             ON CONFLICT (job) DO UPDATE SET process = excluded.process",
            unclaimed(process)
        ),
    ]
}

/// Claims the job with the number `?1`, whoever has it.
pub(super) fn take(process: i32) -> String {
    format!(
        "INSERT INTO claims (job, process) VALUES (?1, {process})
         ON CONFLICT (job) DO UPDATE SET process = excluded.process WHERE claims.process <> excluded.process"
    )
}
