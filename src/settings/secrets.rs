//! The secrets behind callback addresses: made once, and never forgotten while a task may still call back.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fs::{FsError, create_durably, write_durably};
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::Settings;
use crate::settings::private::{PrivateFileError, as_secret, read_private};

/// How many secrets are remembered, the current one included: three rotations while a task is under way.
const REMEMBERED: usize = 4;

/// A shorter secret could be guessed from one callback address.
const SHORTEST: usize = 16;

/// Why the callback secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file with secrets cannot be read, or by too many.
    #[error("callback secret: {0}")]
    File(#[from] PrivateFileError),
    /// The secret file is cut, empty or holds something else.
    #[error(
        "callback secret: {0}: {why}. Restore the file from a copy, or replace it by a new secret \
         (openssl rand -hex 32); tasks already under way whose callbacks no longer count are polled", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The list of secrets once used is cut, empty or holds something else.
    #[error(
        "callback secret: {0}: {why}. Remove the file: it is made again, and tasks already under way whose \
         callbacks no longer count are polled", path.display()
    )]
    DamagedList {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is not ours to change.
    #[error(
        "callback secret: {0} is set by `callbacks.secret_file`: write a new first line into it, keep the old one below, \
         and reload the daemon (systemctl reload dropreel)", path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("callback secret: cannot write: {0}; check the folder's permissions and free space")]
    Write(#[from] FsError),
    /// The operating system has no random bytes.
    #[error("callback secret: no random bytes: {0}")]
    Random(io::Error),
}

/// The callback secrets (docs/reference.md#http): the first line of `callbacks.secret_file` makes tokens; its
/// further lines, and every secret that was used before (the newest four), only admit them.
///
/// Where no file is given, `callback.secret` in `data_dir` is made once and never written again. What was used is
/// kept in `callback.secrets-known` beside it, so that a changed file does not lock out tasks under way. Only the
/// daemon calls this, once, when it holds the lock of `data_dir`, which must exist.
///
/// # Errors
/// When a file cannot be read, is open to others, is cut or empty, or cannot be written; each says what to do.
pub fn load_callback_secrets(settings: &Settings) -> Result<CallbackSecrets, SecretsError> {
    let file = &settings.callbacks.secret_file;
    let ours = settings.data_dir.join("callback.secret");
    if *file == ours && !exists(&ours)? {
        create_durably(&ours, file_text(&[new_secret()?]).as_bytes())?;
    }
    let text = read_private(file)?;
    let damaged = |why| SecretsError::Damaged { path: file.clone(), why };
    if *file == ours && !text.ends_with('\n') {
        return Err(damaged("it does not end with a line break, so it may be cut"));
    }
    let mut secrets = parse(&text).map_err(damaged)?;
    let current = secrets.first().cloned().ok_or_else(|| damaged("it is empty"))?;

    let list = settings.data_dir.join("callback.secrets-known");
    let known = read_known(&list)?;
    secrets.extend(known.iter().cloned());
    let mut used: Vec<Secret> = Vec::new();
    for secret in secrets {
        if !used.contains(&secret) {
            used.push(secret);
        }
    }
    // The file's own lines are all obeyed; only the memory of former ones is bounded.
    let remembered = &used[..used.len().min(REMEMBERED)];
    if remembered != known {
        write_durably(&list, file_text(remembered).as_bytes())?;
    }
    Ok(CallbackSecrets::new(current, used.split_off(1)))
}

/// Makes a new callback secret and keeps the old ones below it, so that calls under way still find in. Whenever it is
/// killed, the file is whole, with the secret from before or the new one first.
///
/// # Errors
/// As [`load_callback_secrets`]; and when a person has set the file, who then changes it.
pub fn rotate_callback_secret(settings: &Settings) -> Result<CallbackSecrets, SecretsError> {
    let file = &settings.callbacks.secret_file;
    if *file != settings.data_dir.join("callback.secret") {
        return Err(SecretsError::NotOurs { path: file.clone() });
    }
    let damaged = |why| SecretsError::Damaged { path: file.clone(), why };
    let mut secrets = parse(&read_private(file)?).map_err(damaged)?;
    secrets.insert(0, new_secret()?);
    secrets.truncate(REMEMBERED);
    write_durably(file, file_text(&secrets).as_bytes())?;
    load_callback_secrets(settings)
}

/// The secrets in a text, one per line.
fn parse(text: &str) -> Result<Vec<Secret>, &'static str> {
    let read = |line: &str| match as_secret(line) {
        None if line.is_empty() => Err("it has an empty line"),
        None => Err("a line is not a secret: visible ASCII characters without spaces"),
        Some(_) if line.len() < SHORTEST => Err("a secret is shorter than 16 characters"),
        Some(secret) => Ok(secret),
    };
    text.trim_end_matches(['\n', '\r']).lines().map(read).collect()
}

fn read_known(list: &Path) -> Result<Vec<Secret>, SecretsError> {
    if !exists(list)? {
        return Ok(Vec::new());
    }
    let damaged = |why| SecretsError::DamagedList { path: list.to_owned(), why };
    let text = read_private(list)?;
    if !text.ends_with('\n') {
        return Err(damaged("it does not end with a line break, so it may be cut"));
    }
    parse(&text).map_err(damaged)
}

fn exists(path: &Path) -> Result<bool, SecretsError> {
    // A dangling link counts as something that is there: it was put there, and reading it says why it fails.
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(PrivateFileError::Unreadable { path: path.to_owned(), source }.into()),
    }
}

