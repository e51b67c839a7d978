//! The library of finished media. Downloads grow in a hidden folder and are published once they are complete, checked and
//! flushed: in the folder, or in a bucket, for which the hidden folder is the spool.

pub mod bucket;
mod bucket_error;
mod bucket_http;
pub mod epoch_record;
pub mod evidence;
mod incoming;
pub mod layout;
pub mod part;
mod part_reader;
pub mod poster;
mod publish;
pub mod published;
pub mod quarantine;
mod safe_name;
pub mod sidecar;

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use rustix::fs::{Mode, fchmod, fstat};

use crate::fs::direct_writer::WriteTurn;
use crate::fs::{FsError, create_folder, create_private_folder, open_folder, write_durably};
use crate::library::bucket::Bucket;
pub use crate::library::incoming::boot_id;
use crate::library::layout::{Layout, LayoutError};
pub use crate::library::safe_name::safe_name;
use crate::rng::Rng;
use crate::settings::LibraryMode;

/// Holds unfinished downloads, on the same file system as the library, so that publishing is a rename.
const INCOMING: &str = ".incoming";
/// File in [`INCOMING`] with the random id of the library. It tells the library from an empty mount point and from
/// another library.
const MARKER: &str = ".dropreel-library";
/// Precedes the id in the marker.
const MARKER_TEXT: &str = "this library is ";
/// File in the data folder that names the library used last, if it is on a disk of its own. Without it, a new library
/// is created.
const DISK_RECORD: &str = "library.disk";

/// The folder of finished media.
#[derive(Clone, Debug)]
pub struct Library {
    root: PathBuf,
    /// The content of the marker. Device numbers would not do: a disk gets another one when it is plugged in again.
    marker: String,
    folder_mode: u32,
    file_mode: u32,
    inbox: Option<InboxInside>,
    /// Held while a sidecar is changed: two changes at a time would undo each other.
    sidecar_change: Arc<Mutex<()>>,
    write_turn: WriteTurn,
    bucket: Option<Bucket>,
}

/// The inbox, if it lies in the library.
#[derive(Clone, Debug)]
struct InboxInside {
    path: PathBuf,
    /// Its path below the library, in lower case: on some file systems `In` and `in` are one folder.
    components: Vec<String>,
}

impl Library {
    /// Opens the library at `root`, and creates it if necessary. A library on a disk of its own is recorded in
    /// `data_dir`: while that disk is not mounted, nothing is created in the empty mount point and the library [is not
    /// present](Self::is_present).
    ///
    /// # Errors
    /// When its folders or files cannot be created.
    pub fn open(root: &Path, mode: LibraryMode, data_dir: &Path, rng: &Rng) -> Result<Self, FsError> {
        let (folder_mode, file_mode) = match mode {
            LibraryMode::Private => (0o700, 0o600),
            LibraryMode::Group => (0o750, 0o640),
            LibraryMode::Public => (0o755, 0o644),
        };
        let library = |marker| Self {
            root: root.to_owned(),
            marker,
            folder_mode,
            file_mode,
            inbox: None,
            sidecar_change: Arc::default(),
            write_turn: WriteTurn::default(),
            bucket: None,
        };
        let marker_path = root.join(INCOMING).join(MARKER);
        let record_path = data_dir.join(DISK_RECORD);
        let heading = format!("{}\n", root.display());
        let record = std::fs::read_to_string(&record_path).ok();
        let recorded_marker = record.as_ref().and_then(|text| text.strip_prefix(&heading));
        if let Some(marker) = recorded_marker
            && !marker_path.exists()
            && !is_on_other_device(root, data_dir)
        {
            return Ok(library(marker.to_owned()));
        }
        create_folder(root, folder_mode)?;
        grant_access(&open_folder(root)?, folder_mode);
        create_private_folder(&root.join(INCOMING))?;
        let found = std::fs::read_to_string(&marker_path).ok().filter(|text| text.contains(MARKER_TEXT));
        let marker = match found {
            Some(marker) => marker,
            None => {
                let id = HEXLOWER.encode(&rng.id_bytes());
                let marker =
                    format!("dropreel keeps unfinished downloads in this folder\n{MARKER_TEXT}{id}\n");
                write_durably(&marker_path, marker.as_bytes())?;
                marker
            }
        };
        let new_record = is_on_other_device(root, data_dir).then(|| format!("{heading}{marker}"));
        match (new_record, record) {
            (Some(new), old) if old.as_ref() != Some(&new) => write_durably(&record_path, new.as_bytes())?,
            // If this fails, the record does no harm as long as the marker exists.
            (None, Some(_)) => drop(std::fs::remove_file(&record_path)),
            _ => {}
        }
        Ok(library(marker))
    }

