//! Renames. Neither function flushes the folders.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::fs::FsError;

#[expect(clippy::disallowed_methods, reason = "the one home of renames")]
pub(super) fn rename_replacing(from: &Path, to: &Path) -> Result<(), FsError> {
    std::fs::rename(from, to).map_err(|error| FsError::new(to, error))
}

/// Renames a file, or fails if the new name exists. `from` and `to` are each a folder and a path relative to it;
/// `full_path` is for the error.
pub(crate) fn rename_no_replace(
    from: (impl AsFd, &Path),
    to: (impl AsFd, &Path),
    full_path: &Path,
) -> Result<(), FsError> {
    match renameat_with(&from.0, from.1, &to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system lacks the flag. A link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS) => linkat(&from.0, from.1, &to.0, to.1, AtFlags::empty())
            .and_then(|()| unlinkat(&from.0, from.1, AtFlags::empty()))
            .map_err(|error| FsError::new(full_path, error)),
        Err(error) => Err(FsError::new(full_path, error)),
    }
}

/// Whether a rename failed because the two paths are on different file systems.
pub(crate) fn is_cross_device(error: &FsError) -> bool {
    matches!(error, FsError::Io { source, .. } if source.kind() == io::ErrorKind::CrossesDevices)
}
