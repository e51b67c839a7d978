//! Reads files that hold secrets: they must be regular, small and private.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Far more than any key. Limits the damage of a wrong path, such as a device.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a secret file cannot be used. The text never shows its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// It is a folder, a pipe, a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// Group or others may use it.
    #[error("{0} can be used by others than its owner (mode {mode:04o}); run: chmod 600 '{0}'", path.display())]
    TooOpen {
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to neither this user nor root.
    #[error("{0} belongs to user {owner}, not to user {us} or root; run: sudo chown {us} '{0}'", path.display())]
    OtherOwner {
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// User id of this process.
        us: u32,
    },
    /// It is empty.
    #[error("{} is empty; write the secret into it", path.display())]
    Empty { path: PathBuf },
    /// Its content is not a secret.
    #[error("{} does not look like a secret: it should be one line of visible ASCII characters without spaces, at most 64 KiB", path.display())]
    NotASecret { path: PathBuf },
}

/// Reads a regular file with mode 0600 or stricter that belongs to this user or root. Root may read the files of all
/// users, so that commands run with sudo can read those of the daemon. Symbolic links are followed; the checks apply to
/// their target.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let file = open_regular(path)?;
    let facts = file.metadata().map_err(unreadable(path))?;
    let us = rustix::process::geteuid().as_raw();
    if !trusts(us, facts.uid()) {
        return Err(SecretFileError::OtherOwner { path: path.to_owned(), owner: facts.uid(), us });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(SecretFileError::TooOpen { path: path.to_owned(), mode: facts.mode() & 0o7777 });
    }
    read_text(path, file)
}

/// Whether user `us` may use a secret that `owner` can replace.
fn trusts(us: u32, owner: u32) -> bool {
    owner == us || owner == 0 || us == 0
}

/// Reads the secret in a private file.
pub(super) fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    one_secret(path, &read_private(path)?)
}

/// Reads the secret in a systemd credential. systemd controls who may read it, so owner and mode are not checked.
pub(super) fn read_credential(path: &Path) -> Result<Secret, SecretFileError> {
    one_secret(path, &read_text(path, open_regular(path)?)?)
}

/// Reads the secrets in a private file or in a credential: one per line, at least one.
pub(super) fn read_secrets(path: &Path, credential: bool) -> Result<Vec<Secret>, SecretFileError> {
    let text = if credential { read_text(path, open_regular(path)?)? } else { read_private(path)? };
    if text.trim().is_empty() {
        return Err(SecretFileError::Empty { path: path.to_owned() });
    }
    let secrets: Option<Vec<Secret>> =
        text.trim_end_matches(['\n', '\r']).lines().map(parse_secret).collect();
    secrets.ok_or_else(|| SecretFileError::NotASecret { path: path.to_owned() })
}

/// The text without trailing line breaks. `None` if it is empty or holds anything but visible ASCII, which would not fit
/// into an HTTP header.
pub(super) fn parse_secret(text: &str) -> Option<Secret> {
    let text = text.trim_end_matches(['\n', '\r']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(text))
}

fn one_secret(path: &Path, text: &str) -> Result<Secret, SecretFileError> {
    if text.trim().is_empty() {
        return Err(SecretFileError::Empty { path: path.to_owned() });
    }
    parse_secret(text).ok_or_else(|| SecretFileError::NotASecret { path: path.to_owned() })
}

fn open_regular(path: &Path) -> Result<File, SecretFileError> {
    // Without `NONBLOCK`, opening a pipe would wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable(path))?;
    if !file.metadata().map_err(unreadable(path))?.is_file() {
        return Err(SecretFileError::NotAFile { path: path.to_owned() });
    }
    Ok(file)
}

fn read_text(path: &Path, file: File) -> Result<Zeroizing<String>, SecretFileError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.len() as u64 <= MAX_BYTES => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(SecretFileError::NotASecret { path: path.to_owned() }),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SecretFileError {
    let path = path.to_owned();
    |source| SecretFileError::Unreadable { path, source }
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
    fn secret_is_read_from_private_files_without_its_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o600, 0o400] {
            let secret = read_secret(&file(&folder, "sk-canary\r\n", mode)).expect("a private file");
            assert_eq!(secret.expose(), "sk-canary");
        }
        for mode in [0o640, 0o604, 0o660, 0o602, 0o610] {
            let path = file(&folder, "sk-canary\n", mode);
            let error = read_secret(&path).expect_err("an open file").to_string();
            assert!(error.contains(&format!("chmod 600 '{}'", path.display())), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn secret_may_belong_to_this_user_or_root() {
        for (us, owner, trusted) in
            [(1000, 1000, true), (1000, 0, true), (1000, 1001, false), (0, 1000, true)]
        {
            assert_eq!(trusts(us, owner), trusted, "{us} {owner}");
        }
        // Only root can give a file away.
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(&folder, "sk-canary\n", 0o600);
        if std::os::unix::fs::chown(&path, Some(4711), None).is_ok() {
            assert!(read_secret(&path).is_ok(), "root reads the files of the daemon's user");
        }
    }

    #[test]
    fn content_that_is_no_secret_is_rejected_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "c".repeat(64 * 1024 + 1);
        for text in ["", "\n", " \n", "canary canary", "canary\ncanary\n", "canary\u{e9}", "canary\0", &long]
        {
            let error = read_secret(&file(&folder, text, 0o600)).expect_err("no secret").to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        let not_utf8 = folder.path().join("bytes");
        fs::write(&not_utf8, [0xff, 0xfe]).expect("written");
        fs::set_permissions(&not_utf8, fs::Permissions::from_mode(0o600)).expect("set");
        assert!(matches!(read_secret(&not_utf8), Err(SecretFileError::NotASecret { .. })));
    }

    #[test]
    fn folders_and_pipes_are_rejected_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        for path in [folder.path(), &pipe] {
            assert!(matches!(read_secret(path), Err(SecretFileError::NotAFile { .. })), "{path:?}");
        }
    }
}
