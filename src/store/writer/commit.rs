//! Commits a batch of writes in one transaction, without a savepoint for each write. If a write fails after it changed
//! something, the batch is rolled back and run again with a savepoint for each write: twice the cost, and rare.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use super::batches::{Batches, Sent};
use super::{PendingWrite, Shared, WriteKind, Writing};
use crate::clock::{Clock, Tick};
use crate::failpoints::{self, FailPoint};
use crate::store::database_file::DatabaseFile;
use crate::store::db::{self, Connection};
use crate::store::error::StoreError;
use crate::store::leadership::LeadershipWatch;
use crate::store::lists::last_change;
use crate::store::metrics::MetricEvent;
use crate::store::notify::Topic;
use crate::store::unprocessed::Unprocessed;

/// How often everybody here is notified, at most, that other processes have committed: all stages look for work then.
const NEWS_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct WriterLoop {
    connection: Connection,
    file: Arc<DatabaseFile>,
    change: i64,
    unprocessed: Unprocessed,
    shared: Shared,
    clock: Clock,
    died: watch::Sender<Option<String>>,
    leadership: LeadershipWatch,
    /// Other processes have committed, so that what this one remembers of the database is old.
    is_outdated: bool,
    /// They have, and nobody here has been notified yet.
    has_news: bool,
    /// When everybody here was notified last.
    notified_at: Option<Tick>,
    /// The server could not be reached when it was looked at last.
    is_away: bool,
}

/// How a batch ended.
enum BatchOutcome {
    Committed,
    /// Rolled back: nothing is committed. Each caller gets an error of its own.
    Undone(Box<dyn Fn() -> StoreError>),
    /// Unknown what is committed.
    Unknown(String),
}

/// Why a write ends the attempt to run a batch.
enum WriteError {
    /// The write failed after it changed something: only a rollback undoes that.
    Failed,
    /// The transaction has ended.
    Over(BatchOutcome),
}

/// Sent once a batch is committed.
#[derive(Default)]
struct AfterCommit {
    notified: Vec<Topic>,
    counted: Vec<MetricEvent>,
}

type Batch = Vec<Box<dyn PendingWrite>>;

impl WriterLoop {
    pub(super) fn new(
        (connection, file): (Connection, Arc<DatabaseFile>),
        last_change: i64,
        shared: Shared,
        (died, leadership): (watch::Sender<Option<String>>, LeadershipWatch),
        clock: Clock,
    ) -> Self {
        let unprocessed = Unprocessed::default();
        Self {
            connection,
            file,
            change: last_change,
            unprocessed,
            shared,
            clock,
            died,
            leadership,
            is_outdated: false,
            has_news: false,
            notified_at: None,
            is_away: false,
        }
    }

    /// Whether it has met a failure whose outcome is unknown.
    pub(super) fn has_died(&self) -> bool {
        self.died.borrow().is_some()
    }

    pub(super) fn run(mut self, work: mpsc::Receiver<Sent<Box<dyn PendingWrite>>>) {
        let mut batches = Batches::new(work);
        let interval = self.connection.keep_alive_interval().map(|interval| (interval, self.clock.tick()));
        let (interval, mut looked_at) = interval.unzip();
        let longest = interval.unwrap_or(Duration::MAX);
        if interval.is_some() {
            // That an operator resumed calls earlier is no news. A server that is away is looked at again soon.
            let _ = self.leadership.was_resumed(&self.connection);
            if !self.keep_alive() {
                return;
            }
        }
        loop {
            let wait = if self.has_news && !self.is_away { NEWS_INTERVAL } else { longest };
            let Some(batch) = batches.next(wait, |write| write.kind() == WriteKind::Background) else {
                break;
            };
            let has_time = batch.is_empty();
            let mut continues = has_time || self.commit_and_answer(batch);
            // Also under constant load.
            if continues && looked_at.is_some_and(|at| has_time || self.clock.tick().since(at) >= longest) {
                continues = self.keep_alive();
                looked_at = Some(self.clock.tick());
            }
            if !continues {
                // After an unknown outcome nothing more may be written; the next start finds out.
                return;
            }
        }
        if self.file.check().is_err() {
            // SQLite would remove the WAL by its name, which may be that of another database now.
            let _ = self.connection.keep_log_when_closed();
            return;
        }
        failpoints::hit(FailPoint::CheckpointBegan);
        self.connection.finish();
    }

