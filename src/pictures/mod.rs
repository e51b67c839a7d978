//! Copies of the local pictures that jobs name, by content: a picture that many jobs name is stored once. A job's copy is on
//! disk before the job is committed, and is removed once no unfinished job names it.

pub mod address;
pub mod image;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, create_durably, create_private_folder, flush_folder, open_file_below};
use crate::jobfile::pictures::{FoundPicture, PictureContent, PictureType};
use crate::jobfile::{Draft, MAX_WARNINGS, ObjectPlace, Problem, quoted};
use crate::pictures::image::{Image, ImageFault, examine};
use crate::pricing::models;
use crate::sha256::sha256_hex;

/// The largest picture that is served. It is in memory while it is examined and copied.
pub const MAX_PICTURE_BYTES: u64 = 20 << 20;

/// The folder of the copies. Its clones share a lock.
#[derive(Clone, Debug)]
pub struct PictureFolder {
    folder: PathBuf,
    removal: Arc<RwLock<()>>,
}

/// While it exists, no copy is removed.
#[must_use]
pub struct CopiesStay {
    _lock: OwnedRwLockReadGuard<()>,
}

/// While it exists, no copy is made for a job to come.
#[must_use]
pub struct NoNewCopies {
    _lock: OwnedRwLockWriteGuard<()>,
}

/// A picture that was examined and copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPicture {
    /// Its content.
    pub content: PictureContent,
    /// Its length.
    pub bytes: u64,
    /// What it says about itself.
    pub image: Image,
}

/// Why a file was not copied.
#[derive(Debug, Error)]
pub enum PictureError {
    /// It is no whole picture.
    #[error("{0}")]
    Fault(#[from] ImageFault),
    /// It is too large.
    #[error("is larger than the {} MiB that are served", MAX_PICTURE_BYTES >> 20)]
    TooLarge,
    /// It changed while it was read.
    #[error("changes while it is read")]
    Changing,
    /// The file, or the folder of the copies.
    #[error(transparent)]
    File(#[from] FsError),
}

impl PictureFolder {
    /// The folder at this path, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, removal: Arc::default() }
    }

    /// Waits until no copies are being removed. A copy must not go between the check that it is there and the commit of the
    /// job that names it.
    pub async fn keep_all(&self) -> CopiesStay {
        CopiesStay { _lock: self.removal.clone().read_owned().await }
    }

    /// Waits until nobody needs all copies to stay. Hold it from the question which copies are needed to their removal.
    pub async fn before_removal(&self) -> NoNewCopies {
        NoNewCopies { _lock: self.removal.clone().write_owned().await }
    }

    /// Examines a file and keeps a copy of it, flushed to disk. Blocks.
    ///
    /// # Errors
    /// See [`PictureError`]; after any of them, nothing is kept that was not there before.
    pub fn keep(&self, file: File, path: &Path) -> Result<KeptPicture, PictureError> {
        self.keep_bytes(&read_whole(file, path)?)
    }

    /// [`keep`](Self::keep) for a picture in memory.
    ///
    /// # Errors
    /// As there.
    pub fn keep_bytes(&self, bytes: &[u8]) -> Result<KeptPicture, PictureError> {
        let kept = describe(bytes)?;
        self.write(&kept.content, bytes)?;
        Ok(kept)
    }

    /// Examines a copy. Blocks.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub fn examine(&self, content: &PictureContent) -> Result<KeptPicture, PictureError> {
        describe(&self.read(content)?)
    }

