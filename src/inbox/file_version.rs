//! What tells one version of a file from another without reading it.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, Stat, fchmod, fstat, statat};

use crate::clock::Timestamp;
use crate::fs::FileId;

/// Identity, length, times and mode of a file: two reads that find the same version read the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    /// Length.
    pub bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
    links: u64,
    mode: u32,
}

impl FileVersion {
    pub(super) fn of(stat: &Stat) -> Self {
        // The width of these fields depends on the platform.
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

    /// Device and inode.
    pub(crate) fn id(&self) -> FileId {
        (self.device, self.inode)
    }

    /// Whether the file has another length than in an `earlier` version that had content: it is being written.
    pub fn has_grown_since(&self, earlier: &Self) -> bool {
        self.id() == earlier.id() && earlier.bytes > 0 && self.bytes != earlier.bytes
    }

    /// When its content, name or mode changed last.
    pub fn changed_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.changed_ns / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Sets the mode to 0600 and returns the version after that, or this one if anything else has changed meanwhile.
    ///
    /// Call it while the file has its old name: a crash between a move and a later change of mode would leave the
    /// file readable to others for good.
    #[must_use]
    pub fn make_private(&self, file: &File) -> Self {
        // A file with further names is copied instead of moved; its mode is not ours to change. And a private file is
        // left alone: each change of mode wakes the watch of the inbox, which would retry a move that a full disk
        // prevents without any pause.
        if self.has_other_names() || self.is_private() {
            return *self;
        }
        // Fails for a file of another user, which stays as it is.
        let _ = fchmod(file, Mode::RUSR | Mode::WUSR);
        let private = fstat(file).map_or(*self, |stat| Self::of(&stat));
        let same_content = Self { changed_ns: self.changed_ns, mode: self.mode, ..private } == *self;
        if same_content { private } else { *self }
    }

    pub(super) fn is_private(&self) -> bool {
        self.mode & 0o7777 == 0o600
    }

    /// Whether the file has further hard links.
    pub(super) fn has_other_names(&self) -> bool {
        self.links > 1
    }

    /// Whether `name` in `folder` is this version after a rename, which changes nothing but the change time.
    pub(super) fn was_renamed_to(&self, folder: &OwnedFd, name: &str) -> bool {
        let renamed = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        renamed.is_ok_and(|stat| Self { changed_ns: self.changed_ns, ..Self::of(&stat) } == *self)
    }
}

/// What a file is, for people; `None` for a regular file.
pub(super) fn irregular_kind(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("symbolic link"),
        FileType::Directory => Some("folder"),
        FileType::Fifo => Some("pipe"),
        FileType::Socket => Some("socket"),
        FileType::BlockDevice | FileType::CharacterDevice | FileType::Unknown => Some("device"),
    }
}
