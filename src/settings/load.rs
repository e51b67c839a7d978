//! Loads [`Settings`] from the built-in file, a configuration file and the environment.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::ValueKind;

use crate::settings::environment::Environment;
use crate::settings::keys::{FILE_VARIABLE, Keys};
use crate::settings::problem::{InvalidSettings, Origin, SettingsProblem};
use crate::settings::reader::Reader;
use crate::settings::{Purpose, Settings};

/// Where the configuration file is if none is named.
const DEFAULT_FILES: [&str; 2] = ["config.toml", "/etc/dropreel/config.toml"];

/// Loads the configuration: the built-in defaults; over them the file (`named`, else `$DROPREEL_CONFIG`, else
/// `./config.toml`, else `/etc/dropreel/config.toml`, else none); over it the `DROPREEL_` variables. `$STATE_DIRECTORY`
/// overrides `data_dir` (docs/reference.md#configuration). Reads files, writes none.
///
/// # Errors
/// All problems at once, each with its key and where it was set.
pub fn load(
    named: Option<&Path>,
    environment: &Environment,
    purpose: Purpose,
) -> Result<Settings, InvalidSettings> {
    let mut problems = Vec::new();
    let keys = Keys::built_in().map_err(|problem| InvalidSettings { problems: vec![problem] })?;
    let file = find_file(named, environment).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let in_file = file.iter().flat_map(|(path, text)| keys.check_file(text, &Origin::File(path.clone())));
    let mut set = BTreeMap::new();
    for checked in in_file.chain(keys.check_environment(environment)) {
        match checked {
            Ok((key, setting)) => drop(set.insert(key, setting)),
            Err(problem) => problems.push(problem),
        }
    }
    let mut reader = Reader { keys: &keys, set, environment, purpose, problems };
    let settings = reader.settings(file.map(|(path, _)| path));
    match settings {
        Ok(settings) if reader.problems.is_empty() => Ok(settings),
        _ => Err(InvalidSettings { problems: reader.problems }),
    }
}

/// All keys, dotted, each with its default as TOML: for tests that compare them with the documentation.
///
/// # Errors
/// Only if the built-in file were not TOML.
pub fn keys_and_defaults() -> Result<Vec<(String, String)>, SettingsProblem> {
    let keys = Keys::built_in()?;
    Ok(keys.iter().map(|(key, value)| (key.to_owned(), as_toml(&value.kind))).collect())
}

fn as_toml(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Table(table) if table.is_empty() => "{}".to_owned(),
        ValueKind::Array(list) if list.is_empty() => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// The configuration file and its text. A file that was named must exist.
fn find_file(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Option<(PathBuf, String)>, SettingsProblem> {
    let named = named.map(Path::to_owned).or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(SettingsProblem::UnreadableFile { path, source }),
    };
    if let Some(path) = named {
        return read(path).map(Some);
    }
    for path in DEFAULT_FILES {
        match read(PathBuf::from(path)) {
            Err(SettingsProblem::UnreadableFile { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            // The service's user has no business in the folder of a person who calls `sudo -u`.
            Err(SettingsProblem::UnreadableFile { path, source })
                if source.kind() == ErrorKind::PermissionDenied && path.parent() == Some(Path::new("")) => {}
            found => return found.map(Some),
        }
    }
    Ok(None)
}
