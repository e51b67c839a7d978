//! Connections to the database, which is a SQLite file or on a PostgreSQL server: the only module that names their client
//! libraries. The rest of the store writes its SQL once, and names what is here.

mod error;
mod params;
pub(super) mod postgres;
mod row;
pub(super) mod sqlite;
mod statement;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::secret::Secret;

pub use error::{Error, ErrorKind};
pub(super) use error::{OptionalExtension, Result};
pub(super) use params::{Params, params_from_iter};
use postgres::{PostgresServer, Session};
pub(super) use row::{Row, Rows};
pub(super) use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
pub(super) use statement::Statement;

/// What [`ToSql::to_sql`] returns.
pub(super) type ToSqlResult<'v> = rusqlite::Result<ToSqlOutput<'v>>;

/// Where the state is.
#[derive(Clone, Debug)]
pub enum Database {
    /// In a file.
    Sqlite(PathBuf),
    /// On a server.
    Postgres(PostgresServer),
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        #[cfg(test)]
        if let Some(server) = postgres::tests::server_for(path) {
            return Self::Postgres(server);
        }
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Database {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl fmt::Display for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(out),
            Self::Postgres(server) => server.fmt(out),
        }
    }
}

impl Database {
    /// On the server that an address names, which may be unreachable.
    ///
    /// # Errors
    /// When the text is no address of a PostgreSQL database, or no thread can be started.
    pub fn on_server(address: &str, password: Option<&Secret>) -> Result<Self> {
        PostgresServer::new(address, password).map(Self::Postgres)
    }

    /// The same, for the process with this number among those that share it.
    #[must_use]
    pub fn of_process(self, number: i32) -> Self {
        match self {
            Self::Sqlite(path) => Self::Sqlite(path),
            Self::Postgres(server) => Self::Postgres(server.of_process(number)),
        }
    }

    /// The number of this process among those that share it; `None`: there are no others.
    pub fn process(&self) -> Option<i32> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(server) => server.process,
        }
    }

    /// What keeps it: `sqlite` or `postgresql`.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }

    /// The processes that are connected to write and what each of them does, for people, where there could be several.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn processes(&self) -> Result<Option<String>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(server) => server.processes(),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

/// A connection. It belongs to one thread at a time.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Session>),
}

