//! The library: downloads grow in a hidden folder, and get their name once they are whole, checked and flushed.

pub mod layout;
pub mod part;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, create_durably, create_folder, create_private_folder, flush, flush_folder, flush_names,
    hash_reader, is_cross_device, numbered, open_folder, rename_no_replace, write_atomically, write_durably,
};
use crate::library::part::{Mark, Part, PartWriter};
use crate::rng::Rng;
use crate::settings::LibraryMode;

/// Where unfinished downloads lie, on the same file system as the library.
const INCOMING: &str = ".incoming";
/// Tells the library from an empty mount point, and from every other library: it holds a name made by chance.
const MARKER: &str = ".dropreel-library";
/// Stands before that name.
const MARKED: &str = "this library is ";

/// In the data folder: which library on a disk of its own was used last. Without it, one is begun anew.
const OWN_DISK: &str = "library.disk";

fn is_on_own_disk(root: &Path, data_dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().ok().map(|found| found.dev());
    device(root).is_some_and(|found| Some(found) != device(data_dir))
}

/// The folder of finished media.
#[derive(Clone, Debug)]
pub struct Library {
    root: PathBuf,
    /// What its marker says. Not the number of its device: a disk that was unplugged comes back under another.
    marker: String,
    folder_mode: u32,
    file_mode: u32,
}

/// Proof that a file is in the library under its name, whole and flushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    path: String,
    bytes: u64,
    sha256: String,
}

