//! Files written whole or not at all: flushed under a temporary name, then renamed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::CWD;
use sha2::{Digest, Sha256};

use crate::failpoints::{self, FailPoint};
use crate::fs::rename::{rename_no_replace, rename_replacing};
use crate::fs::{FsError, SHORTEST_NAME_LIMIT, flush_folder, split_path};

/// Writes a file with mode 0600, or less by the umask, and replaces an older one. After a crash the old or the new
/// content is there, complete.
///
/// # Errors
/// When the file cannot be written. Unless only the last flush failed, the old content is still there.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let (folder, _) = split_path(path)?;
    write_atomically(path, bytes, 0o600)?;
    flush_folder(folder)?;
    failpoints::hit(FailPoint::DurableFlushed);
    Ok(())
}

/// [`write_durably`] with a mode and without the last step: a power cut can undo the write until the caller
/// [flushes the folder](flush_folder).
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    let temporary = write_temporary(path, bytes, mode)?;
    failpoints::hit(FailPoint::DurableWritten);
    rename_replacing(&temporary, path).inspect_err(|_| remove_temporary(&temporary))?;
    failpoints::hit(FailPoint::DurableRenamed);
    Ok(())
}

/// [`write_durably`], but never replaces a file.
///
/// # Errors
/// [`FsError::AlreadyExists`] when the path exists, or when the file cannot be written.
pub(crate) fn create_durably(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let (folder, _) = split_path(path)?;
    let temporary = write_temporary(path, bytes, 0o600)?;
    failpoints::hit(FailPoint::CreateWritten);
    let renamed = rename_no_replace((CWD, &temporary), (CWD, path), path);
    renamed.inspect_err(|_| remove_temporary(&temporary))?;
    failpoints::hit(FailPoint::CreateRenamed);
    flush_folder(folder)
}

/// Creates a file and flushes it. Its name survives a power cut once the folder is flushed. A mode beyond 0700 is set
/// regardless of the umask: the configuration grants that access.
///
/// # Errors
/// [`FsError::AlreadyExists`] when the path exists, or when the file cannot be written; then it is removed again.
fn create_flushed(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    let io = |error| FsError::new(path, error);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode & 0o700).open(path).map_err(io)?;
    let mut write = || {
        if mode & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        file.write_all(bytes)?;
        flush(&file)
    };
    write().map_err(io).inspect_err(|_| remove_temporary(path))
}

/// Flushes the content of a file.
pub(crate) fn flush(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// The hidden name under which `name` is written. It is the same for every try, so that the next one removes what a
/// crash left. A hash replaces a name that is too long to be extended.
pub(crate) fn temporary_name(name: &str) -> String {
    let temporary = format!(".{name}.tmp");
    if temporary.len() <= SHORTEST_NAME_LIMIT {
        return temporary;
    }
    format!(".{}.tmp", HEXLOWER.encode(&Sha256::digest(name.as_bytes())))
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FsError> {
    let (folder, name) = split_path(path)?;
    let temporary = folder.join(temporary_name(name));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::new(&temporary, error)),
        _ => create_flushed(&temporary, bytes, mode).map(|()| temporary),
    }
}

fn remove_temporary(path: &Path) {
    // If this fails, the next write removes the file.
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_write_replaces_the_file_and_keeps_it_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn durable_create_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(folder.path().join(".a.txt.tmp"), "left by a crash").unwrap();
        create_durably(&path, b"one").unwrap();
        assert!(matches!(create_durably(&path, b"two"), Err(FsError::AlreadyExists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
