//! What lies in the inbox and is no job file. It is never read, and stays until a person takes it away.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::fs::FsError;
use crate::inbox::{Inbox, InboxEntry};
use crate::jobfile::{self, is_defaults_name, split_path};

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
    /// Those in the folder `inbox`, and if `recursive` below it; none if it does not exist. Where pictures are
    /// served, they belong there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn in_inbox(
        inbox: &Path,
        recursive: bool,
        serves_pictures: bool,
        now: Timestamp,
    ) -> Result<Self, FsError> {
        let scan = match Inbox::new(inbox.to_owned()).scan(recursive) {
            Err(FsError::NotFound(_)) => return Ok(Self::default()),
            scan => scan?,
        };
        let skipped = scan.skipped.iter().map(|(path, why)| format!("{path} ({why})"));
        let mut listed: Vec<String> = scan
            .files
            .iter()
            .filter_map(|entry| Self::describe(entry, serves_pictures, now))
            .chain(skipped)
            .collect();
        listed.sort();
        let more = listed.len().saturating_sub(MAX_LISTED);
        listed.truncate(MAX_LISTED);
        Ok(Self { listed, more })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn describe(entry: &InboxEntry, serves_pictures: bool, now: Timestamp) -> Option<String> {
        let name = split_path(&entry.name).1;
        let why = match entry.irregular_kind {
            _ if !entry.is_utf8 => "its name is not UTF-8".to_owned(),
            Some("folder") | None if jobfile::is_unfinished(name) => {
                // Hidden ones are other programs' own, for ever, such as `.stfolder`.
                let is_stale = !name.starts_with('.') && entry.version.changed_at().plus(WRITING) <= now;
                is_stale.then(|| "named as unfinished writing, and unchanged for an hour".to_owned())?
            }
            Some(kind) => format!("a {kind}"),
            None if jobfile::is_job_file_name(name) || is_defaults_name(name) => return None,
            None if serves_pictures && is_named_as_picture(name) => return None,
            None => "not named as a job file".to_owned(),
        };
        Some(format!("{} ({why})", entry.name))
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listed.join(", "))?;
        if self.more > 0 { write!(f, ", and {} more", self.more) } else { Ok(()) }
    }
}

fn is_named_as_picture(name: &str) -> bool {
    const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&&*ending.to_ascii_lowercase()))
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
        for name in ["sub", ".stfolder", "sub/up.part"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        write("sub/b.json");
        write("sub/sketch.jpg");
        write("sub/Defaults.json");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("l.json")).unwrap();
        let found = |now| Leftovers::in_inbox(folder.path(), true, false, now).unwrap();
        let now = Clock::machine().now();
        let expected = [
            "l.json (a symbolic link)",
            "notes.txt (not named as a job file)",
            "photo.png (not named as a job file)",
            "sub/sketch.jpg (not named as a job file)",
        ];
        assert_eq!(found(now).listed, expected);
        let with_pictures = Leftovers::in_inbox(folder.path(), true, true, now).unwrap().listed;
        assert_eq!(with_pictures, expected[..2]);
        let later = found(now.plus(WRITING * 2)).to_string();
        assert!(
            later.contains("new.tmp (named as unfinished writing, and unchanged for an hour)"),
            "{later}"
        );
        assert!(later.contains("sub/up.part (named as"), "{later}");
        let flat = Leftovers::in_inbox(folder.path(), false, false, now).unwrap().to_string();
        assert!(flat.ends_with("sub (a folder, and `inbox.recursive` is off)"), "{flat}");
        for number in 0..30 {
            write(&format!("{number:02}.txt"));
        }
        assert!(found(now).to_string().ends_with("19.txt (not named as a job file), and 14 more"));
        assert!(Leftovers::in_inbox(&folder.path().join("nowhere"), true, false, now).unwrap().is_empty());
    }
}