impl Published {
    /// Below the library's folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256 in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Library {
    /// Opens the library at `root`, making it if need be. One on a disk of its own is remembered in `data_dir`: while
    /// that disk is not there, nothing is made in its bare mount point, and the library [is not
    /// present](Self::is_present).
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn open(root: &Path, mode: LibraryMode, data_dir: &Path, rng: &Rng) -> Result<Self, FsError> {
        let (folder_mode, file_mode) = match mode {
            LibraryMode::Private => (0o700, 0o600),
            LibraryMode::Group => (0o750, 0o640),
            LibraryMode::Public => (0o755, 0o644),
        };
        let path = root.join(INCOMING).join(MARKER);
        let memory = data_dir.join(OWN_DISK);
        let heading = format!("{}\n", root.display());
        let remembered = std::fs::read_to_string(&memory).ok();
        let expected = remembered.as_ref().and_then(|text| text.strip_prefix(&heading));
        if let Some(marker) = expected
            && !path.exists()
            && !is_on_own_disk(root, data_dir)
        {
            return Ok(Self { root: root.to_owned(), marker: marker.to_owned(), folder_mode, file_mode });
        }
        create_folder(root, folder_mode)?;
        let_in(&open_folder(root)?, folder_mode);
        create_private_folder(&root.join(INCOMING))?;
        let known = std::fs::read_to_string(&path).ok().filter(|text| text.contains(MARKED));
        let marker = match known {
            Some(marker) => marker,
            None => {
                let name = HEXLOWER.encode(&rng.id_bytes());
                let marker = format!("dropreel keeps unfinished downloads in this folder\n{MARKED}{name}\n");
                write_durably(&path, marker.as_bytes())?;
                marker
            }
        };
        let told = is_on_own_disk(root, data_dir).then(|| format!("{heading}{marker}"));
        match (&told, &remembered) {
            (Some(told), remembered) if remembered.as_ref() != Some(told) => {
                write_durably(&memory, told.as_bytes())?;
            }
            // What cannot be removed is not asked about as long as the marker is there.
            (None, Some(_)) => drop(std::fs::remove_file(&memory)),
            _ => {}
        }
        Ok(Self { root: root.to_owned(), marker, folder_mode, file_mode })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the library is still there: false when its disk has been unmounted or its folder replaced. Nothing
    /// may be written into the empty mount point then.
    pub fn is_present(&self) -> bool {
        let found = std::fs::read_to_string(self.root.join(INCOMING).join(MARKER));
        found.is_ok_and(|found| found == self.marker)
    }

    fn part_path(&self, name: &str) -> PathBuf {
        self.root.join(INCOMING).join(format!("{name}.part"))
    }

    fn validator_path(&self, name: &str) -> PathBuf {
        self.root.join(INCOMING).join(format!("{name}.validator"))
    }

    /// What is there of an unfinished download: its length, and the validator it was begun under.
    pub fn unfinished(&self, name: &str) -> Option<(u64, String)> {
        let bytes = self.part_path(name).metadata().ok()?.len();
        let validator = std::fs::read_to_string(self.validator_path(name)).ok()?;
        (bytes > 0).then_some((bytes, validator))
    }

    /// Begins a download, or goes on with one after its first `keep` bytes. The `validator` is what must be the same
    /// for it to be resumed; without one it never is.
    ///
    /// # Errors
    /// When the file cannot be opened, or is shorter than `keep`.
    pub fn begin_part(&self, name: &str, keep: u64, validator: Option<&str>) -> Result<PartWriter, FsError> {
        let path = self.part_path(name);
        let io = |error| FsError::new(&path, error);
        let mark = match (validator, keep) {
            (Some(_), 1..) => {
                failpoints::hit(FailPoint::DownloadResumed);
                None
            }
            (validator, _) => {
                let mark = self.validator_path(name);
                match std::fs::remove_file(&mark) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
                    _ => {}
                }
                validator.map(|validator| Mark { path: mark, validator: validator.to_owned() })
            }
        };
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(keep == 0)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&path)
            .map_err(io)?;
        PartWriter::start(path, file, keep, mark)
    }

    /// Takes up a part that was complete when the process ended, if it is exactly that.
    pub fn complete_part(&self, name: &str, bytes: u64, sha256: &str) -> Option<Part> {
        let path = self.part_path(name);
        is_exactly(&path, bytes, sha256).then(|| Part::new(path, bytes, sha256.to_owned()))
    }

    /// Whether a file has that name below the library, or a sidecar that is not `owner`'s.
    pub fn is_taken_by_another(&self, relative: &str, owner: &str) -> bool {
        let sidecar = std::fs::read(self.sidecar_path(relative));
        self.root.join(relative).symlink_metadata().is_ok()
            || sidecar.is_ok_and(|found| !contains(&found, owner.as_bytes()))
    }

    /// Gives a checked part its name: sidecar first, then the file, neither replacing anything, both flushed. A
    /// sidecar left by a crash in between is known by `owner`, a text of it that no other has, and replaced.
    ///
    /// # Errors
    /// With the part, which is still there: [`FsError::AlreadyExists`] when the name or its sidecar's is another's, so that
    /// another must be planned.
    pub fn publish(
        &self,
        part: Part,
        relative: &str,
        sidecar: &[u8],
        owner: &str,
    ) -> Result<Published, (Part, FsError)> {
        match self.try_publish(&part, relative, sidecar, owner) {
            Ok(()) => Ok(Published {
                path: relative.to_owned(),
                bytes: part.bytes(),
                sha256: part.sha256().to_owned(),
            }),
            Err(error) => Err((part, error)),
        }
    }

    fn try_publish(&self, part: &Part, relative: &str, sidecar: &[u8], owner: &str) -> Result<(), FsError> {
        let full = self.root.join(relative);
        // First of all, for it is not there if the library's disk has just been pulled out: nothing may be made in
        // the empty mount point then.
        let file = part.open()?;
        let folder = self.folder_of(relative)?;
        let name = Path::new(full.file_name().ok_or_else(|| FsError::NotFound(full.clone()))?);
        if full.symlink_metadata().is_ok() {
            return Err(FsError::AlreadyExists(full));
        }
        self.write_sidecar(relative, sidecar, owner)?;
        failpoints::hit(FailPoint::SidecarWritten);
        self.open_up(&file).map_err(|error| FsError::new(part.path(), error))?;
        failpoints::hit(FailPoint::PublishFlushed);
        let incoming = open_folder(&self.root.join(INCOMING))?;
        let part_name =
            Path::new(part.path().file_name().ok_or_else(|| FsError::NotFound(part.path().to_owned()))?);
        rename_no_replace((&incoming, part_name), (&folder, name), &full)?;
        failpoints::hit(FailPoint::PublishRenamed);
        flush_names(&folder).map_err(|error| FsError::new(&full, error))?;
        failpoints::hit(FailPoint::PublishHalfFlushed);
        flush_names(&incoming).map_err(|error| FsError::new(&self.root, error))?;
        // Left over, it is swept at the next start.
        let _ = std::fs::remove_file(part.path().with_extension("validator"));
        Ok(())
    }

    /// Lets those read a part whom `library.mode` names. A part is flushed already: only if that changes it, it is
    /// again.
    fn open_up(&self, part: &File) -> std::io::Result<()> {
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
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FsError::new(&path, error));
            }
            _ => {}
        }
        // Its folder is flushed once both names are in it.
        write_atomically(&path, sidecar, self.file_mode)
    }

    fn sidecar_path(&self, relative: &str) -> PathBuf {
        self.root.join(format!("{relative}.json"))
    }

    /// Whether a published file lacks its sidecar: where names do not reach the disk in the order in which they were
    /// given, a power cut may have taken the sidecar's alone.
    pub fn lacks_sidecar(&self, published: &Published) -> bool {
        self.sidecar_path(published.path()).symlink_metadata().is_err()
    }

    /// Gives a published file the sidecar that it lacks. It is still to be [flushed](Self::flush_published).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn give_sidecar(&self, published: &Published, sidecar: &[u8]) -> Result<(), FsError> {
        write_atomically(&self.sidecar_path(published.path()), sidecar, self.file_mode)
    }

    /// Makes sure that a published file keeps its name: a kill may have come between name and flush, and a power cut
    /// after that would give it back the name under which it is thrown away.
    ///
    /// # Errors
    /// When a folder cannot be flushed.
    pub fn flush_published(&self, published: &Published) -> Result<(), FsError> {
        let full = self.root.join(published.path());
        flush_folder(full.parent().unwrap_or(&self.root))?;
        flush_folder(&self.root.join(INCOMING))
    }

    /// Opens a published file, to be inspected.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub fn open_published(&self, published: &Published) -> Result<File, FsError> {
        let path = self.root.join(published.path());
        File::open(&path).map_err(|error| FsError::new(&path, error))
    }

    /// Whether the file of that name is in the library, exactly as it was to be: what a crash after the rename left.
    pub fn recognise(&self, relative: &str, bytes: u64, sha256: &str) -> Option<Published> {
        let found = is_exactly(&self.root.join(relative), bytes, sha256);
        found.then(|| Published { path: relative.to_owned(), bytes, sha256: sha256.to_owned() })
    }

    /// Puts a part that is not what it should be into quarantine, with what is known about it beside it.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(
        &self,
        part: Part,
        quarantine: &Path,
        name: &str,
        evidence: &[u8],
    ) -> Result<PathBuf, FsError> {
        create_private_folder(quarantine)?;
        let (incoming, folder) = (open_folder(&self.root.join(INCOMING))?, open_folder(quarantine)?);
        let part_name =
            Path::new(part.path().file_name().ok_or_else(|| FsError::NotFound(part.path().to_owned()))?);
        for number in 0.. {
            let free = numbered(name, number);
            let full = quarantine.join(&free);
            match rename_no_replace((&incoming, part_name), (&folder, Path::new(&free)), &full) {
                Err(FsError::AlreadyExists(_)) => continue,
                Err(error) if is_cross_device(&error) => {
                    let mut bytes = Vec::new();
                    // Evidence needs no more than its beginning.
                    let read = part.open()?.take(16 << 20).read_to_end(&mut bytes);
                    read.map_err(|error| FsError::new(part.path(), error))?;
                    match create_durably(&full, &bytes) {
                        Err(FsError::AlreadyExists(_)) => continue,
                        written => written?,
                    }
                    std::fs::remove_file(part.path()).map_err(|error| FsError::new(part.path(), error))?;
                }
                moved => moved?,
            }
            failpoints::hit(FailPoint::AsideMoved);
            write_durably(&quarantine.join(format!("{free}.evidence.json")), evidence)?;
            flush_folder(quarantine)?;
            failpoints::hit(FailPoint::AsideTold);
            return Ok(full);
        }
        Err(FsError::AlreadyExists(quarantine.join(name)))
    }

    /// Throws an unfinished download away.
    pub fn drop_part(&self, name: &str) {
        // What is not there need not be removed; what cannot be is swept at the next start.
        let _ = std::fs::remove_file(self.part_path(name));
        let _ = std::fs::remove_file(self.validator_path(name));
    }

    /// The names of all unfinished downloads.
    ///
    /// # Errors
    /// When the hidden folder cannot be listed.
    pub fn parts(&self) -> Result<Vec<String>, FsError> {
        let folder = self.root.join(INCOMING);
        let io = |error| FsError::new(&folder, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let name = name.to_string_lossy();
            let stem = name.strip_suffix(".part").or_else(|| name.strip_suffix(".validator"));
            names.extend(stem.map(str::to_owned));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Opens the folder of a file below the library, making what is missing. Component by component and without
    /// following links, so that nothing in the library leads out of it.
    fn folder_of(&self, relative: &str) -> Result<OwnedFd, FsError> {
        let mut path = self.root.clone();
        let mut folder = open_folder(&self.root)?;
        let parts: Vec<&str> = relative.split('/').collect();
        let (_, folders) = parts.split_last().ok_or_else(|| FsError::NotFound(path.clone()))?;
        for part in folders {
            path.push(part);
            let mode = Mode::from_raw_mode(self.folder_mode);
            match rustix::fs::mkdirat(&folder, *part, mode) {
                Ok(()) => flush_names(&folder).map_err(|error| FsError::new(&path, error))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(FsError::new(&path, error)),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder =
                rustix::fs::openat(&folder, *part, flags, Mode::empty()).map_err(|error| match error {
                    Errno::LOOP | Errno::NOTDIR => {
                        FsError::NotRegular { path: path.clone(), kind: "link or file in place of a folder" }
                    }
                    other => FsError::new(&path, other),
                })?;
            let_in(&folder, self.folder_mode);
        }
        Ok(folder)
    }
}

fn is_exactly(path: &Path, bytes: u64, sha256: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else { return false };
    let file = File::from(file);
    let right_length = file.metadata().is_ok_and(|found| found.is_file() && found.len() == bytes);
    let mut hash = Sha256::new();
    right_length && hash_reader(&mut hash, file).is_ok() && HEXLOWER.encode(&hash.finalize()) == sha256
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}

/// Lets those into a folder of ours whom `library.mode` names, whatever the umask, or the mode when it was made. What
/// is open further stays so, and a folder of somebody else's is theirs.
fn let_in(folder: &OwnedFd, mode: u32) {
    let Ok(found) = rustix::fs::fstat(folder) else { return };
    let bits = Mode::from_raw_mode(found.st_mode & 0o7777);
    let wanted = bits | Mode::from_raw_mode(mode);
    if wanted != bits && found.st_uid == rustix::process::geteuid().as_raw() {
        // The files in it are whole either way; the next one tries again.
        let _ = rustix::fs::fchmod(folder, wanted);
    }
}

#[cfg(test)]
mod tests;
