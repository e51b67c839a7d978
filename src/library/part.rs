//! One download on its way to the disk: chunks go in, a flushed and hashed part comes out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::fs::direct_writer::{DirectWriter, WriteTurn};
use crate::fs::{FsError, flush};
use crate::library::part_reader::{PartReader, WINDOW};
use crate::sha256::hash_reader;

/// A part of this length gets its validator file at once, so that it can be resumed even after the process was killed.
/// A shorter one gets it only when the download breaks off: creating and removing one more file for every download
/// would cost more than fetching these bytes again.
const EARLY_VALIDATOR_BYTES: u64 = 8 << 20;

/// A complete download: flushed and hashed, but not yet published.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    path: PathBuf,
    bytes: u64,
    sha256: String,
    /// Its first bytes, or nothing.
    begin: Box<[u8]>,
}

impl Part {
    pub(super) fn new(path: PathBuf, bytes: u64, sha256: String) -> Self {
        Self { path, bytes, sha256, begin: Box::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file_name(&self) -> Result<&Path, FsError> {
        self.path.file_name().map(Path::new).ok_or_else(|| FsError::NotFound(self.path.clone()))
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256 in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Opens it for inspection.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn reader(&self) -> Result<PartReader, FsError> {
        Ok(PartReader::new(self.open()?, self.bytes, self.begin.to_vec()))
    }

    /// Reads this many bytes from this offset on.
    pub(super) async fn read_piece(&self, offset: u64, length: u64, clock: &Clock) -> Result<Bytes, FsError> {
        let path = self.path.clone();
        let read = move || {
            let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            let read = File::open(&path).and_then(|file| file.read_exact_at(&mut content, offset));
            read.map_err(|error| FsError::new(&path, error)).map(|()| content.into())
        };
        clock.run_blocking(read).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(super) fn open(&self) -> Result<File, FsError> {
        File::open(&self.path).map_err(|error| FsError::new(&self.path, error))
    }
}

/// The file beside a part that says which content it is a part of.
#[derive(Debug)]
pub(super) struct ValidatorFile {
    path: PathBuf,
    validator: String,
}

impl ValidatorFile {
    pub fn new(path: PathBuf, validator: &str) -> Self {
        Self { path, validator: validator.to_owned() }
    }

    /// Neither flushed nor renamed: it counts only until the next boot, and an incomplete validator matches nothing.
    fn write(&self) {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        // If this fails, the download merely starts over.
        let _ = options.open(&self.path).and_then(|mut file| file.write_all(self.validator.as_bytes()));
        failpoints::hit(FailPoint::ValidatorWritten);
    }
}

/// Writes a download. All calls block. Dropping it keeps the bytes for a later resume.
#[derive(Debug)]
pub struct PartWriter {
    path: PathBuf,
    file: DirectWriter,
    hash: Sha256,
    bytes: u64,
    begin: Vec<u8>,
    /// `None` once it is written.
    validator_file: Option<ValidatorFile>,
}

impl PartWriter {
    /// Continues `file` after its first `keep` bytes.
    pub(super) fn start(
        path: PathBuf,
        mut file: File,
        keep: u64,
        turn: WriteTurn,
        validator_file: Option<ValidatorFile>,
    ) -> Result<Self, FsError> {
        let mut hash = Sha256::new();
        if keep > 0 {
            let bytes = hash_reader(&mut hash, (&mut file).take(keep));
            if bytes.map_err(|error| FsError::new(&path, error))? < keep {
                return Err(FsError::Changed(path));
            }
            file.set_len(keep)
                .and_then(|()| file.seek(SeekFrom::Start(keep)))
                .map_err(|error| FsError::new(&path, error))?;
        }
        let file = DirectWriter::new(file, keep, turn);
        Ok(Self { path, file, hash, bytes: keep, begin: Vec::new(), validator_file })
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        self.file.write(chunk).map_err(|error| FsError::new(&self.path, error))?;
        self.hash.update(chunk);
        if self.bytes == self.begin.len() as u64 {
            let missing = WINDOW - self.begin.len();
            self.begin.extend_from_slice(&chunk[..missing.min(chunk.len())]);
        }
        self.bytes += chunk.len() as u64;
        failpoints::hit(FailPoint::ChunkWritten);
        if self.bytes >= EARLY_VALIDATOR_BYTES
            && let Some(validator_file) = self.validator_file.take()
        {
            validator_file.write();
        }
        Ok(())
    }

    /// Writes the rest and flushes the file.
    ///
    /// # Errors
    /// When the file cannot be written or flushed.
    pub fn finish(mut self) -> Result<Part, FsError> {
        let io = |error| FsError::new(&self.path, error);
        let file = self.file.finish().map_err(io)?;
        failpoints::hit(FailPoint::PartWritten);
        flush(file).map_err(io)?;
        failpoints::hit(FailPoint::PartFlushed);
        self.validator_file = None;
        let sha256 = HEXLOWER.encode(&self.hash.finalize_reset());
        let (path, begin) = (std::mem::take(&mut self.path), std::mem::take(&mut self.begin));
        Ok(Part { path, bytes: self.bytes, sha256, begin: begin.into() })
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // Bytes that cannot be written now are fetched again by the resume.
        let _ = self.file.finish();
        if self.bytes > 0
            && let Some(validator_file) = self.validator_file.take()
        {
            validator_file.write();
        }
    }
}
