//! Files of a folder of the inbox, listed and read through one descriptor of the folder.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::fs::{FileId, FsError};
use crate::inbox::file_version::{FileVersion, irregular_kind};
use crate::sha256::hash_reader;

/// A directory entry of the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxEntry {
    /// The name in its folder, or from a [scan](crate::inbox::Scan) the path below the inbox. Escaped if it is not UTF-8,
    /// so that names stay distinct.
    pub name: String,
    /// Whether the name is UTF-8.
    pub is_utf8: bool,
    /// What it is, for people, if it is not a regular file.
    pub irregular_kind: Option<&'static str>,
    /// Its current version.
    pub version: FileVersion,
}

/// The inbox or a folder below it, open. All work through it happens in the same folder, even if the path is replaced
/// meanwhile.
#[derive(Debug)]
pub struct OpenFolder {
    pub(super) path: PathBuf,
    pub(super) folder: OwnedFd,
}

impl OpenFolder {
    /// Opens a folder in this one; follows no link.
    ///
    /// # Errors
    /// When it does not exist, is no folder, or cannot be opened.
    pub fn open_folder(&self, name: &str) -> Result<Self, FsError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            openat(&self.folder, name, flags, Mode::empty()).map_err(|error| FsError::new(&path, error))?;
        Ok(Self { path, folder })
    }

    /// Device and inode.
    ///
    /// # Errors
    /// When it cannot be examined.
    pub(super) fn id(&self) -> Result<FileId, FsError> {
        let stat = fstat(&self.folder).map_err(|error| FsError::new(&self.path, error))?;
        Ok(FileVersion::of(&stat).id())
    }

    /// Whether another daemon has this folder as its inbox: each would buy what is dropped here.
    pub(super) fn is_inbox_of_another(&self) -> bool {
        // Shared, and only for a moment: the lock of that daemon is exclusive.
        let locked = flock(&self.folder, FlockOperation::NonBlockingLockShared);
        if locked.is_ok() {
            let _ = flock(&self.folder, FlockOperation::NonBlockingUnlock);
        }
        locked == Err(Errno::WOULDBLOCK)
    }

    /// The direct entries by name. Opens none of them.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<InboxEntry>, FsError> {
        let io = |error| FsError::new(&self.path, error);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                entries.extend(self.entry(name));
            }
        }
        entries.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(entries)
    }

    /// The entry of this name; `None` if it was removed.
    pub(super) fn entry(&self, name: &OsStr) -> Option<InboxEntry> {
        let stat = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let text = name.to_str();
        Some(InboxEntry {
            name: text.map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned),
            is_utf8: text.is_some(),
            irregular_kind: irregular_kind(&stat),
            version: FileVersion::of(&stat),
        })
    }

    /// Opens a regular file. Follows no link and does not wait for the writer of a pipe.
    ///
    /// # Errors
    /// When the file does not exist, is not regular, or cannot be opened.
    pub fn open_file(&self, name: &str) -> Result<(File, FileVersion), FsError> {
        open_file_in(&self.folder, &self.path, name)
    }

    /// Reads a file of at most `max_bytes`. The returned file is still open.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file), and when the file is larger or changes while it is read.
    pub fn read_file(&self, name: &str, max_bytes: u64) -> Result<(Vec<u8>, FileVersion, File), FsError> {
        let (mut file, version) = self.open_file(name)?;
        let mut bytes = vec![0; usize::try_from(version.bytes.min(max_bytes)).unwrap_or(0)];
        let is_complete = match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            read => read.map(|()| true).map_err(|error| self.error(name, error))?,
        };
        // The version after the read also shows whether the file has grown.
        let after = version_of(&file, &self.path.join(name))?;
        if after.bytes > max_bytes {
            return Err(FsError::TooLarge { path: self.path.join(name), limit: max_bytes });
        }
        if is_complete && after == version { Ok((bytes, version, file)) } else { Err(self.changed(name)) }
    }

    /// The SHA-256 of a file of any length in hexadecimal, with the version that was hashed.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file), and when the file changes while it is read.
    pub fn hash_file(&self, name: &str) -> Result<(String, FileVersion), FsError> {
        hash_file_in(&self.folder, &self.path, name).map(|(hash, version, _)| (hash, version))
    }

    /// Makes a file private before it is moved, and returns its version after that.
    ///
    /// # Errors
    /// [`FsError::Changed`] when the file is no longer this version.
    pub(super) fn make_private(&self, name: &str, version: &FileVersion) -> Result<FileVersion, FsError> {
        if version.has_other_names() || version.is_private() {
            return self.check_version(name, version).map(|()| *version);
        }
        match self.open_file(name) {
            Ok((file, found)) if found == *version => Ok(version.make_private(&file)),
            Ok(_) => Err(self.changed(name)),
            // A file that cannot be opened is moved as it is: the folder it goes to is private.
            Err(_) => self.check_version(name, version).map(|()| *version),
        }
    }

    fn check_version(&self, name: &str, version: &FileVersion) -> Result<(), FsError> {
        let stat = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = FileVersion::of(&stat.map_err(|error| self.error(name, error))?);
        if found == *version { Ok(()) } else { Err(self.changed(name)) }
    }

    pub(super) fn error(&self, name: &str, error: impl Into<io::Error>) -> FsError {
        FsError::new(&self.path.join(name), error)
    }

    pub(super) fn changed(&self, name: &str) -> FsError {
        FsError::Changed(self.path.join(name))
    }
}

fn open_file_in(folder: &OwnedFd, folder_path: &Path, name: &str) -> Result<(File, FileVersion), FsError> {
    let path = folder_path.join(name);
    let not_regular = |kind| FsError::NotRegular { path: path.clone(), kind };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => not_regular("symbolic link"),
        other => FsError::new(&path, other),
    })?;
    let stat = fstat(&file).map_err(|error| FsError::new(&path, error))?;
    match irregular_kind(&stat) {
        Some(kind) => Err(not_regular(kind)),
        None => Ok((file.into(), FileVersion::of(&stat))),
    }
}

/// Hashes a file of an open folder; see [`OpenFolder::hash_file`].
pub(super) fn hash_file_in(
    folder: &OwnedFd,
    folder_path: &Path,
    name: &str,
) -> Result<(String, FileVersion, File), FsError> {
    let path = folder_path.join(name);
    let (mut file, version) = open_file_in(folder, folder_path, name)?;
    let mut hash = Sha256::new();
    hash_reader(&mut hash, &mut file).map_err(|error| FsError::new(&path, error))?;
    if version_of(&file, &path)? != version {
        return Err(FsError::Changed(path));
    }
    Ok((HEXLOWER.encode(&hash.finalize()), version, file))
}

fn version_of(file: &File, path: &Path) -> Result<FileVersion, FsError> {
    fstat(file).map(|stat| FileVersion::of(&stat)).map_err(|error| FsError::new(path, error))
}
