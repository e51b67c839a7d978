//! The watched folder: listed, read, and emptied by moves that never replace a file.

mod destination;
mod file_version;
mod leftovers;
mod open_folder;
mod scan;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, statat};

use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, create_private_folder, flush_moves, open_folder, open_folder_no_follow};
pub use crate::inbox::destination::{Destination, FileHere, folder_for};
pub use crate::inbox::file_version::FileVersion;
pub use crate::inbox::leftovers::Leftovers;
pub use crate::inbox::open_folder::{InboxEntry, OpenFolder};
pub use crate::inbox::scan::{Scan, ScanCache, ScannedFolder};
use crate::jobfile::split_path;

/// How many levels of folders below the inbox are read.
pub const MAX_LEVELS: usize = 8;

/// The watched folder with the folders below it. A file in it is named by its path below it, such as `spring/a.json`.
#[derive(Clone, Debug)]
pub struct Inbox {
    folder: PathBuf,
    /// The configured path is a link to a folder. A link that appears later is not followed.
    is_link: bool,
}

impl Inbox {
    /// The inbox at `folder`, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        let is_link = folder.is_symlink();
        Self { folder, is_link }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Creates the folder if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created or examined, or was replaced by a link.
    pub fn create_if_missing(&self) -> Result<(), FsError> {
        if !self.is_link && self.folder.is_symlink() {
            return Err(FsError::NotRegular { path: self.folder.clone(), kind: "symbolic link" });
        }
        create_private_folder(&self.folder)
    }

    /// Opens the folder to work relative to it.
    ///
    /// # Errors
    /// When it does not exist, or was replaced by a link.
    pub fn open(&self) -> Result<OpenFolder, FsError> {
        let open = if self.is_link { open_folder } else { open_folder_no_follow };
        Ok(OpenFolder { folder: open(&self.folder)?, path: self.folder.clone() })
    }

    /// Opens the folder at `path` below the inbox; the inbox itself for an empty path. Follows no link.
    ///
    /// # Errors
    /// When it does not exist, or a part of the path was replaced by something else.
    pub fn open_below(&self, path: &str) -> Result<OpenFolder, FsError> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(self.open(), |folder, part| folder?.open_folder(part))
    }

    /// [`OpenFolder::open_file`] for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn open_file(&self, path: &str) -> Result<(File, FileVersion), FsError> {
        let (folder, name) = split_path(path);
        self.open_below(folder)?.open_file(name)
    }

    /// Whether the file at `path` is this version.
    pub fn has_version(&self, path: &str, version: &FileVersion) -> bool {
        let stat = statat(CWD, self.folder.join(path), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileVersion::of(&stat) == *version)
    }

    /// [`Destination::reject`] for a single file: into the folder below `rejected` that it has below the inbox.
    ///
    /// # Errors
    /// As there.
    pub fn reject(
        &self,
        path: &str,
        version: &FileVersion,
        rejected: &Path,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, FsError> {
        let (folder, name) = split_path(path);
        let to = folder_for(rejected, folder);
        Destination::create(&self.open_below(folder)?, &to)?.reject(name, version, reason)
    }

    /// Flushes moves, each from a folder below the inbox to a folder elsewhere. Before this, a power cut can undo them.
    ///
    /// # Errors
    /// When a folder cannot be flushed; then none of the moves counts as flushed.
    pub fn flush_moves<'m>(
        &self,
        moves: impl IntoIterator<Item = (&'m str, &'m Path)>,
    ) -> Result<(), FsError> {
        let folders = moves.into_iter().map(|(from, to)| (self.folder.join(from), to.to_owned()));
        let (mut from, to): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) = folders.unzip();
        // The owner of one that is gone has removed it when it was empty, and whatever name was in it.
        from.retain(|folder| *folder == self.folder || folder.is_dir());
        flush_moves(&to, &from)?;
        failpoints::hit(FailPoint::ArchiveFlushed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
