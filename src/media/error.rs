//! Why a download fails. No message contains a link: links are secrets.

use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::media::guard::Forbidden;

/// Why a fetch ended without a file.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The policy forbids where the link leads.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The host refuses the link: not ready yet, or expired.
    #[error("{host} answered HTTP {status}")]
    LinkRefused {
        /// 400, 401, 403, 404 or 410.
        status: u16,
        host: String,
    },
    /// The host is busy or broken.
    #[error("{host} answered HTTP {status}")]
    Busy {
        /// 429, 5xx, or anything unexpected.
        status: u16,
        host: String,
        /// The wait that the host asks for.
        wait: Option<Duration>,
    },
    /// The part cannot be resumed: start again.
    #[error("{host} cannot resume the download")]
    CannotResume { host: String },
    /// A part where the whole file was requested.
    #[error("{host} sent only a part of the file")]
    Partial { host: String },
    /// Over `downloads.max_bytes`.
    #[error("{host} sent more than `downloads.max_bytes` ({limit} bytes)")]
    TooLarge { host: String, limit: u64 },
    /// Silent, slower than the minimum, or over the total time.
    #[error("{host} is too slow")]
    TooSlow { host: String },
    /// The file ended before its announced length.
    #[error("{host} stopped after {received} of {announced} bytes")]
    CutShort { host: String, received: u64, announced: u64 },
    /// Too many redirects, or one without a valid target.
    #[error("{host} redirects too often, or without a valid target")]
    Redirects { host: String },
    /// No connection, or a broken one.
    #[error("{host}: {why}")]
    Network {
        host: String,
        /// Why, without the link.
        why: String,
    },
}

/// Converts an error of the HTTP client. Its own message contains the link, so only the causes are used; one of them may
/// be that the policy forbids the host's address.
pub(super) fn network(host: &str, error: reqwest::Error) -> MediaError {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        if let Some(forbidden) = next.downcast_ref::<Forbidden>() {
            return forbidden.clone().into();
        }
        why = next.to_string();
        cause = next.source();
    }
    MediaError::Network { host: host.to_owned(), why }
}

pub(super) fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or("unknown host").to_owned()
}
