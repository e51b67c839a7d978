//! A consistent copy of the database, made through a connection that only reads: whether the daemon runs or not.
//!
//! Not a copy of the file: the newest changes are in the log beside it, and opening both with another program's SQLite is
//! unsafe.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::clock::Timestamp;
use crate::store::db;
use crate::store::error::{OpenError, StoreError};
use crate::store::meta::mark_backup;
use crate::store::schema::{find_damage, known_version, open_copy, open_reader};

/// A copy that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many jobs are in it.
    pub jobs: u64,
    /// Its length.
    pub bytes: u64,
    /// The version of its schema.
    pub version: i64,
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no database at {}", .0.display())]
    NoDatabase(PathBuf),
    /// It may not be read by this user.
    #[error("{} may not be read by this user", .0.display())]
    Forbidden(PathBuf),
    /// The database or its copy cannot be opened, is damaged, or is not dropreel's.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no space for the copy.
    #[error("the disk that holds {} is full", .0.display())]
    Full(PathBuf),
    /// The name of the copy is not UTF-8, as SQLite wants it.
    #[error("{} is not UTF-8", .0.display())]
    Name(PathBuf),
    /// SQLite could not copy it.
    #[error("{} could not be copied: {source}", .path.display())]
    Copy {
        /// The database.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// Fills `to`, a file that is there and empty, with all that is committed in `from`, marks it as a copy made at `now`,
/// and checks it from end to end. Blocks. It is still to be flushed.
///
/// # Errors
/// See [`BackupError`]; what is in `to` is of no use then.
pub fn copy(from: &Path, to: &Path, now: Timestamp) -> Result<Copied, BackupError> {
    match std::fs::File::open(from) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(BackupError::NoDatabase(from.to_owned()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(BackupError::Forbidden(from.to_owned()));
        }
        Err(source) => return Err(OpenError::File { path: from.to_owned(), source }.into()),
    }
    let name = to.to_str().ok_or_else(|| BackupError::Name(to.to_owned()))?;
    let failed = |error: db::Error| match StoreError::from(error) {
        StoreError::DiskFull(_) => BackupError::Full(to.to_owned()),
        source => BackupError::Copy { path: from.to_owned(), source },
    };
    let source = open_reader(from)?;
    known_version(&source, from)?;
    source.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
    drop(source);

    let copy = open_copy(to)?;
    mark_backup(&copy, now).map_err(|source| BackupError::Copy { path: to.to_owned(), source })?;
    let version = known_version(&copy, to)?;
    find_damage(&copy, to, "integrity_check")?;
    let jobs: i64 = copy.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).map_err(failed)?;
    drop(copy);
    let bytes = to.metadata().map_err(|source| OpenError::File { path: to.to_owned(), source })?.len();
    Ok(Copied { jobs: jobs.unsigned_abs(), bytes, version })
}
