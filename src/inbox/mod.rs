//! The watched folder: looked at, read through one descriptor, emptied by moves that never replace anything.

mod moves;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, statat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, create_durably, create_private_folder, flush_folder, hash_reader, numbered, open_folder,
    open_folder_no_follow,
};
pub use moves::Moves;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    /// Its length in bytes.
    pub bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
    links: u64,
    mode: u32,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        // How wide these are hangs on the machine.
        let wide = |number: i128| u64::try_from(number).unwrap_or(0);
        let ns = |seconds: i128, rest: i128| seconds * 1_000_000_000 + rest;
        Self {
            device: wide(stat.st_dev.into()),
            inode: wide(stat.st_ino.into()),
            bytes: wide(stat.st_size.into()),
            modified_ns: ns(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            changed_ns: ns(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
            links: wide(stat.st_nlink.into()),
            mode: stat.st_mode,
        }
    }

    /// When it got its name, its bytes or its rights, whichever was last.
    pub fn changed(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.changed_ns / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Whether what is now called `name` in `folder` is the one stamped, moved there: that alone changes its change time.
    fn is_of_moved(&self, folder: &OwnedFd, name: &str) -> bool {
        let moved = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        moved.is_ok_and(|moved| Self { changed_ns: self.changed_ns, ..Self::of(&moved) } == *self)
    }

    fn is_closed_to_others(&self) -> bool {
        self.mode & 0o7777 == 0o600
    }

    /// Closes the file that it is the state of to others, while it still has its old name: a crash after a move would
    /// leave it open for ever. Its state after that; the old one if anything else has changed meanwhile.
    ///
    /// One with other names is copied when it is moved, and those are somebody else's business. And a change of mode is
    /// news of the inbox: made at each try, it would have a move that a full disk holds up tried again at once, for ever.
    #[must_use]
    pub fn close_to_others(&self, file: &File) -> Self {
        if self.links > 1 || self.is_closed_to_others() {
            return *self;
        }
        // Nor can another's file be closed to him.
        let _ = rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR);
        let closed = fstat(file).map_or(*self, |stat| Self::of(&stat));
        let same = Self { changed_ns: self.changed_ns, mode: self.mode, ..closed } == *self;
        if same { closed } else { *self }
    }
}

/// Something in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; one that is not UTF-8 is shown with escapes, so that two are not taken for one, and `readable` is
    /// false.
    pub name: String,
    /// Whether the name is UTF-8.
    pub readable: bool,
    /// What it is: `None` for a regular file, else a word for people.
    pub irregular: Option<&'static str>,
    /// Its state.
    pub stamp: Stamp,
}

/// The watched folder.
#[derive(Clone, Debug)]
pub struct Inbox {
    folder: PathBuf,
    /// It was a link to a folder from the beginning: a person's word. One that becomes a link later is not followed.
    by_link: bool,
}

impl Inbox {
    /// The inbox at `folder`.
    pub fn new(folder: PathBuf) -> Self {
        let by_link = folder.is_symlink();
        Self { folder, by_link }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder if it is gone, and tells which one it is: its device and inode.
    ///
    /// # Errors
    /// When it cannot be made or looked at, or a link has taken its place.
    pub fn ensure(&self) -> Result<(u64, u64), FsError> {
        if !self.by_link && self.folder.is_symlink() {
            return Err(FsError::NotRegular { path: self.folder.clone(), kind: "symbolic link" });
        }
        create_private_folder(&self.folder)?;
        let found = std::fs::metadata(&self.folder).map_err(|error| FsError::new(&self.folder, error))?;
        Ok((found.dev(), found.ino()))
    }

    /// Opens it to work beneath.
    ///
    /// # Errors
    /// When it is gone, or a link has taken its place.
    pub fn opened(&self) -> Result<OpenInbox<'_>, FsError> {
        let folder =
            if self.by_link { open_folder(&self.folder) } else { open_folder_no_follow(&self.folder) };
        folder.map(|folder| OpenInbox { path: &self.folder, folder })
    }

    /// All that lies directly inside, in the order of names. Nothing is opened.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn look(&self) -> Result<Vec<Entry>, FsError> {
        let OpenInbox { folder, .. } = self.opened()?;
        let io = |error| FsError::new(&self.folder, error);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // Gone since it was listed: that is its writer's business.
            let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            entries.push(Entry {
                readable: name.to_str().is_some(),
                name: shown(name),
                irregular: irregular(&stat),
                stamp: Stamp::of(&stat),
            });
        }
        entries.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(entries)
    }

    /// [`OpenInbox::open`], for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, name: &str) -> Result<(File, Stamp), FsError> {
        self.opened()?.open(name)
    }

    /// [`OpenInbox::fingerprint`], for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn fingerprint(&self, name: &str) -> Result<(String, Stamp), FsError> {
        self.opened()?.fingerprint(name)
    }

    /// [`Moves::archive`], for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn archive(&self, name: &str, stamp: &Stamp, folder: &Path) -> Result<PathBuf, FsError> {
        self.opened()?.moves_to(folder)?.archive(name, stamp)
    }

    /// [`Moves::reject`], for a single file.
    ///
    /// # Errors
    /// As there.
    pub fn reject(
        &self,
        name: &str,
        stamp: &Stamp,
        folder: &Path,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, FsError> {
        self.opened()?.moves_to(folder)?.reject(name, stamp, reason)
    }

    /// Flushes the moves of any number of files to `folder`: before this, a crash may undo them.
    ///
    /// # Errors
    /// When one of the folders cannot be flushed.
    pub fn flush_moves(&self, folder: &Path) -> Result<(), FsError> {
        flush_folder(folder)?;
        failpoints::hit(FailPoint::ArchiveHalfFlushed);
        flush_folder(&self.folder)?;
        failpoints::hit(FailPoint::ArchiveFlushed);
        Ok(())
    }

    /// Keeps a copy of what was read under a file's name, for a file that was edited before it could be moved.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_copy(&self, name: &str, bytes: &[u8], folder: &Path) -> Result<PathBuf, FsError> {
        create_private_folder(folder)?;
        for number in 0.. {
            let to = folder.join(numbered(name, number));
            match create_durably(&to, bytes) {
                Err(FsError::AlreadyExists(_)) => {}
                created => return created.map(|()| to),
            }
        }
        Err(FsError::AlreadyExists(folder.join(name)))
    }
}

