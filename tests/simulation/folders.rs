//! Folders of the inbox: job files dropped into one whose `defaults.json` changes, and folders moved in whole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use dropreel::clock::Timestamp;

use crate::scenario::{MOVED_FOLDER, SHARED_FOLDER, defaults};

/// The version of the defaults that a folder is moved in with.
const MOVED_VERSION: &str = "moved";

/// What was dropped when, and which defaults were there.
#[derive(Default)]
pub struct Folders {
    /// When each version of the shared defaults was written.
    versions: Vec<Timestamp>,
    /// When each file in a folder was dropped.
    dropped: BTreeMap<String, Timestamp>,
}

impl Folders {
    /// Replaces the shared defaults by the next version.
    pub fn change_defaults(&mut self, inbox: &Path, now: Timestamp) {
        let folder = inbox.join(SHARED_FOLDER);
        let hidden = folder.join(".defaults.json");
        let text = defaults(&self.versions.len().to_string());
        let written = create(&folder).and_then(|()| std::fs::write(&hidden, text));
        if written.is_ok() {
            crate::rename(&hidden, &folder.join("defaults.json"));
            self.versions.push(now);
        } else {
            // A full disk.
            let _ = std::fs::remove_file(&hidden);
        }
    }

    /// Drops a file; in a folder that is moved in, the folder with it and with its defaults.
    pub fn drop_file(&mut self, inbox: &Path, name: &str, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        create(inbox)?;
        let moved = name.split_once('/').filter(|(folder, _)| folder.starts_with(MOVED_FOLDER));
        let dropped = match moved {
            Some((folder, below)) => move_in(inbox, folder, below, bytes),
            None => write(&inbox.join(name), bytes),
        };
        if dropped.is_ok() && name.contains('/') {
            self.dropped.insert(name.to_owned(), now);
        }
        dropped
    }

    /// Each job of a file in a folder has its path as a label, and defaults that were there when it was dropped or later.
    pub fn check(&self, data_dir: &Path) -> Vec<String> {
        let mut violations = Vec::new();
        for (name, labels) in labels_of_jobs(data_dir) {
            let Some(at) = self.dropped.get(&name) else { continue };
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            if labels.get("folder").is_none_or(|label| label != folder) {
                violations.push(format!("I2: a job of {name} has the labels {labels:?}"));
            }
            let version = labels.get("defaults").map_or("", String::as_str);
            let is_known = if name.starts_with(MOVED_FOLDER) {
                version == MOVED_VERSION
            } else {
                version.parse().is_ok_and(|version| self.was_there_after(version, *at))
            };
            if !is_known {
                violations.push(format!("I2: a job of {name} has the defaults `{version}`"));
            }
        }
        violations
    }

    fn was_there_after(&self, version: usize, at: Timestamp) -> bool {
        version < self.versions.len() && self.versions.get(version + 1).is_none_or(|replaced| *replaced >= at)
    }
}

fn create(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Writes a file under a hidden name and renames it, in a folder of its own.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let hidden = path.with_file_name(format!(".{}", path.file_name().unwrap().to_str().unwrap()));
    create(path.parent().unwrap())?;
    if let Err(error) = std::fs::write(&hidden, bytes) {
        let _ = std::fs::remove_file(&hidden);
        return Err(error);
    }
    crate::rename(&hidden, path);
    Ok(())
}

/// Makes a folder under a hidden name, and renames it once everything is in it.
fn move_in(inbox: &Path, folder: &str, below: &str, bytes: &[u8]) -> io::Result<()> {
    let hidden = inbox.join(format!(".{folder}"));
    let made = write(&hidden.join(below), bytes)
        .and_then(|()| write(&hidden.join("defaults.json"), defaults(MOVED_VERSION).as_bytes()));
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&hidden);
        return made;
    }
    crate::rename(&hidden, &inbox.join(folder));
    Ok(())
}

/// The files of the inbox that are not defaults, which stay.
pub fn job_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() { job_files(&path) } else { usize::from(!path.ends_with("defaults.json")) }
    };
    entries.map(count).sum()
}

/// The path of its file and the labels of each job.
fn labels_of_jobs(data_dir: &Path) -> Vec<(String, BTreeMap<String, String>)> {
    // Not made here: it would not be private.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let opened = rusqlite::Connection::open_with_flags(data_dir.join("dropreel.db"), flags);
    let Ok(connection) = opened else { return Vec::new() };
    let statement = connection.prepare(
        "SELECT batches.file_name, requests.labels FROM jobs JOIN batches ON batches.nr = jobs.batch
         JOIN requests ON requests.job = jobs.nr WHERE batches.file_name LIKE '%/%' AND batches.staged IS NOT 1",
    );
    // The daemon may have died before it made the tables.
    let Ok(mut statement) = statement else { return Vec::new() };
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(name, labels)| (name, serde_json::from_str(&labels).unwrap())).unwrap())
        .collect()
}
