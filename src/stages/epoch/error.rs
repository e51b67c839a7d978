//! Why the epoch cannot be settled at a start.

use thiserror::Error;

use crate::fs::FsError;
use crate::store::error::StoreError;

/// Why a start fails.
#[derive(Debug, Error)]
pub enum EpochError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FsError),
}
