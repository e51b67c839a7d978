//! What lies in the inbox and is no job file. It is never read, and stays until a person takes it away.

use std::fmt;
use std::fs::{DirEntry, FileType};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::fs::FsError;
use crate::jobfile;

/// Most that are listed by name.
const MAX_LISTED: usize = 20;
/// So long a file may be unfinished writing.
const WRITING: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// The names of the first ones in their order, each with the reason why it is not read.
    pub listed: Vec<String>,
    /// How many there are beside these.
    pub more: usize,
}

impl Leftovers {
    /// Those in the folder `inbox`; none if it does not exist.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn in_inbox(inbox: &Path, now: Timestamp) -> Result<Self, FsError> {
        let entries = match std::fs::read_dir(inbox) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries.map_err(|error| FsError::new(inbox, error))?,
        };
        let mut listed: Vec<String> =
            entries.flatten().filter_map(|entry| Self::describe(&entry, now)).collect();
        listed.sort();
        let more = listed.len().saturating_sub(MAX_LISTED);
        listed.truncate(MAX_LISTED);
        Ok(Self { listed, more })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn describe(entry: &DirEntry, now: Timestamp) -> Option<String> {
        let name = entry.file_name();
        let Some(text) = name.to_str() else {
            return Some(format!("{} (its name is not UTF-8)", name.as_encoded_bytes().escape_ascii()));
        };
        let why = match irregular(entry.file_type().ok()?) {
            // Where programs keep their own files, such as `.stfolder`.
            Some("a folder") if text.starts_with('.') => return None,
            Some(kind) => kind,
            None if jobfile::is_job_file_name(text) => return None,
            None if jobfile::is_unfinished(text) => {
                let changed = Timestamp::from_millis(entry.metadata().ok()?.mtime().saturating_mul(1000));
                // Hidden files are other programs' own, for ever.
                let is_stale = !text.starts_with('.') && changed.plus(WRITING) <= now;
                is_stale.then_some("named as unfinished writing, and unchanged for an hour")?
            }
            None => "not named as a job file",
        };
        Some(format!("{text} ({why})"))
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listed.join(", "))?;
        if self.more > 0 { write!(f, ", and {} more", self.more) } else { Ok(()) }
    }
}

fn irregular(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a folder"),
        kind if kind.is_symlink() => Some("a symbolic link"),
        kind if kind.is_fifo() => Some("a pipe"),
        kind if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn everything_but_job_files_and_fresh_writing_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "{}").unwrap();
        for name in ["a.json", "b.jsonl", "c.ndjson", ".hidden.json", "new.tmp", "notes.txt", "photo.png"] {
            write(name);
        }
        for name in ["sub", ".stfolder"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("l.json")).unwrap();
        let found = |now| Leftovers::in_inbox(folder.path(), now).unwrap();
        let now = Clock::machine().now();
        let expected = [
            "l.json (a symbolic link)",
            "notes.txt (not named as a job file)",
            "photo.png (not named as a job file)",
            "sub (a folder)",
        ];
        assert_eq!(found(now).listed, expected);
        let later = found(now.plus(WRITING * 2)).to_string();
        assert!(
            later.contains("new.tmp (named as unfinished writing, and unchanged for an hour)"),
            "{later}"
        );
        for number in 0..30 {
            write(&format!("{number:02}.txt"));
        }
        assert!(found(now).to_string().ends_with("19.txt (not named as a job file), and 14 more"));
        assert!(Leftovers::in_inbox(&folder.path().join("nowhere"), now).unwrap().is_empty());
    }
}
