//! Reads every format of the provider's answers (docs/provider.md#submit-answers, docs/provider.md#status-answers) into
//! the types of [`crate::job::event`]. The provider's spelling appears here and nowhere else.
//!
//! The readers are lenient: gateways change formats, and a paid video must not be lost to that. Input is at most
//! [`compression::BODY_LIMIT`] bytes long and nested at most 128 deep, the limit of the JSON parser. No reader
//! panics, whatever the bytes.

pub mod catalogue;
pub mod compression;
mod description;
pub mod error;
mod json;
mod media_link;
mod outputs;
mod phase;
mod repair;
mod status;
mod submit;
pub mod text;
pub mod time;

use thiserror::Error;

use crate::job::TaskId;
pub use description::read_description;
use error::ProviderError;
pub use error::{read_error, read_refusal};
pub use json::{read_balance, read_json};
pub use status::read_status;
pub use submit::{read_submit, task_hint};

/// Why an answer cannot be read.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Unreadable {
    /// Not JSON: an error page, a cut or compressed answer.
    #[error("the answer is not JSON but begins {beginning:?}")]
    NotJson {
        /// Its first characters.
        beginning: String,
    },
    /// An error although the HTTP status means success.
    #[error("the answer is an error: {0}")]
    Error(ProviderError),
    /// No task id where one is needed.
    #[error("the answer names no task")]
    NoTask,
    /// No task status.
    #[error("the answer has no status")]
    NoStatus,
    /// About another task than the one polled.
    #[error("the answer is about another task, {named}")]
    OtherTask {
        /// The task it is about.
        named: TaskId,
    },
}

#[cfg(test)]
mod tests;
