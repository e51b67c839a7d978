//! Why a statement failed.

use std::error::Error as StdError;
use std::fmt::Display;

use thiserror::Error as ThisError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::FromSqlError;

pub(in crate::store) type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the database, or of a value on its way to it or from it.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The query has no row.
    #[error("the query returned no row")]
    NoRow,
    /// The value of a column has another type than the one asked for, or means nothing.
    #[error("column {column}: {source}")]
    Value {
        /// Counted from 0.
        column: usize,
        /// Why.
        source: FromSqlError,
    },
    /// A value cannot be written.
    #[error("a value cannot be stored: {0}")]
    Unwritable(#[source] Box<dyn StdError + Send + Sync>),
    /// A bug: the statement has other parameters.
    #[error("{given} values for {needed} parameters")]
    ParameterCount { given: usize, needed: usize },
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What was asked for, only a SQLite file has.
    #[error("not a SQLite database")]
    NotSqlite,
    /// A PostgreSQL server returned an error, or cannot be reached.
    #[error("{message}")]
    Server { kind: ErrorKind, message: String },
    /// A statement of the transaction has failed, so it cannot be committed.
    #[error("an earlier statement of the transaction has failed")]
    TransactionFailed,
    /// The connection was lost in a commit.
    #[error("the connection to the database was lost in a commit: {0}")]
    OutcomeUnknown(String),
    /// Another process holds the lock of the database.
    #[error("{leader} uses the database")]
    InUse { leader: String },
    /// Another process leads, or has led while the connection was lost.
    #[error("another process has begun to use the database")]
    TermOver,
    /// The server has lost what was committed on it.
    #[error(
        "the database server has lost transactions, as after a restore, or as a replica that took over: after a restart, \
         jobs that may have been submitted since are held"
    )]
    SetBack,
}

/// What a failure means for those who use the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The disk is full. Nothing is kept, even of a commit.
    DiskFull,
    /// Another program has locked it. Nothing is kept.
    Busy,
    /// The disk fails.
    Disk,
    /// The server cannot be reached, or takes no work at the moment. Nothing is kept.
    Unavailable,
    /// The server has refused it. Nothing is kept.
    Refused,
    /// Anything else.
    Other,
}

impl Error {
    /// A value that cannot be written.
    pub(in crate::store) fn unwritable(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Unwritable(Box::new(error))
    }

    #[cfg(test)]
    pub(in crate::store) fn disk_full() -> Self {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        Self::Sqlite(rusqlite::Error::SqliteFailure(code, None))
    }

    pub(super) fn unavailable(why: &dyn Display) -> Self {
        Self::Server { kind: ErrorKind::Unavailable, message: why.to_string() }
    }

    /// An error of the client of PostgreSQL.
    pub(super) fn of_server(error: &tokio_postgres::Error) -> Self {
        let kind = match error.as_db_error().map(|refused| refused.code()) {
            None if is_of_connection(error) => ErrorKind::Unavailable,
            None => ErrorKind::Refused,
            Some(code) => kind_of(code),
        };
        let message = match (error.as_db_error(), error.source()) {
            (Some(refused), _) => refused.message().to_owned(),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
        Self::Server { kind, message }
    }

    pub(in crate::store) fn kind(&self) -> ErrorKind {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::DiskFull,
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    ErrorKind::Busy
                }
                Some(rusqlite::ErrorCode::SystemIoFailure) => ErrorKind::Disk,
                _ => ErrorKind::Other,
            },
            Self::Server { kind, .. } => *kind,
            Self::TransactionFailed => ErrorKind::Refused,
            // Another process gives the lock back when it ends.
            Self::InUse { .. } => ErrorKind::Busy,
            _ => ErrorKind::Other,
        }
    }
}

/// Whether the connection to the server is gone, or goes with this error.
pub(super) fn ends_connection(error: &tokio_postgres::Error) -> bool {
    let is_fatal =
        |refused: &DbError| matches!(refused.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    error.as_db_error().map_or_else(|| is_of_connection(error), is_fatal)
}

fn is_of_connection(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>())
}

fn kind_of(code: &SqlState) -> ErrorKind {
    match code.code() {
        "53100" => ErrorKind::DiskFull,
        // Conflicts of transactions, and locks.
        "40001" | "40P01" | "55P03" => ErrorKind::Busy,
        // Connections that fail (08), too many of them, a server that starts, stops or only reads.
        "53300" | "57P01" | "57P02" | "57P03" | "25006" => ErrorKind::Unavailable,
        code if code.starts_with("08") => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}

/// No row is no failure.
pub(in crate::store) trait OptionalExtension<T> {
    /// `None` instead of [`Error::NoRow`].
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
