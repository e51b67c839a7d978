//! Why the daemon cannot start, or not reload.

use std::error::Error as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::fs::lock::LockError;
use crate::fs::{self, FsError};
use crate::library::bucket::BucketError;
use crate::library::layout::LayoutError;
use crate::provider::transport::ClientError;
use crate::settings::CallbackSecretsError;
use crate::stages::epoch::EpochError;
use crate::store::error::{OpenError, StoreError};

/// Why the daemon cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No key to submit with.
    #[error(
        "no API key is set: put it into DROPREEL_PROVIDER__API_KEY, into a file named by `provider.api_key_file`, or \
         into the systemd credential `api_key`"
    )]
    NoKey,
    /// The data folder is on a file system on which a database is not safe.
    #[error(
        "{} is on {what}, where a database is not safe: set `data_dir` to a folder on a local disk",
        .folder.display()
    )]
    FileSystem {
        /// The data folder.
        folder: PathBuf,
        /// The kind of file system.
        what: String,
    },
    /// A listener cannot be opened.
    #[error("cannot listen on {address} (`{key}`): {source}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// The setting it comes from.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A folder cannot be used.
    #[error(transparent)]
    Disk(#[from] FsError),
    /// Another daemon is running, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database was opened, but an operation on it failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The callback secret cannot be read or created.
    #[error(transparent)]
    Secrets(#[from] CallbackSecretsError),
    /// `library.layout` is wrong.
    #[error("`library.layout`: {0}")]
    Layout(#[from] LayoutError),
    /// The provider's client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The bucket of the library cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl From<EpochError> for StartError {
    fn from(error: EpochError) -> Self {
        match error {
            EpochError::Store(error) => Self::Store(error),
            EpochError::File(error) => Self::Disk(error),
        }
    }
}

impl StartError {
    /// The daemon that uses the database, if that is why.
    pub fn leader(&self) -> Option<&str> {
        match self {
            Self::Open(error) => error.leader(),
            _ => None,
        }
    }

    /// Whether the cause may go away by itself, so that a restart may help: a full or failing disk, too many open
    /// files. The exit code must be 1 then: at 2, a service manager would not start the daemon again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Open(error) => error.is_transient(),
            Self::Store(error) => !error.concerns_one_job(),
            Self::Disk(FsError::StorageFull { .. }) => true,
            Self::Disk(_) | Self::Lock(_) | Self::Secrets(_) => {
                let mut source = self.source();
                while let Some(error) = source {
                    if error.downcast_ref().is_some_and(fs::is_transient) {
                        return true;
                    }
                    source = error.source();
                }
                false
            }
            Self::NoKey
            | Self::FileSystem { .. }
            | Self::Listen { .. }
            | Self::Layout(_)
            | Self::Client(_)
            | Self::Bucket(_) => false,
        }
    }
}

/// Why new secrets could not be loaded; the old ones stay in use.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The API key cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The callback secret cannot be read.
    #[error(transparent)]
    Secrets(#[from] CallbackSecretsError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