    /// False if the database is no longer that of this process. A server that cannot be reached is tried again, and reported by
    /// the next write.
    fn keep_alive(&mut self) -> bool {
        let looked = self.connection.keep_alive().and_then(|()| self.leadership.look(&self.connection));
        match looked.and_then(|()| self.notice_others()) {
            Err(error @ (db::Error::TermOver | db::Error::SetBack)) => {
                self.died.send_replace(Some(error.to_string()));
                false
            }
            reached => {
                self.is_away = reached.is_err();
                true
            }
        }
    }

    /// Notifies everybody here of what other processes have committed.
    fn notice_others(&mut self) -> db::Result<()> {
        if self.connection.others_committed() {
            (self.is_outdated, self.has_news) = (true, true);
        }
        let is_due = |notified_at| self.clock.tick().since(notified_at) >= NEWS_INTERVAL;
        if self.has_news && self.notified_at.is_none_or(is_due) {
            (self.has_news, self.notified_at) = (false, Some(self.clock.tick()));
            self.shared.notifier.notify_all();
            if self.leadership.was_resumed(&self.connection)? {
                self.shared.notifier.notify(Topic::Resume);
            }
        }
        Ok(())
    }

    /// Begins a transaction, in which nobody else commits.
    fn begin(&mut self) -> db::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        self.notice_others()?;
        if self.is_outdated {
            self.change = last_change(&self.connection)?;
            self.unprocessed.forget();
        }
        Ok(())
    }

    /// Commits a batch and answers every caller in it. False if the outcome is unknown.
    pub(super) fn commit_and_answer(&mut self, mut batch: Batch) -> bool {
        let change_before = self.change;
        let began = self.clock.tick();
        let mut after_commit = AfterCommit::default();
        match self.commit(&mut batch, &mut after_commit) {
            BatchOutcome::Committed => {
                self.is_outdated = false;
                failpoints::hit(FailPoint::CommitDone);
                self.shared.metrics.record_commit(
                    batch.len(),
                    self.clock.tick().since(began),
                    after_commit.counted,
                );
                for write in batch {
                    write.answer(None);
                }
                failpoints::hit(FailPoint::CommitReported);
                if after_commit.notified.contains(&Topic::Resume) {
                    // Not once more at the next commit of another process.
                    let _ = self.leadership.was_resumed(&self.connection);
                }
                for topic in after_commit.notified {
                    self.shared.notifier.notify(topic);
                }
                true
            }
            BatchOutcome::Undone(error) => {
                self.change = change_before;
                self.unprocessed.forget();
                for write in batch {
                    write.answer(Some(error()));
                }
                true
            }
            BatchOutcome::Unknown(why) => {
                self.died.send_replace(Some(why.clone()));
                for write in batch {
                    write.answer(Some(StoreError::Fatal(why.clone())));
                }
                false
            }
        }
    }

    fn commit(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> BatchOutcome {
        if self.file.check().is_err() {
            return BatchOutcome::Undone(Box::new(|| StoreError::FileReplaced));
        }
        if let Err(error) = self.connection.restore().and_then(|()| self.begin()) {
            return self.roll_back(&error);
        }
        let change_before = self.change;
        let mut done = self.run_all(batch, after_commit);
        if let Err(WriteError::Failed) = done {
            self.change = change_before;
            self.unprocessed.forget();
            *after_commit = AfterCommit::default();
            done = self.run_again(batch, after_commit);
        }
        match done {
            Ok(()) => {}
            Err(WriteError::Over(ended)) => return ended,
            Err(WriteError::Failed) => return self.roll_back_failed(),
        }
        failpoints::hit(FailPoint::CommitPending);
        match self.execute("COMMIT") {
            Ok(()) => BatchOutcome::Committed,
            Err(error) => self.roll_back(&error),
        }
    }

    /// Runs all writes of a batch.
    fn run_all(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> Result<(), WriteError> {
        batch.iter_mut().try_for_each(|write| self.run_write(write.as_mut(), false, after_commit))
    }

    /// Rolls the batch back and runs it again with a savepoint for each write.
    fn run_again(&mut self, batch: &mut Batch, after_commit: &mut AfterCommit) -> Result<(), WriteError> {
        if batch.len() == 1 {
            return Err(WriteError::Failed);
        }
        if let Err(error) = self.execute("ROLLBACK").and_then(|()| self.begin()) {
            return Err(WriteError::Over(self.roll_back(&error)));
        }
        batch.iter_mut().try_for_each(|write| self.run_write(write.as_mut(), true, after_commit))
    }

    /// Runs a write inside the transaction. With a savepoint, a failed write is undone alone.
    fn run_write(
        &mut self,
        write: &mut dyn PendingWrite,
        isolated: bool,
        after_commit: &mut AfterCommit,
    ) -> Result<(), WriteError> {
        // Not always: a savepoint copies each page before its first change.
        if isolated && let Err(error) = self.execute("SAVEPOINT one_write") {
            return Err(WriteError::Over(self.roll_back(&error)));
        }
        let changes_before = self.connection.total_changes();
        let (connection, change, unprocessed) = (&self.connection, &mut self.change, &mut self.unprocessed);
        let subscriptions = self.shared.subscriptions.get().map_or(&[][..], Vec::as_slice);
        let zone = self.shared.budgets.read().zone.clone();
        let mut writing = Writing {
            connection,
            unprocessed,
            notified: Vec::new(),
            counted: Vec::new(),
            change,
            subscriptions,
            zone,
        };
        let keep = write.run(&mut writing);
        let (topics, counts) = (writing.notified, writing.counted);
        // A full disk or a failing one makes SQLite undo the whole transaction by itself, and a lost server does, too.
        if !self.connection.is_in_transaction() {
            let lost = || StoreError::Unavailable("the connection was lost".into());
            return Err(WriteError::Over(BatchOutcome::Undone(match self.connection.is_lost() {
                true => Box::new(lost),
                false => Box::new(|| StoreError::DiskFull(None)),
            })));
        }
        // Otherwise the server would not commit what the write takes for done.
        if keep && self.connection.must_roll_back() {
            return Err(WriteError::Over(self.roll_back(&db::Error::TransactionFailed)));
        }
        if isolated {
            if !keep {
                self.unprocessed.forget();
            }
            let settled = if keep { Ok(()) } else { self.execute("ROLLBACK TO one_write") };
            if let Err(error) = settled.and_then(|()| self.execute("RELEASE one_write")) {
                return Err(WriteError::Over(self.roll_back(&error)));
            }
        } else if !keep
            && (self.connection.total_changes() != changes_before || self.connection.must_roll_back())
        {
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

    /// Executes one of the few transaction statements, prepared once.
    fn execute(&self, statement: &str) -> db::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }

    fn roll_back(&self, cause: &db::Error) -> BatchOutcome {
        if self.connection.is_in_transaction() && self.execute("ROLLBACK").is_err() {
            return BatchOutcome::Unknown(cause.to_string());
        }
        outcome_of(cause)
    }

    /// For a batch of one: the write itself reports its failure.
    fn roll_back_failed(&self) -> BatchOutcome {
        match self.execute("ROLLBACK") {
            Ok(()) => BatchOutcome::Undone(Box::new(|| StoreError::Closed)),
            Err(error) => outcome_of(&error),
        }
    }
}

/// A full disk, a lock or a server that refuses leaves nothing behind. Any other failure of a commit is an unknown outcome.
fn outcome_of(error: &db::Error) -> BatchOutcome {
    let (kind, message) = (error.kind(), error.to_string());
    match StoreError::nothing_kept(kind, &message) {
        Some(_) => BatchOutcome::Undone(Box::new(move || {
            StoreError::nothing_kept(kind, &message).unwrap_or(StoreError::Closed)
        })),
        None => BatchOutcome::Unknown(message),
    }
}
