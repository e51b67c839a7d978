//! Renames. None of the functions flushes the folders.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::fs::FsError;

#[expect(clippy::disallowed_methods, reason = "the one home of renames")]
pub(super) fn rename_replacing(from: &Path, to: &Path) -> Result<(), FsError> {
    std::fs::rename(from, to).map_err(|error| FsError::new(to, error))
}

/// How a file system renames a file without replacing another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RenameMethod {
    /// The system call refuses an existing name.
    Flag,
    /// A second link refuses it; the first is removed then.
    Link,
    /// An empty file that is created under the new name refuses it, and is replaced then. A crash in between leaves the
    /// empty file.
    Placeholder,
}

impl RenameMethod {
    pub(super) const ALL: [Self; 3] = [Self::Flag, Self::Link, Self::Placeholder];

    /// Whether the error says that the file system lacks the method.
    pub(super) fn is_unsupported(self, error: Errno) -> bool {
        match self {
            Self::Flag => matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP),
            Self::Link => matches!(
                error,
                Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP
            ),
            Self::Placeholder => false,
        }
    }

    pub(super) fn rename(
        self,
        (from_folder, from): (impl AsFd, &Path),
        (to_folder, to): (impl AsFd, &Path),
    ) -> Result<(), Errno> {
        match self {
            Self::Flag => renameat_with(&from_folder, from, &to_folder, to, RenameFlags::NOREPLACE),
            Self::Link => {
                linkat(&from_folder, from, &to_folder, to, AtFlags::empty())?;
                unlinkat(&from_folder, from, AtFlags::empty())
            }
            Self::Placeholder => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                drop(openat(&to_folder, to, flags, Mode::RUSR | Mode::WUSR)?);
                renameat(&from_folder, from, &to_folder, to).inspect_err(|_| {
                    // If this fails, the next try takes another name.
                    let _ = unlinkat(&to_folder, to, AtFlags::empty());
                })
            }
        }
    }
}

/// Renames a file, or fails if the new name exists. `from` and `to` are each a folder and a path relative to it;
/// `full_path` is for the error.
pub(crate) fn rename_no_replace(
    from: (impl AsFd, &Path),
    to: (impl AsFd, &Path),
    full_path: &Path,
) -> Result<(), FsError> {
    for method in RenameMethod::ALL {
        match method.rename((&from.0, from.1), (&to.0, to.1)) {
            Err(error) if method.is_unsupported(error) => {}
            renamed => return renamed.map_err(|error| FsError::new(full_path, error)),
        }
    }
    // The last method is never unsupported.
    Err(FsError::new(full_path, Errno::OPNOTSUPP))
}

/// Whether a rename failed because the two paths are on different file systems.
pub(crate) fn is_cross_device(error: &FsError) -> bool {
    matches!(error, FsError::Io { source, .. } if source.kind() == io::ErrorKind::CrossesDevices)
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn every_method_renames_and_replaces_nothing() {
        for method in RenameMethod::ALL {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let rename = |from: &str, to: &str| method.rename((CWD, &path(from)), (CWD, &path(to)));
            std::fs::write(path("a"), "a").unwrap();
            std::fs::write(path("b"), "b").unwrap();
            assert_eq!(rename("a", "b"), Err(Errno::EXIST), "{method:?}");
            assert_eq!(std::fs::read_to_string(path("b")).unwrap(), "b", "{method:?}");
            std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
            assert_eq!(rename("a", "link"), Err(Errno::EXIST), "{method:?}");
            rename("a", "c").unwrap();
            assert_eq!(std::fs::read_to_string(path("c")).unwrap(), "a", "{method:?}");
            assert_eq!(rename("a", "d"), Err(Errno::NOENT), "{method:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "{method:?}");
        }
    }
}
