//! Publication: a complete part gets its final name and a sidecar, and neither replaces a file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, flush, flush_folder, flush_names, open_folder, rename_no_replace, write_atomically,
};
use crate::library::incoming::is_exactly;
use crate::library::part::Part;
use crate::library::published::Published;
use crate::library::{Library, grant_access};

impl Library {
    /// Whether the path exists below the library, or the sidecar of another owner.
    pub fn is_name_taken(&self, relative: &str, owner: &str) -> bool {
        let sidecar = std::fs::read(self.sidecar_path(relative));
        self.root.join(relative).symlink_metadata().is_ok()
            || sidecar.is_ok_and(|found| !contains(&found, owner.as_bytes()))
    }

    /// Publishes a checked part: writes the sidecar, renames the part, flushes both names. `owner` is a text that
    /// occurs in no other sidecar; a sidecar with it was left by a crash and is replaced.
    ///
    /// # Errors
    /// With the part, which still exists. [`FsError::AlreadyExists`] when the path or its sidecar belongs to another
    /// owner: try again under another name.
    pub fn publish(
        &self,
        part: Part,
        relative: &str,
        sidecar: &[u8],
        owner: &str,
    ) -> Result<Published, (Part, FsError)> {
        match self.try_publish(&part, relative, sidecar, owner) {
            Ok(()) => Ok(Published::new(relative.to_owned(), part.bytes(), part.sha256().to_owned())),
            Err(error) => Err((part, error)),
        }
    }

    fn try_publish(&self, part: &Part, relative: &str, sidecar: &[u8], owner: &str) -> Result<(), FsError> {
        let path = self.root.join(relative);
        // Fails if the library's disk has just been unplugged. First, so that nothing is created in the empty mount
        // point.
        let file = part.open()?;
        let folder = self.open_folder_of(relative)?;
        if self.is_inbox(&folder) {
            return Err(FsError::FeedsInbox(path));
        }
        let name = path.file_name().map(Path::new).ok_or_else(|| FsError::NotFound(path.clone()))?;
        if path.symlink_metadata().is_ok() {
            return Err(FsError::AlreadyExists(path));
        }
        self.write_sidecar(relative, sidecar, owner)?;
        failpoints::hit(FailPoint::SidecarWritten);
        self.apply_file_mode(&file).map_err(|error| FsError::new(part.path(), error))?;
        failpoints::hit(FailPoint::PublishFlushed);
        let incoming = open_folder(&self.incoming())?;
        rename_no_replace((&incoming, part.file_name()?), (&folder, name), &path)?;
        failpoints::hit(FailPoint::PublishRenamed);
        flush_names(&folder).map_err(|error| FsError::new(&path, error))?;
        failpoints::hit(FailPoint::PublishTargetFlushed);
        flush_names(&incoming).map_err(|error| FsError::new(&self.root, error))?;
        // If this fails, the next start removes it.
        let _ = std::fs::remove_file(part.path().with_extension("validator"));
        Ok(())
    }

    /// Sets the mode of `library.mode`. The part is flushed already; only a change of mode needs another flush.
    fn apply_file_mode(&self, part: &File) -> std::io::Result<()> {
        if part.metadata()?.permissions().mode() & 0o7777 == self.file_mode {
            return Ok(());
        }
        part.set_permissions(std::fs::Permissions::from_mode(self.file_mode))?;
        flush(part)
    }

    fn write_sidecar(&self, relative: &str, sidecar: &[u8], owner: &str) -> Result<(), FsError> {
        let path = self.sidecar_path(relative);
        match std::fs::read(&path) {
            Ok(found) if !contains(&found, owner.as_bytes()) => return Err(FsError::AlreadyExists(path)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(FsError::new(&path, error)),
            _ => {}
        }
        // The folder is flushed after the file beside it has been renamed too.
        write_atomically(&path, sidecar, self.file_mode)
    }

    pub(super) fn sidecar_path(&self, relative: &str) -> PathBuf {
        self.root.join(format!("{relative}.json"))
    }

    /// Whether a published file has no sidecar. Where the file system does not keep the order of renames, a power cut
    /// can lose the sidecar alone.
    pub fn lacks_sidecar(&self, published: &Published) -> bool {
        self.sidecar_path(published.path()).symlink_metadata().is_err()
    }

    /// Writes a missing sidecar. The caller [flushes](Self::flush_published) it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restore_sidecar(&self, published: &Published, sidecar: &[u8]) -> Result<(), FsError> {
        write_atomically(&self.sidecar_path(published.path()), sidecar, self.file_mode)
    }

    /// Flushes the names of a published file. The process may have been killed between the rename and the flush; a
    /// power cut would then undo the rename, and the next start would remove the file as an unfinished download.
    ///
    /// # Errors
    /// When a folder cannot be flushed.
    pub fn flush_published(&self, published: &Published) -> Result<(), FsError> {
        let path = self.root.join(published.path());
        flush_folder(path.parent().unwrap_or(&self.root))?;
        flush_folder(&self.incoming())
    }

    /// Opens a published file for inspection.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn open_published(&self, published: &Published) -> Result<File, FsError> {
        let path = self.root.join(published.path());
        File::open(&path).map_err(|error| FsError::new(&path, error))
    }

    /// The file at that path, if it has exactly this length and hash: a crash came after its rename.
    pub fn find_published(&self, relative: &str, bytes: u64, sha256: &str) -> Option<Published> {
        let found = is_exactly(&self.root.join(relative), bytes, sha256);
        found.then(|| Published::new(relative.to_owned(), bytes, sha256.to_owned()))
    }

    /// Creates the folder of a path below the library.
    pub(super) fn create_folder_of(&self, relative: &str) -> Result<(), FsError> {
        self.open_folder_of(relative).map(drop)
    }

    /// Opens the folder of a path below the library and creates what is missing. It walks component by component
    /// without following links, so that no link in the library leads out of it.
    fn open_folder_of(&self, relative: &str) -> Result<OwnedFd, FsError> {
        let mut path = self.root.clone();
        let mut folder = open_folder(&self.root)?;
        let components: Vec<&str> = relative.split('/').collect();
        let (_, folders) = components.split_last().ok_or_else(|| FsError::NotFound(path.clone()))?;
        for component in folders {
            path.push(component);
            match mkdirat(&folder, *component, Mode::from_raw_mode(self.folder_mode)) {
                Ok(()) => flush_names(&folder).map_err(|error| FsError::new(&path, error))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(FsError::new(&path, error)),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = openat(&folder, *component, flags, Mode::empty()).map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    FsError::NotRegular { path: path.clone(), kind: "link or file in place of a folder" }
                }
                other => FsError::new(&path, other),
            })?;
            grant_access(&folder, self.folder_mode);
        }
        Ok(folder)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}
