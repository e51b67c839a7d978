//! Old files out of the folders that only keep what was: never a link followed, never a step out of the folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::clock::Timestamp;
use crate::disk::{DiskError, open_folder};

/// Folders in a day's folder are followed so far down.
const DEPTH: u32 = 8;
/// Behind a file's name: what is kept beside it.
const BESIDE: [&str; 2] = [".reason.json", ".evidence.json"];

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// Their lengths together.
    pub bytes: u64,
    /// How many could not be removed.
    pub failed: u64,
    /// Why the first of those could not be.
    pub failure: Option<String>,
    /// It was time to stop, and there may be more.
    pub more: bool,
}

/// Removes old files.
pub struct Sweep<'a> {
    /// Older than this is old.
    before: Timestamp,
    /// Only count.
    dry_run: bool,
    /// Folders that are left alone, wherever they lie: by device and inode.
    off_limits: Vec<(u64, u64)>,
    /// Whether it is time to stop.
    enough: &'a dyn Fn() -> bool,
    swept: Swept,
}

impl<'a> Sweep<'a> {
    /// Removes what is older than `before`, or only counts it. Nothing in a folder of `off_limits` or below is touched.
    /// `enough` says when to stop, but never before something was removed.
    pub fn new(before: Timestamp, dry_run: bool, off_limits: &[&Path], enough: &'a dyn Fn() -> bool) -> Self {
        // One that is not there cannot be met either.
        let off_limits =
            off_limits.iter().filter_map(|path| Some(identity(&fstat(open_folder(path).ok()?).ok()?)));
        Self { before, dry_run, off_limits: off_limits.collect(), enough, swept: Swept::default() }
    }

    /// What came of it.
    pub fn done(self) -> Swept {
        self.swept
    }

    /// Sweeps a folder of one folder per day (`YYYY-MM-DD`): days that were over by then. `needed` is told the day and
    /// the name of a file and says whether it must stay. Files beside the days' folders go by their age.
    pub fn days(&mut self, root: &Path, needed: &dyn Fn(&str, &str) -> bool) {
        let Some((folder, found)) = self.open_root(root) else { return };
        let today = self.before.date();
        for (name, stat) in found {
            match (FileType::from_raw_mode(stat.st_mode), name.to_str()) {
                (FileType::Directory, Some(day)) if is_day(day) && *day < *today => {
                    let Some(below) = self.open_below(&folder, day) else { continue };
                    self.day(&below, &root.join(day), &|file| needed(day, file), DEPTH);
                    if !self.dry_run {
                        // One that is not empty stays.
                        let _ = unlinkat(&folder, day, AtFlags::REMOVEDIR);
                    }
                }
                (FileType::RegularFile, _) if modified(&stat) < self.before => {
                    self.remove(&folder, &name, &stat, root);
                }
                _ => {}
            }
            if self.swept.more {
                return;
            }
        }
    }

    /// Sweeps a folder of files that lie there with their reasons or evidence: each goes together with what is beside
    /// it, by the younger of both, for a file keeps the age that it had elsewhere.
    pub fn pairs(&mut self, root: &Path) {
        let Some((folder, found)) = self.open_root(root) else { return };
        let mut pairs = BTreeMap::<OsString, Vec<(OsString, Stat)>>::new();
        for (name, stat) in found {
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                pairs.entry(without_beside(&name)).or_default().push((name, stat));
            }
        }
        let before = self.before;
        let is_old = |pair: &Vec<(OsString, Stat)>| pair.iter().all(|(_, stat)| modified(stat) < before);
        for (name, stat) in pairs.into_values().filter(is_old).flatten() {
            self.remove(&folder, &name, &stat, root);
            if self.swept.more {
                return;
            }
        }
    }

    fn day(&mut self, folder: &OwnedFd, path: &Path, needed: &dyn Fn(&str) -> bool, depth: u32) {
        let found = match entries(folder) {
            Ok(found) => found,
            Err(error) => return self.fail(path, error),
        };
        for (name, stat) in found {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if !needed(&name.to_string_lossy()) => {
                    self.remove(folder, &name, &stat, path)
                }
                FileType::Directory if depth > 0 => {
                    let Some(below) = self.open_below(folder, &name) else { continue };
                    self.day(&below, &path.join(&name), needed, depth - 1);
                    if !self.dry_run {
                        let _ = unlinkat(folder, &name, AtFlags::REMOVEDIR);
                    }
                }
                _ => {}
            }
            if self.swept.more {
                return;
            }
        }
    }

    /// The folder itself, which a person may have made a link, and what lies in it; `None` if it is not there, off limits
    /// or cannot be listed, and when it is time to stop.
    fn open_root(&mut self, root: &Path) -> Option<(OwnedFd, Vec<(OsString, Stat)>)> {
        if self.swept.more {
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
                self.fail(root, error);
                None
            }
        }
    }

    /// A folder in a folder; `None` if it is a link, has gone or is off limits.
    fn open_below(&self, folder: &OwnedFd, name: impl rustix::path::Arg) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(folder, name, flags, Mode::empty()).ok().filter(|folder| self.is_allowed(folder))
    }

    fn is_allowed(&self, folder: &OwnedFd) -> bool {
        fstat(folder).is_ok_and(|stat| !self.off_limits.contains(&identity(&stat)))
    }

    fn remove(&mut self, folder: &OwnedFd, name: &OsString, stat: &Stat, path: &Path) {
        let removed = if self.dry_run { Ok(()) } else { unlinkat(folder, name, AtFlags::empty()) };
        match removed {
            Ok(()) => {
                self.swept.files += 1;
                self.swept.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                self.swept.more = (self.enough)();
            }
            Err(Errno::NOENT) => {}
            Err(error) => self.fail(&path.join(name), error),
        }
    }

    fn fail(&mut self, path: &Path, error: Errno) {
        self.swept.failed += 1;
        let failure = &mut self.swept.failure;
        failure.get_or_insert_with(|| DiskError::new(path, error).to_string());
    }
}

/// All that lies in a folder, in the order of names; of a link the link.
fn entries(folder: &OwnedFd) -> Result<Vec<(OsString, Stat)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = std::ffi::OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name == "." || name == ".." {
            continue;
        }
        // Gone since it was listed.
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        found.push((name, stat));
    }
    found.sort_unstable_by(|one, two| one.0.cmp(&two.0));
    Ok(found)
}

fn identity(stat: &Stat) -> (u64, u64) {
    // How wide these are hangs on the machine.
    let wide = |number: i128| u64::try_from(number).unwrap_or(0);
    (wide(stat.st_dev.into()), wide(stat.st_ino.into()))
}

fn modified(stat: &Stat) -> Timestamp {
    // How wide it is hangs on the machine.
    let seconds: i128 = stat.st_mtime.into();
    Timestamp::from_millis(i64::try_from(seconds * 1000).unwrap_or(i64::MAX))
}

fn without_beside(name: &OsString) -> OsString {
    let shown = name.to_str().unwrap_or_default();
    BESIDE.iter().find_map(|ending| shown.strip_suffix(ending)).map_or_else(|| name.clone(), OsString::from)
}

/// `YYYY-MM-DD`
fn is_day(name: &str) -> bool {
    let shape = name.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    name.len() == 10 && shape
}

#[cfg(test)]
mod tests;
