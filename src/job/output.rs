//! An output: one file of a completed task, from its link to its place in the library.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// What kind of file the provider says an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// A film.
    Video,
    /// A still picture.
    Image,
    /// Sound alone.
    Audio,
}

impl OutputKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Video, Self::Image, Self::Audio];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::Audio => "audio",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which output of its task it is: its kind and its place among that kind, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputKey {
    /// Its kind.
    pub kind: OutputKind,
    /// Its place among the outputs of that kind, from 0.
    pub index: u16,
}

impl fmt::Display for OutputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.index)
    }
}

/// How the link of an output has fared since it was handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How often the media host refused this very link.
    pub count: u32,
    /// Whether it said 410, gone for good.
    pub gone: bool,
    /// Whether a status answer after a refusal had no other link to offer.
    pub confirmed: bool,
}

/// Where an output stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputState {
    /// To be fetched from `link`.
    Waiting {
        /// Where it lies; secret, for it admits whoever has it.
        link: Secret,
        /// How that link has fared.
        refusals: Refusals,
        /// How often something unfit came from it.
        unfit: u32,
    },
    /// In the library.
    Stored(StoredFile),
    /// Its link died first.
    Lost,
}

/// One output of a job's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which one.
    pub key: OutputKey,
    /// When its link dies, as the provider says or by the 24 hours of its pages.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: OutputState,
}

impl Output {
    /// Whether it is still to be fetched.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, OutputState::Waiting { .. })
    }
}

/// A file in the library: what its row says, and what the file itself must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Below the library's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// The host it came from.
    pub host: String,
    /// When it was published.
    pub stored_at: Timestamp,
}

/// Proof that an output is in the library: made by the download stage from what `disk` published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    key: OutputKey,
    file: StoredFile,
}

impl Stored {
    /// Only for the download stage, from the proof of publication that `disk` hands out.
    pub fn new(key: OutputKey, file: StoredFile) -> Self {
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
