//! Removal of old files from archive folders. Follows no links and never leaves the folder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::fs::{FsError, open_folder};

/// How deep folders below a day's folder are followed.
const MAX_DEPTH: u32 = 8;
/// Suffixes of the files that explain another file and go with it.
const COMPANION_SUFFIXES: [&str; 2] = [".reason.json", ".evidence.json"];

/// What was removed, or would be in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedFiles {
    /// Number of files.
    pub files: u64,
    /// Their total length.
    pub bytes: u64,
    /// Number of files and folders that could not be removed or listed.
    pub failed: u64,
    /// The first of these failures.
    pub failure: Option<String>,
    /// Pruning stopped early; there may be more old files.
    pub more: bool,
}

/// Removes files older than a point in time.
pub struct FilePruner<'a> {
    before: SystemTime,
    dry_run: bool,
    /// Device and inode of folders to leave alone, wherever they are.
    excluded: Vec<(u64, u64)>,
    should_stop: &'a dyn Fn() -> bool,
    pruned: PrunedFiles,
}

impl<'a> FilePruner<'a> {
    /// Removes files last modified before `before`, or only counts them. Nothing in or below a folder of `excluded` is
    /// touched. `should_stop` is called after each removal, so each run makes progress.
    pub fn new(
        before: SystemTime,
        dry_run: bool,
        excluded: &[&Path],
        should_stop: &'a dyn Fn() -> bool,
    ) -> Self {
        // An excluded folder that does not exist cannot be met either.
        let excluded =
            excluded.iter().filter_map(|path| Some(identity(&fstat(open_folder(path).ok()?).ok()?)));
        let pruned = PrunedFiles::default();
        Self { before, dry_run, excluded: excluded.collect(), should_stop, pruned }
    }

    /// The totals of all folders.
    pub fn finish(self) -> PrunedFiles {
        self.pruned
    }

    /// Prunes a folder that holds one folder per day (`YYYY-MM-DD`): removes the days before `first_kept_day`, except
    /// files for which `is_needed` returns true for the day and the name. Other files in the folder go by their age.
    pub fn prune_day_folders(
        &mut self,
        root: &Path,
        first_kept_day: &str,
        is_needed: &dyn Fn(&str, &str) -> bool,
    ) {
        let Some((folder, found)) = self.open_root(root) else { return };
        for (name, stat) in found {
            match (FileType::from_raw_mode(stat.st_mode), name.to_str()) {
                (FileType::Directory, Some(day)) if is_day(day) && day < first_kept_day => {
                    let Some(below) = self.open_below(&folder, day) else { continue };
                    self.prune_tree(&below, &root.join(day), &|file| is_needed(day, file), MAX_DEPTH);
                    self.remove_if_empty(&folder, day);
                }
                (FileType::RegularFile, _) if is_modified_before(&stat, self.before) => {
                    self.remove(&folder, &name, &stat, root);
                }
                _ => {}
            }
            if self.pruned.more {
                return;
            }
        }
    }

    /// Prunes a folder of files and their companions (`NAME.reason.json`), and the folders below it. Both go together once
    /// the younger is old: a moved file keeps its age, and its companion is as old as the move.
    pub fn prune_with_companions(&mut self, root: &Path) {
        let Some((folder, found)) = self.open_root(root) else { return };
        self.prune_groups(&folder, found, root, MAX_DEPTH);
    }

