//! A long file on its way to the disk, in large pieces and past the kernel's cache where that can be: nothing is copied
//! once more, and nothing piles up that a flush, ours or another's, would have to wait for.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// So much is written at once.
const PIECE: usize = 1 << 20;
/// What is written past the cache begins at a multiple of this, in the file and in memory, and is one: the sector of
/// every disk divides it.
const GRAIN: usize = 4096;

/// How pieces are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Past the cache from the first whole piece on, if the file system can.
    Untried,
    PastCache,
    Cached,
}

/// A file that only grows. Its last bytes are in it once it is [settled](Self::settle).
#[derive(Debug)]
pub(super) struct BulkFile {
    file: File,
    /// What is not written yet, behind as many bytes as let it begin at a multiple of [`GRAIN`].
    room: Vec<u8>,
    skipped: usize,
    way: Way,
}

impl BulkFile {
    /// Goes on with a file that stands at its end, after so many bytes.
    pub fn new(file: File, length: u64) -> Self {
        let way = if length.is_multiple_of(GRAIN as u64) { Way::Untried } else { Way::Cached };
        let mut room: Vec<u8> = Vec::with_capacity(PIECE + GRAIN);
        // Nothing promises that it can be aligned; then the first piece is refused, and the cache has it.
        let skipped = room.as_ptr().align_offset(GRAIN).min(GRAIN);
        room.resize(skipped, 0);
        Self { file, room, skipped, way }
    }

    /// Takes bytes in.
    ///
    /// # Errors
    /// What befell the file. What it was to take in is lost then.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = self.skipped + PIECE - self.room.len();
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.room.extend_from_slice(now);
            bytes = later;
            if now.len() == left {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    /// Writes what is left of it, and gives the file back to be flushed.
    ///
    /// # Errors
    /// What befell the file.
    pub fn settle(&mut self) -> io::Result<&File> {
        if self.room.len() > self.skipped {
            self.turn_to(Way::Cached)?;
            self.write_room()?;
        }
        Ok(&self.file)
    }

    fn write_piece(&mut self) -> io::Result<()> {
        if self.way == Way::Untried && self.turn_to(Way::PastCache).is_err() {
            self.way = Way::Cached;
        }
        self.write_room()
    }

    fn write_room(&mut self) -> io::Result<()> {
        let mut from = self.skipped;
        let mut written = Ok(());
        while from < self.room.len() && written.is_ok() {
            match self.file.write(&self.room[from..]) {
                Ok(0) => written = Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => from += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file system can, but not so.
                Err(error) if self.way == Way::PastCache && is_refused(&error) => {
                    written = self.turn_to(Way::Cached);
                }
                Err(error) => written = Err(error),
            }
        }
        self.room.truncate(self.skipped);
        written
    }

    fn turn_to(&mut self, way: Way) -> io::Result<()> {
        if self.way != way && (self.way, way) != (Way::Untried, Way::Cached) {
            let mut flags = rustix::fs::fcntl_getfl(&self.file)?;
            flags.set(OFlags::DIRECT, way == Way::PastCache);
            rustix::fs::fcntl_setfl(&self.file, flags)?;
        }
        self.way = way;
        Ok(())
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn begun(length: u64) -> (tempfile::NamedTempFile, BulkFile) {
        // Beside the build: a file system in memory may know no way past the cache.
        let here = std::env::current_exe().unwrap();
        let kept = tempfile::NamedTempFile::new_in(here.parent().unwrap()).unwrap();
        let mut file = kept.reopen().unwrap();
        file.write_all(&bytes(usize::try_from(length).unwrap())).unwrap();
        file.seek(SeekFrom::Start(length)).unwrap();
        (kept, BulkFile::new(file, length))
    }

    #[test]
    fn it_holds_what_was_written_in_whatever_chunks_and_after_whatever_was_there() {
        for before in [0, 1, GRAIN, GRAIN + 1] {
            for after in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5000] {
                for chunk in [1000, 400_000, 2 * PIECE + 1] {
                    let (kept, mut file) = begun(before as u64);
                    let whole = bytes(before + after);
                    whole[before..].chunks(chunk).for_each(|chunk| file.write(chunk).unwrap());
                    file.settle().unwrap();
                    let found = std::fs::read(kept.path()).unwrap();
                    assert!(found == whole, "{after} bytes after {before} in chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_go_past_the_cache_goes_through_it() {
        let (kept, mut file) = begun(0);
        // No file system takes this.
        file.room.resize(file.skipped + 1, 7);
        file.skipped += 1;
        let whole = bytes(PIECE + 10);
        whole.chunks(100_000).for_each(|chunk| file.write(chunk).unwrap());
        file.settle().unwrap();
        assert_eq!(file.way, Way::Cached);
        assert!(std::fs::read(kept.path()).unwrap() == whole);
    }

    #[test]
    fn a_full_disk_is_told_and_what_it_has_taken_stays() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut file = BulkFile::new(full, 0);
        file.write(&[0; PIECE - 1]).unwrap();
        let error = file.write(&[0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.settle().unwrap();
    }
}
