//! Reads the jobs of a large file on another thread than the one that writes them, so that reading takes no time of the
//! database writer.

use std::sync::mpsc::{self, Receiver};

use crate::jobfile::Draft;
use crate::store::intake::Drafts;

/// Most jobs per chunk.
const CHUNK: usize = 256;
/// A chunk ends once its bodies have this many bytes.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that may wait for the writer.
const QUEUE: usize = 2;

/// An empty chunk marks the end of the file.
type Chunk = Vec<Result<Draft, String>>;

/// Separates the reading of `drafts` from their use. Run the first result on another thread than the second.
pub(super) fn read_ahead(drafts: Drafts) -> (impl FnOnce() + Send, Drafts) {
    let (sender, chunks) = mpsc::sync_channel(QUEUE);
    let read = move || {
        let (mut chunk, mut bytes) = (Chunk::new(), 0_usize);
        for draft in drafts {
            bytes += draft.as_ref().map_or(0, |draft| draft.body.len());
            chunk.push(draft);
            if chunk.len() == CHUNK || bytes >= CHUNK_BYTES {
                bytes = 0;
                if sender.send(std::mem::take(&mut chunk)).is_err() {
                    // The writer dropped its end after a rejected job.
                    return;
                }
            }
        }
        if !chunk.is_empty() {
            let _ = sender.send(chunk);
        }
        let _ = sender.send(Chunk::new());
    };
    (read, Box::new(ReadAhead { chunks, chunk: Chunk::new().into_iter(), at_end: false }))
}

struct ReadAhead {
    chunks: Receiver<Chunk>,
    chunk: std::vec::IntoIter<Result<Draft, String>>,
    at_end: bool,
}

impl Iterator for ReadAhead {
    type Item = Result<Draft, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(draft) = self.chunk.next() {
                return Some(draft);
            }
            if self.at_end {
                return None;
            }
            match self.chunks.recv() {
                Ok(chunk) => {
                    self.at_end = chunk.is_empty();
                    self.chunk = chunk.into_iter();
                }
                // The reader panicked before the end: the file must not be ingested in part.
                Err(_) => {
                    self.at_end = true;
                    return Some(Err("it could not be read to its end".to_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile::{JobFileLimits, read_lines};

    fn lines(count: usize) -> Drafts {
        let line = |number: usize| format!("{{\"model\":\"m-{number}\",\"prompt\":\"a\"}}\n");
        let text: String = (0..count).map(line).collect();
        let lines = read_lines(std::io::Cursor::new(text), "a", &JobFileLimits::default());
        Box::new(lines.map(|line| line.map_err(|error| error.to_string())))
    }

    fn read_on_a_thread(drafts: Drafts) -> Vec<Result<Draft, String>> {
        let (read, drafts) = read_ahead(drafts);
        let reader = std::thread::spawn(read);
        let drafts = drafts.collect();
        let _ = reader.join();
        drafts
    }

    #[test]
    fn drafts_arrive_in_order() {
        for count in [1, CHUNK, 5 * CHUNK + 1] {
            assert_eq!(read_on_a_thread(lines(count)), lines(count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn panic_of_the_reader_is_an_error_at_the_end() {
        let mut left = CHUNK + 1;
        let broken = std::iter::from_fn(move || {
            left -= 1;
            (left > 0).then(|| Err("wrong".to_owned())).or_else(|| panic!("a bug"))
        });
        let read = read_on_a_thread(Box::new(broken));
        assert_eq!(read.len(), CHUNK + 1);
        assert!(read[CHUNK].as_ref().is_err_and(|error| error.contains("to its end")));
    }

    #[test]
    fn reader_stops_when_the_drafts_are_dropped() {
        let (read, drafts) = read_ahead(lines(100 * CHUNK));
        let reader = std::thread::spawn(read);
        assert_eq!(drafts.take(3).count(), 3);
        reader.join().unwrap();
    }
}
