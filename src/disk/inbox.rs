//! The watched folder: looked at, read through one descriptor, emptied by moves that never replace anything.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::disk::{
    DiskError, LONGEST_NAME, crosses_file_systems, flush_folder, make_private_folder, numbered,
    numbered_within, open_folder, open_real_folder, rename_new, write_durably, write_new,
};
use crate::lab::{self, Site};

/// Behind a bad file's name: its reason.
const REASON: &str = ".reason.json";

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
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
        }
    }
}

impl Stamp {
    /// When it got its name, its bytes or its rights, whichever was last.
    pub fn changed(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.changed_ns / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Whether the file that is now at `path` is the one stamped, moved there: that alone changes its change time.
    fn is_of_moved(&self, path: &Path) -> bool {
        let moved = path.symlink_metadata().map(|metadata| Self::of(&metadata));
        moved.is_ok_and(|moved| Self { changed_ns: self.changed_ns, ..moved } == *self)
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
    pub fn ensure(&self) -> Result<(u64, u64), DiskError> {
        if !self.by_link && self.folder.is_symlink() {
            return Err(DiskError::NotRegular { path: self.folder.clone(), kind: "symbolic link" });
        }
        make_private_folder(&self.folder)?;
        let found = std::fs::metadata(&self.folder).map_err(|error| DiskError::new(&self.folder, error))?;
        Ok((found.dev(), found.ino()))
    }

    /// Opens it to work beneath.
    fn opened(&self) -> Result<OwnedFd, DiskError> {
        if self.by_link { open_folder(&self.folder) } else { open_real_folder(&self.folder) }
    }

    /// All that lies directly inside, in the order of names. Nothing is opened.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn look(&self) -> Result<Vec<Entry>, DiskError> {
        let io = |error| DiskError::new(&self.folder, error);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            // Gone since it was listed: that is its writer's business.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            entries.push(Entry {
                readable: name.to_str().is_some(),
                name: shown(&name),
                irregular: irregular(metadata.file_type()),
                stamp: Stamp::of(&metadata),
            });
        }
        entries.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(entries)
    }

    /// Opens a job file without following links or waiting on pipes.
    ///
    /// # Errors
    /// When it is gone, no regular file, or cannot be opened.
    pub fn open(&self, name: &str) -> Result<(File, Stamp), DiskError> {
        let path = self.folder.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(self.opened()?, name, flags, Mode::empty())
            .map_err(|error| match error {
                rustix::io::Errno::LOOP => {
                    DiskError::NotRegular { path: path.clone(), kind: "symbolic link" }
                }
                other => DiskError::new(&path, other),
            })?
            .into();
        let metadata = file.metadata().map_err(|error| DiskError::new(&path, error))?;
        match irregular(metadata.file_type()) {
            Some(kind) => Err(DiskError::NotRegular { path, kind }),
            None => Ok((file, Stamp::of(&metadata))),
        }
    }

    /// Reads a whole job file of at most `limit` bytes, through one descriptor.
    ///
    /// # Errors
    /// As [`Inbox::open`], and when it is longer or changes while it is read.
    pub fn read(&self, name: &str, limit: u64) -> Result<(Vec<u8>, Stamp), DiskError> {
        let path = self.folder.join(name);
        let (file, stamp) = self.open(name)?;
        let mut bytes = Vec::with_capacity(usize::try_from(stamp.bytes.min(limit)).unwrap_or(0));
        let mut bounded = (&file).take(limit.saturating_add(1));
        bounded.read_to_end(&mut bytes).map_err(|error| DiskError::new(&path, error))?;
        if bytes.len() as u64 > limit {
            return Err(DiskError::TooLong { path, limit });
        }
        let after = file.metadata().map_err(|error| DiskError::new(&path, error))?;
        if Stamp::of(&after) != stamp || bytes.len() as u64 != stamp.bytes {
            return Err(DiskError::Changed(path));
        }
        Ok((bytes, stamp))
    }

    /// Moves a job file to `folder`, under its own name or the next free one; to be [flushed](Inbox::flush_moves). A file
    /// that has other names as well is copied instead, so that an edit through one of them changes no archive.
    ///
    /// # Errors
    /// When the file is no longer the one of `stamp` (nothing is moved then), or cannot be moved.
    pub fn archive(&self, name: &str, stamp: &Stamp, folder: &Path) -> Result<PathBuf, DiskError> {
        make_private_folder(folder)?;
        let stamp = self.close_to_others(name, stamp)?;
        lab::reach(Site::ArchiveChecked);
        let to = self.move_free(name, &stamp, folder)?;
        lab::reach(Site::ArchiveRenamed);
        Ok(to)
    }

    /// Flushes the moves of any number of files to `folder`: before this, a crash may undo them.
    ///
    /// # Errors
    /// When one of the folders cannot be flushed.
    pub fn flush_moves(&self, folder: &Path) -> Result<(), DiskError> {
        flush_folder(folder)?;
        lab::reach(Site::ArchiveHalfFlushed);
        flush_folder(&self.folder)?;
        lab::reach(Site::ArchiveFlushed);
        Ok(())
    }

    /// Keeps a copy of what was read under a file's name, for a file that was edited before it could be moved.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_copy(&self, name: &str, bytes: &[u8], folder: &Path) -> Result<PathBuf, DiskError> {
        make_private_folder(folder)?;
        for number in 0.. {
            let to = folder.join(numbered(name, number));
            if to.symlink_metadata().is_err() {
                return write_durably(&to, bytes).map(|()| to);
            }
        }
        Err(DiskError::Taken(folder.join(name)))
    }

    /// The SHA-256 of a file of any length, in hexadecimal, and which file that was.
    ///
    /// # Errors
    /// As [`Inbox::open`], and when it changes while it is read.
    pub fn fingerprint(&self, name: &str) -> Result<(String, Stamp), DiskError> {
        let path = self.folder.join(name);
        let (mut file, stamp) = self.open(name)?;
        let mut hash = Sha256::new();
        crate::disk::hash_into(&mut hash, &mut file).map_err(|error| DiskError::new(&path, error))?;
        let after = file.metadata().map_err(|error| DiskError::new(&path, error))?;
        if Stamp::of(&after) != stamp {
            return Err(DiskError::Changed(path));
        }
        Ok((HEXLOWER.encode(&hash.finalize()), stamp))
    }

    /// Moves a bad file to `folder` with its reason beside it (`NAME.reason.json`, flushed first).
    ///
    /// # Errors
    /// As [`Inbox::archive`].
    pub fn reject(
        &self,
        name: &str,
        stamp: &Stamp,
        folder: &Path,
        reason: impl Fn(&str) -> Vec<u8>,
    ) -> Result<PathBuf, DiskError> {
        make_private_folder(folder)?;
        let stamp = &self.close_to_others(name, stamp)?;
        for number in 0.. {
            // Room for the reason's name, which is longer.
            let free = numbered_within(name, number, LONGEST_NAME - REASON.len());
            let reason_path = folder.join(format!("{free}{REASON}"));
            if folder.join(&free).symlink_metadata().is_ok() || reason_path.symlink_metadata().is_ok() {
                continue;
            }
            write_durably(&reason_path, &reason(&free))?;
            lab::reach(Site::ReasonWritten);
            match self.move_as(name, stamp, folder, &free) {
                Err(DiskError::Taken(_)) => {
                    let _ = std::fs::remove_file(&reason_path);
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&reason_path);
                    return Err(error);
                }
                Ok(to) => {
                    lab::reach(Site::RejectRenamed);
                    flush_folder(folder)?;
                    flush_folder(&self.folder)?;
                    lab::reach(Site::RejectFlushed);
                    return Ok(to);
                }
            }
        }
        Err(DiskError::Taken(folder.join(name)))
    }

    fn check(&self, name: &str, stamp: &Stamp) -> Result<(), DiskError> {
        let path = self.folder.join(name);
        let now = path.symlink_metadata().map_err(|error| DiskError::new(&path, error))?;
        if Stamp::of(&now) == *stamp { Ok(()) } else { Err(DiskError::Changed(path)) }
    }

    /// Looks once more at a file that is to be moved, and closes it to others while it still has its old name: a crash
    /// after the move would leave it open for ever. Its state after that.
    fn close_to_others(&self, name: &str, stamp: &Stamp) -> Result<Stamp, DiskError> {
        self.check(name, stamp)?;
        // One with other names is copied, and those are somebody else's business.
        if stamp.links > 1 {
            return Ok(*stamp);
        }
        // One that cannot be opened lies in a folder that is closed.
        let Ok((file, found)) = self.open(name) else { return Ok(*stamp) };
        if found != *stamp {
            return Err(DiskError::Changed(self.folder.join(name)));
        }
        // A change of mode is news of the inbox: made at each try, it would have a move that a full disk holds up tried
        // again at once, for ever.
        if file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o7777 != 0o600) {
            // Nor can another's file be closed to him.
            let _ = file.set_permissions(std::fs::Permissions::from_mode(0o600));
        }
        Ok(file.metadata().map_or(*stamp, |metadata| Stamp::of(&metadata)))
    }

    fn move_free(&self, name: &str, stamp: &Stamp, folder: &Path) -> Result<PathBuf, DiskError> {
        for number in 0.. {
            match self.move_as(name, stamp, folder, &numbered(name, number)) {
                Err(DiskError::Taken(_)) => {}
                moved => return moved,
            }
        }
        Err(DiskError::Taken(folder.join(name)))
    }

    fn move_as(&self, name: &str, stamp: &Stamp, folder: &Path, to: &str) -> Result<PathBuf, DiskError> {
        let (from_folder, to_folder) = (self.opened()?, open_folder(folder)?);
        let path = folder.join(to);
        if stamp.links > 1 {
            return self.copy_as(name, stamp, &from_folder, (folder, to));
        }
        let renamed = rename_new((&from_folder, Path::new(name)), (&to_folder, Path::new(to)), &path);
        match renamed {
            Err(error) if crosses_file_systems(&error) => {
                self.copy_as(name, stamp, &from_folder, (folder, to))
            }
            Err(DiskError::Gone(_)) => Err(DiskError::Gone(self.folder.join(name))),
            Err(error) => Err(error),
            Ok(()) if !stamp.is_of_moved(&path) => {
                // Another came in its place in that very moment: it is a new drop.
                self.put_back(name, &from_folder, &to_folder, &path)?;
                Err(DiskError::Changed(self.folder.join(name)))
            }
            Ok(()) => Ok(path),
        }
    }

    fn put_back(
        &self,
        name: &str,
        from_folder: &OwnedFd,
        to_folder: &OwnedFd,
        path: &Path,
    ) -> Result<(), DiskError> {
        let moved = path.file_name().map(Path::new).unwrap_or(path);
        for number in 0.. {
            let back = numbered(name, number);
            let full = self.folder.join(&back);
            match rename_new((to_folder, moved), (from_folder, Path::new(&back)), &full) {
                Err(DiskError::Taken(_)) => {}
                done => return done,
            }
        }
        Err(DiskError::Taken(self.folder.join(name)))
    }

    /// For a move that cannot be a rename: a copy, flushed and named for good, then the name in the inbox goes. On a
    /// full disk nothing is left of it.
    fn copy_as(
        &self,
        name: &str,
        stamp: &Stamp,
        from_folder: &OwnedFd,
        (folder, to): (&Path, &str),
    ) -> Result<PathBuf, DiskError> {
        let path = folder.join(to);
        if path.symlink_metadata().is_ok() {
            return Err(DiskError::Taken(path));
        }
        let (mut file, found) = self.open(name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| DiskError::new(&self.folder.join(name), error))?;
        if found != *stamp {
            return Err(DiskError::Changed(self.folder.join(name)));
        }
        let unfinished = unfinished_copy(name);
        let copied = write_new(&folder.join(&unfinished), &bytes, 0o600).and_then(|()| {
            let to_folder = open_folder(folder)?;
            rename_new((&to_folder, Path::new(&unfinished)), (&to_folder, Path::new(to)), &path)
        });
        if let Err(error) = copied {
            let _ = std::fs::remove_file(folder.join(&unfinished));
            return Err(error);
        }
        // Two file systems: nothing but this keeps the one from forgetting the copy after the other forgot the file.
        flush_folder(folder)?;
        lab::reach(Site::ArchiveCopied);
        rustix::fs::unlinkat(from_folder, name, AtFlags::empty())
            .map_err(|error| DiskError::new(&self.folder.join(name), error))?;
        Ok(path)
    }
}

