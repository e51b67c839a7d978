//! The secrets of callback URLs: generated once, and kept as long as a task may still call back.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fs::{FsError, create_durably, write_durably};
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::Settings;
use crate::settings::secret_file::{SecretFileError, parse_secret, read_private};

/// In the data folder: the secret, unless `callbacks.secret_file` names another file.
const OWN_FILE: &str = "callback.secret";
/// In the data folder: the secrets used so far.
const KNOWN_FILE: &str = "callback.secrets-known";
/// How many secrets that file holds, the current one included: a callback URL stays valid through three rotations.
const MAX_KNOWN: usize = 4;
/// A shorter secret could be guessed from one callback URL.
const MIN_BYTES: usize = 16;

/// Why the callback secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CallbackSecretsError {
    /// A file cannot be read, or is not private.
    #[error("callback secret: {0}")]
    File(#[from] SecretFileError),
    /// The secret file is truncated, empty or invalid.
    #[error(
        "callback secret: {0}: {why}. Restore the file from a copy, or replace it by a new secret \
         (openssl rand -hex 32); tasks already under way whose callbacks no longer count are polled", path.display()
    )]
    Damaged {
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file of known secrets is truncated, empty or invalid.
    #[error(
        "callback secret: {0}: {why}. Remove the file: it is created again, and tasks already under way whose \
         callbacks no longer count are polled", path.display()
    )]
    DamagedKnown {
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The secret file is configured, so dropreel does not change it.
    #[error(
        "callback secret: {0} is set by `callbacks.secret_file`: write a new first line into it, keep the old one below, \
         and reload the daemon (systemctl reload dropreel)", path.display()
    )]
    Configured { path: PathBuf },
    /// A file cannot be written.
    #[error("callback secret: cannot write: {0}; check the folder's permissions and free space")]
    Write(#[from] FsError),
    /// The operating system has no random bytes.
    #[error("callback secret: no random bytes: {0}")]
    Random(io::Error),
}

/// Loads the callback secrets (docs/reference.md#http). The first line of `callbacks.secret_file` makes tokens; its other
/// lines and the secrets used before stay valid.
///
/// If no file is configured, `callback.secret` in `data_dir` is created. `callback.secrets-known` beside it keeps the
/// secrets used before, so that a changed file does not lock out running tasks. Only the daemon calls this, with the lock
/// of `data_dir` held.
///
/// # Errors
/// When a file cannot be read, is not private, is truncated or empty, or cannot be written.
pub fn load_callback_secrets(settings: &Settings) -> Result<CallbackSecrets, CallbackSecretsError> {
    let file = &settings.callbacks.secret_file;
    let is_own = *file == settings.data_dir.join(OWN_FILE);
    if is_own && !exists(file)? {
        create_durably(file, file_text(&[new_secret()?]).as_bytes())?;
    }
    let damaged = |why| CallbackSecretsError::Damaged { path: file.clone(), why };
    let secrets = parse(&read_private(file)?, is_own).map_err(damaged)?;
    let current = secrets.first().cloned().ok_or_else(|| damaged("it is empty"))?;

    let known_file = settings.data_dir.join(KNOWN_FILE);
    let known = read_known(&known_file)?;
    let mut used: Vec<Secret> = Vec::new();
    for secret in secrets.iter().chain(&known) {
        if !used.contains(secret) {
            used.push(secret.clone());
        }
    }
    // All lines of the secret file are valid, however many; only the memory of earlier secrets is bounded.
    let new_known = &used[..used.len().min(MAX_KNOWN)];
    if new_known != known {
        write_durably(&known_file, file_text(new_known).as_bytes())?;
    }
    Ok(CallbackSecrets::new(current, used.split_off(1)))
}

/// Generates a new callback secret and keeps the old ones below it, so that running tasks can still call back. A crash
/// leaves the old file or the new one, complete.
///
/// # Errors
/// As [`load_callback_secrets`], and when the secret file is configured.
pub fn rotate_callback_secret(settings: &Settings) -> Result<CallbackSecrets, CallbackSecretsError> {
    let file = &settings.callbacks.secret_file;
    if *file != settings.data_dir.join(OWN_FILE) {
        return Err(CallbackSecretsError::Configured { path: file.clone() });
    }
    let damaged = |why| CallbackSecretsError::Damaged { path: file.clone(), why };
    let mut secrets = parse(&read_private(file)?, false).map_err(damaged)?;
    secrets.insert(0, new_secret()?);
    secrets.truncate(MAX_KNOWN);
    write_durably(file, file_text(&secrets).as_bytes())?;
    load_callback_secrets(settings)
}

/// The secrets in a text, one per line. dropreel's own files end in a line break; without one, they are truncated.
fn parse(text: &str, is_own: bool) -> Result<Vec<Secret>, &'static str> {
    if is_own && !text.ends_with('\n') {
        return Err("it does not end with a line break, so it may be truncated");
    }
    let parse_line = |line: &str| match parse_secret(line) {
        None if line.is_empty() => Err("it has an empty line"),
        None => Err("a line is not a secret: visible ASCII characters without spaces"),
        Some(_) if line.len() < MIN_BYTES => Err("a secret is shorter than 16 characters"),
        Some(secret) => Ok(secret),
    };
    text.trim_end_matches(['\n', '\r']).lines().map(parse_line).collect()
}

fn read_known(file: &Path) -> Result<Vec<Secret>, CallbackSecretsError> {
    if !exists(file)? {
        return Ok(Vec::new());
    }
    let damaged = |why| CallbackSecretsError::DamagedKnown { path: file.to_owned(), why };
    parse(&read_private(file)?, true).map_err(damaged)
}

/// Whether the path exists. A dangling link does: reading it gives the error to report.
fn exists(path: &Path) -> Result<bool, CallbackSecretsError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SecretFileError::Unreadable { path: path.to_owned(), source }.into()),
    }
}

fn new_secret() -> Result<Secret, CallbackSecretsError> {
    Secret::generate().map_err(CallbackSecretsError::Random)
}

/// The text of a file with these secrets, one per line.
fn file_text(secrets: &[Secret]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for secret in secrets {
        text.push_str(secret.expose());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
