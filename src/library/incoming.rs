//! Unfinished downloads in the hidden folder of the library.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use rustix::fs::{CWD, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, flush_folder};
use crate::library::Library;
use crate::library::part::{Part, PartWriter, ValidatorFile};
use crate::sha256::hash_reader;

impl Library {
    /// Length and validator of an unfinished download that can be resumed.
    pub fn resumable_part(&self, name: &str) -> Option<(u64, String)> {
        let bytes = self.part_path(name).metadata().ok()?.len();
        let validator = std::fs::read_to_string(self.validator_path(name)).ok()?;
        (bytes > 0).then_some((bytes, validator))
    }

    /// Begins a download, or continues one after its first `keep` bytes. The `validator` identifies the content; a
    /// download without one cannot be resumed later.
    ///
    /// # Errors
    /// When the file cannot be opened, or is shorter than `keep`.
    pub fn open_part(&self, name: &str, keep: u64, validator: Option<&str>) -> Result<PartWriter, FsError> {
        let path = self.part_path(name);
        let io = |error| FsError::new(&path, error);
        let validator_file = match (validator, keep) {
            (Some(_), 1..) => {
                failpoints::hit(FailPoint::DownloadResumed);
                None
            }
            (validator, _) => {
                // The old validator goes before the bytes it describes are overwritten.
                let validator_path = self.validator_path(name);
                remove_if_there(&validator_path)?;
                validator.map(|validator| ValidatorFile::new(validator_path, validator))
            }
        };
        if keep == 0 {
            // Not its content: a stopped daemon on another machine may still have it open. What that one writes goes into
            // a file without a name then.
            remove_if_there(&path)?;
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(keep > 0)
            .create_new(keep == 0)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        PartWriter::start(path, file, keep, self.write_turn.clone(), validator_file)
    }

    /// The part of that name, if it has exactly this length and hash: a crash came between its end and its
    /// publication.
    pub fn find_complete_part(&self, name: &str, bytes: u64, sha256: &str) -> Option<Part> {
        let path = self.part_path(name);
        is_exactly(&path, bytes, sha256).then(|| Part::new(path, bytes, sha256.to_owned()))
    }

    /// Flushes the names of complete parts, which wait here for their upload.
    ///
    /// # Errors
    /// When the folder cannot be flushed.
    pub fn flush_spool(&self) -> Result<(), FsError> {
        flush_folder(&self.incoming())
    }

    /// Removes an unfinished download.
    pub fn remove_part(&self, name: &str) {
        // What cannot be removed now is removed at the next start.
        let _ = std::fs::remove_file(self.part_path(name));
        let _ = std::fs::remove_file(self.validator_path(name));
    }

    /// The names of all unfinished downloads.
    ///
    /// # Errors
    /// When the hidden folder cannot be listed.
    pub fn list_parts(&self) -> Result<Vec<String>, FsError> {
        let folder = self.incoming();
        let io = |error| FsError::new(&folder, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let name = name.to_string_lossy();
            let stem = name.strip_suffix(".part").or_else(|| name.strip_suffix(".validator"));
            names.extend(stem.map(str::to_owned));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn part_path(&self, name: &str) -> PathBuf {
        self.incoming().join(format!("{name}.part"))
    }

    pub(super) fn validator_path(&self, name: &str) -> PathBuf {
        self.incoming().join(format!("{name}.validator"))
    }
}

fn remove_if_there(path: &Path) -> Result<(), FsError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FsError::new(path, error)),
        _ => Ok(()),
    }
}

/// Whether a regular file has this length and hash.
pub(super) fn is_exactly(path: &Path, bytes: u64, sha256: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else { return false };
    let file = File::from(file);
    let has_length = file.metadata().is_ok_and(|found| found.is_file() && found.len() == bytes);
    let mut hash = Sha256::new();
    has_length && hash_reader(&mut hash, file).is_ok() && HEXLOWER.encode(&hash.finalize()) == sha256
}

/// The id of the machine's current boot; `None` if the kernel does not report one. Parts are not flushed before they
/// are complete, so one of an earlier boot cannot be resumed: a power cut may have lost some of its bytes.
pub fn boot_id() -> Option<&'static str> {
    static ID: LazyLock<Option<String>> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    });
    ID.as_deref()
}