    /// The bytes of a copy. Blocks.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub fn read(&self, content: &PictureContent) -> Result<Vec<u8>, PictureError> {
        read_whole(self.open(content)?, &self.path(content))
    }

    /// Makes sure that a copy is there, if need be from the original in the folder `inbox`: copies go when the jobs that name
    /// them have ended. Blocks.
    ///
    /// # Errors
    /// Why there is no picture, for people.
    pub fn restore(&self, inbox: &Path, found: &FoundPicture) -> Result<(), String> {
        match self.open(&found.content) {
            Ok(_) => return Ok(()),
            Err(FsError::NotFound(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        let Some(inbox_path) = &found.inbox_path else {
            return Err("its copy is gone, and there is no original in the inbox".to_owned());
        };
        let path = inbox.join(inbox_path);
        let gone =
            |why: String| format!("its copy is gone, and so is the original, {}: {why}", path.display());
        let original =
            open_file_below(inbox, Path::new(inbox_path)).map_err(|error| gone(error.to_string()))?;
        match self.keep(original, &path) {
            Ok(kept) if kept.content == found.content => Ok(()),
            Ok(_) => Err(gone("the file there has another content".to_owned())),
            Err(PictureError::File(error)) => Err(error.to_string()),
            Err(error) => Err(gone(format!("the file there {error}"))),
        }
    }

    fn write(&self, content: &PictureContent, bytes: &[u8]) -> Result<(), FsError> {
        create_private_folder(&self.folder)?;
        match create_durably(&self.path(content), bytes) {
            // It may be the copy of an earlier run that died before it flushed the folder.
            Err(FsError::AlreadyExists(_)) => flush_folder(&self.folder)?,
            written => written?,
        }
        failpoints::hit(FailPoint::PictureKept);
        Ok(())
    }

    /// Opens a copy.
    ///
    /// # Errors
    /// If no copy has this name, or it cannot be read.
    pub fn open(&self, content: &PictureContent) -> Result<File, FsError> {
        open_file_below(&self.folder, Path::new(&content.file_name()))
    }

    /// The contents that are kept; none if the folder does not exist.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<PictureContent>, FsError> {
        Ok(self.names()?.iter().filter_map(|name| PictureContent::of_file_name(name)).collect())
    }

    /// Removes a copy, if there is one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, content: &PictureContent) -> Result<(), FsError> {
        self.remove_name(&content.file_name())
    }

    /// [`remove`](Self::remove) for copies that no job needs. One that cannot be removed now is logged. Blocks.
    pub fn remove_unneeded(&self, unneeded: &[PictureContent]) {
        for content in unneeded {
            if let Err(error) = self.remove(content) {
                tracing::warn!("the copy of a picture that no job needs cannot be removed: {error}");
            }
        }
    }

    /// Removes what interrupted copies have left. Call it while none is under way.
    ///
    /// # Errors
    /// When the folder cannot be read, or a file cannot be removed.
    pub fn remove_interrupted(&self) -> Result<(), FsError> {
        let mut interrupted = self.names()?.into_iter().filter(|name| name.starts_with('.'));
        interrupted.try_for_each(|name| self.remove_name(&name))
    }

    fn path(&self, content: &PictureContent) -> PathBuf {
        self.folder.join(content.file_name())
    }

    fn remove_name(&self, name: &str) -> Result<(), FsError> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FsError::new(&path, error)),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>, FsError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| FsError::new(&self.folder, error))?,
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

