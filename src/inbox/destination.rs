//! Moves of files out of the inbox that never replace a file.

use std::cmp::Reverse;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, statat};

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, SHORTEST_NAME_LIMIT, create_durably, create_private_folder, flush_folder, is_cross_device,
    max_name_bytes, numbered_as_copy, numbered_within, open_folder, rename_no_replace, write_durably,
};
use crate::inbox::file_version::{FileVersion, irregular_kind};
use crate::inbox::open_folder::{OpenFolder, hash_file_in};

/// Suffix of the file that says why another was rejected.
const REASON_SUFFIX: &str = ".reason.json";
/// Attempts to move a file whose metadata keeps changing.
const MAX_ATTEMPTS: u32 = 100;

/// A folder that files of a folder of the inbox are moved to. Both folders are open.
#[derive(Debug)]
pub struct Destination<'a> {
    inbox: &'a OpenFolder,
    path: &'a Path,
    folder: OwnedFd,
    max_name_bytes: usize,
}

/// A file in a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHere {
    /// Its name there.
    pub name: String,
    /// The hash of its content; `None` if it is not a regular file.
    pub sha256: Option<String>,
}

impl<'a> Destination<'a> {
    /// Opens the folder at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created or opened.
    pub fn create(inbox: &'a OpenFolder, path: &'a Path) -> Result<Self, FsError> {
        let folder = match open_folder(path) {
            Err(FsError::NotFound(_)) => create_private_folder(path).and_then(|()| open_folder(path))?,
            opened => opened?,
        };
        let max_name_bytes = max_name_bytes(folder.as_fd());
        Ok(Self { inbox, path, folder, max_name_bytes })
    }

