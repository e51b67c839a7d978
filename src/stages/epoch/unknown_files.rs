//! Job files in `accepted/` that a copy of the database does not know: they came after it was made. They go back into the
//! inbox, so that their jobs are there again, held like all the others, and their keys and the rule about repeated copies
//! still refuse a second drop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fs::{FsError, create_private_folder};
use crate::inbox::{Destination, FileHere, Inbox};
use crate::sha256::hash_reader;
use crate::stages::epoch::{EpochError, EpochStage};
use crate::stages::run_blocking;
use crate::store::job_files::AcceptedFile;

/// How long before the newest file of the database others may have come that it lacks: by the name of their folder, a day.
const MARGIN: Duration = Duration::from_secs(24 * 3600);
/// From how long before those the database's own are read, so that none of them is taken for unknown.
const KNOWN_MARGIN: Duration = Duration::from_secs(2 * 24 * 3600);
/// Most names in one line of the log.
const MAX_NAMED: usize = 20;

impl EpochStage {
    /// Moves the unknown files back into the inbox, and names them.
    pub(super) async fn return_unknown_files(&self) -> Result<(), EpochError> {
        let (store, clock) = (&self.parts.store, &self.parts.clock);
        // A database without any file says nothing about when it was made.
        let Some(newest) = store.newest_file_at().await? else { return Ok(()) };
        let first = newest.minus(MARGIN);
        let known = store.accepted_since(first.minus(KNOWN_MARGIN)).await?;
        let search = Search {
            accepted: self.parts.accepted.clone(),
            inbox: Inbox::new(self.parts.inbox.clone()),
            first_day: clock.local_date(first),
            known: known_by_hash(known),
        };
        let returned = run_blocking(clock, move || search.return_all()).await?;
        if !returned.is_empty() {
            let count = returned.len();
            let more = count.saturating_sub(MAX_NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let names = returned[..count.min(MAX_NAMED)].join(", ");
            tracing::warn!(
                "{count} accepted files came after this copy of the database was made; they are in the inbox again, and \
                 their jobs will be held: {names}{more}"
            );
        }
        Ok(())
    }
}

fn known_by_hash(known: Vec<AcceptedFile>) -> BTreeMap<String, Vec<Option<String>>> {
    let mut by_hash = BTreeMap::<String, Vec<Option<String>>>::new();
    for AcceptedFile { sha256, moved_to } in known {
        by_hash.entry(sha256).or_default().push(moved_to);
    }
    by_hash
}

struct Search {
    accepted: PathBuf,
    inbox: Inbox,
    /// The name of the first folder to look into.
    first_day: String,
    /// Where the files of the database are, by their hash.
    known: BTreeMap<String, Vec<Option<String>>>,
}

impl Search {
    fn return_all(&self) -> Result<Vec<String>, FsError> {
        let mut returned = Vec::new();
        for day in subfolders(&self.accepted)? {
            if day >= self.first_day {
                self.return_from(&day, "", &mut returned)?;
            }
        }
        Ok(returned)
    }

    /// Returns the unknown files of a folder of `accepted/`, to the folder `below` the inbox that they came from.
    fn return_from(&self, day: &str, below: &str, returned: &mut Vec<String>) -> Result<(), FsError> {
        let folder = self.accepted.join(day).join(below);
        for name in subfolders(&folder)? {
            let deeper = if below.is_empty() { name } else { format!("{below}/{name}") };
            self.return_from(day, &deeper, returned)?;
        }
        for name in files(&folder)? {
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let Some(sha256) = hash(&folder.join(&name)) else { continue };
            if self.knows(&sha256, &format!("/{day}/{path}")) {
                continue;
            }
            // A copy of the inbox from before it was accepted.
            if hash(&self.inbox.path().join(&path)).as_ref() == Some(&sha256) {
                returned.push(path);
                continue;
            }
            create_private_folder(&self.inbox.path().join(below))?;
            let to = self.inbox.open_below(below)?;
            let moved = Destination::create(&to, &folder).and_then(|from| {
                from.put_back(&name, &FileHere { name: name.clone(), sha256: Some(sha256) })
            });
            match moved {
                Ok(()) => returned.push(path),
                Err(error) => tracing::error!(
                    "{} came after this copy of the database was made, and cannot be moved back into the inbox: {error}",
                    folder.join(&name).display()
                ),
            }
        }
        Ok(())
    }

    /// Whether the database knows the file with this hash at the end of its path. One that it has not moved yet counts.
    fn knows(&self, sha256: &str, path: &str) -> bool {
        let known = self.known.get(sha256);
        known.is_some_and(|places| {
            places.iter().any(|place| place.as_ref().is_none_or(|place| place.ends_with(path)))
        })
    }
}

fn hash(path: &Path) -> Option<String> {
    let file =
        std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    hash_reader(&mut hash, file).ok()?;
    Some(data_encoding::HEXLOWER.encode(&sha2::Digest::finalize(hash)))
}

fn subfolders(folder: &Path) -> Result<Vec<String>, FsError> {
    names(folder, |kind| kind.is_dir())
}

fn files(folder: &Path) -> Result<Vec<String>, FsError> {
    names(folder, |kind| kind.is_file())
}

/// The names in a folder, sorted. Those that are not UTF-8 were never accepted.
fn names(folder: &Path, is_wanted: impl Fn(std::fs::FileType) -> bool) -> Result<Vec<String>, FsError> {
    let io = |error| FsError::new(folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if is_wanted(entry.file_type().map_err(io)?)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
