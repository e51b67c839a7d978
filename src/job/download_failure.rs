//! Why an output is not stored yet.

use std::fmt;

use crate::clock::Timestamp;
use crate::job::hold::HoldReason;

/// Why a download or an upload failed.
#[derive(Clone, Debug, PartialEq)]
pub enum DownloadFailure {
    /// The media host refused the link: not ready yet, or expired. Only a fresh status answer can tell which.
    LinkRefused {
        /// The HTTP status.
        status: u16,
        host: String,
    },
    /// It may work next time: network error, busy host, truncated file, full disk.
    Transient {
        /// Why, in a sentence.
        why: String,
        /// Not before this time.
        not_before: Option<Timestamp>,
    },
    /// The download is not the media it should be.
    Invalid {
        /// Why, in a sentence.
        why: String,
    },
    /// The settings forbid the download; only a person can change that.
    Forbidden {
        /// What is forbidden.
        kind: ForbiddenKind,
        /// Why, with the host but not the link.
        why: String,
    },
    /// The bucket did not take the file, which stays in the spool.
    NotUploaded {
        /// Why, in a sentence.
        why: String,
    },
    /// The file is not to be uploaded from the spool: it is damaged or gone there, or the library is a folder again.
    NotSpooled {
        /// Why, in a sentence.
        why: String,
    },
}

impl fmt::Display for DownloadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkRefused { status, host } => write!(f, "{host} refused the link with HTTP {status}"),
            Self::Transient { why, .. }
            | Self::Invalid { why }
            | Self::Forbidden { why, .. }
            | Self::NotUploaded { why }
            | Self::NotSpooled { why } => f.write_str(why),
        }
    }
}

/// What the settings forbid about a download. Each kind has its own advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForbiddenKind {
    /// A private address.
    Address,
    /// A host that `downloads.hosts` does not list.
    Host,
    /// A link on `http:`, where `downloads.plain_http` is off.
    PlainHttp,
    /// A link that nothing can be downloaded from: no URL, another scheme or the port of another protocol, a user name.
    Link,
    /// A file over `downloads.max_bytes`.
    Size,
}

impl ForbiddenKind {
    /// Why the job is held.
    pub const fn hold_reason(self) -> HoldReason {
        match self {
            Self::Address => HoldReason::AddressForbidden,
            Self::Host => HoldReason::HostNotAllowed,
            Self::PlainHttp => HoldReason::PlainHttpForbidden,
            Self::Link => HoldReason::LinkUnusable,
            Self::Size => HoldReason::FileTooLarge,
        }
    }
}
