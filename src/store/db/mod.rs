//! Connections to the database: the only module that names its client library. The rest of the store writes its SQL, and
//! names what is here.

mod error;
mod params;
mod row;
pub(super) mod sqlite;
mod statement;

pub(super) use error::{Error, ErrorKind, OptionalExtension, Result};
pub(super) use params::{Params, params_from_iter};
pub(super) use row::{Row, Rows};
pub(super) use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
pub(super) use statement::Statement;

/// What [`ToSql::to_sql`] returns.
pub(super) type ToSqlResult<'v> = rusqlite::Result<ToSqlOutput<'v>>;

/// A connection. It belongs to one thread at a time.
#[derive(Debug)]
pub(super) struct Connection(rusqlite::Connection);

impl Connection {
    /// The statement, which is prepared at its first use on this connection and kept.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Statement::prepare(&self.0, sql)
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
        Ok(self.0.execute_batch(sql)?)
    }

    /// How many rows this connection has changed so far.
    pub fn total_changes(&self) -> u64 {
        self.0.total_changes()
    }

    /// Whether a transaction is open.
    pub fn is_in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    #[cfg(test)]
    pub fn sqlite(&self) -> &rusqlite::Connection {
        &self.0
    }
}
