//! Outputs: the files of a completed task, from link to library.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::library::published::Published;
use crate::secret::Secret;

/// The kind of an output, as the provider reports it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum OutputKind {
    /// A video.
    Video,
    /// A still picture.
    Image,
    /// Audio only.
    Audio,
}

/// Identifies an output within its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputKey {
    /// Its kind.
    pub kind: OutputKind,
    /// Its position among the outputs of that kind, from 0.
    pub index: u16,
}

impl fmt::Display for OutputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.index)
    }
}

/// How often a link was refused, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How often the media host refused this link.
    pub count: u32,
    /// Whether it answered 410 Gone.
    pub gone: bool,
    /// Whether a status answer since the refusal had no other link.
    pub confirmed: bool,
}

/// The state of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputState {
    /// To be downloaded.
    Waiting {
        /// Secret: whoever has it can download the file.
        link: Secret,
        /// Of this link.
        refusals: Refusals,
        /// How often the download was not the media it should be.
        invalid_downloads: u32,
    },
    /// In the library.
    Stored(StoredFile),
    /// Its link expired first.
    Lost,
}

/// One output of a job's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which output.
    pub key: OutputKey,
    /// When its link expires: as the provider says, else 24 hours after completion.
    pub expires_at: Timestamp,
    /// Its state.
    pub state: OutputState,
}

impl Output {
    /// Whether it still has to be downloaded.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, OutputState::Waiting { .. })
    }
}

/// The host and port in a link, to tell hosts apart; empty if there is none.
pub fn host_of_link(link: &str) -> String {
    let authority = link.split_once("://").map_or("", |(_, rest)| rest);
    let end = authority.find(['/', '?', '#', '\\']).unwrap_or(authority.len());
    authority[..end].to_ascii_lowercase()
}

/// A file in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the library folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Where it was downloaded from.
    pub host: String,
    /// When it was published.
    pub stored_at: Timestamp,
}

/// An output that is in the library: made from the library's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    key: OutputKey,
    file: StoredFile,
}

impl Stored {
    /// The published file of an output, downloaded from `host`.
    pub fn new(key: OutputKey, published: &Published, host: String, stored_at: Timestamp) -> Self {
        let file = StoredFile {
            path: published.path().to_owned(),
            bytes: published.bytes(),
            sha256: published.sha256().to_owned(),
            host,
            stored_at,
        };
        Self { key, file }
    }

    /// Which output.
    pub fn key(&self) -> OutputKey {
        self.key
    }

    /// The file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }
}
