//! The errors of the database, by what they mean for the caller.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::fs::describe_space;
use crate::job::record::CorruptRecord;
use crate::job::{JobId, TaskId};
use crate::store::db::{self, Database, FromSqlError};

/// Free space that every write of the database gets by with: a batch of at most 8 MiB, in the log and in the database.
const NEEDED_SPACE: u64 = 16 << 20;

fn describe_full_disk(database: Option<&Path>) -> String {
    match database {
        Some(path) => format!(
            "the disk that holds {} is full: {}; make room on it",
            path.display(),
            describe_space(path, Some(NEEDED_SPACE))
        ),
        None => "the disk that holds the database is full; make room on it".to_owned(),
    }
}

fn describe_open_failure(database: &Database, failure: &db::Error) -> String {
    match (failure.kind(), database.path()) {
        (db::ErrorKind::DiskFull, Some(path)) => describe_full_disk(Some(path)),
        _ => format!("{database}: {failure}"),
    }
}

fn describe_file_failure(path: &Path, failure: &std::io::Error) -> String {
    match failure.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => describe_full_disk(Some(path)),
        _ => format!("{}: {failure}", path.display()),
    }
}

/// Why an operation of the store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The provider returned a task that already belongs to another job.
    #[error("task {0} already belongs to another job")]
    DuplicateTask(TaskId),
    /// The disk of the database, which the store names, is full. Nothing was changed; the operation may be repeated.
    #[error("{}", describe_full_disk(.0.as_deref()))]
    DiskFull(Option<PathBuf>),
    /// Another program has locked the database. Nothing was changed; the operation may be repeated.
    #[error("another program holds the database locked")]
    Busy,
    /// The server of the database cannot be reached. Nothing was changed; the operation may be repeated.
    #[error("the database server is not available: {0}")]
    Unavailable(String),
    /// Another file, or none, has the name of the database now. Nothing was changed; the operation may be repeated.
    #[error(
        "the database file was removed or replaced while dropreel runs; nothing is written or submitted until it is back: \
         restore its files under their names, or restart dropreel to continue with what is there"
    )]
    FileReplaced,
    /// A row is not a valid job. The job is left alone.
    #[error("the database holds a corrupt job: {0}")]
    CorruptJob(#[from] CorruptRecord),
    /// A value that dropreel does not know.
    #[error("the database holds an unknown {what}: `{value}`")]
    UnknownWord {
        /// What kind of word.
        what: &'static str,
        /// The word.
        value: String,
    },
    /// The caller's part of the operation failed. Nothing was changed.
    #[error("{0}")]
    Aborted(String),
    /// A statement failed. Nothing was changed.
    #[error("database: {0}")]
    Database(#[source] db::Error),
    /// It is unknown whether the change was committed: a commit that fails with an I/O error may still be on the disk.
    /// The process must end; a restart finds out.
    #[error("the database could not be written, and it is unknown how much was: {0}")]
    Fatal(String),
    /// The writer has ended, and the process is about to end.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    /// Whether it concerns one job only, so that the others can continue.
    pub const fn concerns_one_job(&self) -> bool {
        match self {
            Self::NoSuchJob(_)
            | Self::DuplicateTask(_)
            | Self::CorruptJob(_)
            | Self::UnknownWord { .. }
            | Self::Aborted(_) => true,
            Self::DiskFull(_)
            | Self::Busy
            | Self::Unavailable(_)
            | Self::FileReplaced
            | Self::Database(_)
            | Self::Fatal(_)
            | Self::Closed => false,
        }
    }

    /// Why no further connection could be opened to read.
    pub(super) fn of_reader(error: OpenError) -> Self {
        match error {
            OpenError::Database { source, .. } => source.into(),
            other => Self::Aborted(other.to_string()),
        }
    }

    /// The error, with the database that it concerns.
    pub(super) fn of_database(self, database: &Database) -> Self {
        match self {
            Self::DiskFull(None) => Self::DiskFull(database.path().map(Path::to_owned)),
            other => other,
        }
    }

    /// What a failure is after which surely nothing is kept, even of a commit.
    pub(super) fn nothing_kept(kind: db::ErrorKind, message: &dyn Display) -> Option<Self> {
        match kind {
            db::ErrorKind::DiskFull => Some(Self::DiskFull(None)),
            db::ErrorKind::Busy => Some(Self::Busy),
            db::ErrorKind::Unavailable => Some(Self::Unavailable(message.to_string())),
            db::ErrorKind::Refused => {
                Some(Self::Database(db::Error::Server { kind, message: message.to_string() }))
            }
            db::ErrorKind::Disk | db::ErrorKind::Other => None,
        }
    }
}

impl From<db::Error> for StoreError {
    fn from(error: db::Error) -> Self {
        match (Self::nothing_kept(error.kind(), &error), error) {
            (Some(kind), _) => kind,
            // A value that `sql_types` could not read.
            (None, db::Error::Value { column, source: FromSqlError::Other(source) }) => {
                match source.downcast::<Self>() {
                    Ok(unknown) => *unknown,
                    Err(source) => {
                        Self::Database(db::Error::Value { column, source: FromSqlError::Other(source) })
                    }
                }
            }
            (None, error) => Self::Database(error),
        }
    }
}

/// Why the database could not be opened. All of these end the daemon with exit code 2.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The SQLite library is too old.
    #[error("SQLite {found} has a known way to corrupt its log; 3.51.3 or newer is needed")]
    OldSqlite {
        /// Its schema version.
        found: String,
    },
    /// A newer dropreel wrote the file.
    #[error(
        "{database} was written by a newer dropreel (schema {found}, this one knows {known}); install that version, or restore a backup"
    )]
    Newer {
        database: Database,
        /// Its schema version.
        found: i64,
        /// The newest known version.
        known: i64,
    },
    /// The process that leads is of another version.
    #[error("{database} is used by another version of dropreel (schema {found}, this one has {known})")]
    OtherVersion {
        database: Database,
        /// Its schema version.
        found: i64,
        /// The version here.
        known: i64,
    },
    /// The file is a database of another program.
    #[error("{database} is not a dropreel database")]
    Foreign { database: Database },
    /// A setting that durability depends on had no effect.
    #[error(
        "{path}: `{pragma}` could not be set (it is `{found}`); is the file system able to hold a database?"
    )]
    Pragma {
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// Its value.
        found: String,
    },
    /// The database is damaged.
    #[error("{path} is damaged: {finding}; restore a backup")]
    Damaged {
        path: PathBuf,
        /// The finding of the check.
        finding: String,
    },
    /// The file could not be created.
    #[error("{}", describe_file_failure(.path, .source))]
    File {
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address names no server.
    #[error("{address}: {source}")]
    Server {
        address: String,
        /// Why.
        source: db::Error,
    },
    /// No thread could be started to write it.
    #[error("no thread can be started: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// The database returned an error.
    #[error("{}", describe_open_failure(.database, .source))]
    Database {
        database: Database,
        /// Why.
        source: db::Error,
    },
}

impl OpenError {
    /// The daemon that uses the database, if that is why.
    pub fn leader(&self) -> Option<&str> {
        match self {
            Self::Database { source: db::Error::InUse { leader }, .. } => Some(leader),
            _ => None,
        }
    }

    /// Whether a restart may succeed: a full or failing disk, too many open files, another program's lock.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::File { source, .. } => {
                // A missing permission or folder needs a person.
                let permanent =
                    [ErrorKind::PermissionDenied, ErrorKind::NotFound, ErrorKind::ReadOnlyFilesystem];
                !permanent.contains(&source.kind())
            }
            Self::Database { source, .. } => {
                !matches!(source.kind(), db::ErrorKind::Other | db::ErrorKind::Refused)
            }
            // The daemon that leads has the same version soon, or this one leads once that is gone.
            Self::Thread { .. } | Self::OtherVersion { .. } => true,
            Self::OldSqlite { .. }
            | Self::Server { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Pragma { .. }
            | Self::Damaged { .. } => false,
        }
    }
}