/// Short, whatever the file's own name, and the same for each try; another for each name of one file.
fn unfinished_copy(name: &str) -> String {
    format!(".{}.tmp", &HEXLOWER.encode(&Sha256::digest(name))[..32])
}

fn shown(name: &OsStr) -> String {
    name.to_str().map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned)
}

fn irregular(kind: std::fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("symbolic link")
    } else if kind.is_dir() {
        Some("folder")
    } else if kind.is_fifo() {
        Some("pipe")
    } else if kind.is_socket() {
        Some("socket")
    } else {
        Some("device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> (tempfile::TempDir, Inbox) {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(folder.path().join("inbox"));
        inbox.ensure().unwrap();
        (folder, inbox)
    }

    #[test]
    fn a_taken_name_in_the_archive_is_never_replaced() {
        let (folder, inbox) = inbox();
        let day = folder.path().join("accepted/2026-04-04");
        for content in ["one", "two", "three"] {
            std::fs::write(inbox.path().join("a.json"), content).unwrap();
            let (_, stamp) = inbox.read("a.json", 10).unwrap();
            inbox.archive("a.json", &stamp, &day).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(day.join(name)).unwrap();
        assert_eq!([read("a.json"), read("a-1.json"), read("a-2.json")], ["one", "two", "three"]);
        assert!(inbox.look().unwrap().is_empty());
    }

    #[test]
    fn a_file_is_closed_to_others_before_it_is_moved_and_one_with_two_names_is_left_alone() {
        let (folder, inbox) = inbox();
        let mode = |name: &str| inbox.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        for name in ["one.json", "two.json"] {
            std::fs::write(inbox.path().join(name), "{}").unwrap();
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(inbox.path().join(name), open).unwrap();
        }
        std::fs::hard_link(inbox.path().join("two.json"), folder.path().join("other")).unwrap();
        for (name, after) in [("one.json", 0o600), ("two.json", 0o644)] {
            let (_, stamp) = inbox.read(name, 10).unwrap();
            let stamp = inbox.close_to_others(name, &stamp).unwrap();
            assert_eq!(mode(name), after, "{name}");
            let to = inbox.move_free(name, &stamp, folder.path()).unwrap();
            assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_file_edited_since_it_was_read_stays() {
        let (folder, inbox) = inbox();
        let path = inbox.path().join("a.json");
        std::fs::write(&path, "one").unwrap();
        let (_, stamp) = inbox.read("a.json", 10).unwrap();
        std::fs::write(&path, "edited").unwrap();
        let moved = inbox.archive("a.json", &stamp, &folder.path().join("accepted"));
        assert!(matches!(moved, Err(DiskError::Changed(_))), "{moved:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
    }

    #[test]
    fn an_edit_through_another_name_changes_no_archive() {
        let (folder, inbox) = inbox();
        let other = folder.path().join("other");
        std::fs::write(&other, "one").unwrap();
        std::fs::hard_link(&other, inbox.path().join("a.json")).unwrap();
        let (_, stamp) = inbox.read("a.json", 10).unwrap();
        let archived = inbox.archive("a.json", &stamp, &folder.path().join("accepted")).unwrap();
        std::fs::write(&other, "edited").unwrap();
        assert_eq!(std::fs::read_to_string(archived).unwrap(), "one");
    }

    #[test]
    fn links_pipes_and_folders_are_told_and_never_opened() {
        let (folder, inbox) = inbox();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), inbox.path().join("link.json")).unwrap();
        std::fs::create_dir(inbox.path().join("folder.json")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inbox.path().join("pipe.json"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let kinds: Vec<_> =
            inbox.look().unwrap().into_iter().map(|entry| (entry.name, entry.irregular)).collect();
        let expected = [("folder.json", "folder"), ("link.json", "symbolic link"), ("pipe.json", "pipe")];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), Some(kind))));
        for (name, _) in expected {
            assert!(matches!(inbox.read(name, 10), Err(DiskError::NotRegular { .. })), "{name}");
        }
    }

    #[test]
    fn a_file_is_closed_to_others_once_and_then_left_alone() {
        let (_folder, inbox) = inbox();
        let path = inbox.path().join("a.json");
        std::fs::write(&path, "one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (_, open) = inbox.read("a.json", 10).unwrap();
        let closed = inbox.close_to_others("a.json", &open).unwrap();
        assert_ne!(closed, open);
        assert_eq!(inbox.close_to_others("a.json", &closed).unwrap(), closed, "no news without a change");
    }

    #[test]
    fn a_copy_is_named_once_it_is_whole() {
        let (folder, inbox) = inbox();
        let name = format!("{}.json", "n".repeat(240));
        let path = inbox.path().join(&name);
        std::fs::write(&path, "one").unwrap();
        std::fs::hard_link(&path, folder.path().join("other")).unwrap();
        let (_, stamp) = inbox.read(&name, 10).unwrap();
        let archive = folder.path().join("accepted");
        let unfinished = archive.join(unfinished_copy(&name));
        // A folder in the way: it cannot be written, as on a full disk.
        std::fs::create_dir_all(unfinished.join("full")).unwrap();
        inbox.archive(&name, &stamp, &archive).unwrap_err();
        assert!(path.is_file() && !archive.join(&name).exists());
        std::fs::remove_dir_all(&unfinished).unwrap();
        inbox.archive(&name, &stamp, &archive).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [std::ffi::OsString::from(name)]);
    }

    #[test]
    fn a_rejected_file_lies_beside_its_reason() {
        let (folder, inbox) = inbox();
        let rejected = folder.path().join("rejected");
        for _ in 0..2 {
            std::fs::write(inbox.path().join("bad.json"), "{").unwrap();
            let (_, stamp) = inbox.read("bad.json", 10).unwrap();
            inbox.reject("bad.json", &stamp, &rejected, |name| name.as_bytes().to_vec()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(rejected.join("bad.json.reason.json")).unwrap(), "bad.json");
        assert_eq!(std::fs::read_to_string(rejected.join("bad-1.json.reason.json")).unwrap(), "bad-1.json");
        assert!(rejected.join("bad-1.json").is_file());
    }

    #[test]
    fn a_file_over_the_limit_is_not_read_whole() {
        let (_folder, inbox) = inbox();
        std::fs::write(inbox.path().join("a.json"), "12345").unwrap();
        assert!(matches!(inbox.read("a.json", 4), Err(DiskError::TooLong { limit: 4, .. })));
        assert_eq!(inbox.read("a.json", 5).unwrap().0, b"12345");
    }
}
