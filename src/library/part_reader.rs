//! Reads a part for its inspection, which reads a few bytes in many places near each other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// How much is read from the disk at once, and kept of each part's beginning. The index of a clip is shorter.
pub(super) const WINDOW: usize = 64 << 10;

/// Serves reads from the part's beginning, which is still in memory because writes bypass the kernel's cache, and
/// otherwise from windows of the file.
#[derive(Debug)]
pub struct PartReader {
    file: File,
    length: u64,
    at: u64,
    /// Bytes of the file, from this offset on.
    window: (u64, Vec<u8>),
}

impl PartReader {
    /// `begin` is what the file begins with; it may be empty.
    pub(super) fn new(file: File, length: u64, begin: Vec<u8>) -> Self {
        Self { file, length, at: 0, window: (0, begin) }
    }

    /// What the window has from the current position on.
    fn in_window(&self) -> &[u8] {
        let (start, bytes) = &self.window;
        let skipped = self.at.checked_sub(*start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| bytes.get(skipped..)).unwrap_or_default()
    }
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.in_window().is_empty() {
            let (start, bytes) = &mut self.window;
            bytes.resize(WINDOW, 0);
            let read = self.file.read_at(bytes, self.at);
            bytes.truncate(*read.as_ref().unwrap_or(&0));
            *start = self.at;
            read?;
        }
        let read = self.in_window().read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for PartReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_place_reads_as_in_the_file() {
        let whole: Vec<u8> = (0..3 * WINDOW + 5).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole).unwrap();
        let length = whole.len();
        for begin in [0, 1, 100, WINDOW] {
            let file = file.try_clone().unwrap();
            let mut reader = PartReader::new(file, length as u64, whole[..begin].to_vec());
            for at in [0, 99, 100, WINDOW - 1, WINDOW, 2 * WINDOW, 7, length - 1, length, length + 9] {
                reader.seek(SeekFrom::Start(at as u64)).unwrap();
                let mut found = Vec::new();
                (&mut reader).take(200).read_to_end(&mut found).unwrap();
                let expected = whole.get(at..).unwrap_or_default();
                assert!(found == expected[..expected.len().min(200)], "{at}, {begin} in memory");
            }
            reader.seek(SeekFrom::Start(50)).unwrap();
            assert_eq!(reader.seek(SeekFrom::Current(-20)).unwrap(), 30);
            assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), length as u64 - 1);
            assert!(reader.seek(SeekFrom::End(-(length as i64) - 1)).is_err());
        }
    }

    #[test]
    fn beginning_is_not_read_again() {
        let mut reader = PartReader::new(File::open("/dev/null").unwrap(), 5, b"begin".to_vec());
        let mut found = Vec::new();
        reader.read_to_end(&mut found).unwrap();
        assert_eq!(found, b"begin");
    }
}
