//! Files out of the inbox, by moves that never replace anything.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, MAX_NAME_BYTES, create_durably, flush_folder, is_cross_device, numbered, numbered_within,
    rename_no_replace, write_durably,
};
use crate::inbox::{OpenInbox, Stamp};

/// Behind a bad file's name: its reason.
const REASON: &str = ".reason.json";

/// The way from the inbox to another folder, both opened.
#[derive(Debug)]
pub struct Moves<'a> {
    pub(super) from: &'a OpenInbox<'a>,
    pub(super) folder: &'a Path,
    pub(super) to: OwnedFd,
}

impl Moves<'_> {
    /// Where they go.
    pub fn folder(&self) -> &Path {
        self.folder
    }

    /// Moves a job file, under its own name or the next free one; to be [flushed](crate::inbox::Inbox::flush_moves). A file that has
    /// other names as well is copied instead, so that an edit through one of them changes no archive.
    ///
    /// # Errors
    /// When the file is no longer the one of `stamp` (nothing is moved then), or cannot be moved.
    pub fn archive(&self, name: &str, stamp: &Stamp) -> Result<PathBuf, FsError> {
        let stamp = self.from.close_to_others(name, stamp)?;
        failpoints::hit(FailPoint::ArchiveChecked);
        let to = self.move_free(name, &stamp)?;
        failpoints::hit(FailPoint::ArchiveRenamed);
        Ok(to)
    }

    /// Moves a bad file, with its reason beside it (`NAME.reason.json`, flushed first), for good.
    ///
    /// # Errors
    /// As [`Moves::archive`], and when it cannot be flushed.
    pub fn reject(
        &self,
        name: &str,
        stamp: &Stamp,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, FsError> {
        let folder = self.folder;
        let stamp = &self.from.close_to_others(name, stamp)?;
        for number in 0.. {
            // Room for the reason's name, which is longer.
            let free = numbered_within(name, number, MAX_NAME_BYTES - REASON.len());
            let reason_path = folder.join(format!("{free}{REASON}"));
            if folder.join(&free).symlink_metadata().is_ok() || reason_path.symlink_metadata().is_ok() {
                continue;
            }
            write_durably(&reason_path, &reason(&free))?;
            failpoints::hit(FailPoint::ReasonWritten);
            match self.move_as(name, stamp, &free) {
                Err(FsError::AlreadyExists(_)) => {
                    let _ = std::fs::remove_file(&reason_path);
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&reason_path);
                    return Err(error);
                }
                Ok(to) => {
                    failpoints::hit(FailPoint::RejectRenamed);
                    flush_folder(folder)?;
                    flush_folder(self.from.path)?;
                    failpoints::hit(FailPoint::RejectFlushed);
                    return Ok(to);
                }
            }
        }
        Err(FsError::AlreadyExists(folder.join(name)))
    }

    pub(super) fn move_free(&self, name: &str, stamp: &Stamp) -> Result<PathBuf, FsError> {
        for number in 0.. {
            match self.move_as(name, stamp, &numbered(name, number)) {
                Err(FsError::AlreadyExists(_)) => {}
                moved => return moved,
            }
        }
        Err(FsError::AlreadyExists(self.folder.join(name)))
    }

    fn move_as(&self, name: &str, stamp: &Stamp, to: &str) -> Result<PathBuf, FsError> {
        let path = self.folder.join(to);
        if stamp.links > 1 {
            return self.copy_as(name, stamp, to);
        }
        let from = &self.from.folder;
        match rename_no_replace((from, Path::new(name)), (&self.to, Path::new(to)), &path) {
            Err(error) if is_cross_device(&error) => self.copy_as(name, stamp, to),
            Err(FsError::NotFound(_)) => Err(FsError::NotFound(self.from.path.join(name))),
            Err(error) => Err(error),
            Ok(()) if !stamp.is_of_moved(&self.to, to) => {
                // Another came in its place in that very moment: it is a new drop.
                self.put_back(name, to)?;
                Err(self.from.changed(name))
            }
            Ok(()) => Ok(path),
        }
    }

    fn put_back(&self, name: &str, moved: &str) -> Result<(), FsError> {
        for number in 0.. {
            let back = numbered(name, number);
            let full = self.from.path.join(&back);
            match rename_no_replace(
                (&self.to, Path::new(moved)),
                (&self.from.folder, Path::new(&back)),
                &full,
            ) {
                Err(FsError::AlreadyExists(_)) => {}
                done => return done,
            }
        }
        Err(FsError::AlreadyExists(self.from.path.join(name)))
    }

    /// For a move that cannot be a rename: a copy, flushed and named for good, then the name in the inbox goes. On a
    /// full disk nothing is left of it.
    fn copy_as(&self, name: &str, stamp: &Stamp, to: &str) -> Result<PathBuf, FsError> {
        let path = self.folder.join(to);
        if path.symlink_metadata().is_ok() {
            return Err(FsError::AlreadyExists(path));
        }
        let (mut file, found) = self.from.open(name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.from.error(name, error))?;
        if found != *stamp {
            return Err(self.from.changed(name));
        }
        create_durably(&path, &bytes)?;
        failpoints::hit(FailPoint::ArchiveCopied);
        rustix::fs::unlinkat(&self.from.folder, name, AtFlags::empty())
            .map_err(|error| self.from.error(name, error))?;
        Ok(path)
    }
}
