//! A file that other code writes by path, and that gets its name only when it is complete.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::fs::{FsError, flush, flush_names, open_folder, rename_no_replace, split_path, temporary_name};

/// A hidden, empty file beside its final path. Dropping it before it is [published](Self::publish) removes it.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    name: String,
    folder: OwnedFd,
    path: PathBuf,
    temporary_name: String,
    /// Locked, so that two writers do not share the temporary file. `None` once published.
    file: Option<File>,
}

impl AtomicFile {
    /// Creates the temporary file for `target`.
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] with `target` when it exists, or with the temporary path when another process is
    /// writing it; [`FsError::NotFound`] with the folder when it does not exist.
    pub fn create(target: &Path) -> Result<Self, FsError> {
        let (parent, name) = split_path(target)?;
        let folder = open_folder(parent)?;
        if target.symlink_metadata().is_ok() {
            return Err(FsError::AlreadyExists(target.to_owned()));
        }
        let temporary_name = temporary_name(name);
        let path = parent.join(&temporary_name);
        let io = |error| FsError::new(&path, error);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(FsError::AlreadyExists(path)),
            Err(error) => return Err(io(error.into())),
        }
        // The previous holder of the lock may have published this very file; truncating it would destroy the result.
        let (locked, current) = (file.metadata().map_err(io)?, path.symlink_metadata().map_err(io)?);
        if (locked.dev(), locked.ino()) != (current.dev(), current.ino()) {
            return Err(FsError::AlreadyExists(target.to_owned()));
        }
        // A killed process may have left content.
        file.set_len(0).map_err(io)?;
        let (target, name) = (target.to_owned(), name.to_owned());
        Ok(Self { target, name, folder, path, temporary_name, file: Some(file) })
    }

    /// The temporary path, to be written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes the file and renames it to its final path. Never replaces a file.
    ///
    /// # Errors
    /// [`FsError::AlreadyExists`] when the target exists by now, or when the file cannot be flushed or renamed. The
    /// temporary file is removed in each case.
    pub fn publish(mut self) -> Result<(), FsError> {
        let io = |error| FsError::new(&self.target, error);
        // A flush covers the writes of all processes, not only those through this descriptor.
        self.file.as_ref().map_or(Ok(()), flush).map_err(io)?;
        let (temporary_name, name) = (Path::new(&self.temporary_name), Path::new(&self.name));
        rename_no_replace((&self.folder, temporary_name), (&self.folder, name), &self.target)?;
        // The temporary name may belong to another process from now on, so `drop` must not remove it.
        self.file = None;
        flush_names(&self.folder).map_err(io)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // If this fails, the next `create` truncates and reuses the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_appears_complete_and_private_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.db");
        let file = AtomicFile::create(&target).unwrap();
        std::fs::write(file.path(), "whole").unwrap();
        assert!(!target.exists());
        file.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);

        let other = AtomicFile::create(&folder.path().join("b.db")).unwrap();
        std::fs::write(other.path(), "half").unwrap();
        drop(other);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn publish_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.db");
        let file = AtomicFile::create(&target).unwrap();
        let second = AtomicFile::create(&target);
        assert!(matches!(&second, Err(FsError::AlreadyExists(path)) if path == file.path()), "{second:?}");
        std::os::unix::fs::symlink("nowhere", &target).unwrap();
        assert!(matches!(file.publish(), Err(FsError::AlreadyExists(path)) if path == target));
        assert!(matches!(AtomicFile::create(&target), Err(FsError::AlreadyExists(path)) if path == target));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/a.db");
        assert!(
            matches!(AtomicFile::create(&nowhere), Err(FsError::NotFound(path)) if path.ends_with("none"))
        );
    }

    #[test]
    fn leftover_of_a_killed_process_is_truncated_and_reused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".a.db.tmp"), "left over").unwrap();
        let file = AtomicFile::create(&folder.path().join("a.db")).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().len(), 0);
    }
}
