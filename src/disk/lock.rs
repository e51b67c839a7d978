//! One daemon for one data folder: a lock held for life.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use thiserror::Error;

/// The data folder is ours as long as this lives. The kernel drops it with the process, however that ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held, never read")] File);

/// Why the data folder is not ours.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("another dropreel is running on {}; stop it first (`systemctl stop dropreel`)", .0.display())]
    Held(PathBuf),
    /// The lock file cannot be opened.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DataLock {
    /// Takes the lock of `data_dir` at once or not at all.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written to.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
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
    fn a_second_daemon_is_kept_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::take(folder.path()).unwrap();
        assert!(matches!(DataLock::take(folder.path()), Err(LockError::Held(_))));
        drop(first);
        assert!(DataLock::take(folder.path()).is_ok());
    }
}
