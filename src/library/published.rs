//! The proof that a file is published. It is here so that only the library can make one; as it imports nothing, the job
//! machine may name it.

/// Proof that a file is in the library under its final name, complete and flushed: in its folder or its bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    path: String,
    bytes: u64,
    sha256: String,
    bucket: Option<String>,
}

impl Published {
    pub(super) fn new(path: String, bytes: u64, sha256: String) -> Self {
        Self { path, bytes, sha256, bucket: None }
    }

    /// An object and its sidecar are in the bucket of this address, whole.
    pub(super) fn in_bucket(self, address: String) -> Self {
        Self { bucket: Some(address), ..self }
    }

    /// The claim that a file is published, without one.
    #[cfg(test)]
    pub(crate) fn for_test(path: &str, bytes: u64, sha256: &str) -> Self {
        Self::new(path.to_owned(), bytes, sha256.to_owned())
    }

    /// The path relative to the library.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address of the bucket; `None`: it is in the library's folder.
    pub fn bucket(&self) -> Option<&str> {
        self.bucket.as_deref()
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256 in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
