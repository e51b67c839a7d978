//! Posters: small pictures of outputs, which a browser draws and the library keeps beside them as hidden files. They can
//! be made again, so nothing waits for them to be flushed and losing one does no harm.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::fs::{FsError, open_file_below, write_atomically};
use crate::job::output::FilePlace;
use crate::library::Library;

/// The largest poster, in bytes.
pub const MAX_POSTER_BYTES: u64 = 96 * 1024;
/// Its smallest and longest side, in pixels.
const SIDES: std::ops::RangeInclusive<u16> = 16..=1280;

/// Why a poster is not kept.
#[derive(Debug, Error)]
pub enum PosterError {
    #[error("the poster is not a whole JPEG picture")]
    NotJpeg,
    #[error("the poster has {0} x {1} pixels; each side may have {min} to {max}", min = SIDES.start(), max = SIDES.end())]
    Sides(u16, u16),
    #[error("the poster is not kept: the library is not there")]
    LibraryMissing,
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Library {
    /// Where the poster of a file is, below the library.
    pub fn poster_of(relative: &str) -> PathBuf {
        let (folder, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        Path::new(folder).join(format!(".{name}.poster.jpg"))
    }

    /// Whether the file has a poster.
    pub fn has_poster(&self, relative: &str) -> bool {
        self.root().join(Self::poster_of(relative)).symlink_metadata().is_ok_and(|found| found.is_file())
    }

    /// Keeps the poster of a file that is in the library: in the folder, also for a file in the bucket.
    ///
    /// # Errors
    /// See [`PosterError`].
    pub fn keep_poster(&self, place: &FilePlace, jpeg: &[u8]) -> Result<(), PosterError> {
        let (width, height) = jpeg_sides(jpeg).ok_or(PosterError::NotJpeg)?;
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            return Err(PosterError::Sides(width, height));
        }
        if !self.is_present() {
            return Err(PosterError::LibraryMissing);
        }
        let relative = &place.path;
        if place.bucket.is_some() {
            self.create_folder_of(relative)?;
        } else {
            // A link on the way to the file would lead the poster out of the library.
            open_file_below(self.root(), Path::new(relative))?;
        }
        Ok(write_atomically(&self.root().join(Self::poster_of(relative)), jpeg, self.file_mode)?)
    }
}

/// Width and height of a JPEG picture with a beginning and an end.
fn jpeg_sides(bytes: &[u8]) -> Option<(u16, u16)> {
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    if !bytes.starts_with(b"\xFF\xD8\xFF") || !bytes.ends_with(b"\xFF\xD9") {
        return None;
    }
    let mut at = 2;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)?) {
            // A fill byte.
            (0xFF, 0xFF) => at += 1,
            // The frame: its length, the precision, height and width.
            (0xFF, 0xC0..=0xC2) => return Some((number(at + 7)?, number(at + 5)?)),
            // The picture begins without a frame.
            (0xFF, 0xDA) => return None,
            (0xFF, _) => at += 2 + usize::from(number(at + 2)?),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::settings::LibraryMode;

    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = b"\xFF\xD8\xFF\xE0\x00\x04JF\xFF\xFF\xC0\x00\x0B\x08".to_vec();
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend(b"\x01\x01\x11\x00\xFF\xDA\x00\x02data\xFF\xD9");
        bytes
    }

    fn in_folder(path: &str) -> FilePlace {
        FilePlace { bucket: None, path: path.to_owned() }
    }

    #[test]
    fn poster_of_a_file_in_the_bucket_lies_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let place = FilePlace { bucket: Some("s3://reels".to_owned()), path: "other/c.mp4".to_owned() };
        library.keep_poster(&place, &jpeg(480, 270)).unwrap();
        assert!(library.has_poster("other/c.mp4"));
    }

    fn library(folder: &Path) -> Library {
        let root = folder.join("videos");
        let library = Library::open(&root, LibraryMode::Private, folder, &Rng::seeded(1)).unwrap();
        std::fs::create_dir(root.join("day")).unwrap();
        std::fs::write(root.join("day/a.mp4"), "clip").unwrap();
        library
    }

    #[test]
    fn poster_lies_hidden_beside_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        assert!(!library.has_poster("day/a.mp4"));
        library.keep_poster(&in_folder("day/a.mp4"), &jpeg(480, 270)).unwrap();
        assert!(library.has_poster("day/a.mp4"));
        let kept = std::fs::read(library.root().join("day/.a.mp4.poster.jpg")).unwrap();
        assert_eq!(kept, jpeg(480, 270));
        // A newer one replaces it.
        library.keep_poster(&in_folder("day/a.mp4"), &jpeg(270, 480)).unwrap();
    }

    #[test]
    fn only_a_whole_picture_of_bounded_size_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let keep = |bytes: &[u8]| library.keep_poster(&in_folder("day/a.mp4"), bytes).unwrap_err();
        let whole = jpeg(480, 270);
        for invalid in [
            &b""[..],
            b"<html>",
            b"\xFF\xD8\xFF\xD9",
            b"\xFF\xD8\xFF\xDA\x00\x02\xFF\xD9",
            &whole[..whole.len() - 1],
            b"\xFF\xD8\xFF\xE0\xFF\xFFJF\xFF\xD9",
        ] {
            assert!(matches!(keep(invalid), PosterError::NotJpeg), "{invalid:?}");
        }
        for (width, height) in [(0, 270), (480, 15), (1281, 270), (480, 65_535)] {
            assert!(matches!(keep(&jpeg(width, height)), PosterError::Sides(..)), "{width} x {height}");
        }
        assert!(!library.has_poster("day/a.mp4"));
    }

    #[test]
    fn poster_needs_its_file_and_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path());
        let poster = jpeg(480, 270);
        assert!(matches!(library.keep_poster(&in_folder("day/b.mp4"), &poster), Err(PosterError::Fs(_))));
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("a.mp4"), "clip").unwrap();
        std::os::unix::fs::symlink(&outside, library.root().join("link")).unwrap();
        assert!(matches!(library.keep_poster(&in_folder("link/a.mp4"), &poster), Err(PosterError::Fs(_))));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        std::fs::remove_dir_all(library.incoming()).unwrap();
        assert!(matches!(
            library.keep_poster(&in_folder("day/a.mp4"), &poster),
            Err(PosterError::LibraryMissing)
        ));
    }
}
