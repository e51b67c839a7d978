//! Files: private folders, durable writes, moves that never replace. The only room that renames, flushes and locks.
//!
//! Everything here blocks; stages call it off the async threads. A name appears only once what it names is on the
//! disk: the file is flushed, then named, then the folder is flushed (a rename without that publishes empty files
//! after a power cut).

mod bulk;
pub mod file_system;
pub mod inbox;
pub mod library;
pub mod lock;
pub mod names;
pub mod part;
pub mod sweep;
pub mod unfinished;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::failpoints::{self, Bug, FailPoint, planted};

/// The longest name of a file, in bytes, on every file system that matters here.
pub(crate) const LONGEST_NAME: usize = 255;
/// What is longer behind a dot is no ending, but part of the name.
const ENDING: usize = 16;

/// Why a file could not be read, written or moved.
#[derive(Debug, Error)]
pub enum DiskError {
    /// No room: it may be tried again once there is.
    #[error("the disk that holds {} is full; make room on it", .0.display())]
    Full(PathBuf),
    /// Something has that name already.
    #[error("{} is already there", .0.display())]
    Taken(PathBuf),
    /// The file is not the one that was looked at before.
    #[error("{} has changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Gone(PathBuf),
    /// Not a regular file, or a link where a folder should be.
    #[error("{} is a {kind}, which is never opened", .path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Longer than allowed.
    #[error("{} is longer than {limit} bytes", .path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Anything else.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn new(path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            io::ErrorKind::AlreadyExists => Self::Taken(path),
            io::ErrorKind::NotFound => Self::Gone(path),
            _ => Self::Io { path, source },
        }
    }
}

/// Whether an error of the file system may pass by itself: no room, too many open files, or a disk that fails.
pub fn passes(error: &io::Error) -> bool {
    let errnos = [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| errnos.iter().any(|errno| errno.raw_os_error() == code))
}

/// Makes a folder and what is above it, open to this user alone (0700, or less by the umask). A link in its place is
/// refused.
///
/// # Errors
/// When it cannot be made, or is something else.
pub fn make_private_folder(path: &Path) -> Result<(), DiskError> {
    make_folder(path, 0o700)
}

pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), DiskError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        // A folder given by a person may be a link to one: that is their word. What we would make must not be.
        Ok(found) if found.is_symlink() && path.is_dir() => return Ok(()),
        Ok(_) => return Err(DiskError::NotRegular { path: path.to_owned(), kind: "file or dangling link" }),
        Err(_) => {}
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent, mode)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(DiskError::new(path, error)),
        _ => match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => flush_folder(parent),
            None => Ok(()),
        },
    }
}

/// Flushes a folder, so that the names in it survive a power cut.
///
/// # Errors
/// When it cannot be opened or flushed.
pub fn flush_folder(path: &Path) -> Result<(), DiskError> {
    let folder = File::open(path).map_err(|error| DiskError::new(path, error))?;
    flush_names(&folder).map_err(|error| DiskError::new(path, error))
}

/// Flushes what is in a file.
pub(crate) fn flush(file: &File) -> io::Result<()> {
    if planted(Bug::NoFileFlush) { Ok(()) } else { file.sync_all() }
}

/// Flushes the names in a folder.
pub(crate) fn flush_names(folder: impl AsFd) -> io::Result<()> {
    if planted(Bug::NoFolderFlush) { Ok(()) } else { Ok(rustix::fs::fsync(folder)?) }
}

/// Writes a file that is either there whole or not at all, replacing an older one. Mode 0600 or less by the umask.
///
/// # Errors
/// When it cannot be written; what was there before is still there then.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let (folder, _) = split(path)?;
    let written = write_to_be_flushed(path, bytes, 0o600).and_then(|()| flush_folder(folder));
    failpoints::hit(FailPoint::DurableFlushed);
    written
}

