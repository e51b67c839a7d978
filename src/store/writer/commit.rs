//! How a batch is committed: one transaction, without a savepoint around each piece of work. If one fails in the middle,
//! all of the batch is undone and done again, each piece behind a savepoint of its own: that costs twice, and is rare.

use std::sync::{Arc, OnceLock, mpsc};

use rusqlite::Connection;
use tokio::sync::watch;

use super::batches::Batches;
use super::{Work, WriteKind, Writing};
use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::store::error::StoreError;
use crate::store::metrics::{MetricEvent, Metrics};
use crate::store::notify::{Notifier, Topic};
use crate::store::subscription::Subscription;

pub(super) struct Loop {
    connection: Connection,
    change: i64,
    notifier: Notifier,
    metrics: Metrics,
    subscriptions: Arc<OnceLock<Vec<Subscription>>>,
    clock: Clock,
    died: watch::Sender<Option<String>>,
}

/// How a batch ended.
enum Ended {
    Committed,
    /// Nothing of it was kept.
    Undone(fn() -> StoreError),
    /// It is not known what was kept.
    Unknown(String),
}

/// Why a piece of work could not stay in the transaction.
enum WriteError {
    /// It failed and has left something behind that only the end of the transaction undoes.
    Failed,
    /// The transaction is over.
    Over(Ended),
}

/// Sent once a batch is committed.
#[derive(Default)]
struct AfterCommit {
    notified: Vec<Topic>,
    counted: Vec<MetricEvent>,
}

type Batch = Vec<Box<dyn Work>>;

impl Loop {
    pub(super) fn new(
        connection: Connection,
        last_change: i64,
        (notifier, metrics, subscriptions): (Notifier, Metrics, Arc<OnceLock<Vec<Subscription>>>),
        died: watch::Sender<Option<String>>,
        clock: Clock,
    ) -> Self {
        Self { connection, change: last_change, notifier, metrics, subscriptions, clock, died }
    }

    /// Whether it has met a failure whose outcome is unknown.
    pub(super) fn has_died(&self) -> bool {
        self.died.borrow().is_some()
    }

