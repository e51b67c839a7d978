//! A file that somebody else writes by its path, and that gets its name only once it is whole.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::disk::{DiskError, flush, flush_names, open_folder, rename_new, split, unfinished_name};

/// A hidden, empty file beside the one it is to become, ours alone. Dropped before it is [published](Self::publish), it
/// is gone.
#[derive(Debug)]
pub struct Unfinished {
    to: PathBuf,
    name: String,
    folder: OwnedFd,
    path: PathBuf,
    working_name: String,
    /// Holds a lock: two at once would write into each other's.
    file: Option<File>,
}

impl Unfinished {
    /// Begins with what is to become `to`.
    ///
    /// # Errors
    /// [`DiskError::Taken`] when that is there already, or somebody else is writing it; [`DiskError::Gone`] with the
    /// folder that it would lie in.
    pub fn begin(to: &Path) -> Result<Self, DiskError> {
        let (parent, name) = split(to)?;
        let folder = open_folder(parent)?;
        if to.symlink_metadata().is_ok() {
            return Err(DiskError::Taken(to.to_owned()));
        }
        let working_name = unfinished_name(name);
        let path = parent.join(&working_name);
        let io = |error| DiskError::new(&path, error);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&path)
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Taken(path)),
            Err(error) => return Err(io(error.into())),
        }
        // Whoever had the lock until now may have published the file, which is not ours to empty.
        let (ours, there) = (file.metadata().map_err(io)?, path.symlink_metadata().map_err(io)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Err(DiskError::Taken(to.to_owned()));
        }
        // What is in it a kill has left.
        file.set_len(0).map_err(io)?;
        Ok(Self { to: to.to_owned(), name: name.to_owned(), folder, path, working_name, file: Some(file) })
    }

    /// Where it is to be written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, for good, and never in another's place.
    ///
    /// # Errors
    /// [`DiskError::Taken`] when something has that name by now, and what can befall a disk. It is gone then.
    pub fn publish(mut self) -> Result<(), DiskError> {
        let io = |error| DiskError::new(&self.to, error);
        // Somebody else's writes count as well: a flush is of the file, whoever has written to it.
        self.file.as_ref().map_or(Ok(()), flush).map_err(io)?;
        let (working_name, name) = (Path::new(&self.working_name), Path::new(&self.name));
        rename_new((&self.folder, working_name), (&self.folder, name), &self.to)?;
        // From here on it is not ours to remove.
        self.file = None;
        flush_names(&self.folder).map_err(io)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What cannot be removed is emptied and used again by the next one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_appears_whole_and_private_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.db");
        let unfinished = Unfinished::begin(&to).unwrap();
        std::fs::write(unfinished.path(), "whole").unwrap();
        assert!(!to.exists());
        unfinished.publish().unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);

        let other = Unfinished::begin(&folder.path().join("b.db")).unwrap();
        std::fs::write(other.path(), "half").unwrap();
        drop(other);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_ever_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.db");
        let unfinished = Unfinished::begin(&to).unwrap();
        let second = Unfinished::begin(&to);
        assert!(matches!(&second, Err(DiskError::Taken(path)) if path == unfinished.path()), "{second:?}");
        std::os::unix::fs::symlink("nowhere", &to).unwrap();
        assert!(matches!(unfinished.publish(), Err(DiskError::Taken(path)) if path == to));
        assert!(matches!(Unfinished::begin(&to), Err(DiskError::Taken(path)) if path == to));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/a.db");
        assert!(matches!(Unfinished::begin(&nowhere), Err(DiskError::Gone(path)) if path.ends_with("none")));
    }

    #[test]
    fn what_a_kill_left_is_emptied_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".a.db.tmp"), "left over").unwrap();
        let unfinished = Unfinished::begin(&folder.path().join("a.db")).unwrap();
        assert_eq!(std::fs::metadata(unfinished.path()).unwrap().len(), 0);
    }
}
