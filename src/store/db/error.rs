//! Why a statement failed.

use thiserror::Error as ThisError;

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
    Unwritable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// What a failure means for those who use the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum ErrorKind {
    /// The disk is full. Nothing is kept, even of a commit.
    DiskFull,
    /// Another program has locked it. Nothing is kept.
    Busy,
    /// The disk fails.
    Disk,
    /// Anything else.
    Other,
}

impl Error {
    /// A value that cannot be written.
    pub(in crate::store) fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unwritable(Box::new(error))
    }

    #[cfg(test)]
    pub(in crate::store) fn disk_full() -> Self {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        Self::Sqlite(rusqlite::Error::SqliteFailure(code, None))
    }

    pub(in crate::store) fn kind(&self) -> ErrorKind {
        let Self::Sqlite(error) = self else { return ErrorKind::Other };
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::DiskFull,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ErrorKind::Busy,
            Some(rusqlite::ErrorCode::SystemIoFailure) => ErrorKind::Disk,
            _ => ErrorKind::Other,
        }
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
