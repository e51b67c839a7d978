//! Flushes the names in folders: of one, or of many with few flushes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::io::Errno;

use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;

/// More folders of one file system than this are flushed with all that is on it: each flush of one waits for the disk as
/// long as that does.
const MAX_SINGLE_FLUSHES: usize = 8;
/// File systems whose names syncfs(2) flushes, by their statfs(2) magic number: ext4, XFS, Btrfs and tmpfs.
const FLUSHED_AS_A_WHOLE: [u64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];

/// Flushes a folder, so that the names in it survive a power cut.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn flush_folder(path: &Path) -> Result<(), FsError> {
    let folder = File::open(path).map_err(|error| FsError::new(path, error))?;
    flush_names(&folder).map_err(|error| FsError::new(path, error))
}

/// [`flush_folder`] for an open folder. Some file systems cannot flush folders, which is logged once.
pub(crate) fn flush_names(folder: impl AsFd) -> io::Result<()> {
    static LOGGED: Once = Once::new();
    match rustix::fs::fsync(folder) {
        Err(error) if is_flush_unsupported(error) => {
            LOGGED.call_once(|| {
                tracing::warn!(
                    "a file system cannot flush folders ({error}): a power cut can undo the newest moves"
                );
            });
            Ok(())
        }
        flushed => Ok(flushed?),
    }
}

pub(super) fn is_flush_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// [`flush_folder`] for many.
///
/// # Errors
/// When one cannot be opened or flushed; then none counts as flushed.
pub(crate) fn flush_folders(folders: &BTreeSet<PathBuf>) -> Result<(), FsError> {
    flush_but_disks(folders, &BTreeSet::new()).map(|_| ())
}

/// Flushes the folders that files were moved to, then those that they were moved from: a crash in between must not leave
/// a file in neither. A file system that is flushed as a whole is flushed once for both.
///
/// # Errors
/// As [`flush_folders`].
pub(crate) fn flush_moves(to: &BTreeSet<PathBuf>, from: &BTreeSet<PathBuf>) -> Result<(), FsError> {
    let flushed_disks = flush_but_disks(to, &BTreeSet::new())?;
    failpoints::hit(FailPoint::ArchiveTargetFlushed);
    flush_but_disks(from, &flushed_disks).map(|_| ())
}

/// Flushes folders but those on disks that are flushed already. Returns the disks that were flushed as a whole.
fn flush_but_disks(folders: &BTreeSet<PathBuf>, flushed: &BTreeSet<u64>) -> Result<BTreeSet<u64>, FsError> {
    if folders.len() <= MAX_SINGLE_FLUSHES {
        return folders.iter().try_for_each(|folder| flush_folder(folder)).map(|()| BTreeSet::new());
    }
    // Another disk may be mounted below.
    let mut by_disk: BTreeMap<u64, Vec<&Path>> = BTreeMap::new();
    for folder in folders {
        let stat = rustix::fs::stat(folder).map_err(|error| FsError::new(folder, error))?;
        by_disk.entry(stat.st_dev).or_default().push(folder);
    }
    let mut flushed_now = BTreeSet::new();
    for (disk, folders) in by_disk.into_iter().filter(|(disk, _)| !flushed.contains(disk)) {
        if flush_on_one_disk(&folders)? {
            flushed_now.insert(disk);
        }
    }
    Ok(flushed_now)
}

/// Returns whether the whole disk was flushed.
fn flush_on_one_disk(folders: &[&Path]) -> Result<bool, FsError> {
    let is_whole = folders.len() > MAX_SINGLE_FLUSHES && flush_file_system(folders[0])?;
    // Before Linux 5.17, syncfs(2) hides that the journal could not be written. The flush of any folder then fails.
    let single = if is_whole { &folders[..1] } else { folders };
    single.iter().try_for_each(|folder| flush_folder(folder)).map(|()| is_whole)
}

/// Flushes the whole file system of a folder. False: it is not known whether that flushes names.
fn flush_file_system(folder: &Path) -> Result<bool, FsError> {
    let opened = File::open(folder).map_err(|error| FsError::new(folder, error))?;
    let stat = rustix::fs::fstatfs(&opened).map_err(|error| FsError::new(folder, error))?;
    #[expect(clippy::cast_sign_loss, reason = "a bit pattern")]
    let magic = stat.f_type as u64 & 0xFFFF_FFFF;
    if !FLUSHED_AS_A_WHOLE.contains(&magic) {
        return Ok(false);
    }
    match rustix::fs::syncfs(&opened) {
        Err(error) if is_flush_unsupported(error) => Ok(false),
        Err(error) => Err(FsError::new(folder, error)),
        Ok(()) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_cannot_be_flushed_is_no_error() {
        // A pipe answers EINVAL, as such a file system does.
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(rustix::fs::fsync(&reader), Err(Errno::INVAL));
        flush_names(&reader).unwrap();
    }

    #[test]
    fn many_folders_are_flushed_and_a_missing_one_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let mut folders: BTreeSet<PathBuf> =
            (0..=MAX_SINGLE_FLUSHES).map(|number| root.path().join(number.to_string())).collect();
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        flush_folders(&folders).unwrap();
        folders.insert(root.path().join("missing"));
        assert!(matches!(flush_folders(&folders), Err(FsError::NotFound(_))));
    }

    #[test]
    fn file_system_that_is_not_known_is_not_flushed_as_a_whole() {
        assert!(!flush_file_system(Path::new("/proc")).unwrap());
    }
}
