//! A download on its way to the disk: chunks go in, and a flushed, hashed part comes out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::failpoints::{self, FailPoint};
use crate::fs::direct_writer::DirectWriter;
use crate::fs::{FsError, flush, hash_reader};

/// So much of a download is worth going on with even if the process is killed. What is shorter is begun anew then, and
/// most downloads never leave a mark: one more file made and removed for each costs more than the bytes do.
const WORTH_A_MARK: u64 = 8 << 20;

/// A download that is complete as far as its length tells: flushed, hashed, not named yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Part {
    /// What lies at `path`, flushed.
    pub(super) fn new(path: PathBuf, bytes: u64, sha256: String) -> Self {
        Self { path, bytes, sha256 }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256 in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Opens it, to be inspected.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub fn open(&self) -> Result<File, FsError> {
        File::open(&self.path).map_err(|error| FsError::new(&self.path, error))
    }
}

/// What a part may be gone on with under, and where that is written.
#[derive(Debug)]
pub(super) struct Mark {
    pub path: PathBuf,
    pub validator: String,
}

impl Mark {
    /// Neither flushed nor renamed: it counts only until this machine's next start, and half of it matches nothing.
    fn write(&self) {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0));
        // Without it the download is begun anew, which is no more than a pity.
        let _ = options.open(&self.path).and_then(|mut file| file.write_all(self.validator.as_bytes()));
        failpoints::hit(FailPoint::ValidatorWritten);
    }
}

/// A download under way: chunks go in, and at the end a [`Part`] comes out. Each call blocks, so whoever writes has a
/// thread of his own. Dropped, it leaves what it has for a later resume.
#[derive(Debug)]
pub struct PartWriter {
    path: PathBuf,
    file: DirectWriter,
    hash: Sha256,
    bytes: u64,
    /// As long as it is not written.
    mark: Option<Mark>,
}

impl PartWriter {
    /// Goes on with `file`, which lies at `path`, after its first `keep` bytes.
    pub(super) fn start(
        path: PathBuf,
        mut file: File,
        keep: u64,
        mark: Option<Mark>,
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
        Ok(Self { path, file: DirectWriter::new(file, keep), hash, bytes: keep, mark })
    }

    /// Takes a chunk in.
    ///
    /// # Errors
    /// What befell the file.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), FsError> {
        self.file.write(chunk).map_err(|error| FsError::new(&self.path, error))?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        failpoints::hit(FailPoint::ChunkWritten);
        if self.bytes >= WORTH_A_MARK
            && let Some(mark) = self.mark.take()
        {
            mark.write();
        }
        Ok(())
    }

    /// All has come: flushes it.
    ///
    /// # Errors
    /// What befell the file.
    pub fn finish(mut self) -> Result<Part, FsError> {
        let io = |error| FsError::new(&self.path, error);
        let file = self.file.finish().map_err(io)?;
        failpoints::hit(FailPoint::PartWritten);
        flush(file).map_err(io)?;
        failpoints::hit(FailPoint::PartFlushed);
        self.mark = None;
        let sha256 = HEXLOWER.encode(&self.hash.finalize_reset());
        Ok(Part::new(std::mem::take(&mut self.path), self.bytes, sha256))
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // What is not in the file then has to come once more.
        let _ = self.file.finish();
        if self.bytes > 0
            && let Some(mark) = self.mark.take()
        {
            mark.write();
        }
    }
}
