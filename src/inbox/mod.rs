//! The watched folder: listed, read, and emptied by moves that never replace a file.

mod destination;
mod file_version;
mod leftovers;
mod open_inbox;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, create_private_folder, flush_folder, open_folder, open_folder_no_follow};
pub use crate::inbox::destination::{Destination, FileHere};
pub use crate::inbox::file_version::FileVersion;
pub use crate::inbox::leftovers::Leftovers;
pub use crate::inbox::open_inbox::{InboxEntry, OpenInbox};

/// Device and inode of a folder: they differ once another folder has its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderId {
    device: u64,
    inode: u64,
}

/// The watched folder.
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
    pub fn create_if_missing(&self) -> Result<FolderId, FsError> {
        if !self.is_link && self.folder.is_symlink() {
            return Err(FsError::NotRegular { path: self.folder.clone(), kind: "symbolic link" });
        }
        create_private_folder(&self.folder)?;
        let found = std::fs::metadata(&self.folder).map_err(|error| FsError::new(&self.folder, error))?;
        Ok(FolderId { device: found.dev(), inode: found.ino() })
    }

    /// Opens the folder to work relative to it.
    ///
    /// # Errors
    /// When it does not exist, or was replaced by a link.
    pub fn open(&self) -> Result<OpenInbox<'_>, FsError> {
        let open = if self.is_link { open_folder } else { open_folder_no_follow };
        open(&self.folder).map(|folder| OpenInbox::new(&self.folder, folder))
    }

    /// [`OpenInbox::list`].
    ///
    /// # Errors
    /// As there.
    pub fn list(&self) -> Result<Vec<InboxEntry>, FsError> {
        self.open()?.list()
    }

    /// [`OpenInbox::open_file`] for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn open_file(&self, name: &str) -> Result<(File, FileVersion), FsError> {
        self.open()?.open_file(name)
    }

    /// [`Destination::reject`] for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn reject(
        &self,
        name: &str,
        version: &FileVersion,
        folder: &Path,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, FsError> {
        Destination::create(&self.open()?, folder)?.reject(name, version, reason)
    }

    /// Flushes moves to `folder`. Before this, a power cut can undo them.
    ///
    /// # Errors
    /// When a folder cannot be flushed.
    pub fn flush_moves(&self, folder: &Path) -> Result<(), FsError> {
        // The destination first: a crash in between must not leave the file in neither folder.
        flush_folder(folder)?;
        failpoints::hit(FailPoint::ArchiveTargetFlushed);
        flush_folder(&self.folder)?;
        failpoints::hit(FailPoint::ArchiveFlushed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
