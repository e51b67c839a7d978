//! One process at a time leads, which is to write: the connection that does holds a lock of the server for as long as it
//! lasts. Each process that begins to lead has a higher term, which every transaction of it checks: a lock alone may be lost
//! unnoticed, behind a pool of connections or when a server is replaced by its replica.

use std::cmp::Ordering;

use tokio_postgres::Row;

use super::PostgresServer;
use super::link::Link;
use crate::store::db::{Error, ErrorKind, Result};

const OLDEST_SERVER: i32 = 150_000;
const FACTS: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
    current_setting('server_encoding'), current_setting('synchronous_commit')";
/// The server gives the lock to another process within 10 seconds after this one is gone, cut off or stopped. The lock is
/// waited for, as the connection of a process that was killed a moment ago may still have it.
const SETTINGS: &str =
    "SET tcp_keepalives_idle = 4; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 2;
    SET tcp_user_timeout = '8s'; SET idle_session_timeout = '7s'; SET idle_in_transaction_session_timeout = '7s';
    SET lock_timeout = '2s'";
/// The lock: 'drpl' and the name of the schema, as two databases of ours may lie in one.
const LOCK: &str = "SELECT pg_advisory_lock(1685221484, hashtext(current_schema()))";
/// Who holds it.
const LEADER: &str =
    "SELECT coalesce(application_name, ''), coalesce(host(client_addr), 'the same machine as the server')
    FROM pg_locks JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
    WHERE locktype = 'advisory' AND granted AND classid = 1685221484
      AND objid::bigint = hashtext(current_schema())::bigint & 4294967295
      AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Connects and takes the lock.
pub(super) fn connect_alone(server: &PostgresServer) -> Result<Link> {
    let link = server.connect()?;
    let facts = link.query_one(FACTS)?;
    check_facts(&facts)?;
    // What a commit returns for is on the disk. `remote_apply` promises more.
    if facts.get::<_, &str>(3) != "remote_apply" {
        link.run("SET synchronous_commit = on")?;
    }
    if server.exclusive {
        link.run(SETTINGS)?;
        lock(&link)?;
    }
    Ok(link)
}

fn check_facts(facts: &Row) -> Result<()> {
    let refused = |message| Err(Error::Server { kind: ErrorKind::Refused, message });
    let (number, version, encoding): (i32, &str, &str) = (facts.get(0), facts.get(1), facts.get(2));
    if number < OLDEST_SERVER {
        return refused(format!("this is PostgreSQL {version}; 15 or newer is needed"));
    }
    if encoding != "UTF8" {
        return refused(format!("the database has the encoding {encoding}; UTF8 is needed"));
    }
    Ok(())
}

fn lock(link: &Link) -> Result<()> {
    match link.query_one(LOCK) {
        Ok(_) => link.run("RESET lock_timeout"),
        Err(error) if error.kind() == ErrorKind::Busy => {
            Err(Error::InUse { leader: leader(link)?.unwrap_or_else(|| "another process".into()) })
        }
        Err(error) => Err(error),
    }
}

/// The process that leads, for people.
pub(super) fn leader(link: &Link) -> Result<Option<String>> {
    Ok(link.query_opt(LEADER)?.map(|row| {
        let (name, host): (&str, &str) = (row.get(0), row.get(1));
        format!("{name} ({host})")
    }))
}

/// `term` in `meta`: the term, and how many transactions it has. In one row, so that one statement checks and counts.
const TRANSACTIONS: u32 = 40;

/// Begins a term, which is higher than all before it.
pub(super) fn begin_term(link: &Link) -> Result<i64> {
    let sql = format!(
        "INSERT INTO meta (name, value) VALUES ('term', 1::bigint << {TRANSACTIONS})
         ON CONFLICT (name) DO UPDATE SET value = ((meta.value >> {TRANSACTIONS}) + 1) << {TRANSACTIONS}
         RETURNING value >> {TRANSACTIONS}"
    );
    Ok(link.query_one(&sql)?.get(0))
}

/// Counts a transaction of the term. No other term can begin before its end.
///
/// # Errors
/// [`Error::TermOver`] if another term has begun.
pub(super) fn count_transaction(link: &Link, term: i64) -> Result<i64> {
    let sql = format!(
        "UPDATE meta SET value = value + 1 WHERE name = 'term' AND value >> {TRANSACTIONS} = {term}
         RETURNING value & ((1::bigint << {TRANSACTIONS}) - 1)"
    );
    Ok(link.query_opt(&sql)?.ok_or(Error::TermOver)?.get(0))
}

/// Checks that no other term has begun.
///
/// # Errors
/// [`Error::TermOver`] if one has. [`Error::SetBack`] if the server knows of fewer than `transactions`: it was restored, or
/// replaced by a replica that lacks the last ones.
pub(super) fn check_term(link: &Link, term: i64, transactions: i64) -> Result<()> {
    let found = link.query_opt("SELECT value FROM meta WHERE name = 'term'")?;
    let found = found.map_or(0, |row| row.get::<_, i64>(0));
    match found.cmp(&((term << TRANSACTIONS) + transactions)) {
        Ordering::Less => Err(Error::SetBack),
        _ if found >> TRANSACTIONS == term => Ok(()),
        _ => Err(Error::TermOver),
    }
}

/// Marks the database as a copy of an older state, so that the next start holds what may have been submitted since.
pub(super) fn mark_set_back(link: &Link) -> Result<()> {
    link.run(
        "INSERT INTO meta (name, value)
         VALUES ('backup_made_at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
}
