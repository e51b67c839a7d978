//! Folders: created private, opened, flushed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path};
use std::sync::Once;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::fs::FsError;

/// Creates a folder and its missing parents with mode 0700, or less by the umask. Fails if a file or a dangling link
/// has that name.
///
/// # Errors
/// When the folder cannot be created or flushed.
pub fn create_private_folder(path: &Path) -> Result<(), FsError> {
    create_folder(path, 0o700)
}

pub(crate) fn create_folder(path: &Path, mode: u32) -> Result<(), FsError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        // A configured folder may be a link to a folder: the administrator's choice.
        Ok(found) if found.is_symlink() && path.is_dir() => return Ok(()),
        Ok(_) => return Err(FsError::NotRegular { path: path.to_owned(), kind: "file or dangling link" }),
        Err(_) => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent, mode)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FsError::new(path, error)),
        _ => parent.map_or(Ok(()), flush_folder),
    }
}

/// Flushes a folder, so that the names in it survive a power cut.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn flush_folder(path: &Path) -> Result<(), FsError> {
    let folder = File::open(path).map_err(|error| FsError::new(path, error))?;
    flush_names(&folder).map_err(|error| FsError::new(path, error))
}

/// [`flush_folder`] for an open folder. Some file systems cannot flush folders, which is logged once.
pub(crate) fn flush_names(folder: impl AsFd) -> io::Result<()> {
    static LOGGED: Once = Once::new();
    match rustix::fs::fsync(folder) {
        Err(error) if is_flush_unsupported(error) => {
            LOGGED.call_once(|| {
                tracing::warn!(
                    "a file system cannot flush folders ({error}): a power cut can undo the newest moves"
                );
            });
            Ok(())
        }
        flushed => Ok(flushed?),
    }
}

pub(super) fn is_flush_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Opens a folder to work relative to it. Follows links: the path comes from the configuration.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd, FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| FsError::new(path, error))
}

/// [`open_folder`], but fails if the last component of the path is a link.
pub(crate) fn open_folder_no_follow(path: &Path) -> Result<OwnedFd, FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| FsError::new(path, error))
}

/// Opens a regular file below `folder`, which may itself be reached by links; below it none is followed. Neither a pipe
/// nor a device is waited for.
pub(crate) fn open_file_below(folder: &Path, relative: &Path) -> Result<File, FsError> {
    let path = folder.join(relative);
    let failed = |error: Errno| match error {
        Errno::LOOP | Errno::NOTDIR => FsError::NotRegular { path: path.clone(), kind: "symbolic link" },
        error => FsError::new(&path, error),
    };
    let mut below = open_folder(folder)?;
    let mut names = relative.components().peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(failed(Errno::INVAL)) };
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
        below = openat(&below, name, flags, Mode::empty()).map_err(failed)?;
    }
    let file = File::from(below);
    let found = file.metadata().map_err(|error| FsError::new(&path, error))?;
    if found.is_file() { Ok(file) } else { Err(FsError::NotRegular { path, kind: "folder, pipe or device" }) }
}

/// Splits a path into its folder and its UTF-8 name.
pub(crate) fn split_path(path: &Path) -> Result<(&Path, &str), FsError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(|name| (folder, name))
        .ok_or_else(|| FsError::new(path, io::Error::from(io::ErrorKind::InvalidFilename)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folder_that_cannot_be_flushed_is_no_error() {
        // A pipe answers EINVAL, as such a file system does.
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(rustix::fs::fsync(&reader), Err(Errno::INVAL));
        flush_names(&reader).unwrap();
    }

    #[test]
    fn private_folder_has_mode_0700_and_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        create_private_folder(&deep).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(create_private_folder(&file), Err(FsError::NotRegular { .. })));
    }

    #[test]
    fn only_regular_files_below_a_folder_are_opened() {
        use rustix::fs::{FileType, mknodat};

        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("library");
        std::fs::create_dir_all(folder.join("day/sub")).unwrap();
        std::fs::write(root.path().join("secret"), "").unwrap();
        std::fs::write(folder.join("day/video.mp4"), "").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        link("../secret", "link.mp4");
        link("day", "other-day");
        link("video.mp4", "day/link.mp4");
        mknodat(CWD, folder.join("pipe.mp4"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        link("library", "../linked-library");
        let cases = [
            ("day/video.mp4", true),
            ("link.mp4", false),
            ("day/link.mp4", false),
            ("other-day/video.mp4", false),
            ("pipe.mp4", false),
            ("day/sub", false),
            ("day/video.mp4/x", false),
            ("../secret", false),
            ("", false),
            ("missing.mp4", false),
        ];
        for (path, opens) in cases {
            for folder in [folder.clone(), root.path().join("linked-library")] {
                assert_eq!(open_file_below(&folder, Path::new(path)).is_ok(), opens, "{path}");
            }
            let absolute = folder.join("day/video.mp4");
            assert!(open_file_below(&folder, &absolute).is_err());
        }
    }
}
