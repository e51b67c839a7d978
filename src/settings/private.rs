//! Reading files that hold a secret: regular, small, and nobody else's to read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Far more than any key; a wrong path must not be read for ever.
const LARGEST: u64 = 64 * 1024;

/// Why a file with a secret was not used. None of them shows what it holds.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a folder, a pipe, a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Group or others may use it.
    #[error("{0} can be used by others than its owner (mode {mode:04o}); run: chmod 600 '{0}'", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to neither this user nor root.
    #[error("{0} belongs to user {owner}, not to user {us} or root; run: sudo chown {us} '{0}'", path.display())]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Our number.
        us: u32,
    },
    /// Nothing in it.
    #[error("{} is empty; write the secret into it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More than a secret.
    #[error("{} does not look like a secret: it should be one line of visible ASCII characters without spaces, at most 64 KiB", path.display())]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file that must be a regular one with mode 0600 or stricter, owned by this process's user or root.
/// Root may read everybody's: a command run with sudo meets the files of the daemon's user.
/// Symbolic links are followed: what they lead to is what is judged.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    let file = open_regular(path)?;
    let facts = file.metadata().map_err(unreadable(path))?;
    let us = rustix::process::geteuid().as_raw();
    if !trusts(us, facts.uid()) {
        return Err(PrivateFileError::OtherOwner { path: path.to_owned(), owner: facts.uid(), us });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(PrivateFileError::TooOpen { path: path.to_owned(), mode: facts.mode() & 0o7777 });
    }
    read_text(path, file)
}

/// Whether user `us` takes a secret from `owner`: nobody else may be able to exchange it.
fn trusts(us: u32, owner: u32) -> bool {
    owner == us || owner == 0 || us == 0
}

/// The one secret in a private file.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, PrivateFileError> {
    one_secret(path, &read_private(path)?)
}

/// The one secret in a systemd credential. Who may read it is for systemd to guard: its modes and lists of users
/// are not those of a file made by hand.
pub(crate) fn read_credential(path: &Path) -> Result<Secret, PrivateFileError> {
    one_secret(path, &read_text(path, open_regular(path)?)?)
}

/// The secrets in a private file or in a credential, one per line, at least one.
pub(crate) fn read_secrets(path: &Path, credential: bool) -> Result<Vec<Secret>, PrivateFileError> {
    let text = if credential { read_text(path, open_regular(path)?)? } else { read_private(path)? };
    if text.trim().is_empty() {
        return Err(PrivateFileError::Empty { path: path.to_owned() });
    }
    let secrets: Option<Vec<Secret>> = text.trim_end_matches(['\n', '\r']).lines().map(as_secret).collect();
    secrets.ok_or_else(|| PrivateFileError::NotASecret { path: path.to_owned() })
}

/// `text` without line breaks at its end, if it can be a secret: visible ASCII without spaces, so that it fits into
/// an HTTP header as it is. `None` otherwise; an empty text is none.
pub(crate) fn as_secret(text: &str) -> Option<Secret> {
    let text = text.trim_end_matches(['\n', '\r']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(text))
}

fn one_secret(path: &Path, text: &str) -> Result<Secret, PrivateFileError> {
    if text.trim().is_empty() {
        return Err(PrivateFileError::Empty { path: path.to_owned() });
    }
    as_secret(text).ok_or_else(|| PrivateFileError::NotASecret { path: path.to_owned() })
}

fn open_regular(path: &Path) -> Result<File, PrivateFileError> {
    // Without waiting: opening a pipe would otherwise hang until somebody writes to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable(path))?;
    if !file.metadata().map_err(unreadable(path))?.is_file() {
        return Err(PrivateFileError::NotAFile { path: path.to_owned() });
    }
    Ok(file)
}

fn read_text(path: &Path, file: File) -> Result<Zeroizing<String>, PrivateFileError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.len() as u64 <= LARGEST => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(PrivateFileError::NotASecret { path: path.to_owned() }),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    let path = path.to_owned();
    |source| PrivateFileError::Unreadable { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join(format!("{mode:o}"));
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn a_secret_is_read_without_its_line_break_only_where_nobody_else_can() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o600, 0o400] {
            let secret = read_secret(&file(&folder, "sk-canary\r\n", mode)).expect("a private file");
            assert_eq!(secret.expose(), "sk-canary");
        }
        for mode in [0o640, 0o604, 0o660, 0o602, 0o610] {
            let path = file(&folder, "sk-canary\n", mode);
            let told = read_secret(&path).expect_err("an open file").to_string();
            assert!(told.contains(&format!("chmod 600 '{}'", path.display())), "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn a_secret_is_taken_from_oneself_and_from_root() {
        for (us, owner, trusted) in
            [(1000, 1000, true), (1000, 0, true), (1000, 1001, false), (0, 1000, true)]
        {
            assert_eq!(trusts(us, owner), trusted, "{us} {owner}");
        }
        // To another user's eyes, a file of everybody else's: only root can try it.
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(&folder, "sk-canary\n", 0o600);
        if std::os::unix::fs::chown(&path, Some(4711), None).is_ok() {
            assert!(read_secret(&path).is_ok(), "root reads the files of the daemon's user");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "c".repeat(64 * 1024 + 1);
        for text in ["", "\n", " \n", "canary canary", "canary\ncanary\n", "canary\u{e9}", "canary\0", &long]
        {
            let told = read_secret(&file(&folder, text, 0o600)).expect_err("no secret").to_string();
            assert!(!told.contains("canary"), "{told}");
        }
        let not_utf8 = folder.path().join("bytes");
        fs::write(&not_utf8, [0xff, 0xfe]).expect("written");
        fs::set_permissions(&not_utf8, fs::Permissions::from_mode(0o600)).expect("set");
        assert!(matches!(read_secret(&not_utf8), Err(PrivateFileError::NotASecret { .. })));
    }

    #[test]
    fn folders_and_pipes_are_refused_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        for path in [folder.path(), &pipe] {
            assert!(matches!(read_secret(path), Err(PrivateFileError::NotAFile { .. })), "{path:?}");
        }
    }
}
