//! Which process downloads and uploads the outputs of a job, where several do. A claim lasts as long as the connection with
//! which its process writes: no clock is needed, and what a process that is gone has claimed is free at once. Claims only save
//! work. Two processes that store the same output find that out in the transaction that names it.

use super::link::Link;
use crate::store::db::Result;

/// The class of the advisory locks that processes hold, one number each: 'drpm'.
const CLASS: u32 = 1_685_221_485;

/// The numbers of the processes that are connected to write.
fn connected() -> String {
    format!(
        "(SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = {CLASS} AND granted)"
    )
}

/// Draws the number of a process.
pub(super) fn draw_number(link: &Link) -> Result<i32> {
    Ok(link.query_one("SELECT floor(random() * 2147483647)::int4")?.get(0))
}

/// Shows that a process is connected, as long as the connection lasts.
pub(super) fn hold_number(link: &Link, process: i32) -> Result<()> {
    link.query_one(&format!("SELECT pg_advisory_lock_shared({CLASS}, {process})")).map(drop)
}

/// The condition that no other process has claimed a row of `jobs`.
pub(super) fn unclaimed(process: i32) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM claims WHERE claims.job = jobs.nr AND process <> {process}
             AND process IN {})",
        connected()
    )
}

/// Claims the job with the number `?1` unless another process has, and ends the claims that nobody needs.
pub(super) fn claim(process: i32) -> [String; 2] {
    let connected = connected();
    [
        format!(
            "DELETE FROM claims WHERE process NOT IN {connected}
                 OR job IN (SELECT nr FROM jobs WHERE jobs.nr = claims.job AND finished_at IS NOT NULL)"
        ),
        format!(
            "INSERT INTO claims (job, process) VALUES (?1, {process})
             ON CONFLICT (job) DO UPDATE SET process = excluded.process
                 WHERE claims.process = excluded.process OR claims.process NOT IN {connected}"
        ),
    ]
}
