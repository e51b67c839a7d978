//! Finds what is in the inbox and in the folders below it.

use crate::fs::{FileId, FsError};
use crate::inbox::open_folder::{InboxEntry, OpenFolder};
use crate::inbox::{Inbox, MAX_LEVELS};
use crate::jobfile::is_unfinished;

/// The kind of an entry that is a folder.
const FOLDER: &str = "folder";

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// By path everything but folders, and the folders that are named as unfinished writing.
    pub files: Vec<InboxEntry>,
    /// The folders that were read, the inbox first.
    pub folders: Vec<ScannedFolder>,
    /// The paths of the folders that were not, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// A folder that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFolder {
    /// The path below the inbox; empty for the inbox itself.
    pub path: String,
    /// Device and inode: they differ once another folder has its path.
    pub id: FileId,
    /// How many entries it has.
    pub entries: usize,
}

impl Inbox {
    /// Lists the inbox and, if `recursive`, the folders below it. Opens no file. A folder below the inbox that cannot be
    /// read delays nothing.
    ///
    /// # Errors
    /// When the inbox itself cannot be listed.
    pub fn scan(&self, recursive: bool) -> Result<Scan, FsError> {
        let mut scan = Scan::default();
        scan.read_folder(&self.open()?, "", if recursive { Some(MAX_LEVELS) } else { None })?;
        scan.files.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(scan)
    }
}

impl Scan {
    /// Reads a folder, and `levels` of folders below it; `None`: those below it do not concern us.
    fn read_folder(&mut self, folder: &OpenFolder, path: &str, levels: Option<usize>) -> Result<(), FsError> {
        let entries = folder.list()?;
        self.folders.push(ScannedFolder { path: path.to_owned(), id: folder.id()?, entries: entries.len() });
        for entry in entries {
            let name = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
            if entry.irregular_kind != Some(FOLDER) || is_unfinished(&entry.name) {
                self.files.push(InboxEntry { name, ..entry });
                continue;
            }
            let read = match levels {
                Some(levels) => self.read_subfolder(folder, &entry, &name, levels),
                None => Err("a folder, and `inbox.recursive` is off".to_owned()),
            };
            if let Err(why) = read {
                self.skipped.push((name, why));
            }
        }
        Ok(())
    }

    fn read_subfolder(
        &mut self,
        outer: &OpenFolder,
        entry: &InboxEntry,
        path: &str,
        levels: usize,
    ) -> Result<(), String> {
        if !entry.is_utf8 {
            return Err("its name is not UTF-8".to_owned());
        }
        let folder = match outer.open_folder(&entry.name) {
            // It was moved or removed since it was listed.
            Err(FsError::NotFound(_)) => return Ok(()),
            opened => opened.map_err(|error| error.to_string())?,
        };
        if folder.is_inbox_of_another() {
            return Err("another dropreel has it as its inbox".to_owned());
        }
        let Some(levels) = levels.checked_sub(1) else {
            let is_empty = folder.list().is_ok_and(|entries| entries.is_empty());
            let too_deep = || format!("more than {MAX_LEVELS} levels below the inbox");
            return if is_empty { Ok(()) } else { Err(too_deep()) };
        };
        self.read_folder(&folder, path, Some(levels)).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::lock::InboxLock;

    fn paths(scan: &Scan) -> (Vec<&str>, Vec<&str>) {
        let files = scan.files.iter().map(|entry| entry.name.as_str());
        (files.collect(), scan.folders.iter().map(|folder| folder.path.as_str()).collect())
    }

    #[test]
    fn folders_are_read_to_the_eighth_level_but_for_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(folder.path().to_owned());
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        };
        for path in ["b.json", "b/x.json", "1/2/3/4/5/6/7/8/x.json", "1/2/3/4/5/6/7/8/9/x.json"] {
            write(path);
        }
        for path in [".git/x.json", "b/copy.part/x.json", "b/old~/x.json", "b/up.tmp/x.json"] {
            write(path);
        }
        std::fs::create_dir_all(folder.path().join("b/2/3/4/5/6/7/8/9")).unwrap();
        std::os::unix::fs::symlink("/tmp", folder.path().join("link")).unwrap();
        let scan = inbox.scan(true).unwrap();
        let (files, folders) = paths(&scan);
        let found = [
            ".git",
            "1/2/3/4/5/6/7/8/x.json",
            "b.json",
            "b/copy.part",
            "b/old~",
            "b/up.tmp",
            "b/x.json",
            "link",
        ];
        assert_eq!(files, found);
        assert_eq!(folders.len(), 1 + 8 + 8, "{folders:?}");
        assert_eq!(scan.skipped.len(), 1, "an empty one is left alone: {:?}", scan.skipped);
        assert!(scan.skipped[0].0.ends_with("8/9") && scan.skipped[0].1.contains("8 levels"));
        let (flat, skipped) = (inbox.scan(false).unwrap(), ["1", "b"]);
        assert_eq!(paths(&flat), (vec![".git", "b.json", "link"], vec![""]));
        assert_eq!(flat.skipped.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), skipped);
    }

    #[test]
    fn folder_that_another_daemon_watches_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a.json"), "{}").unwrap();
        let inbox = Inbox::new(folder.path().to_owned());
        let lock = InboxLock::acquire(&inner).unwrap();
        let scan = inbox.scan(true).unwrap();
        assert_eq!((scan.files.len(), scan.skipped.len()), (0, 1));
        drop(lock);
        assert_eq!(inbox.scan(true).unwrap().files.len(), 1);
        assert!(InboxLock::acquire(&inner).is_ok(), "a scan leaves no lock");
    }
}