/// As [`write_durably`], in this mode, but for the last step: its name survives a power cut only once its folder is
/// [flushed](flush_names).
pub(crate) fn write_to_be_flushed(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let (folder, name) = split(path)?;
    let unfinished = folder.join(unfinished_name(name));
    let written = write_new(&unfinished, bytes, mode).and_then(|()| rename_replacing(&unfinished, path));
    if written.is_err() {
        // What is left over is hidden, and the next try begins by removing it.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// Hidden, and the same at the next try. A name that leaves no room for more is told by its hash.
fn unfinished_name(name: &str) -> String {
    let unfinished = format!(".{name}.tmp");
    if unfinished.len() <= LONGEST_NAME {
        return unfinished;
    }
    format!(".{}.tmp", HEXLOWER.encode(&Sha256::digest(name.as_bytes())))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let io = |error| DiskError::new(path, error);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o700).open(path).map_err(io)?;
    if mode & 0o077 != 0 {
        // Whom a person lets in by the configuration, the umask does not keep out.
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(io)?;
    }
    file.write_all(bytes).and_then(|()| flush(&file)).map_err(io)
}

#[expect(clippy::disallowed_methods, reason = "the one home of renames")]
fn rename_replacing(from: &Path, to: &Path) -> Result<(), DiskError> {
    failpoints::hit(FailPoint::DurableWritten);
    std::fs::rename(from, to).map_err(|error| DiskError::new(to, error))?;
    failpoints::hit(FailPoint::DurableRenamed);
    Ok(())
}

fn split(path: &Path) -> Result<(&Path, &str), DiskError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(|name| (folder, name))
        .ok_or_else(|| DiskError::new(path, io::Error::from(io::ErrorKind::InvalidFilename)))
}

/// Renames without ever replacing what has the new name. Does not flush.
pub(crate) fn rename_new(
    from: (&OwnedFd, &Path),
    to: (&OwnedFd, &Path),
    full: &Path,
) -> Result<(), DiskError> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // File systems without that flag have links, and a link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
            .and_then(|()| rustix::fs::unlinkat(from.0, from.1, AtFlags::empty()))
            .map_err(|error| DiskError::new(full, error)),
        Err(error) => Err(DiskError::new(full, error)),
    }
}

/// Opens a folder to work beneath. Follows links in a path that a person configured.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd, DiskError> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| DiskError::new(path, error))
}

/// As [`open_folder`], but a link in its place is refused.
pub(crate) fn open_real_folder(path: &Path) -> Result<OwnedFd, DiskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| DiskError::new(path, error))
}

/// Whether `error` says that two paths are on different file systems.
pub(crate) fn crosses_file_systems(error: &DiskError) -> bool {
    matches!(error, DiskError::Io { source, .. } if source.kind() == io::ErrorKind::CrossesDevices)
}

/// Hashes all that is left of a reader, in constant memory; its length.
pub(crate) fn hash_into(hash: &mut Sha256, mut from: impl Read) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(bytes);
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// The same name with `-1`, `-2`, ... before its ending: what a name that is taken gets.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    numbered_within(name, number, LONGEST_NAME)
}

/// [`numbered`], at most `limit` bytes long: what is too long is cut before the number and the ending.
pub(crate) fn numbered_within(name: &str, number: u32, limit: usize) -> String {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() < ENDING => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    let number = if number == 0 { String::new() } else { format!("-{number}") };
    let room = limit.saturating_sub(number.len() + ending.len());
    let fits = |end: &usize| *end <= room;
    let ends = stem.char_indices().map(|(start, c)| start + c.len_utf8());
    let stem = &stem[..ends.take_while(fits).last().unwrap_or(0)];
    format!("{stem}{number}{ending}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_durable_write_replaces_whole_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_are_private_and_nothing_else_takes_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_private_folder(&deep).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(make_private_folder(&file), Err(DiskError::NotRegular { .. })));
    }

    #[test]
    fn a_taken_name_gets_a_number_before_its_ending() {
        assert_eq!(numbered("a.json", 0), "a.json");
        assert_eq!(numbered("a.b.json", 2), "a.b-2.json");
        assert_eq!(numbered(".hidden", 1), ".hidden-1");
        assert_eq!(numbered("plain", 1), "plain-1");
        assert_eq!(numbered_within("sakura.json", 0, 9), "saku.json");
        assert_eq!(numbered_within("sakura.json", 12, 9), "s-12.json");
        assert_eq!(numbered_within("樱花.json", 0, 9), "樱.json");
        assert_eq!(numbered(&format!("{}.json", "x".repeat(250)), 1).len(), LONGEST_NAME);
    }
}
