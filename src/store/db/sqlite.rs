//! Opening SQLite files, and what only SQLite has.
#![expect(clippy::disallowed_methods, reason = "the one home of database connections")]

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::functions::{Context, FunctionFlags};

use super::{Connection, Error, Result, ToSql, Value, ValueRef};
use crate::store::search::{FUNCTION, TEXTS, Words};

/// The version of the library, as a number and as a text.
pub(in crate::store) fn version() -> (i32, &'static str) {
    (rusqlite::version_number(), rusqlite::version())
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Access {
    Read,
    Write,
}

/// Opens a file that exists.
pub(in crate::store) fn open(path: &Path, access: Access) -> Result<Connection> {
    let access = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    #[cfg_attr(not(test), expect(unused_mut, reason = "tests count what it runs"))]
    let mut connection =
        rusqlite::Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    #[cfg(test)]
    crate::store::costs::count_statements(&mut connection, path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // Each set of columns that changes together has an UPDATE statement of its own.
    connection.set_prepared_statement_cache_capacity(128);
    // Query plans must not depend on bound values: otherwise SQLite compiles such a statement again at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Against hostile files: functions hidden in views and triggers, and pages that change while mapped.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(FUNCTION, 2 + TEXTS as i32, flags, |context| has_words(context))?;
    Ok(Connection::Sqlite(connection))
}

/// [`FUNCTION`] as a function of SQL.
fn has_words(context: &Context<'_>) -> rusqlite::Result<bool> {
    let text_of = |place| {
        let text = context.get_raw(place).as_str_or_null();
        text.map(Option::unwrap_or_default)
            .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))
    };
    let words = context.get_or_create_aux(0, |query: ValueRef<'_>| query.as_str().map(Words::new))?;
    let mut texts = [""; TEXTS];
    for (place, text) in (1..).zip(&mut texts) {
        *text = text_of(place)?;
    }
    Ok(words.match_fields(&texts, text_of(1 + TEXTS)?))
}

impl Connection {
    pub(in crate::store) fn sqlite(&self) -> Result<&rusqlite::Connection> {
        match self {
            Self::Sqlite(connection) => Ok(connection),
            Self::Postgres(_) => Err(Error::NotSqlite),
        }
    }

    /// Sets a pragma whose new value SQLite need not confirm.
    pub fn set_pragma(&self, pragma: &str, value: impl ToSql) -> Result<()> {
        Ok(self.sqlite()?.pragma_update(None, pragma, value)?)
    }

    /// The value of a pragma as a text.
    pub fn pragma(&self, pragma: &str) -> Result<String> {
        let value = self.sqlite()?.pragma_query_value(None, pragma, |row| row.get(0))?;
        Ok(match value {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    }

    /// Closing it leaves the log as it is.
    pub fn keep_log_when_closed(&self) -> Result<()> {
        self.sqlite()?
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map(drop)
            .map_err(Error::from)
    }
}

#[cfg(test)]
impl Connection {
    /// How SQLite would run a query, line by line.
    pub fn query_plan(&self, sql: &str) -> Result<Vec<String>> {
        let mut statement = self.sqlite()?.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let nulls = vec![Value::Null; statement.parameter_count()];
        let lines = statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))?;
        Ok(lines.collect::<rusqlite::Result<_>>()?)
    }
}

/// The file as another program opens it, and creates it.
#[cfg(test)]
pub(in crate::store) fn open_plain(path: &Path) -> Connection {
    Connection::Sqlite(rusqlite::Connection::open(path).unwrap())
}

#[cfg(test)]
pub(in crate::store) fn open_in_memory() -> Connection {
    Connection::Sqlite(rusqlite::Connection::open_in_memory().unwrap())
}