/// The inbox, opened: what is done through it is done in one folder, whatever becomes of the folder's path, and no file
/// of many is looked up from the root.
#[derive(Debug)]
pub struct OpenInbox<'a> {
    path: &'a Path,
    folder: OwnedFd,
}

impl OpenInbox<'_> {
    /// Opens a job file without following links or waiting on pipes.
    ///
    /// # Errors
    /// When it is gone, no regular file, or cannot be opened.
    pub fn open(&self, name: &str) -> Result<(File, Stamp), FsError> {
        let irregular_file = |kind| FsError::NotRegular { path: self.path.join(name), kind };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.folder, name, flags, Mode::empty()).map_err(|error| match error {
                Errno::LOOP => irregular_file("symbolic link"),
                other => self.error(name, other),
            })?;
        let stat = fstat(&file).map_err(|error| self.error(name, error))?;
        match irregular(&stat) {
            Some(kind) => Err(irregular_file(kind)),
            None => Ok((file.into(), Stamp::of(&stat))),
        }
    }

    /// Reads a whole job file of at most `limit` bytes, through one descriptor, which is still open.
    ///
    /// # Errors
    /// As [`OpenInbox::open`], and when it is longer or changes while it is read.
    pub fn read(&self, name: &str, limit: u64) -> Result<(Vec<u8>, Stamp, File), FsError> {
        let (mut file, stamp) = self.open(name)?;
        let mut bytes = vec![0; usize::try_from(stamp.bytes.min(limit)).unwrap_or(0)];
        let whole = match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            read => read.map(|()| true).map_err(|error| self.error(name, error))?,
        };
        // Whether there is more by now, its state tells.
        let now = fstat(&file).map_err(|error| self.error(name, error))?;
        let now = Stamp::of(&now);
        if now.bytes > limit {
            return Err(FsError::TooLarge { path: self.path.join(name), limit });
        }
        if !whole || now != stamp { Err(self.changed(name)) } else { Ok((bytes, stamp, file)) }
    }

    /// The SHA-256 of a file of any length, in hexadecimal, and which file that was.
    ///
    /// # Errors
    /// As [`OpenInbox::open`], and when it changes while it is read.
    pub fn fingerprint(&self, name: &str) -> Result<(String, Stamp), FsError> {
        let (mut file, stamp) = self.open(name)?;
        let mut hash = Sha256::new();
        hash_reader(&mut hash, &mut file).map_err(|error| self.error(name, error))?;
        let after = fstat(&file).map_err(|error| self.error(name, error))?;
        if Stamp::of(&after) != stamp {
            return Err(self.changed(name));
        }
        Ok((HEXLOWER.encode(&hash.finalize()), stamp))
    }

    /// The way to move files to `folder`, which is made if need be.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn moves_to<'a>(&'a self, folder: &'a Path) -> Result<Moves<'a>, FsError> {
        create_private_folder(folder)?;
        Ok(Moves { from: self, folder, to: open_folder(folder)? })
    }

    fn check(&self, name: &str, stamp: &Stamp) -> Result<(), FsError> {
        let now = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let now = now.map_err(|error| self.error(name, error))?;
        if Stamp::of(&now) == *stamp { Ok(()) } else { Err(self.changed(name)) }
    }

    /// Looks once more at a file that is to be moved, and [closes](Stamp::close_to_others) it. Its state after that.
    fn close_to_others(&self, name: &str, stamp: &Stamp) -> Result<Stamp, FsError> {
        if stamp.links > 1 || stamp.is_closed_to_others() {
            return self.check(name, stamp).map(|()| *stamp);
        }
        let (file, found) = match self.open(name) {
            Ok(opened) => opened,
            // One that cannot be opened lies in a folder that is closed.
            Err(_) => return self.check(name, stamp).map(|()| *stamp),
        };
        if found != *stamp {
            return Err(self.changed(name));
        }
        Ok(stamp.close_to_others(&file))
    }

    fn error(&self, name: &str, error: impl Into<std::io::Error>) -> FsError {
        FsError::new(&self.path.join(name), error)
    }

    fn changed(&self, name: &str) -> FsError {
        FsError::Changed(self.path.join(name))
    }
}

fn shown(name: &OsStr) -> String {
    name.to_str().map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned)
}

fn irregular(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("symbolic link"),
        FileType::Directory => Some("folder"),
        FileType::Fifo => Some("pipe"),
        FileType::Socket => Some("socket"),
        FileType::BlockDevice | FileType::CharacterDevice | FileType::Unknown => Some("device"),
    }
}

#[cfg(test)]
mod tests;
