//! The lock of the data folder, so that only one daemon uses it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use thiserror::Error;

/// The locked data folder. The kernel releases the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held, never read")] File);

/// Why the data folder could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon holds the lock.
    #[error("another dropreel is running on {}; stop it first (`systemctl stop dropreel`)", .0.display())]
    Held(PathBuf),
    /// The lock file cannot be opened or locked.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl DataLock {
    /// Locks `data_dir` without waiting.
    ///
    /// # Errors
    /// When another process holds the lock, or the folder is not writable.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join("dropreel.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held(data_dir.to_owned())),
            Err(error) => Err(io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_fails_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(folder.path()).unwrap();
        assert!(matches!(DataLock::acquire(folder.path()), Err(LockError::Held(_))));
        drop(first);
        assert!(DataLock::acquire(folder.path()).is_ok());
    }
}