    /// Keeps what is published out of `inbox`, which would read sidecars as job files.
    ///
    /// # Errors
    /// When every file of this layout would be published there.
    pub fn keeping_out_of(mut self, inbox: &Path, layout: &Layout) -> Result<Self, LayoutError> {
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (root, inside) = (canonical(&self.root), canonical(inbox));
        let components = inside.strip_prefix(&root).map_or_else(
            |_| Vec::new(),
            |below| below.iter().map(|part| part.to_string_lossy().to_lowercase()).collect(),
        );
        self.inbox = Some(InboxInside { path: inbox.to_owned(), components });
        if layout.fixed_folder().is_some_and(|folder| self.leads_to_inbox(&format!("{folder}/file"))) {
            return Err(LayoutError::LeadsToInbox(inbox.to_owned()));
        }
        Ok(self)
    }

    /// The path, or one beside it if it leads into the inbox: a label can do that.
    pub fn outside_inbox(&self, relative: String) -> String {
        let mut relative = relative;
        while self.leads_to_inbox(&relative) {
            relative = relative.replacen('/', "_/", 1);
        }
        relative
    }

    fn leads_to_inbox(&self, relative: &str) -> bool {
        let Some(inbox) = self.inbox.as_ref().filter(|inbox| !inbox.components.is_empty()) else {
            return false;
        };
        let lower = relative.to_lowercase();
        let mut folders: Vec<&str> = lower.split('/').collect();
        folders.pop();
        folders.len() >= inbox.components.len()
            && inbox.components.iter().zip(folders).all(|(component, folder)| component == folder)
    }

    /// Whether an open folder is the inbox, by whatever path.
    fn is_inbox(&self, folder: &OwnedFd) -> bool {
        let inbox = self.inbox.as_ref().and_then(|inbox| inbox.path.metadata().ok());
        let found = fstat(folder);
        inbox
            .zip(found.ok())
            .is_some_and(|(inbox, found)| (inbox.dev(), inbox.ino()) == (found.st_dev, found.st_ino))
    }

    /// Publishes in a bucket from now on. What is in the folder stays there.
    pub fn with_bucket(self, bucket: Option<Bucket>) -> Self {
        Self { bucket, ..self }
    }

    /// Where finished files go, if not into the folder.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// The bucket that has this address; `None`: another is configured, or none.
    pub fn bucket_at(&self, address: &str) -> Option<&Bucket> {
        self.bucket.as_ref().filter(|bucket| bucket.address() == address)
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the library is there. If its disk was unmounted or its folder replaced, nothing may be written: it
    /// would land in the empty mount point.
    pub fn is_present(&self) -> bool {
        let found = std::fs::read_to_string(self.incoming().join(MARKER));
        found.is_ok_and(|found| found == self.marker)
    }

    fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }
}

fn is_on_other_device(root: &Path, data_dir: &Path) -> bool {
    let device = |path: &Path| path.metadata().ok().map(|found| found.dev());
    device(root).is_some_and(|found| Some(found) != device(data_dir))
}

/// Adds the bits of `mode` to a folder of this user, whatever the umask or its mode when it was created. Bits that are
/// set already stay, and folders of other users are left alone.
fn grant_access(folder: &OwnedFd, mode: u32) {
    let Ok(found) = fstat(folder) else { return };
    let bits = Mode::from_raw_mode(found.st_mode & 0o7777);
    let wanted = bits | Mode::from_raw_mode(mode);
    if wanted != bits && found.st_uid == rustix::process::geteuid().as_raw() {
        // If this fails, the files are complete but unreadable to others; the next publish tries again.
        let _ = fchmod(folder, wanted);
    }
}

#[cfg(test)]
mod tests;