    fn prune_groups(&mut self, folder: &OwnedFd, found: Vec<(OsString, Stat)>, path: &Path, depth: u32) {
        let mut groups = BTreeMap::<OsString, Vec<(OsString, Stat)>>::new();
        for (name, stat) in found {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    groups.entry(without_companion_suffix(&name)).or_default().push((name, stat));
                }
                FileType::Directory if depth > 0 => {
                    let Some(below) = self.open_below(folder, &name) else { continue };
                    match entries(&below) {
                        Ok(found) => self.prune_groups(&below, found, &path.join(&name), depth - 1),
                        Err(error) => self.record_failure(&path.join(&name), error),
                    }
                    self.remove_if_empty(folder, &name);
                }
                _ => {}
            }
        }
        let before = self.before;
        let is_old =
            |group: &Vec<(OsString, Stat)>| group.iter().all(|(_, stat)| is_modified_before(stat, before));
        for (name, stat) in groups.into_values().filter(is_old).flatten() {
            if self.pruned.more {
                return;
            }
            self.remove(folder, &name, &stat, path);
        }
    }

    fn prune_tree(&mut self, folder: &OwnedFd, path: &Path, is_needed: &dyn Fn(&str) -> bool, depth: u32) {
        let found = match entries(folder) {
            Ok(found) => found,
            Err(error) => return self.record_failure(path, error),
        };
        for (name, stat) in found {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if !is_needed(&name.to_string_lossy()) => {
                    self.remove(folder, &name, &stat, path);
                }
                FileType::Directory if depth > 0 => {
                    let Some(below) = self.open_below(folder, &name) else { continue };
                    self.prune_tree(&below, &path.join(&name), is_needed, depth - 1);
                    self.remove_if_empty(folder, &name);
                }
                _ => {}
            }
            if self.pruned.more {
                return;
            }
        }
    }

    /// Opens and lists a configured folder, which may be a link. `None` if it does not exist, is excluded or cannot be
    /// listed, and when pruning has stopped.
    fn open_root(&mut self, root: &Path) -> Option<(OwnedFd, Vec<(OsString, Stat)>)> {
        if self.pruned.more {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = openat(CWD, root, flags, Mode::empty()).and_then(|folder| {
            let found = if self.is_allowed(&folder) { entries(&folder)? } else { Vec::new() };
            Ok((folder, found))
        });
        match listed {
            Ok(listed) => Some(listed),
            Err(Errno::NOENT) => None,
            Err(error) => {
                self.record_failure(root, error);
                None
            }
        }
    }

    /// Opens a folder in a folder; `None` if it is a link, no longer exists or is excluded.
    fn open_below(&self, folder: &OwnedFd, name: impl rustix::path::Arg) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(folder, name, flags, Mode::empty()).ok().filter(|folder| self.is_allowed(folder))
    }

    fn is_allowed(&self, folder: &OwnedFd) -> bool {
        fstat(folder).is_ok_and(|stat| !self.excluded.contains(&identity(&stat)))
    }

    fn remove(&mut self, folder: &OwnedFd, name: &OsString, stat: &Stat, path: &Path) {
        let removed = if self.dry_run { Ok(()) } else { unlinkat(folder, name, AtFlags::empty()) };
        match removed {
            Ok(()) => {
                self.pruned.files += 1;
                self.pruned.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                self.pruned.more = (self.should_stop)();
            }
            Err(Errno::NOENT) => {}
            Err(error) => self.record_failure(&path.join(name), error),
        }
    }

    fn remove_if_empty(&self, folder: &OwnedFd, name: impl rustix::path::Arg) {
        if !self.dry_run {
            // The system refuses to remove a folder that is not empty.
            let _ = unlinkat(folder, name, AtFlags::REMOVEDIR);
        }
    }

    fn record_failure(&mut self, path: &Path, error: Errno) {
        self.pruned.failed += 1;
        self.pruned.failure.get_or_insert_with(|| FsError::new(path, error).to_string());
    }
}

/// The entries of a folder by name, links not followed.
fn entries(folder: &OwnedFd) -> Result<Vec<(OsString, Stat)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name == "." || name == ".." {
            continue;
        }
        // Skip what was removed since it was listed.
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        found.push((name, stat));
    }
    found.sort_unstable_by(|one, two| one.0.cmp(&two.0));
    Ok(found)
}

fn identity(stat: &Stat) -> (u64, u64) {
    // The width of these fields depends on the platform.
    let wide = |number: i128| u64::try_from(number).unwrap_or(0);
    (wide(stat.st_dev.into()), wide(stat.st_ino.into()))
}

fn is_modified_before(stat: &Stat, before: SystemTime) -> bool {
    let seconds: i128 = stat.st_mtime.into();
    let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    seconds * 1000 < i128::try_from(before.as_millis()).unwrap_or(i128::MAX)
}

fn without_companion_suffix(name: &OsString) -> OsString {
    let text = name.to_str().unwrap_or_default();
    let stem = COMPANION_SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix));
    stem.map_or_else(|| name.clone(), OsString::from)
}

/// Whether a name has the form `YYYY-MM-DD`.
fn is_day(name: &str) -> bool {
    let fits = name.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    name.len() == 10 && fits
}

#[cfg(test)]
mod tests;
