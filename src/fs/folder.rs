//! Folders: created private, opened.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::fs::FsError;
use crate::fs::flush_names::flush_folders;

/// Creates a folder and its missing parents with mode 0700, or less by the umask. Fails if a file or a dangling link
/// has that name.
///
/// # Errors
/// When the folder cannot be created or flushed.
pub fn create_private_folder(path: &Path) -> Result<(), FsError> {
    create_folder(path, 0o700)
}

/// [`create_private_folder`] for many folders: each that gets new ones is flushed once. One that cannot be created is left
/// out: whoever uses it meets the error again.
///
/// # Errors
/// When the new folders cannot be flushed.
pub fn create_private_folders<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), FsError> {
    let mut new = BTreeSet::new();
    for path in paths {
        let _ = create_unflushed(path, 0o700, &mut new);
    }
    flush_new(&new)
}

pub(crate) fn create_folder(path: &Path, mode: u32) -> Result<(), FsError> {
    let mut new = BTreeSet::new();
    let created = create_unflushed(path, mode, &mut new);
    flush_new(&new).and(created)
}

/// Creates a folder and its missing parents, and adds them to `new`.
fn create_unflushed(path: &Path, mode: u32, new: &mut BTreeSet<PathBuf>) -> Result<(), FsError> {
    let create = || std::fs::DirBuilder::new().mode(mode).create(path);
    let created = match (create(), parent_of(path)) {
        (Err(error), Some(parent))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            create_unflushed(parent, mode, new)?;
            create()
        }
        (created, _) => created,
    };
    match created {
        Ok(()) => {
            new.insert(path.to_owned());
            Ok(())
        }
        // A configured folder may be a link to a folder: the administrator's choice.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(FsError::NotRegular { path: path.to_owned(), kind: "file or dangling link" })
        }
        Err(error) => Err(FsError::new(path, error)),
    }
}

/// Flushes the names of new folders. After an error it removes them again: the next try would take them for flushed.
fn flush_new(new: &BTreeSet<PathBuf>) -> Result<(), FsError> {
    let parents = new.iter().filter_map(|path| parent_of(path)).map(Path::to_owned).collect();
    flush_folders(&parents).inspect_err(|_| {
        for path in new.iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
    })
}

fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
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
    fn private_folder_has_mode_0700_and_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        create_private_folder(&deep).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below"), file.join("below/it")] {
            let refused = create_private_folder(&path);
            assert!(
                matches!(&refused, Err(FsError::NotRegular { path, .. }) if *path == file),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn many_folders_are_created_beside_one_that_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let paths = ["a/b", "file/c", "a/d"].map(|path| folder.path().join(path));
        create_private_folders(paths.iter().map(|path| &**path)).unwrap();
        assert_eq!(paths.map(|path| path.is_dir()), [true, false, true]);
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
