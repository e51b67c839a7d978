//! The jobs of a long file, read while the writer writes those before them: reading takes none of the writer's time.

use std::sync::mpsc::{self, Receiver};

use crate::jobfile::Draft;
use crate::store::intake::Drafts;

/// So many jobs are handed over at once, at most.
const CHUNK: usize = 256;
/// And no more once their bodies are so many bytes.
const CHUNK_BYTES: usize = 128 << 10;
/// So many chunks may wait for the writer.
const WAITING: usize = 2;

/// An empty one says that there are no more.
type Chunk = Vec<Result<Draft, String>>;

/// Parts the reading of `drafts` from their use: the first is to be run on another thread than the second.
pub(super) fn read_ahead(drafts: Drafts) -> (impl FnOnce() + Send, Drafts) {
    let (sender, chunks) = mpsc::sync_channel(WAITING);
    let read = move || {
        let (mut chunk, mut bytes) = (Chunk::new(), 0_usize);
        for draft in drafts {
            bytes += draft.as_ref().map_or(0, |draft| draft.body.len());
            chunk.push(draft);
            if chunk.len() == CHUNK || bytes >= CHUNK_BYTES {
                bytes = 0;
                if sender.send(std::mem::take(&mut chunk)).is_err() {
                    // The writer has refused one: the others are not wanted.
                    return;
                }
            }
        }
        if !chunk.is_empty() {
            let _ = sender.send(chunk);
        }
        let _ = sender.send(Chunk::new());
    };
    (read, Box::new(Ahead { chunks, chunk: Chunk::new().into_iter(), over: false }))
}

struct Ahead {
    chunks: Receiver<Chunk>,
    chunk: std::vec::IntoIter<Result<Draft, String>>,
    over: bool,
}

impl Iterator for Ahead {
    type Item = Result<Draft, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(draft) = self.chunk.next() {
                return Some(draft);
            }
            if self.over {
                return None;
            }
            match self.chunks.recv() {
                Ok(chunk) => {
                    self.over = chunk.is_empty();
                    self.chunk = chunk.into_iter();
                }
                // A reader that panicked has not read all: what it has is no whole file.
                Err(_) => {
                    self.over = true;
                    return Some(Err("it could not be read to its end".to_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile::{Limits, read_lines};

    fn lines(count: usize) -> Drafts {
        let line = |number: usize| format!("{{\"model\":\"m-{number}\",\"prompt\":\"a\"}}\n");
        let text: String = (0..count).map(line).collect();
        let lines = read_lines(std::io::Cursor::new(text), "a", &Limits::default());
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
    fn all_come_in_order() {
        for count in [1, CHUNK, 5 * CHUNK + 1] {
            assert_eq!(read_on_a_thread(lines(count)), lines(count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_a_reader_that_panics_there_is_no_whole_file() {
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
    fn a_reader_ends_once_nobody_takes_any_more() {
        let (read, drafts) = read_ahead(lines(100 * CHUNK));
        let reader = std::thread::spawn(read);
        assert_eq!(drafts.take(3).count(), 3);
        reader.join().unwrap();
    }
}
