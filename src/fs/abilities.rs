//! What the file system of a folder can do, found out by trying: one that cannot move files safely is refused before
//! money is spent.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, open, unlinkat};
use rustix::io::Errno;

use crate::fs::flush_names::is_flush_unsupported;
use crate::fs::folder::open_folder;
use crate::fs::numbered::max_name_bytes;
use crate::fs::{FsError, RenameMethod, SHORTEST_NAME_LIMIT};

/// What the file system of a folder can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// How a file is renamed without replacing another.
    pub rename: RenameMethod,
    /// Whether a folder can be flushed. If not, a power cut can undo the newest moves.
    pub flushes_folders: bool,
    /// The longest name in bytes.
    pub max_name_bytes: usize,
}

impl Abilities {
    /// Tries what the file system of `folder` can do, with hidden files that are removed again.
    ///
    /// # Errors
    /// [`FsError::Unsuitable`] when files cannot be renamed there without replacing others, or only under short names;
    /// or when the folder cannot be written.
    pub fn of(folder: &Path) -> Result<Self, FsError> {
        let opened = open_folder(folder)?;
        let rename = rename_method(folder)?;
        let max_name_bytes = max_name_bytes(opened.as_fd());
        if max_name_bytes < SHORTEST_NAME_LIMIT {
            let what = format!("allows names of {max_name_bytes} bytes only");
            return Err(FsError::Unsuitable { folder: folder.to_owned(), what });
        }
        let flushes_folders = !matches!(fsync(&opened), Err(error) if is_flush_unsupported(error));
        Ok(Self { rename, flushes_folders, max_name_bytes })
    }

    /// What is missing, for people; `None` if nothing is.
    pub fn restriction(&self) -> Option<&'static str> {
        match (self.rename, self.flushes_folders) {
            (RenameMethod::Placeholder, true) => {
                Some("it has neither RENAME_NOREPLACE nor hard links: a crash can leave an empty file")
            }
            (RenameMethod::Placeholder, false) => Some(
                "it has neither RENAME_NOREPLACE nor hard links, and cannot flush folders: a crash can leave an empty \
                 file, and a power cut can undo the newest moves",
            ),
            (RenameMethod::Flag | RenameMethod::Link, false) => {
                Some("it cannot flush folders: a power cut can undo the newest moves")
            }
            (RenameMethod::Flag | RenameMethod::Link, true) => None,
        }
    }
}

/// The first method that works. It must also refuse an existing name: some file systems ignore what they do not know.
fn rename_method(folder: &Path) -> Result<RenameMethod, FsError> {
    let probes = Probes::new(folder);
    let [from, to] = &probes.0;
    let io = |error| FsError::new(from, error);
    for method in RenameMethod::ALL {
        probes.remove();
        probes.create(from).map_err(io)?;
        match method.rename((CWD, from), (CWD, to)) {
            Ok(()) => {}
            Err(error) if method.is_unsupported(error) => continue,
            Err(error) => return Err(io(error)),
        }
        probes.create(from).map_err(io)?;
        if method.rename((CWD, from), (CWD, to)) == Err(Errno::EXIST) {
            return Ok(method);
        }
    }
    let what = "cannot rename a file without replacing another".to_owned();
    Err(FsError::Unsuitable { folder: folder.to_owned(), what })
}

/// Two files for trials, removed at the end.
struct Probes([PathBuf; 2]);

impl Probes {
    fn new(folder: &Path) -> Self {
        // Two processes may try at once.
        let name = |which: &str| folder.join(format!(".dropreel-probe-{}-{which}.tmp", std::process::id()));
        Self(["1", "2"].map(name))
    }

    fn create(&self, path: &Path) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open(path, flags, Mode::RUSR | Mode::WUSR).map(drop)
    }

    fn remove(&self) {
        for path in &self.0 {
            let _ = unlinkat(CWD, path, AtFlags::empty());
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_folder_can_do_all_and_nothing_is_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = Abilities::of(folder.path()).unwrap();
        let expected = Abilities { rename: RenameMethod::Flag, flushes_folders: true, max_name_bytes: 255 };
        assert_eq!((found, found.restriction()), (expected, None));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Abilities::of(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn restrictions_name_what_is_missing() {
        let can = |rename, flushes_folders| Abilities { rename, flushes_folders, max_name_bytes: 255 };
        assert!(can(RenameMethod::Placeholder, true).restriction().unwrap().contains("hard links"));
        assert!(can(RenameMethod::Link, false).restriction().unwrap().contains("power cut"));
        assert_eq!(can(RenameMethod::Link, true).restriction(), None);
    }
}
