//! From the built-in file, a file and the environment to [`Settings`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, ValueKind};

use crate::settings::check::Reading;
use crate::settings::environment::Environment;
use crate::settings::layer::{Known, Layer};
use crate::settings::problem::{Invalid, Origin, Problem};
use crate::settings::{DEFAULT_CONFIG, Settings};

pub use crate::settings::layer::variable_of;

/// What the settings are for: a secret that is not needed is not read, so that people who may not read it can
/// still use the commands that do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `serve`, `doctor`: the API key and the admin token.
    Daemon,
    /// Commands that talk to the daemon: the admin token.
    Client,
    /// `check`, `completions`: neither.
    Offline,
}

/// Reads the configuration: the built-in defaults, over them the file (`named`, else `$DROPREEL_CONFIG`, else
/// `./config.toml`, else `/etc/dropreel/config.toml`, else none), over it the `DROPREEL_` variables of
/// `environment`; `$STATE_DIRECTORY` wins for `data_dir` (docs/reference.md#configuration). Touches nothing.
///
/// # Errors
/// Everything that is wrong, at once, each thing with its key and where it was set.
pub fn load(named: Option<&Path>, environment: &Environment, purpose: Purpose) -> Result<Settings, Invalid> {
    let mut problems = Vec::new();
    let known =
        Known::from_complete_file(DEFAULT_CONFIG).map_err(|problem| Invalid { problems: vec![problem] })?;
    let mut in_file = Layer::default();
    let file = find(named, environment).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if let Some((path, text)) = &file {
        in_file = known.file(text, &Origin::File(path.clone()), &mut problems);
    }
    let in_environment = known.environment(environment, &mut problems);
    // The crate would merge tables; a variable replaces the whole value, as for every other key.
    in_file.0.retain(|key, _| !in_environment.0.contains_key(key));

    let defaults = known.defaults();
    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    for layer in [&defaults, &in_file, &in_environment] {
        origins.extend(layer.0.iter().map(|(key, (_, origin))| (key.clone(), origin.clone())));
    }
    match Config::builder().add_source(defaults).add_source(in_file).add_source(in_environment).build() {
        Ok(merged) => {
            Reading { merged, origins, environment, purpose, problems }.settings(file.map(|(path, _)| path))
        }
        Err(error) => {
            problems.push(Problem::Layers(error));
            Err(Invalid { problems })
        }
    }
}

/// Every key that can be set, dotted, with its default as TOML writes it: for the README, and for tests that
/// compare.
///
/// # Errors
/// Only if the built-in file were not TOML.
pub fn keys_and_defaults() -> Result<Vec<(String, String)>, Problem> {
    let known = Known::from_complete_file(DEFAULT_CONFIG)?;
    Ok(known.keys().map(|(key, value)| (key.to_owned(), as_toml(value))).collect())
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

/// The file to read and its text. One that was named must be there; the others are looked for.
fn find(named: Option<&Path>, environment: &Environment) -> Result<Option<(PathBuf, String)>, Problem> {
    let named = named.map(Path::to_owned).or_else(|| environment.get("DROPREEL_CONFIG").map(PathBuf::from));
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(Problem::Unreadable { path, source }),
    };
    if let Some(path) = named {
        return read(path).map(Some);
    }
    for usual in ["config.toml", "/etc/dropreel/config.toml"] {
        match read(PathBuf::from(usual)) {
            Err(Problem::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(Some),
        }
    }
    Ok(None)
}
