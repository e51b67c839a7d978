//! Problems of a configuration, worded for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::settings::secret_file::SecretFileError;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file built into the program.
    Defaults,
    /// In a configuration file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the built-in defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One problem of a configuration. The text shows no value that can be a secret: no address, no value of an unknown
/// key.
#[derive(Debug, thiserror::Error)]
pub enum SettingsProblem {
    /// The configuration file cannot be read.
    #[error("{}: cannot read the configuration file: {source}; name another with --config, or fix this one", path.display())]
    UnreadableFile { path: PathBuf, source: io::Error },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: line {line}: {message}")]
    Syntax {
        /// The file.
        origin: Origin,
        /// The line, from 1.
        line: usize,
        /// The message of the parser, which does not quote the line.
        message: String,
    },
    /// A variable is not UTF-8.
    #[error("{origin}: the value is not valid UTF-8")]
    NotUtf8 {
        /// The variable.
        origin: Origin,
    },
    /// A key or section that does not exist.
    #[error("{origin}: unknown key `{key}`; the nearest valid key is `{nearest}`")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The file.
        origin: Origin,
        /// The closest valid key.
        nearest: String,
    },
    /// A `DROPREEL_` variable that does not exist.
    #[error("{origin}: unknown variable; the nearest valid one is {nearest}")]
    UnknownVariable {
        /// The variable.
        origin: Origin,
        /// The closest valid variable.
        nearest: String,
    },
    /// The API key is in the configuration file, which is no place for a secret.
    #[error(
        "{origin}: `{key}`: the API key does not belong in this file; put it in a file of its own (chmod 600) and \
         set `provider.api_key_file` to its path, or pass it as systemd credential `api_key` or as environment \
         variable DROPREEL_PROVIDER__API_KEY"
    )]
    ApiKeyInFile {
        /// The key as written.
        key: String,
        /// The file.
        origin: Origin,
    },
    /// A value of the wrong type.
    #[error("{origin}: `{key}` must be {wanted}, not {found}")]
    WrongType {
        key: String,
        /// Where it was set.
        origin: Origin,
        /// The right type, for people.
        wanted: &'static str,
        /// The type found, for people.
        found: &'static str,
    },
    /// A value of the right type that cannot be used.
    #[error("{origin}: `{key}`: {why}")]
    BadValue {
        key: String,
        /// Where it was set.
        origin: Origin,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A secret file that cannot be used.
    #[error("`{key}`: {source}")]
    Secret {
        /// The key that names the file.
        key: String,
        source: SecretFileError,
    },
}

impl SettingsProblem {
    /// The valid key whose value has this problem.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::WrongType { key, .. } | Self::BadValue { key, .. } | Self::Secret { key, .. } => Some(key),
            Self::UnreadableFile { .. }
            | Self::Syntax { .. }
            | Self::NotUtf8 { .. }
            | Self::UnknownKey { .. }
            | Self::UnknownVariable { .. }
            | Self::ApiKeyInFile { .. } => None,
        }
    }
}

/// A configuration that cannot be used. Commands exit with code 2.
#[derive(Debug, thiserror::Error)]
pub struct InvalidSettings {
    /// All problems, at least one.
    pub problems: Vec<SettingsProblem>,
}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "invalid configuration: {only}"),
            several => {
                write!(f, "invalid configuration, {} problems:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
