//! Pictures that were uploaded for jobs to come.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A picture that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UploadedPicture)]
pub struct UploadedPicture {
    /// What requests call it, in `image_urls`, `first_frame` or `last_frame`: the SHA-256 of its content and its type.
    pub name: String,
    pub bytes: u64,
    /// In pixels.
    pub width: u32,
    pub height: u32,
    /// What models would refuse.
    pub warnings: Vec<String>,
    /// It is kept until then, and for as long as a job names it.
    #[schema(value_type = String, format = DateTime)]
    pub kept_until: Timestamp,
}
