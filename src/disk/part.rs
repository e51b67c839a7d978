//! A download on its way to the disk: chunks go in, and a flushed, hashed part comes out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::disk::{DiskError, flush, hash_into};
use crate::lab::{self, Site};

/// So many chunks of a download wait for the disk before the network has to.
const CHUNKS_AHEAD: usize = 16;

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
    pub fn open(&self) -> Result<File, DiskError> {
        File::open(&self.path).map_err(|error| DiskError::new(&self.path, error))
    }
}

/// A download under way: chunks go in, and at the end a [`Part`] comes out. A thread of its own writes and hashes, so
/// that a slow disk holds up nobody else. Dropped, it leaves what it has for a later resume.
#[derive(Debug)]
pub struct PartWriter(Way);

#[derive(Debug)]
enum Way {
    Thread {
        chunks: mpsc::Sender<Bytes>,
        result: oneshot::Receiver<Result<Part, DiskError>>,
    },
    /// Under a paused clock: each chunk in place.
    InPlace(Result<Receiving, DiskError>),
}

impl PartWriter {
    /// Goes on with `file`, which lies at `path`, after its first `keep` bytes.
    pub(super) fn start(path: PathBuf, file: File, keep: u64, clock: &Clock) -> Result<Self, DiskError> {
        if clock.is_paused() {
            return Ok(Self(Way::InPlace(Receiving::begin(path, file, keep))));
        }
        let (chunks, mut incoming) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
        let (done, result) = oneshot::channel();
        let shown = path.clone();
        std::thread::Builder::new()
            .name("download".into())
            .spawn(move || {
                let received = Receiving::begin(path, file, keep).and_then(|mut receiving| {
                    while let Some(chunk) = incoming.blocking_recv() {
                        receiving.take(&chunk)?;
                    }
                    receiving.end()
                });
                // Nobody left to tell: the download was abandoned, and what is there is resumed later.
                let _ = done.send(received);
            })
            .map_err(|error| DiskError::new(&shown, error))?;
        Ok(Self(Way::Thread { chunks, result }))
    }

    /// Hands a chunk on. False: the disk has failed, and [`PartWriter::finish`] tells how.
    pub async fn write(&mut self, chunk: Bytes) -> bool {
        match &mut self.0 {
            Way::Thread { chunks, .. } => chunks.send(chunk).await.is_ok(),
            Way::InPlace(receiving) => {
                if let Ok(inside) = receiving
                    && let Err(error) = inside.take(&chunk)
                {
                    *receiving = Err(error);
                }
                receiving.is_ok()
            }
        }
    }

    /// Waits until all is written and flushed.
    ///
    /// # Errors
    /// What befell the file.
    pub async fn finish(self) -> Result<Part, DiskError> {
        match self.0 {
            Way::InPlace(receiving) => receiving?.end(),
            Way::Thread { chunks, result } => {
                drop(chunks);
                result.await.unwrap_or_else(|_| {
                    let source = std::io::Error::other("a bug: the thread that wrote it panicked");
                    Err(DiskError::Io { path: PathBuf::from("the download"), source })
                })
            }
        }
    }
}

/// A part as far as it is written.
#[derive(Debug)]
struct Receiving {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Receiving {
    fn begin(path: PathBuf, mut file: File, keep: u64) -> Result<Self, DiskError> {
        let mut hash = Sha256::new();
        if keep > 0 {
            let bytes = hash_into(&mut hash, (&mut file).take(keep));
            if bytes.map_err(|error| DiskError::new(&path, error))? < keep {
                return Err(DiskError::Changed(path));
            }
            file.set_len(keep)
                .and_then(|()| file.seek(SeekFrom::Start(keep)))
                .map_err(|error| DiskError::new(&path, error))?;
        }
        Ok(Self { path, file, hash, bytes: keep })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(chunk).map_err(|error| DiskError::new(&self.path, error))?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        lab::reach(Site::ChunkWritten);
        Ok(())
    }

    fn end(self) -> Result<Part, DiskError> {
        lab::reach(Site::PartWritten);
        flush(&self.file).map_err(|error| DiskError::new(&self.path, error))?;
        lab::reach(Site::PartFlushed);
        Ok(Part::new(self.path, self.bytes, HEXLOWER.encode(&self.hash.finalize())))
    }
}
