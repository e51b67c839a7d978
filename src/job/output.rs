//! Outputs: the files of a completed task, from link to library.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::hold::HoldReason;
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

/// How often the media host refused an output's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How often. A new signature on a link to the same file does not reset it.
    pub count: u32,
    /// The last time.
    pub last: Option<Timestamp>,
    /// Whether a status query sent after a refusal brought no link to another file.
    pub confirmed: bool,
}

/// Why an output cannot be stored without the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why the job is held once nothing else of it can be stored.
    pub reason: HoldReason,
    /// What was seen, for people.
    pub detail: String,
}

/// An output that is not in the library yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Secret: whoever has it can download the file.
    pub link: Secret,
    /// When to download next.
    pub due: Timestamp,
    /// Failed downloads so far.
    pub tries: u32,
    /// Of this link, however it is signed.
    pub refusals: Refusals,
    /// How often the download was not the media it should be.
    pub invalid_downloads: u32,
    /// When to stop waiting for it.
    pub give_up_at: Timestamp,
    /// Set when it needs the operator.
    pub blocked: Option<Blocked>,
    /// It is downloaded, checked and flushed; what is left is its upload to the bucket. The link does not matter any
    /// more, and `due` and `tries` are those of the upload.
    pub spooled: bool,
}

impl Waiting {
    /// Whether it is downloaded or uploaded again without the operator. What cannot be reached is still tried, slowly:
    /// the file is paid for.
    pub fn is_tried(&self) -> bool {
        self.blocked.as_ref().is_none_or(|blocked| {
            matches!(blocked.reason, HoldReason::OutputUnreachable | HoldReason::UploadFailing)
        })
    }

    /// Whether its link or its upload has failed.
    pub fn is_failing(&self) -> bool {
        self.tries > 0 || self.refusals.count > 0 || self.blocked.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputState {
    /// To be downloaded.
    Waiting(Waiting),
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
    /// Its data while it still has to be downloaded.
    pub fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            OutputState::Waiting(waiting) => Some(waiting),
            OutputState::Stored(_) | OutputState::Lost => None,
        }
    }

    /// The same, to change it.
    pub(super) fn waiting_mut(&mut self) -> Option<&mut Waiting> {
        match &mut self.state {
            OutputState::Waiting(waiting) => Some(waiting),
            OutputState::Stored(_) | OutputState::Lost => None,
        }
    }

    /// Whether it is to be downloaded at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        // A first download is always due: only failures are delayed.
        self.waiting().is_some_and(|waiting| {
            !waiting.spooled && waiting.is_tried() && (waiting.due <= now || !waiting.is_failing())
        })
    }

    /// Whether it is to be uploaded at `now`.
    pub fn is_upload_due(&self, now: Timestamp) -> bool {
        self.waiting().is_some_and(|waiting| waiting.spooled && waiting.is_tried() && waiting.due <= now)
    }
}

/// The host and port of a link, to tell hosts apart; empty for a link without a host.
pub fn host_of_link(link: &str) -> String {
    let authority = link.split_once("://").map_or("", |(_, rest)| rest);
    let end = authority.find(['/', '?', '#', '\\']).unwrap_or(authority.len());
    authority[..end].to_ascii_lowercase()
}

/// A file in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the library: its folder, or its bucket.
    pub path: String,
    /// The address of the bucket, such as `s3://reels/spring`; `None`: it is in the folder.
    pub bucket: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Where it was downloaded from.
    pub host: String,
    /// When it was published.
    pub stored_at: Timestamp,
}

impl StoredFile {
    pub fn place(&self) -> FilePlace {
        FilePlace { bucket: self.bucket.clone(), path: self.path.clone() }
    }
}

/// Where a file of the library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The address of its bucket; `None`: it is in the folder.
    pub bucket: Option<String>,
    /// Relative to that.
    pub path: String,
}

impl FilePlace {
    /// The whole path or address, for people and programs; `folder` is that of the library.
    pub fn location(&self, folder: &Path) -> String {
        match &self.bucket {
            Some(bucket) => format!("{bucket}/{}", self.path),
            None => folder.join(&self.path).to_string_lossy().into_owned(),
        }
    }
}

/// An output that is in the library: made from the library's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    task: TaskId,
    key: OutputKey,
    file: StoredFile,
}

impl Stored {
    /// The published file of an output of `task`, downloaded from `host`.
    pub fn new(
        task: TaskId,
        key: OutputKey,
        published: &Published,
        host: String,
        stored_at: Timestamp,
    ) -> Self {
        let file = StoredFile {
            path: published.path().to_owned(),
            bucket: published.bucket().map(str::to_owned),
            bytes: published.bytes(),
            sha256: published.sha256().to_owned(),
            host,
            stored_at,
        };
        Self { task, key, file }
    }

    /// The task it is an output of.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// Which output.
    pub fn key(&self) -> OutputKey {
        self.key
    }

    pub fn file(&self) -> &StoredFile {
        &self.file
    }
}
