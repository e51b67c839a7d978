//! One process at a time writes: the connection that does holds a lock of the server for as long as it lasts.

use tokio_postgres::Row;

use super::PostgresServer;
use super::link::Link;
use crate::store::db::{Error, ErrorKind, Result};

const OLDEST_SERVER: i32 = 150_000;
const FACTS: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
    current_setting('server_encoding'), current_setting('synchronous_commit')";
/// The server notices within a minute that this process is gone without having said so. The lock is waited for, as the
/// connection of a process that was killed a moment ago may still have it.
const SETTINGS: &str =
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
    SET lock_timeout = '5s'";
/// The lock: 'drpl' and the name of the schema, as two databases of ours may lie in one.
const LOCK: &str = "SELECT pg_advisory_lock(1685221484, hashtext(current_schema()))";
/// Who holds it.
const HOLDER: &str =
    "SELECT coalesce(application_name, ''), coalesce(host(client_addr), 'this machine'), activity.pid
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
    link.run(SETTINGS)?;
    if server.exclusive {
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
            let holder = link.query_opt(HOLDER)?;
            Err(Error::InUse { holder: holder.as_ref().map_or_else(|| "another process".into(), describe) })
        }
        Err(error) => Err(error),
    }
}

fn describe(holder: &Row) -> String {
    let (name, host, process): (&str, &str, i32) = (holder.get(0), holder.get(1), holder.get(2));
    format!("{name} on {host} (server process {process})")
}

/// Writes a value into the database that no other process has written there.
pub(super) fn claim(link: &Link) -> Result<i64> {
    const CLAIM: &str = "INSERT INTO meta (name, value)
        VALUES ('writer', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value";
    Ok(link.query_one(CLAIM)?.get(0))
}

/// Whether the value is still there.
pub(super) fn check_claim(link: &Link, claim: i64) -> Result<()> {
    let found = link.query_one("SELECT max(value) FROM meta WHERE name = 'writer'")?;
    if found.get::<_, Option<i64>>(0) == Some(claim) { Ok(()) } else { Err(Error::UsedByAnother) }
}
