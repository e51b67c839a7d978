//! Errors of file operations, each with the path it concerns.

use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::io::Errno;
use thiserror::Error;

/// Why a file could not be read, written or moved.
#[derive(Debug, Error)]
pub enum FsError {
    /// The disk or the quota is full. Retrying succeeds once there is space.
    #[error("the disk that holds {} is full: {}; make room on it", .path.display(), describe_space(.path, *.needed))]
    StorageFull {
        path: PathBuf,
        /// Bytes that must be free, if they are known beforehand.
        needed: Option<u64>,
    },
    /// The path exists and must not be replaced.
    #[error("{} already exists", .0.display())]
    AlreadyExists(PathBuf),
    /// The file is not the version that was read before.
    #[error("{} has changed in the meantime", .0.display())]
    Changed(PathBuf),
    /// The file changed during each of many attempts to work on it.
    #[error("{} keeps changing; it is tried again later", .0.display())]
    KeepsChanging(PathBuf),
    /// The file system cannot do what is needed to move files safely.
    #[error("the file system of {} {what}; set the folder to one on another file system", .folder.display())]
    Unsuitable {
        folder: PathBuf,
        /// What it lacks, for people.
        what: String,
    },
    /// The folder of the path is the inbox.
    #[error(
        "{} would be in the inbox, which would read its sidecar as a job file; change `library.layout` or `inbox.dir`",
        .0.display()
    )]
    FeedsInbox(PathBuf),
    /// The path does not exist.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// Neither a regular file nor a folder, or a link where a folder is expected.
    #[error("{} is a {kind}; dropreel does not open it", .path.display())]
    NotRegular {
        path: PathBuf,
        /// The kind of file, for people.
        kind: &'static str,
    },
    /// The file is larger than allowed.
    #[error("{} is larger than {limit} bytes", .path.display())]
    TooLarge {
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Any other error of the operating system.
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl FsError {
    pub(crate) fn new(path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::StorageFull { path, needed: None }
            }
            io::ErrorKind::AlreadyExists => Self::AlreadyExists(path),
            io::ErrorKind::NotFound => Self::NotFound(path),
            _ => Self::Io { path, source },
        }
    }
}

/// How much is free on the disk of `path` now, and how much is needed.
pub fn describe_space(path: &Path, needed: Option<u64>) -> String {
    // The file may not be there: its folder is on the same disk.
    let found = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    let free = found.map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let free = free.map_or_else(|| "free space unknown".to_owned(), |free| format!("{} free", size(free)));
    match needed {
        Some(needed) => format!("{free}, {} needed", size(needed)),
        None => format!("{free}, more is needed"),
    }
}

/// Whether the error can go away without a person's help: a full disk, too many open files, a failing disk.
pub fn is_transient(error: &io::Error) -> bool {
    let errnos = [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| errnos.iter().any(|errno| errno.raw_os_error() == code))
}
