//! Quarantine: downloads that are not what they should be, kept as evidence until newer evidence needs the room.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, SHORTEST_NAME_LIMIT, create_durably, create_private_folder, is_cross_device, numbered_within,
    open_folder, rename_no_replace, write_durably,
};
use crate::library::Library;
use crate::library::part::Part;

/// How much of a download is copied to a quarantine on another file system. The beginning is enough as evidence.
const COPY_BYTES: u64 = 16 << 20;
/// Ends the name of the file that says why another was quarantined.
pub(super) const EVIDENCE: &str = ".evidence.json";
/// A file takes at least this much of the disk, however short it is.
const BLOCK: u64 = 4096;

/// The folder of evidence, and how large it may become.
#[derive(Clone, Debug)]
pub struct Quarantine {
    pub folder: PathBuf,
    pub max_bytes: u64,
}

/// A file of the quarantine, together with its evidence.
struct Entry {
    modified: SystemTime,
    bytes: u64,
    paths: Vec<PathBuf>,
}

impl Library {
    /// Moves a part to the quarantine under `name` or the next free one, writes `evidence` beside it, and removes the
    /// oldest evidence over the limit.
    ///
    /// # Errors
    /// When it cannot be moved or the evidence cannot be written.
    pub fn quarantine(
        &self,
        part: Part,
        quarantine: &Quarantine,
        name: &str,
        evidence: &[u8],
    ) -> Result<PathBuf, FsError> {
        let Quarantine { folder: path, max_bytes } = quarantine;
        create_private_folder(path)?;
        if part.bytes() > *max_bytes {
            cut(&part, *max_bytes)?;
        }
        let (incoming, folder) = (open_folder(&self.incoming())?, open_folder(path)?);
        for number in 0.. {
            let free_name = numbered_within(name, number, SHORTEST_NAME_LIMIT - EVIDENCE.len());
            let to = path.join(&free_name);
            let from = (&incoming, part.file_name()?);
            let moved = match rename_no_replace(from, (&folder, Path::new(&free_name)), &to) {
                Err(error) if is_cross_device(&error) => copy_beginning(&part, &to),
                moved => moved,
            };
            match moved {
                Err(FsError::AlreadyExists(_)) => continue,
                moved => moved?,
            }
            failpoints::hit(FailPoint::QuarantineMoved);
            write_durably(&path.join(format!("{free_name}{EVIDENCE}")), evidence)?;
            failpoints::hit(FailPoint::QuarantineFlushed);
            quarantine.remove_oldest(&free_name);
            return Ok(to);
        }
        Err(FsError::AlreadyExists(path.join(name)))
    }
}

impl Quarantine {
    /// Removes the oldest files until the rest fits. `newest` stays, whatever the clock says of its age.
    fn remove_oldest(&self, newest: &str) {
        let mut entries = self.entries();
        let mut total: u64 = entries.values().map(|entry| entry.bytes).sum();
        entries.remove(newest);
        let mut oldest_first: Vec<_> = entries.into_values().collect();
        oldest_first.sort_by_key(|entry| entry.modified);
        for entry in oldest_first {
            if total <= self.max_bytes {
                break;
            }
            total -= entry.bytes;
            // What cannot be removed now is removed next time.
            entry.paths.iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
    }

    /// The files by name. What cannot be read is left alone.
    fn entries(&self) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::new();
        let Ok(listed) = std::fs::read_dir(&self.folder) else { return entries };
        for file in listed.flatten() {
            let (Ok(name), Ok(metadata)) = (file.file_name().into_string(), file.metadata()) else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let entry = entries.entry(name.strip_suffix(EVIDENCE).unwrap_or(&name).to_owned());
            let entry = entry.or_insert(Entry { modified, bytes: 0, paths: Vec::new() });
            entry.modified = entry.modified.max(modified);
            entry.bytes += metadata.len().next_multiple_of(BLOCK);
            entry.paths.push(file.path());
        }
        entries
    }
}

fn cut(part: &Part, bytes: u64) -> Result<(), FsError> {
    let cut = File::options().write(true).open(part.path()).and_then(|file| file.set_len(bytes));
    cut.map_err(|error| FsError::new(part.path(), error))
}

fn copy_beginning(part: &Part, path: &Path) -> Result<(), FsError> {
    let io = |error| FsError::new(part.path(), error);
    let mut bytes = Vec::new();
    part.open()?.take(COPY_BYTES).read_to_end(&mut bytes).map_err(io)?;
    create_durably(path, &bytes)?;
    std::fs::remove_file(part.path()).map_err(io)
}
