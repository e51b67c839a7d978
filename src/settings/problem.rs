//! What can be wrong with a configuration, in words for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::settings::private::PrivateFileError;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file built into the program.
    Defaults,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable, by name.
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

/// One thing wrong. None shows a value that could be a secret: those of addresses and unknown keys stay unsaid.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The configuration file cannot be read.
    #[error("{}: cannot read the configuration file: {source}; name another with --config, or mend this one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {detail}")]
    Syntax {
        /// The file.
        origin: Origin,
        /// The parser's words, without the line itself.
        detail: String,
    },
    /// A variable's value is not UTF-8.
    #[error("{origin}: its value is not valid UTF-8 text")]
    NotText {
        /// The variable.
        origin: Origin,
    },
    /// A key, section or variable that does not exist.
    #[error("{origin}: unknown key `{key}`; the nearest valid key is `{nearest}`")]
    Unknown {
        /// The key as written.
        key: String,
        /// Where.
        origin: Origin,
        /// The key that may have been meant.
        nearest: String,
    },
    /// A variable that begins like ours and is none.
    #[error("{origin}: there is no such setting; the nearest valid variable is {nearest}")]
    UnknownVariable {
        /// The variable.
        origin: Origin,
        /// The variable that may have been meant.
        nearest: String,
    },
    /// The API key itself stands in the configuration file.
    #[error(
        "{origin}: `{key}`: the API key does not belong in this file; put it in a file of its own (chmod 600) and \
         name that as `provider.api_key_file`, or give it as systemd credential `api_key`, or as environment \
         variable DROPREEL_PROVIDER__API_KEY"
    )]
    KeyInFile {
        /// The key as written.
        key: String,
        /// The file.
        origin: Origin,
    },
    /// A value of the wrong type.
    #[error("{origin}: `{key}` must be {wanted}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// Where.
        origin: Origin,
        /// What belongs there.
        wanted: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A value of the right type that cannot be used.
    #[error("{origin}: `{key}`: {why}")]
    BadValue {
        /// The key.
        key: String,
        /// Where.
        origin: Origin,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A file that holds a secret cannot be used.
    #[error("`{key}`: {source}")]
    Secret {
        /// The key that names the file.
        key: String,
        /// Why.
        source: PrivateFileError,
    },
    /// The layers do not fit together though each was checked: a fault of ours.
    #[error("the layers of the configuration do not fit together: {0}; please report this")]
    Layers(#[from] config::ConfigError),
}

/// A configuration that cannot be used, with everything that is wrong with it. A command ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub struct Invalid {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the configuration cannot be used: {only}"),
            several => {
                write!(f, "the configuration cannot be used, for {} reasons:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