/// Reads a picture file that does not change meanwhile. Blocks.
///
/// # Errors
/// If it is too large, changes, or cannot be read.
pub fn read_whole(mut file: File, path: &Path) -> Result<Vec<u8>, PictureError> {
    let io = |error| FsError::new(path, error);
    let before = file.metadata().map_err(io)?;
    if before.len() > MAX_PICTURE_BYTES {
        return Err(PictureError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    // One byte more shows that it has grown.
    Read::by_ref(&mut file).take(before.len() + 1).read_to_end(&mut bytes).map_err(io)?;
    let after = file.metadata().map_err(io)?;
    if version(&before) != version(&after) || bytes.len() as u64 != before.len() {
        return Err(PictureError::Changing);
    }
    Ok(bytes)
}

/// What a picture is, as it would be kept.
///
/// # Errors
/// If it is no whole picture.
pub fn describe(bytes: &[u8]) -> Result<KeptPicture, PictureError> {
    let image = examine(bytes)?;
    let content = PictureContent { sha256: sha256_hex(bytes), picture_type: image.picture_type };
    Ok(KeptPicture { content, bytes: bytes.len() as u64, image })
}

/// What changes when the content does.
fn version(file: &Metadata) -> (u64, i64, i64, i64, i64) {
    (file.len(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
}

/// What models would refuse or bill for nothing: the limits of the known models' pages (docs/provider.md#models).
pub fn warnings(kept: &KeptPicture) -> Vec<String> {
    const SIDES: std::ops::RangeInclusive<u32> = 360..=2000;
    const MODEL_BYTES: u64 = 10_000_000;
    let Image { width, height, alpha, picture_type } = kept.image;
    let mut warnings = Vec::new();
    if !SIDES.contains(&width) || !SIDES.contains(&height) {
        warnings.push(format!(
            "has {width}x{height} pixels; models take {} to {} a side",
            SIDES.start(),
            SIDES.end()
        ));
    }
    if kept.bytes > MODEL_BYTES {
        warnings.push(format!("has {:.1} MB; models take up to 10 MB", kept.bytes as f64 / 1e6));
    }
    if alpha && picture_type == PictureType::Png {
        warnings.push("has an alpha channel, which models refuse".to_owned());
    }
    warnings
}

/// Adds the warnings about a picture to a job that names it, if its model is known.
pub fn add_warnings(draft: &mut Draft, path: &str, warnings: &[String]) {
    if models::model(&draft.model).is_none() {
        return;
    }
    for warning in warnings {
        if draft.warnings.len() < MAX_WARNINGS {
            let ObjectPlace { pointer, line } = draft.place.clone();
            let message = format!("the picture {} {warning}", quoted(path));
            draft.warnings.push(Problem { pointer, message, line: line.max(1), column: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::image::samples::{jpeg, png};

    struct Rig {
        root: tempfile::TempDir,
        folder: PictureFolder,
    }

    fn rig() -> Rig {
        let root = tempfile::tempdir().unwrap();
        let folder = PictureFolder::new(root.path().join("pictures"));
        Rig { root, folder }
    }

    impl Rig {
        fn keep(&self, bytes: &[u8]) -> Result<KeptPicture, PictureError> {
            let path = self.root.path().join("original");
            std::fs::write(&path, bytes).unwrap();
            self.folder.keep(File::open(&path).unwrap(), &path)
        }
    }

    #[test]
    fn same_content_is_stored_once_until_it_is_removed() {
        let rig = rig();
        assert_eq!(rig.folder.list().unwrap(), []);
        let picture = png(640, 480, b"one");
        let kept = rig.keep(&picture).unwrap();
        assert_eq!(rig.keep(&picture).unwrap(), kept);
        let other = rig.keep(&jpeg(640, 480)).unwrap();
        let mut listed = rig.folder.list().unwrap();
        listed.sort();
        let mut expected = vec![kept.content.clone(), other.content];
        expected.sort();
        assert_eq!(listed, expected);
        let mut copy = Vec::new();
        rig.folder.open(&kept.content).unwrap().read_to_end(&mut copy).unwrap();
        assert_eq!(copy, picture);
        rig.folder.remove(&kept.content).unwrap();
        rig.folder.remove(&kept.content).unwrap();
        assert!(matches!(rig.folder.open(&kept.content), Err(FsError::NotFound(_))));
    }

    #[test]
    fn faulty_and_too_large_files_leave_nothing() {
        let rig = rig();
        let mut large = png(640, 480, b"");
        large.resize(usize::try_from(MAX_PICTURE_BYTES).unwrap() + 1, 0);
        assert!(matches!(rig.keep(&large), Err(PictureError::TooLarge)));
        assert!(matches!(rig.keep(b"<svg/>"), Err(PictureError::Fault(ImageFault::OtherType(_)))));
        assert_eq!(rig.folder.list().unwrap(), []);
    }

    #[test]
    fn interrupted_copies_are_removed_and_whole_ones_stay() {
        let rig = rig();
        let kept = rig.keep(&png(1, 1, b"")).unwrap().content;
        std::fs::write(rig.root.path().join(format!("pictures/.{}.tmp", kept.file_name())), "half").unwrap();
        std::fs::write(rig.root.path().join("pictures/notes.txt"), "a person's").unwrap();
        rig.folder.remove_interrupted().unwrap();
        assert_eq!(rig.folder.list().unwrap(), [kept]);
        assert_eq!(std::fs::read_dir(rig.root.path().join("pictures")).unwrap().count(), 2);
    }

    #[test]
    fn limits_of_the_models_are_warnings() {
        let rig = rig();
        let words = |bytes: &[u8]| warnings(&rig.keep(bytes).unwrap()).join("; ");
        assert_eq!(words(&png(640, 480, b"")), "");
        assert!(words(&png(640, 2001, b"")).contains("640x2001"));
        assert!(words(&png(359, 480, b"")).contains("360 to 2000"));
        assert!(words(&png(640, 480, &vec![0; 10_000_000])).contains("10.0 MB"));
        let mut transparent = png(640, 480, b"");
        transparent[25] = 6;
        assert!(words(&transparent).contains("alpha"));
    }
}
