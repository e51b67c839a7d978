//! How a command ends: its exit code, and its error for people.

use crate::settings::InvalidSettings;

/// The exit codes (docs/reference.md#command-line).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NotSucceeded,
    Unreachable,
    /// The daemon that was reached is that of another data folder.
    OtherDaemon,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotSucceeded => 3,
            Self::Unreachable | Self::OtherDaemon => 4,
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    pub exit: Exit,
    /// For people; may have several lines.
    pub message: String,
    /// Whether the request was sent and may have been carried out.
    pub answer_lost: bool,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), answer_lost: false }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl From<InvalidSettings> for CliError {
    fn from(invalid: InvalidSettings) -> Self {
        Self::usage(invalid.to_string())
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
