//! Large sequential writes that bypass the page cache where the file system allows it: no extra copy, and no dirty
//! pages that a flush, ours or another's, would have to wait for.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Bytes per write.
const BLOCK: usize = 1 << 20;
/// `O_DIRECT` needs file offset, memory address and length to be multiples of the disk's sector size, which divides
/// this.
const ALIGNMENT: usize = 4096;

/// How blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Direct from the first full block on, if the file system supports it.
    Untried,
    Direct,
    Cached,
}

/// Lets the files that share it write one block at a time. A flush, such as that of a commit, waits for everything that the
/// disk has been given before, so that is one block. It is no slower: a block is long enough to keep a disk busy.
///
/// The lock of the standard library, which any thread that runs may take: `parking_lot` hands a lock that was held for long to
/// the thread that waited for it, and the disk is idle until that one has a processor.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteTurn(Arc<Mutex<()>>);

/// Appends to a file in blocks. The last bytes reach the file with [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct DirectWriter {
    file: File,
    /// Bytes not yet written, after `padding` bytes that align them.
    buffer: Vec<u8>,
    padding: usize,
    mode: Mode,
    turn: WriteTurn,
}

impl DirectWriter {
    /// Continues a file of `length` bytes whose cursor is at its end.
    pub fn new(file: File, length: u64, turn: WriteTurn) -> Self {
        let mode = if length.is_multiple_of(ALIGNMENT as u64) { Mode::Untried } else { Mode::Cached };
        let mut buffer: Vec<u8> = Vec::with_capacity(BLOCK + ALIGNMENT);
        // `align_offset` may give up; then the first direct write fails and the writer falls back to the cache.
        let padding = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        buffer.resize(padding, 0);
        Self { file, buffer, padding, mode, turn }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When a block cannot be written. Its bytes are lost.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = self.padding + BLOCK - self.buffer.len();
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if now.len() == left {
                self.write_block()?;
            }
        }
        Ok(())
    }

    /// Writes the buffered rest and returns the file, which is not flushed.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn finish(&mut self) -> io::Result<&File> {
        if self.buffer.len() > self.padding {
            self.set_mode(Mode::Cached)?;
            self.write_buffer()?;
        }
        Ok(&self.file)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.mode == Mode::Untried && self.set_mode(Mode::Direct).is_err() {
            self.mode = Mode::Cached;
        }
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let turn = self.turn.clone();
        let _turn = turn.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = self.padding;
        let mut written = Ok(());
        while from < self.buffer.len() && written.is_ok() {
            match self.file.write(&self.buffer[from..]) {
                Ok(0) => written = Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => from += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file system accepts the flag but not this alignment.
                Err(error) if self.mode == Mode::Direct && is_invalid(&error) => {
                    written = self.set_mode(Mode::Cached);
                }
                Err(error) => written = Err(error),
            }
        }
        self.buffer.truncate(self.padding);
        written
    }

    fn set_mode(&mut self, mode: Mode) -> io::Result<()> {
        if self.mode != mode && (self.mode, mode) != (Mode::Untried, Mode::Cached) {
            let mut flags = rustix::fs::fcntl_getfl(&self.file)?;
            flags.set(OFlags::DIRECT, mode == Mode::Direct);
            rustix::fs::fcntl_setfl(&self.file, flags)?;
        }
        self.mode = mode;
        Ok(())
    }
}

fn is_invalid(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};
    use std::time::Duration;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn writer_after(length: u64) -> (tempfile::NamedTempFile, DirectWriter) {
        // In the build folder: a file system in memory may not support direct writes.
        let exe = std::env::current_exe().unwrap();
        let kept = tempfile::NamedTempFile::new_in(exe.parent().unwrap()).unwrap();
        let mut file = kept.reopen().unwrap();
        file.write_all(&bytes(usize::try_from(length).unwrap())).unwrap();
        file.seek(SeekFrom::Start(length)).unwrap();
        (kept, DirectWriter::new(file, length, WriteTurn::default()))
    }

    #[test]
    fn chunks_of_any_size_after_any_length_arrive_in_order() {
        for before in [0, 1, ALIGNMENT, ALIGNMENT + 1] {
            for after in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5000] {
                for chunk in [1000, 400_000, 2 * BLOCK + 1] {
                    let (kept, mut writer) = writer_after(before as u64);
                    let whole = bytes(before + after);
                    whole[before..].chunks(chunk).for_each(|chunk| writer.write(chunk).unwrap());
                    writer.finish().unwrap();
                    let found = std::fs::read(kept.path()).unwrap();
                    assert!(found == whole, "{after} bytes after {before} in chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn block_waits_for_the_turn() {
        let (_kept, mut writer) = writer_after(0);
        let turn = writer.turn.clone();
        let held = turn.0.lock().unwrap();
        let (sender, written) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer.write(&[0; BLOCK - 1]).unwrap();
                sender.send("buffered").unwrap();
                writer.write(&[0]).unwrap();
                sender.send("written").unwrap();
            });
            assert_eq!(written.recv().unwrap(), "buffered");
            assert!(written.recv_timeout(Duration::from_millis(50)).is_err(), "another block is written");
            drop(held);
            assert_eq!(written.recv().unwrap(), "written");
        });
    }

    #[test]
    fn misaligned_write_falls_back_to_the_cache() {
        let (kept, mut writer) = writer_after(0);
        writer.buffer.resize(writer.padding + 1, 7);
        writer.padding += 1;
        let whole = bytes(BLOCK + 10);
        whole.chunks(100_000).for_each(|chunk| writer.write(chunk).unwrap());
        writer.finish().unwrap();
        assert_eq!(writer.mode, Mode::Cached);
        assert!(std::fs::read(kept.path()).unwrap() == whole);
    }

    #[test]
    fn full_disk_fails_the_write_and_drops_the_block() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = DirectWriter::new(full, 0, WriteTurn::default());
        writer.write(&[0; BLOCK - 1]).unwrap();
        let error = writer.write(&[0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        writer.finish().unwrap();
    }
}