impl Connection {
    /// The statement, which is prepared at its first use on this connection and kept.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Sqlite(connection) => {
                Statement::Sqlite { connection, statement: connection.prepare_cached(sql)? }
            }
            Self::Postgres(session) => Statement::Postgres { session, sql: sql.into() },
        })
    }

    /// Runs one statement and returns how many rows it changed.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// Reads the first row of a query.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Runs several statements without parameters.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.run_batch(sql),
        }
    }

    /// How many rows this connection has changed so far.
    pub fn total_changes(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.total_changes(),
            Self::Postgres(session) => session.changed_rows(),
        }
    }

    /// Whether a transaction is open. A failing disk, and the loss of the server, ends it by itself.
    pub fn is_in_transaction(&self) -> bool {
        match self {
            Self::Sqlite(connection) => !connection.is_autocommit(),
            Self::Postgres(session) => session.is_in_transaction(),
        }
    }

    /// Whether the open transaction can only be rolled back. A statement that fails in SQLite leaves it as it was.
    pub fn must_roll_back(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(session) => session.has_failed(),
        }
    }

    /// Begins to lead, where another process could.
    pub fn begin_term(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.begin_term(),
        }
    }

    /// Begins to write beside the process that leads, where there can be one.
    pub fn follow(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.follow(),
        }
    }

    /// The error of a process that can neither lead nor follow, where another one leads.
    pub fn in_use(&self) -> Error {
        match self {
            Self::Sqlite(_) => Error::InUse { leader: "another process".into() },
            Self::Postgres(session) => session.in_use(),
        }
    }

    /// The number of the term, which is higher for each process that leads; 0 where only one can.
    pub fn term(&self) -> i64 {
        match self {
            Self::Sqlite(_) => 0,
            Self::Postgres(session) => session.term(),
        }
    }

    /// Whether other processes have committed since this was asked last.
    pub fn others_committed(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(session) => session.others_committed(),
        }
    }

    /// Whether no process led, so that this one, which follows, does once it opens the database again.
    pub fn try_lead(&self) -> Result<bool> {
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(session) => session.try_lead(),
        }
    }

    /// The process that leads, for people, where several could.
    pub fn leader(&self) -> Result<Option<String>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(session) => session.leader_name(),
        }
    }

    /// The condition that no other process has claimed a row of `jobs`, where one could.
    pub fn unclaimed(&self) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.unclaimed(),
        }
    }

    /// The condition that a column has the number of another process, which is gone, where there are several.
    pub fn is_gone(&self, column: &str) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.is_gone(column),
        }
    }

    /// The condition that a column has the number of this process, where there are several.
    pub fn is_own(&self, column: &str) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.is_own(column),
        }
    }

    /// The condition that a row of `batches` is for this process to finish, where there are several.
    pub fn own_batches(&self, leads: bool) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.own_batches(leads),
        }
    }

    /// Claims the job with this number. False if another process has.
    pub fn claim(&self, job: i64) -> Result<bool> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(session) => session.claim(job),
        }
    }

    /// Claims the job with this number, whoever has it.
    pub fn take_claim(&self, job: i64) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.take_claim(job),
        }
    }

    /// Calls this soon after other processes have committed, if the server says so. A pool of connections may not pass that on,
    /// so [`Connection::keep_alive`] looks, too.
    pub fn hear_news(&self, heard: impl Fn() + Send + Sync + 'static) {
        if let Self::Postgres(session) = self {
            session.hear_news(Box::new(heard));
        }
    }

    /// How often to call [`Connection::keep_alive`] while nothing is written.
    pub fn keep_alive_interval(&self) -> Option<Duration> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some(postgres::KEEP_ALIVE_INTERVAL),
        }
    }

    /// Keeps the server from taking this process for stopped, and looks for what others have committed. Connects again if the
    /// connection is lost.
    pub fn keep_alive(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.keep_alive(),
        }
    }

    /// Connects again to a server that was lost.
    pub fn restore(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.reconnect(),
        }
    }

    /// Whether the connection is of no more use.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(session) => session.is_lost(),
        }
    }

    /// Runs a query of several statements, which see the same state where one of them reads the rows of another.
    pub fn read<T, E: From<Error>>(&self, query: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        match self {
            // A statement that runs while the rows of another are read sees what that one sees.
            Self::Sqlite(_) => query(self),
            Self::Postgres(session) => session.in_snapshot(|| query(self)),
        }
    }

    /// Whether each row is sent over a connection, which costs more than to group it there.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The query of the columns of a table, `?1`, that are written, in their order.
    pub fn columns_query(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SELECT name FROM pragma_table_info(?1) ORDER BY cid",
            Self::Postgres(_) => {
                "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(?1) AND attnum > 0
                 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
            }
        }
    }

    /// For a process that does long work between two statements, also inside a transaction.
    pub fn allow_pauses(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => {
                session.run_batch("SET idle_session_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            }
        }
    }

    /// Reads the rows of a long query, some at a time. Inside a transaction.
    pub fn read_long(&self, sql: &str, mut each: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        match self {
            Self::Sqlite(_) => {
                let mut statement = self.prepare_cached(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    each(&row)?;
                }
                Ok(())
            }
            Self::Postgres(session) => session.read_long(sql, each),
        }
    }

    /// After rows were inserted with their numbers: new ones get higher numbers. SQLite sees to it.
    pub fn continue_numbers(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.continue_numbers(),
        }
    }

    /// Before the last connection closes: a SQLite file is then a single file. If this fails, the next start reads its log.
    pub fn finish(&self) {
        if let Self::Sqlite(connection) = self {
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
}
