//! Finds what is in the inbox and in the folders below it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

use crate::clock::Tick;
use crate::fs::{FileId, FsError};
use crate::inbox::open_folder::{InboxEntry, OpenFolder};
use crate::inbox::{FileVersion, Inbox, MAX_LEVELS};
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

/// A change within this time of another may leave a folder the same time of its last change.
const TIME_STEP: Duration = Duration::from_secs(2);

/// What earlier scans found in folders that hold nothing but folders. While the time of such a folder's last change stays,
/// it need not be read again: ten thousand of them cost little more than their `stat`.
#[derive(Debug, Default)]
pub struct ScanCache {
    folders: BTreeMap<String, CachedFolder>,
}

#[derive(Debug)]
struct CachedFolder {
    version: FileVersion,
    seen_since: Tick,
    /// The names in it, from when it was read long enough after its last change.
    names: Option<Vec<String>>,
}

impl Inbox {
    /// Lists the inbox and, if `recursive`, the folders below it. Opens no file. A folder below the inbox that cannot be
    /// read delays nothing.
    ///
    /// # Errors
    /// When the inbox itself cannot be listed.
    pub fn scan(&self, recursive: bool) -> Result<Scan, FsError> {
        self.scan_again(recursive, &mut ScanCache::default(), Tick::default())
    }

    /// [`scan`](Self::scan) without reading what is in the cache.
    ///
    /// # Errors
    /// As there.
    pub fn scan_again(&self, recursive: bool, cache: &mut ScanCache, now: Tick) -> Result<Scan, FsError> {
        let before = std::mem::take(&mut cache.folders);
        let mut scanner = Scanner { scan: Scan::default(), before, cache, now };
        scanner.read_folder(&self.open()?, "", if recursive { Some(MAX_LEVELS) } else { None })?;
        let mut scan = scanner.scan;
        scan.files.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(scan)
    }
}

struct Scanner<'c> {
    scan: Scan,
    before: BTreeMap<String, CachedFolder>,
    cache: &'c mut ScanCache,
    now: Tick,
}

impl Scanner<'_> {
    /// Reads a folder, and `levels` of folders below it; `None`: those below it do not concern us.
    fn read_folder(&mut self, folder: &OpenFolder, path: &str, levels: Option<usize>) -> Result<(), FsError> {
        let entries = folder.list()?;
        self.remember(path, &entries);
        let scanned = ScannedFolder { path: path.to_owned(), id: folder.id()?, entries: entries.len() };
        self.scan.folders.push(scanned);
        self.read_entries(folder, path, levels, entries);
        Ok(())
    }

    fn read_entries(
        &mut self,
        folder: &OpenFolder,
        path: &str,
        levels: Option<usize>,
        entries: Vec<InboxEntry>,
    ) {
        for entry in entries {
            let name = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
            if entry.irregular_kind != Some(FOLDER) || is_unfinished(&entry.name) {
                self.scan.files.push(InboxEntry { name, ..entry });
                continue;
            }
            let read = match levels {
                Some(levels) => self.read_subfolder(folder, &entry, &name, levels),
                None => Err("a folder, and `inbox.recursive` is off".to_owned()),
            };
            if let Err(why) = read {
                self.scan.skipped.push((name, why));
            }
        }
    }

    /// Takes a folder from the cache, and reads those below it. Returns whether it was there.
    fn read_cached(
        &mut self,
        outer: &OpenFolder,
        entry: &InboxEntry,
        path: &str,
        levels: usize,
    ) -> Result<bool, FsError> {
        let version = entry.version;
        let Some(known) = self.before.remove(path).filter(|known| known.version == version) else {
            let new = CachedFolder { version, seen_since: self.now, names: None };
            self.cache.folders.insert(path.to_owned(), new);
            return Ok(false);
        };
        let names = known.names.clone();
        self.cache.folders.insert(path.to_owned(), known);
        let Some(names) = names else { return Ok(false) };
        let scanned = ScannedFolder { path: path.to_owned(), id: version.id(), entries: names.len() };
        self.scan.folders.push(scanned);
        if !names.is_empty() {
            let folder = match outer.open_folder(&entry.name) {
                // It was moved or removed since it was listed.
                Err(FsError::NotFound(_)) => return Ok(true),
                opened => opened?,
            };
            let entries = names.iter().filter_map(|name| folder.entry(OsStr::new(name))).collect();
            self.read_entries(&folder, path, Some(levels), entries);
        }
        Ok(true)
    }

    /// Remembers the names in a folder that was read, if there are only folders and its time of change is old enough.
    fn remember(&mut self, path: &str, entries: &[InboxEntry]) {
        let is_plain = |entry: &InboxEntry| entry.is_utf8 && entry.irregular_kind == Some(FOLDER);
        if let Some(cached) = self.cache.folders.get_mut(path)
            && self.now.since(cached.seen_since) >= TIME_STEP
            && entries.iter().all(is_plain)
        {
            cached.names = Some(entries.iter().map(|entry| entry.name.clone()).collect());
        }
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
        let below = levels.checked_sub(1);
        if let Some(below) = below
            && self.read_cached(outer, entry, path, below).map_err(|error| error.to_string())?
        {
            return Ok(());
        }
        let folder = match outer.open_folder(&entry.name) {
            // It was moved or removed since it was listed.
            Err(FsError::NotFound(_)) => return Ok(()),
            opened => opened.map_err(|error| error.to_string())?,
        };
        if folder.is_inbox_of_another() {
            return Err("another dropreel has it as its inbox".to_owned());
        }
        let Some(levels) = below else {
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
    fn unchanged_folders_are_not_read_and_every_change_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(folder.path().to_owned());
        let path = |relative: &str| folder.path().join(relative);
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        std::fs::create_dir_all(path("d")).unwrap();
        let mut cache = ScanCache::default();
        let mut tick = Tick::default();
        let mut scan = || {
            tick = tick.plus(TIME_STEP);
            let scan = inbox.scan_again(true, &mut cache, tick).unwrap();
            let cached = cache.folders.values().filter(|folder| folder.names.is_some()).count();
            let (files, folders) = paths(&scan);
            (files.join(" "), folders.len(), cached)
        };
        let found = |files: &str, folders, cached| (files.to_owned(), folders, cached);
        assert_eq!(scan(), found("", 5, 0), "just changed");
        assert_eq!(scan(), found("", 5, 4));
        assert_eq!(scan(), found("", 5, 4), "from the cache");
        std::fs::write(path("a/b/c/x.json"), "{}").unwrap();
        assert_eq!(scan(), found("a/b/c/x.json", 5, 3));
        std::fs::rename(path("a/b/c"), path("d/c")).unwrap();
        assert_eq!(scan(), found("d/c/x.json", 5, 1), "only `a` is unchanged");
        std::fs::remove_file(path("d/c/x.json")).unwrap();
        std::fs::create_dir(path("d/e")).unwrap();
        assert_eq!(scan().0, "");
        std::fs::write(path("d/e/y.json"), "{}").unwrap();
        assert_eq!(scan().0, "d/e/y.json");
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
