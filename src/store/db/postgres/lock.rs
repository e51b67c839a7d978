//! One process at a time leads: its connection holds a lock of the server for as long as it lasts. Each process that begins
//! to lead has a higher term, which every transaction of it checks: a lock alone may be lost unnoticed, behind a pool of
//! connections or when a server is replaced by its replica.
//!
//! The others follow: they write too, each under the term that it finds. All transactions are counted in one row, so that
//! one of them is open at a time, and each process sees when others have changed something.

use tokio_postgres::Row;

use super::link::Link;
use super::news::{ANNOUNCE, LISTEN};
use super::{PostgresServer, claims};
use crate::store::db::{Error, ErrorKind, Result};

const OLDEST_SERVER: i32 = 150_000;
const FACTS: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
    current_setting('server_encoding'), current_setting('synchronous_commit'), pg_backend_pid()";
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

/// Connects to write, and waits for no lock yet.
pub(super) fn connect_writer(server: &PostgresServer) -> Result<Link> {
    let link = server.connect()?;
    let facts = link.query_one(FACTS)?;
    check_facts(&facts)?;
    // What a commit returns for is on the disk. `remote_apply` promises more.
    if facts.get::<_, &str>(3) != "remote_apply" {
        link.run("SET synchronous_commit = on")?;
    }
    if !server.alone_in_tests {
        link.run(SETTINGS)?;
        link.set_process(facts.get(4));
        link.run(LISTEN)?;
        if let Some(process) = server.process {
            claims::hold_number(&link, process)?;
        }
    }
    Ok(link)
}

/// Connects to write, beside the process that leads.
pub(super) fn connect_follower(server: &PostgresServer) -> Result<Link> {
    let link = connect_writer(server)?;
    // It waits for transactions of others, as they wait for its own.
    link.run("RESET lock_timeout")?;
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

/// Takes the lock of the process that leads.
pub(super) fn lock(link: &Link) -> Result<()> {
    match link.query_one(LOCK) {
        Ok(_) => link.run("RESET lock_timeout"),
        Err(error) if error.kind() == ErrorKind::Busy => Err(in_use(link)?),
        Err(error) => Err(error),
    }
}

/// The error that another process uses the database.
pub(super) fn in_use(link: &Link) -> Result<Error> {
    Ok(Error::InUse { leader: leader(link)?.unwrap_or_else(|| "another process".into()) })
}

/// The process that leads, for people.
pub(super) fn leader(link: &Link) -> Result<Option<String>> {
    Ok(link.query_opt(LEADER)?.map(|row| {
        let (name, host): (&str, &str) = (row.get(0), row.get(1));
        format!("{name} ({host})")
    }))
}

/// How far the database is.
const FOUND: &str =
    "SELECT term, leader, of_leader, transactions, former_leader, former_of_leader FROM leadership";

/// How far a database is: the row of `leadership`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of the term.
    pub term: i64,
    /// The number of the process that leads in it.
    leader: i64,
    /// How many transactions that one has committed in it.
    of_leader: i64,
    /// How many transactions all processes have committed.
    pub transactions: i64,
    /// The process that led before, and how many transactions of it were known when the term began.
    former: (i64, i64),
}

impl Progress {
    fn of(row: &Row) -> Self {
        Self {
            term: row.get(0),
            leader: row.get(1),
            of_leader: row.get(2),
            transactions: row.get(3),
            former: (row.get(4), row.get(5)),
        }
    }

    /// Whether a database that was `seen` to be so far is an older state of itself now, as after a restore, or behind a
    /// replica that lacks the last transactions. The leader's are counted for themselves: those of others since would hide
    /// that some of them are lost.
    fn is_behind(self, seen: Self) -> bool {
        self.transactions < seen.transactions
            || self.term < seen.term
            || self.leader == seen.leader && self.of_leader < seen.of_leader
            || self.former.0 == seen.leader && self.former.1 < seen.of_leader
    }
}

/// Begins a term, which is higher than all before it.
pub(super) fn begin_term(link: &Link) -> Result<Progress> {
    let row = link.query_one(
        "INSERT INTO leadership (one, term, leader, of_leader, transactions, former_leader, former_of_leader)
         VALUES (1, 1, 1 + floor(random() * 9007199254740992)::bigint, 0, 1, 0, 0)
         ON CONFLICT (one) DO UPDATE SET term = leadership.term + 1, leader = excluded.leader, of_leader = 0,
             transactions = leadership.transactions + 1,
             former_leader = leadership.leader, former_of_leader = leadership.of_leader
         RETURNING term, leader, of_leader, transactions, former_leader, former_of_leader",
    )?;
    Ok(Progress::of(&row))
}

/// Counts a transaction, which its commit announces to the other processes: of the process that leads as long as the term that
/// was `seen` lasts, or of one that follows. No other one is counted, and no term begins, before its end.
///
/// # Errors
/// [`Error::TermOver`] if another term has begun.
pub(super) fn count_transaction(link: &Link, leads: bool, seen: Progress) -> Result<Progress> {
    let sql = if leads {
        format!(
            "UPDATE leadership SET of_leader = of_leader + 1, transactions = transactions + 1 WHERE leader = {}
             RETURNING term, leader, of_leader, transactions, former_leader, former_of_leader, {ANNOUNCE}",
            seen.leader
        )
    } else {
        format!(
            "UPDATE leadership SET transactions = transactions + 1
             RETURNING term, leader, of_leader, transactions, former_leader, former_of_leader, {ANNOUNCE}"
        )
    };
    Ok(Progress::of(&link.query_opt(&sql)?.ok_or(Error::TermOver)?))
}

/// How far the database is, if any process has led it.
pub(super) fn progress(link: &Link) -> Result<Option<Progress>> {
    Ok(link.query_opt(FOUND)?.as_ref().map(Progress::of))
}

/// How far the database is, which is not less far than this process has `seen`, and still in that term if it `leads`.
///
/// # Errors
/// [`Error::TermOver`] if another term has begun. [`Error::SetBack`] if the server knows of fewer transactions.
pub(super) fn check_progress(link: &Link, leads: bool, seen: Progress) -> Result<Progress> {
    let found = progress(link)?.unwrap_or_default();
    if found.is_behind(seen) {
        return Err(Error::SetBack);
    }
    if leads && found.leader != seen.leader {
        return Err(Error::TermOver);
    }
    Ok(found)
}

/// Takes the lock of the process that leads if it is free.
pub(super) fn try_lock(link: &Link) -> Result<bool> {
    Ok(link.query_one("SELECT pg_try_advisory_lock(1685221484, hashtext(current_schema()))")?.get(0))
}

/// Marks the database as a copy of an older state, so that the next start holds what may have been submitted since. A process
/// that leads already, and does not know of it, has to start again.
pub(super) fn mark_set_back(link: &Link) -> Result<()> {
    link.run(
        "BEGIN;
         UPDATE leadership SET leader = 0, transactions = transactions + 1;
         INSERT INTO meta (name, value)
         VALUES ('backup_made_at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value;
         COMMIT",
    )
}
