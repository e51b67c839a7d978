//! The locks of the data folder and of the inbox, so that only one daemon uses each.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use thiserror::Error;

use crate::fs::{FileId, open_folder};

/// The locked data folder. The kernel releases the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held, never read")] File);

/// The locked inbox: two daemons on one inbox would buy each file twice.
#[derive(Debug)]
pub struct InboxLock {
    inbox: PathBuf,
    held: Mutex<HeldLock>,
}

#[derive(Debug)]
struct HeldLock {
    /// The folder that was locked.
    folder: FileId,
    /// `None` if the file system has no locks.
    #[expect(dead_code, reason = "held, never read")]
    lock: Option<OwnedFd>,
}

/// Why a folder could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon holds the lock.
    #[error("another dropreel is running on {}; stop it first (`systemctl stop dropreel`)", .0.display())]
    Held(PathBuf),
    /// Another daemon watches the inbox.
    #[error(
        "another dropreel watches the inbox {}, and each would buy its job files; give each its own `inbox.dir`, or stop \
         the other",
        .0.display()
    )]
    InboxHeld(PathBuf),
    /// The lock file cannot be opened or locked.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
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

impl InboxLock {
    /// Locks the inbox without waiting. The lock is on the folder itself, which leaves no file in it; on a network file
    /// system, where only files can be locked, on a hidden file. Without any locks there is a warning.
    ///
    /// # Errors
    /// [`LockError::InboxHeld`] when another process holds the lock, or when the folder cannot be opened.
    pub fn acquire(inbox: &Path) -> Result<Self, LockError> {
        Ok(Self { inbox: inbox.to_owned(), held: Mutex::new(HeldLock::acquire(inbox)?) })
    }

    /// Locks the folder that has the path of the inbox now, if it is another one than before, and unlocks the former.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire): then the folder at that path must not be read.
    pub fn renew(&self) -> Result<(), LockError> {
        let io = |source| LockError::Io { path: self.inbox.clone(), source };
        let found = std::fs::metadata(&self.inbox).map_err(io)?;
        let mut held = self.held.lock();
        if held.folder != (found.dev(), found.ino()) {
            *held = HeldLock::acquire(&self.inbox)?;
            tracing::warn!(
                "the inbox {} was replaced by another folder, which is watched now",
                self.inbox.display()
            );
        }
        Ok(())
    }
}

impl HeldLock {
    fn acquire(inbox: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: inbox.to_owned(), source };
        let opened = open_folder(inbox).map_err(|error| io(std::io::Error::other(error)))?;
        let folder = File::from(opened);
        let found = folder.metadata().map_err(io)?;
        let (id, opened) = ((found.dev(), found.ino()), OwnedFd::from(folder));
        let lock = |descriptor: OwnedFd| match rustix::fs::flock(
            &descriptor,
            FlockOperation::NonBlockingLockExclusive,
        ) {
            Ok(()) => Ok(Some(descriptor)),
            Err(Errno::WOULDBLOCK) => Err(LockError::InboxHeld(inbox.to_owned())),
            Err(_) => Ok(None),
        };
        if let Some(locked) = lock(opened)? {
            return Ok(Self { folder: id, lock: Some(locked) });
        }
        let mut options = std::fs::OpenOptions::new();
        let file =
            options.create(true).truncate(false).write(true).mode(0o600).open(inbox.join(".dropreel.lock"));
        let locked = file.map_or(Ok(None), |file| lock(file.into()))?;
        if locked.is_none() {
            tracing::warn!(
                "the inbox {} is on a file system without locks; make sure that no other dropreel watches it",
                inbox.display()
            );
        }
        Ok(Self { folder: id, lock: locked })
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

    #[test]
    fn inbox_lock_holds_by_every_path_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, link) = (folder.path().join("inbox"), folder.path().join("link"));
        std::fs::create_dir(&inbox).unwrap();
        std::os::unix::fs::symlink(&inbox, &link).unwrap();
        let first = InboxLock::acquire(&inbox).unwrap();
        assert!(matches!(InboxLock::acquire(&link), Err(LockError::InboxHeld(_))));
        assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 0);
        drop(first);
        assert!(InboxLock::acquire(&link).is_ok());
    }

    #[test]
    fn inbox_lock_follows_the_path_to_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, former) = (folder.path().join("inbox"), folder.path().join("former"));
        std::fs::create_dir(&inbox).unwrap();
        let lock = InboxLock::acquire(&inbox).unwrap();
        std::fs::rename(&inbox, &former).unwrap();
        assert!(matches!(lock.renew(), Err(LockError::Io { .. })), "the inbox is missing");
        std::fs::create_dir(&inbox).unwrap();
        let other = InboxLock::acquire(&inbox).unwrap();
        assert!(matches!(lock.renew(), Err(LockError::InboxHeld(_))));
        drop(other);
        lock.renew().unwrap();
        assert!(matches!(InboxLock::acquire(&inbox), Err(LockError::InboxHeld(_))));
        assert!(InboxLock::acquire(&former).is_ok());
    }
}
