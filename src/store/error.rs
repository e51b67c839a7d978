//! The errors of the database, sorted by what they mean for the caller.

use std::path::PathBuf;

use thiserror::Error;

use crate::job::record::CorruptRecord;
use crate::job::{JobId, TaskId};

/// Why the store could not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The provider handed out a task that already belongs to another job.
    #[error("task {0} already belongs to another job")]
    DuplicateTask(TaskId),
    /// The disk is full: nothing of the change was kept, and it may be tried again.
    #[error("the disk that holds the database is full; make room on it")]
    DiskFull,
    /// Somebody else holds the database locked: nothing was kept, and it may be tried again.
    #[error("another program holds the database locked")]
    Busy,
    /// Another file, or none, has the name of the database now. Nothing was kept, and it may be tried again.
    #[error(
        "the database file was removed or replaced while dropreel runs; nothing is written or submitted until it is back: \
         restore its files under their names, or restart dropreel to continue with what is there"
    )]
    FileReplaced,
    /// A row of the database does not make sense. The job is left alone.
    #[error("the database holds a corrupt job: {0}")]
    CorruptJob(#[from] CorruptRecord),
    /// A value of the database is not one of ours.
    #[error("the database holds an unknown {what}: `{value}`")]
    UnknownWord {
        /// What kind of word.
        what: &'static str,
        /// The word.
        value: String,
    },
    /// The caller's part of the work failed: nothing was kept.
    #[error("{0}")]
    Aborted(String),
    /// The statement failed: nothing was kept.
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// It is not known whether the change was kept. The process must end and look again (a commit that answers
    /// "I/O error" may still be committed).
    #[error("the database could not be written, and it is unknown how much was: {0}")]
    Fatal(String),
    /// The writer has ended; the process is about to.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    /// Whether it is the matter of one job alone: the others can go on.
    pub const fn concerns_one_job(&self) -> bool {
        match self {
            Self::NoSuchJob(_)
            | Self::DuplicateTask(_)
            | Self::CorruptJob(_)
            | Self::UnknownWord { .. }
            | Self::Aborted(_) => true,
            Self::DiskFull
            | Self::Busy
            | Self::FileReplaced
            | Self::Sqlite(_)
            | Self::Fatal(_)
            | Self::Closed => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::FromSqlConversionFailure;
        use rusqlite::ErrorCode;
        match (error.sqlite_error_code(), error) {
            (Some(ErrorCode::DiskFull), _) => Self::DiskFull,
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Self::Busy,
            // A value that is not one of ours.
            (_, FromSqlConversionFailure(column, kind, source)) => match source.downcast::<Self>() {
                Ok(unknown) => *unknown,
                Err(source) => Self::Sqlite(FromSqlConversionFailure(column, kind, source)),
            },
            (_, error) => Self::Sqlite(error),
        }
    }
}

/// Why the database could not be opened. All of these end the daemon with exit code 2.
#[derive(Debug, Error)]
pub enum OpenError {
    /// SQLite itself is too old.
    #[error("SQLite {found} has a known way to corrupt its log; 3.51.3 or newer is needed")]
    OldSqlite {
        /// The version linked.
        found: String,
    },
    /// The file was made by a newer dropreel.
    #[error(
        "{path} was written by a newer dropreel (schema {found}, this one knows {known}); install that version, or restore a backup"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest we know.
        known: i64,
    },
    /// The file is a database, but not ours.
    #[error("{path} is not a dropreel database")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A setting that durability depends on did not take.
    #[error(
        "{path}: `{pragma}` could not be set (it is `{found}`); is the file system able to hold a database?"
    )]
    Pragma {
        /// The file.
        path: PathBuf,
        /// Which.
        pragma: &'static str,
        /// What it is instead.
        found: String,
    },
    /// The database is damaged.
    #[error("{path} is damaged: {finding}; restore a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check says.
        finding: String,
    },
    /// The file could not be made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("{path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether it may pass by itself: a full or failing disk, too many open files, somebody else's lock.
    pub fn passes(&self) -> bool {
        use rusqlite::ErrorCode;
        match self {
            Self::File { source, .. } => {
                // What cannot be opened for want of a right or a folder is a matter of place.
                use std::io::ErrorKind;
                let of_place =
                    [ErrorKind::PermissionDenied, ErrorKind::NotFound, ErrorKind::ReadOnlyFilesystem];
                !of_place.contains(&source.kind())
            }
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                )
            ),
            Self::OldSqlite { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Pragma { .. }
            | Self::Damaged { .. } => false,
        }
    }
}
