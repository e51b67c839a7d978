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
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn secret_is_generated_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "");
    // Left by a crash during the first write.
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
fn tokens_stay_valid_after_the_secret_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "mine");
    let mine = folder.path().join("mine");
    write_private(&mine, A);
    load_callback_secrets(&settings).expect("the first");
    write_private(&mine, B);
    let secrets = load_callback_secrets(&settings).expect("the second");
    assert_eq!(secrets.token("job"), token(B));
    assert!(secrets.verify("job", token(A).expose()));
    assert!(!secrets.verify("job", token("cccccccccccccccc").expose()));
}

#[test]
fn rotation_puts_the_new_secret_first_and_keeps_the_old_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "");
    let first = load_callback_secrets(&settings).expect("made").token("job");
    let rotated = rotate_callback_secret(&settings).expect("rotated");
    let second = rotated.token("job");
    assert_ne!(first, second);
    assert!(rotated.verify("job", first.expose()));
    let again = load_callback_secrets(&settings).expect("read");
    assert_eq!(again.token("job"), second);
    assert!(again.verify("job", first.expose()));
    for _ in 0..MAX_KNOWN {
        rotate_callback_secret(&settings).expect("rotated");
    }
    assert!(!load_callback_secrets(&settings).expect("read").verify("job", first.expose()));
    let mode = fs::metadata(folder.path().join("callback.secret")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn configured_secret_file_is_not_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "mine");
    write_private(&folder.path().join("mine"), A);
    let error = rotate_callback_secret(&settings).expect_err("configured").to_string();
    assert!(error.contains("mine") && error.contains("reload"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("mine")).expect("there"), A);
}

#[test]
fn four_newest_secrets_are_known_and_all_lines_are_valid() {
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
    assert!(all.iter().all(|one| secrets.verify("job", token(one).expose())));
    assert_eq!(secrets.token("job"), token(&secret(10)));
}

#[test]
fn damaged_secret_file_is_an_error_and_stays_unchanged() {
    for text in
        ["", "\n", "short\n", "cut-in-the-middle-of-it", "\nbbbbbbbbbbbbbbbbbbbb\n", "with a space in it\n"]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("callback.secret");
        write_private(&file, text);
        let error = load_callback_secrets(&settings(folder.path(), "")).expect_err(text).to_string();
        assert!(error.contains("openssl rand") && error.contains("callback.secret"), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("there"), text);
    }
}

#[test]
fn damaged_file_of_known_secrets_is_an_error() {
    for text in ["", A, "\n\n\nshort\n"] {
        let folder = tempfile::tempdir().expect("a folder");
        write_private(&folder.path().join("callback.secrets-known"), text);
        let error = load_callback_secrets(&settings(folder.path(), "")).expect_err(text).to_string();
        assert!(error.contains("Remove the file"), "{error}");
    }
}

#[test]
fn configured_file_must_exist_and_be_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "mine");
    let error = load_callback_secrets(&settings).expect_err("missing").to_string();
    assert!(error.contains("mine") && names(folder.path()) == ["config.toml"], "{error}");
    write_private(&folder.path().join("mine"), A);
    fs::set_permissions(folder.path().join("mine"), fs::Permissions::from_mode(0o644)).expect("set");
    let error = load_callback_secrets(&settings).expect_err("open").to_string();
    assert!(error.contains("chmod 600") && !error.contains(A), "{error}");
}