fn new_secret() -> Result<Secret, SecretsError> {
    Secret::generate().map_err(SecretsError::Random)
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
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::settings::{Environment, Purpose, load};

    const A: &str = "aaaaaaaaaaaaaaaa-first";
    const B: &str = "bbbbbbbbbbbbbbbb-second";

    /// Settings with `data_dir` in `folder`; with the secret file `given`, if it has a name.
    fn settings(folder: &Path, given: &str) -> Settings {
        let config = folder.join("config.toml");
        fs::write(&config, "").expect("written");
        let file = if given.is_empty() { String::new() } else { folder.join(given).display().to_string() };
        let environment: Environment =
            [("STATE_DIRECTORY", folder.display().to_string()), ("DROPREEL_CALLBACKS__SECRET_FILE", file)]
                .into_iter()
                .collect();
        load(Some(&config), &environment, Purpose::Daemon).expect("settings")
    }

    fn write_private(path: &Path, text: &str) {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
    }

    fn token(secret: &str) -> Secret {
        CallbackSecrets::new(Secret::new(secret), Vec::new()).token("job")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("listed");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_secret_is_made_once_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "");
        // What a crash in the middle of making it leaves behind.
        fs::write(folder.path().join(".callback.secret.tmp"), "half").expect("written");
        let made = load_callback_secrets(&settings).expect("made");
        let again = load_callback_secrets(&settings).expect("read");
        assert_eq!(made.token("job"), again.token("job"));
        assert_eq!(names(folder.path()), ["callback.secret", "callback.secrets-known", "config.toml"]);
        for name in ["callback.secret", "callback.secrets-known"] {
            let mode = fs::metadata(folder.path().join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_changed_secret_leaves_tokens_under_way_valid() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "mine");
        let mine = folder.path().join("mine");
        write_private(&mine, A);
        load_callback_secrets(&settings).expect("the first");
        write_private(&mine, B);
        let secrets = load_callback_secrets(&settings).expect("the second");
        assert_eq!(secrets.token("job"), token(B));
        assert!(secrets.admit("job", token(A).expose()));
        assert!(!secrets.admit("job", token("cccccccccccccccc").expose()));
    }

    #[test]
    fn a_rotated_secret_comes_first_and_the_old_ones_still_admit() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "");
        let first = load_callback_secrets(&settings).expect("made").token("job");
        let rotated = rotate_callback_secret(&settings).expect("rotated");
        let second = rotated.token("job");
        assert_ne!(first, second);
        assert!(rotated.admit("job", first.expose()));
        let again = load_callback_secrets(&settings).expect("read");
        assert_eq!(again.token("job"), second);
        assert!(again.admit("job", first.expose()));
        for _ in 0..REMEMBERED {
            rotate_callback_secret(&settings).expect("rotated");
        }
        assert!(!load_callback_secrets(&settings).expect("read").admit("job", first.expose()));
        let mode = fs::metadata(folder.path().join("callback.secret")).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_secret_file_of_a_person_s_own_is_that_person_s_to_rotate() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "mine");
        write_private(&folder.path().join("mine"), A);
        let told = rotate_callback_secret(&settings).expect_err("not ours").to_string();
        assert!(told.contains("mine") && told.contains("reload"), "{told}");
        assert_eq!(fs::read_to_string(folder.path().join("mine")).expect("there"), A);
    }

    #[test]
    fn the_four_newest_secrets_are_remembered_and_every_line_of_the_file_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "mine");
        let secret = |n: usize| format!("{A}-{n}");
        for n in 0..6 {
            write_private(&folder.path().join("mine"), &secret(n));
            load_callback_secrets(&settings).expect("rotated");
        }
        let list = fs::read_to_string(folder.path().join("callback.secrets-known")).expect("there");
        assert_eq!(list.lines().collect::<Vec<_>>(), [5, 4, 3, 2].map(secret));

        let all: Vec<String> = (10..20).map(secret).collect();
        write_private(&folder.path().join("mine"), &all.join("\n"));
        let secrets = load_callback_secrets(&settings).expect("read");
        assert!(all.iter().all(|one| secrets.admit("job", token(one).expose())));
        assert_eq!(secrets.token("job"), token(&secret(10)));
    }

    #[test]
    fn a_cut_or_empty_secret_file_is_an_error_and_stays_as_it_is() {
        for text in [
            "",
            "\n",
            "short\n",
            "cut-in-the-middle-of-it",
            "\nbbbbbbbbbbbbbbbbbbbb\n",
            "with a space in it\n",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("callback.secret");
            write_private(&file, text);
            let told = load_callback_secrets(&settings(folder.path(), "")).expect_err(text).to_string();
            assert!(told.contains("openssl rand") && told.contains("callback.secret"), "{told}");
            assert_eq!(fs::read_to_string(&file).expect("there"), text);
        }
    }

    #[test]
    fn a_cut_list_of_known_secrets_is_an_error_that_says_to_remove_it() {
        for text in ["", A, "\n\n\nshort\n"] {
            let folder = tempfile::tempdir().expect("a folder");
            write_private(&folder.path().join("callback.secrets-known"), text);
            let told = load_callback_secrets(&settings(folder.path(), "")).expect_err(text).to_string();
            assert!(told.contains("Remove the file"), "{told}");
        }
    }

    #[test]
    fn a_given_file_must_be_there_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "mine");
        let told = load_callback_secrets(&settings).expect_err("missing").to_string();
        assert!(told.contains("mine") && names(folder.path()) == ["config.toml"], "{told}");
        write_private(&folder.path().join("mine"), A);
        fs::set_permissions(folder.path().join("mine"), fs::Permissions::from_mode(0o644)).expect("set");
        let told = load_callback_secrets(&settings).expect_err("open").to_string();
        assert!(told.contains("chmod 600") && !told.contains(A), "{told}");
    }
}
