//! Which writes share a commit.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Most foreground writes in a commit. With more, all callers are answered at once and the web server idles until then;
/// with fewer, each caller waits for more flushes.
const MAX_FOREGROUND: usize = 128;
/// Number of foreground writes after which background writes are admitted to their commit, so that background work proceeds under
/// constant load. [`MAX_ADMITTED`] at once, since each commit with one wakes those who wait for it.
const FOREGROUND_PER_ADMISSION: usize = 512;
const MAX_ADMITTED: usize = 8;
/// Most background writes in a commit without foreground writes. Bounds how long a foreground write waits that arrives
/// meanwhile.
const MAX_BACKGROUND: usize = 16;
/// How long background writes wait for foreground writes before they are committed alone.
const QUIET: Duration = Duration::from_millis(1);

/// What reaches the writer.
pub(super) enum Sent<W> {
    Write(W),
    /// Another process that shares the database has committed something.
    News,
}

impl<W> Sent<W> {
    fn write(self) -> Option<W> {
        match self {
            Self::Write(write) => Some(write),
            Self::News => None,
        }
    }
}

/// The writes of each commit, in order. Foreground writes go first; background writes are those that no caller outside
/// waits for.
pub(super) struct Batches<W> {
    writes: mpsc::Receiver<Sent<W>>,
    background: VecDeque<W>,
    /// Foreground writes since background writes were admitted.
    foreground: usize,
}

impl<W> Batches<W> {
    pub(super) fn new(writes: mpsc::Receiver<Sent<W>>) -> Self {
        Self { writes, background: VecDeque::new(), foreground: 0 }
    }

    /// Waits for the next batch: all that has arrived, up to the limits. It does not wait for more, because the next batch
    /// gathers while this one is flushed. Empty if nothing but news arrives within `longest`; `None` once all senders are gone
    /// and nothing is left. News that come with writes are dropped, for each transaction looks itself.
    pub(super) fn next(&mut self, longest: Duration, is_background: impl Fn(&W) -> bool) -> Option<Vec<W>> {
        let mut batch = Vec::new();
        let mut next = if self.background.is_empty() {
            match self.writes.recv_timeout(longest) {
                Ok(Sent::Write(write)) => Some(write),
                Ok(Sent::News) => match self.writes.try_recv() {
                    Ok(Sent::Write(write)) => Some(write),
                    _ => return Some(batch),
                },
                Err(RecvTimeoutError::Timeout) => return Some(batch),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            self.writes.recv_timeout(QUIET).ok().and_then(Sent::write)
        };
        while let Some(write) = next {
            if is_background(&write) {
                self.background.push_back(write);
            } else {
                batch.push(write);
            }
            let has_room = batch.len() < MAX_FOREGROUND;
            next = if has_room { self.writes.try_recv().ok().and_then(Sent::write) } else { None };
        }
        self.foreground += batch.len();
        let admitted = if batch.is_empty() {
            MAX_BACKGROUND
        } else if self.foreground >= FOREGROUND_PER_ADMISSION {
            self.foreground = 0;
            MAX_ADMITTED
        } else {
            0
        };
        batch.extend(self.background.drain(..admitted.min(self.background.len())));
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative numbers are background writes.
    struct Sender(mpsc::Sender<Sent<i32>>);

    impl Sender {
        fn send(&self, write: i32) -> Result<(), mpsc::SendError<Sent<i32>>> {
            self.0.send(Sent::Write(write))
        }
    }

    fn batches() -> (Sender, impl FnMut() -> Option<Vec<i32>>) {
        let (sender, writes) = mpsc::channel();
        let mut batches = Batches::new(writes);
        (Sender(sender), move || batches.next(Duration::MAX, |write| *write < 0))
    }

    #[test]
    fn news_alone_are_an_empty_batch_and_do_not_delay_writes() {
        let (sender, mut next) = batches();
        sender.0.send(Sent::News).unwrap();
        assert!(next().unwrap().is_empty());
        sender.send(1).unwrap();
        sender.0.send(Sent::News).unwrap();
        sender.send(2).unwrap();
        assert_eq!(next().unwrap(), [1]);
        assert_eq!(next().unwrap(), [2]);
    }

    #[test]
    fn background_writes_follow_in_a_commit_of_their_own() {
        let (sender, mut next) = batches();
        for number in 1..=4 {
            sender.send(-number).unwrap();
            sender.send(number).unwrap();
        }
        assert_eq!(next().unwrap(), [1, 2, 3, 4]);
        assert_eq!(next().unwrap(), [-1, -2, -3, -4]);
    }

    #[test]
    fn constant_load_admits_one_background_write_per_64_others_in_groups() {
        let (sender, mut next) = batches();
        for number in 1..=2 * MAX_BACKGROUND as i32 {
            sender.send(-number).unwrap();
        }
        let mut admitted = Vec::new();
        for _ in 0..110 {
            for number in 1..=10 {
                sender.send(number).unwrap();
            }
            let batch = next().unwrap();
            assert_eq!(batch[..10], (1..=10).collect::<Vec<_>>());
            admitted.push(batch[10..].to_vec());
        }
        admitted.retain(|background| !background.is_empty());
        let numbers = |range: std::ops::RangeInclusive<i32>| range.map(|number| -number).collect::<Vec<_>>();
        assert_eq!(admitted, [numbers(1..=8), numbers(9..=16)]);
    }

    #[test]
    fn commit_of_background_writes_is_short() {
        let (sender, mut next) = batches();
        let most = MAX_BACKGROUND as i32;
        for number in 1..=most + 1 {
            sender.send(-number).unwrap();
        }
        assert_eq!(next().unwrap().len(), MAX_BACKGROUND);
        sender.send(1).unwrap();
        assert_eq!(next().unwrap(), [1], "what arrived meanwhile goes first");
        assert_eq!(next().unwrap(), [-most - 1]);
    }

    #[test]
    fn commit_of_foreground_writes_is_bounded() {
        let (sender, mut next) = batches();
        for number in 1..=MAX_FOREGROUND as i32 + 1 {
            sender.send(number).unwrap();
        }
        assert_eq!(next().unwrap().len(), MAX_FOREGROUND);
        assert_eq!(next().unwrap().len(), 1);
    }

    #[test]
    fn background_writes_left_at_the_end_are_committed() {
        let (sender, mut next) = batches();
        sender.send(-1).unwrap();
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(next().unwrap(), [1]);
        assert_eq!(next().unwrap(), [-1]);
        assert_eq!(next(), None);
    }
}