    pub(super) fn run(mut self, work: mpsc::Receiver<Box<dyn Work>>) {
        let mut batches = Batches::new(work);
        while let Some(batch) = batches.next(|piece| piece.kind() == WriteKind::Background) {
            if !self.settle(batch) {
                // Nothing more may be written over an unknown outcome; the next start looks again.
                return;
            }
        }
        failpoints::hit(FailPoint::CheckpointBegan);
        // An orderly end leaves one whole file. If it fails, the log beside it is read at the next start.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Commits a batch, and answers everybody in it. False: it is not known what was kept.
    pub(super) fn settle(&mut self, mut batch: Batch) -> bool {
        let change_before = self.change;
        let began = self.clock.tick();
        let mut after_commit = AfterCommit::default();
        match self.commit(&mut batch, &mut after_commit) {
            Ended::Committed => {
                failpoints::hit(FailPoint::CommitDone);
                self.metrics.record_commit(batch.len(), self.clock.tick().since(began), after_commit.counted);
                for piece in batch {
                    piece.answer(None);
                }
                failpoints::hit(FailPoint::CommitReported);
                for topic in after_commit.notified {
                    self.notifier.notify(topic);
                }
                true
            }
            Ended::Undone(error) => {
                self.change = change_before;
                for piece in batch {
                    piece.answer(Some(error()));
                }
                true
            }
            Ended::Unknown(why) => {
                self.died.send_replace(Some(why.clone()));
                for piece in batch {
                    piece.answer(Some(StoreError::Fatal(why.clone())));
                }
                false
            }
        }
    }

    fn commit(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> Ended {
        if let Err(error) = self.say("BEGIN IMMEDIATE") {
            return ended_by(&error);
        }
        let change_before = self.change;
        let mut done = self.run_all(batch, after_commit);
        if let Err(WriteError::Failed) = done {
            self.change = change_before;
            *after_commit = AfterCommit::default();
            done = self.run_again(batch, after_commit);
        }
        match done {
            Ok(()) => {}
            Err(WriteError::Over(ended)) => return ended,
            Err(WriteError::Failed) => return self.roll_back_failed(),
        }
        failpoints::hit(FailPoint::CommitPending);
        match self.say("COMMIT") {
            Ok(()) => Ended::Committed,
            Err(error) => self.roll_back(&error),
        }
    }

    /// Has the whole batch done.
    fn run_all(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> Result<(), WriteError> {
        let isolated = batch.len() > 1 && batch.iter().any(|piece| piece.kind() == WriteKind::Once);
        batch.iter_mut().try_for_each(|piece| self.run_piece(piece.as_mut(), isolated, after_commit))
    }

    /// Undoes all of a batch in which one piece failed, and has it done again, each piece for itself.
    fn run_again(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> Result<(), WriteError> {
        if batch.len() == 1 {
            return Err(WriteError::Failed);
        }
        if let Err(error) = self.say("ROLLBACK").and_then(|()| self.say("BEGIN IMMEDIATE")) {
            return Err(WriteError::Over(self.roll_back(&error)));
        }
        batch.iter_mut().try_for_each(|piece| self.run_piece(piece.as_mut(), true, after_commit))
    }

    /// Has a piece done inside the transaction. Behind a savepoint it can be undone alone if it fails.
    fn run_piece(
        &mut self,
        piece: &mut dyn Work,
        isolated: bool,
        after_commit: &mut AfterCommit,
    ) -> Result<(), WriteError> {
        // A savepoint has each page copied before its first change.
        if isolated && let Err(error) = self.say("SAVEPOINT piece") {
            return Err(WriteError::Over(self.roll_back(&error)));
        }
        let changes_before = self.connection.total_changes();
        let (connection, change) = (&self.connection, &mut self.change);
        let subscriptions = self.subscriptions.get().map_or(&[][..], Vec::as_slice);
        let mut writing =
            Writing { connection, notified: Vec::new(), counted: Vec::new(), change, subscriptions };
        let keep = piece.run(&mut writing);
        let (topics, counts) = (writing.notified, writing.counted);
        // A full disk or a failing one makes SQLite undo the whole transaction by itself.
        if self.connection.is_autocommit() {
            return Err(WriteError::Over(Ended::Undone(|| StoreError::DiskFull)));
        }
        if isolated {
            let settled = if keep { Ok(()) } else { self.say("ROLLBACK TO piece") };
            if let Err(error) = settled.and_then(|()| self.say("RELEASE piece")) {
                return Err(WriteError::Over(self.roll_back(&error)));
            }
        } else if !keep && self.connection.total_changes() != changes_before {
            return Err(WriteError::Failed);
        }
        if keep {
            for topic in topics {
                if !after_commit.notified.contains(&topic) {
                    after_commit.notified.push(topic);
                }
            }
            after_commit.counted.extend(counts);
        }
        Ok(())
    }

    /// One of the few words around pieces of work, compiled once.
    fn say(&self, word: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(word)?.execute([]).map(drop)
    }

    fn roll_back(&self, cause: &rusqlite::Error) -> Ended {
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            return Ended::Unknown(cause.to_string());
        }
        ended_by(cause)
    }

    /// For a batch of one, whose piece tells its own failure.
    fn roll_back_failed(&self) -> Ended {
        match self.say("ROLLBACK") {
            Ok(()) => Ended::Undone(|| StoreError::Closed),
            Err(error) => Ended::Unknown(error.to_string()),
        }
    }
}

/// A full disk or a lock leaves nothing behind. Any other failure of a commit is an unknown outcome.
fn ended_by(error: &rusqlite::Error) -> Ended {
    match StoreError::from_kind(error) {
        Some(kind) => Ended::Undone(kind),
        None => Ended::Unknown(error.to_string()),
    }
}

impl StoreError {
    fn from_kind(error: &rusqlite::Error) -> Option<fn() -> Self> {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Some(|| Self::DiskFull),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Some(|| Self::Busy)
            }
            _ => None,
        }
    }
}