    /// Saves `bytes` under the next free name, for a file that was edited after it was read.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub fn save_copy(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, FsError> {
        for number in 0.. {
            let path = self.path.join(numbered_within(name, number, self.max_name_bytes));
            match create_durably(&path, bytes) {
                Err(FsError::AlreadyExists(_)) => {}
                created => return created.map(|()| path),
            }
        }
        Err(FsError::AlreadyExists(self.path.join(name)))
    }

    /// As on a file system with shorter names.
    #[cfg(test)]
    pub(super) fn with_max_name_bytes(self, max_name_bytes: usize) -> Self {
        Self { max_name_bytes, ..self }
    }

    pub fn path(&self) -> &Path {
        self.path
    }

    /// Moves a job file under its own name or the next free one. The caller [flushes](crate::inbox::Inbox::flush_moves)
    /// the move. A file with further hard links is copied instead, so that an edit through one of them does not change
    /// the archive.
    ///
    /// What counts is the content, whose hash is `sha256`: another program may change the file's times, mode or links
    /// meanwhile, or replace it by a copy. It is the same drop, and if it stayed in the inbox it would be bought again.
    ///
    /// # Errors
    /// [`FsError::Changed`] when the name belongs to another content by now (then nothing is moved), or when the file
    /// cannot be moved.
    pub fn archive(&self, name: &str, version: &FileVersion, sha256: &str) -> Result<PathBuf, FsError> {
        match self.archive_version(name, version, sha256) {
            Err(FsError::Changed(_)) => self.archive_content(name, sha256),
            moved => moved,
        }
    }

    /// [`archive`](Self::archive) for a file whose version is not known, such as one that a crash left behind.
    ///
    /// # Errors
    /// As there.
    pub fn archive_content(&self, name: &str, sha256: &str) -> Result<PathBuf, FsError> {
        for _ in 0..MAX_ATTEMPTS {
            let version = match self.inbox.hash_file(name) {
                Ok((found, version)) if found == sha256 => version,
                Ok(_) | Err(FsError::NotRegular { .. }) => return Err(self.inbox.changed(name)),
                Err(FsError::Changed(_)) => continue,
                Err(error) => return Err(error),
            };
            match self.archive_version(name, &version, sha256) {
                Err(FsError::Changed(_)) => {}
                moved => return moved,
            }
        }
        Err(FsError::KeepsChanging(self.inbox.path.join(name)))
    }

    /// What is here under the names that a file called `name` may get, the newest first. Without files that cannot be read.
    pub fn files_named(&self, name: &str) -> Vec<FileHere> {
        let mut files = Vec::new();
        for number in 0.. {
            let name = numbered_within(name, number, self.max_name_bytes);
            let Ok(stat) = statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { break };
            let sha256 = match irregular_kind(&stat) {
                Some(_) => None,
                None => match hash_file_in(&self.folder, self.path, &name) {
                    Ok((sha256, _, _)) => Some(sha256),
                    Err(_) => continue,
                },
            };
            files.push((FileVersion::of(&stat).changed_at(), FileHere { name, sha256 }));
        }
        files.sort_by_key(|(changed_at, _)| Reverse(*changed_at));
        files.into_iter().map(|(_, file)| file).collect()
    }

    /// Puts a file back into the inbox, under `name` or that of a copy, and flushes that.
    ///
    /// # Errors
    /// When it cannot be moved or flushed.
    pub fn put_back(&self, name: &str, file: &FileHere) -> Result<(), FsError> {
        self.move_back(name, &file.name)?;
        // The inbox first: a crash in between must not leave the file in neither folder.
        flush_folder(&self.inbox.path)?;
        flush_folder(self.path)
    }

    fn archive_version(&self, name: &str, version: &FileVersion, sha256: &str) -> Result<PathBuf, FsError> {
        let version = self.inbox.make_private(name, version)?;
        failpoints::hit(FailPoint::ArchiveChecked);
        let path = self.move_to_free_name(name, &version, Some(sha256))?;
        failpoints::hit(FailPoint::ArchiveRenamed);
        Ok(path)
    }

    /// Moves a bad file and flushes the move. `reason` returns the content of `NAME.reason.json` for the name that the
    /// file gets; it is written first, so that no rejected file lacks its reason.
    ///
    /// # Errors
    /// As [`archive`](Self::archive), and when the move cannot be flushed.
    pub fn reject(
        &self,
        name: &str,
        version: &FileVersion,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, FsError> {
        let version = &self.inbox.make_private(name, version)?;
        for number in 0.. {
            let free_name = numbered_within(name, number, self.max_name_bytes - REASON_SUFFIX.len());
            let reason_path = self.path.join(format!("{free_name}{REASON_SUFFIX}"));
            if exists(&self.path.join(&free_name)) || exists(&reason_path) {
                continue;
            }
            write_durably(&reason_path, &reason(&free_name))?;
            failpoints::hit(FailPoint::ReasonWritten);
            let moved = self.move_as(name, version, None, &free_name);
            if moved.is_err() {
                let _ = std::fs::remove_file(&reason_path);
            }
            match moved {
                Err(FsError::AlreadyExists(_)) => {}
                Err(error) => return Err(error),
                Ok(path) => {
                    failpoints::hit(FailPoint::RejectRenamed);
                    flush_folder(self.path)?;
                    flush_folder(&self.inbox.path)?;
                    failpoints::hit(FailPoint::RejectFlushed);
                    return Ok(path);
                }
            }
        }
        Err(FsError::AlreadyExists(self.path.join(name)))
    }

    pub(super) fn move_to_free_name(
        &self,
        name: &str,
        version: &FileVersion,
        sha256: Option<&str>,
    ) -> Result<PathBuf, FsError> {
        for number in 0.. {
            match self.move_as(name, version, sha256, &numbered_within(name, number, self.max_name_bytes)) {
                Err(FsError::AlreadyExists(_)) => {}
                moved => return moved,
            }
        }
        Err(FsError::AlreadyExists(self.path.join(name)))
    }

    fn move_as(
        &self,
        name: &str,
        version: &FileVersion,
        sha256: Option<&str>,
        new_name: &str,
    ) -> Result<PathBuf, FsError> {
        let path = self.path.join(new_name);
        if version.has_other_names() {
            return self.copy_as(name, version, new_name);
        }
        let from = (&self.inbox.folder, Path::new(name));
        let renamed = rename_no_replace(from, (&self.folder, Path::new(new_name)), &path);
        if renamed.is_ok() {
            failpoints::hit(FailPoint::MoveUnverified);
        }
        match renamed {
            Err(error) if is_cross_device(&error) => self.copy_as(name, version, new_name),
            Err(FsError::NotFound(_)) => Err(FsError::NotFound(self.inbox.path.join(name))),
            Err(error) => Err(error),
            Ok(()) if version.was_renamed_to(&self.folder, new_name) => Ok(path),
            // Touched, or replaced by a copy, just before the rename.
            Ok(()) if sha256.is_some_and(|sha256| self.has_content(new_name, sha256)) => Ok(path),
            Ok(()) => {
                // Another file got this name just before the rename: it is a new drop.
                self.move_back(name, new_name)?;
                Err(self.inbox.changed(name))
            }
        }
    }

    /// Whether a moved file has this content. If so, it is made private like any other that is moved.
    fn has_content(&self, moved_name: &str, sha256: &str) -> bool {
        let hashed = hash_file_in(&self.folder, self.path, moved_name);
        hashed.is_ok_and(|(found, version, file)| {
            let _ = version.make_private(&file);
            found == sha256
        })
    }

    /// Puts a file back into the inbox. If its name is taken by now, it gets that of a copy, so that the rule about
    /// repeated copies still applies to it.
    pub(super) fn move_back(&self, name: &str, moved_name: &str) -> Result<(), FsError> {
        for number in 0.. {
            let free_name = numbered_as_copy(name, number, max_name_bytes(self.inbox.folder.as_fd()));
            let path = self.inbox.path.join(&free_name);
            let from = (&self.folder, Path::new(moved_name));
            match rename_no_replace(from, (&self.inbox.folder, Path::new(&free_name)), &path) {
                Err(FsError::AlreadyExists(_)) => {}
                done => return done,
            }
        }
        Err(FsError::AlreadyExists(self.inbox.path.join(name)))
    }

    /// Copies the file and removes the original, where a rename is not possible.
    fn copy_as(&self, name: &str, version: &FileVersion, new_name: &str) -> Result<PathBuf, FsError> {
        let path = self.path.join(new_name);
        if exists(&path) {
            return Err(FsError::AlreadyExists(path));
        }
        let (mut file, found) = self.inbox.open_file(name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.inbox.error(name, error))?;
        if found != *version {
            return Err(self.inbox.changed(name));
        }
        // Durable before the original is removed: a power cut could otherwise lose both.
        create_durably(&path, &bytes)?;
        failpoints::hit(FailPoint::ArchiveCopied);
        rustix::fs::unlinkat(&self.inbox.folder, name, AtFlags::empty())
            .map_err(|error| self.inbox.error(name, error))?;
        Ok(path)
    }
}

/// The folder below `root` for the files of the folder `below` of the inbox. Where a file there has the name of a part of it,
/// the next free name is taken, as for files.
pub fn folder_for(root: &Path, below: &str) -> PathBuf {
    let parts = below.split('/').filter(|part| !part.is_empty());
    parts.fold(root.to_owned(), |folder, part| {
        let mut paths = (0..).map(|number| folder.join(numbered_within(part, number, SHORTEST_NAME_LIMIT)));
        let is_usable = |path: &PathBuf| path.is_dir() || !exists(path);
        paths.find(is_usable).unwrap_or_else(|| folder.join(part))
    })
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
