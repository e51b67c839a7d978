//! The one thread that writes: what waits together is committed together, and answered after the commit.

mod share;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::lab::{self, Site};
use crate::store::bells::{Bell, Bells};
use crate::store::error::StoreError;
use crate::store::hooks::Subscription;
use crate::store::tally::{Counted, Tally};
use share::{BATCH, Share, next_batch};

/// What a piece of work may use while the transaction is open.
pub(super) struct Writing<'a> {
    /// The writer's connection, inside a transaction.
    pub connection: &'a Connection,
    rung: Vec<Bell>,
    counted: Vec<Counted>,
    change: &'a mut i64,
    subscriptions: &'a [Subscription],
}

impl Writing<'_> {
    /// Rings `bell` once the work is committed.
    pub fn ring(&mut self, bell: Bell) {
        if !self.rung.contains(&bell) {
            self.rung.push(bell);
        }
    }

    /// Who is told of what.
    pub fn subscriptions(&self) -> &[Subscription] {
        self.subscriptions
    }

    /// Counts it once the work is committed.
    pub fn count(&mut self, counted: Counted) {
        self.counted.push(counted);
    }

    /// The next number for the change feed.
    pub fn next_change(&mut self) -> i64 {
        *self.change += 1;
        *self.change
    }
}

/// A piece of work for the writer, and the one who waits for its answer.
trait Work: Send {
    /// How it stands among others.
    fn manner(&self) -> Manner;
    /// Does it. False: undo it.
    fn run(&mut self, writing: &mut Writing<'_>) -> bool;
    /// Answers: what came of it, or the reason why it was not committed.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct Piece<T, F> {
    manner: Manner,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Piece<T, F>
where
    T: Send,
    F: FnOnce(&mut Writing<'_>) -> Result<T, StoreError> + Send,
{
    fn manner(&self) -> Manner {
        self.manner
    }

    fn run(&mut self, writing: &mut Writing<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A panic in one job's work must not take the others' work with it.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| work(writing))).unwrap_or_else(|_| {
            Err(StoreError::Abandoned("a bug: the work on the database panicked".into()))
        });
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let result = match (self.result, failure) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure),
            (Some(done), None) => done,
            (None, None) => Err(StoreError::Closed),
        };
        // Whoever asked may have gone: the work is done all the same.
        let _ = self.answer.send(result);
    }
}

/// How a piece of work stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Goes into the next commit, and is undone by itself if it fails.
    Plain,
    /// Goes into the next commit, and changes one row by one statement: SQLite undoes that by itself.
    OneRow,
    /// Nobody outside waits for it: gives way to what is not patient, in part (see [`Share`]).
    Patient,
}

/// The way to the one who writes. Dropping the last one ends it.
#[derive(Clone)]
pub(super) struct Writer(Way);

#[derive(Clone)]
enum Way {
    /// A thread of its own.
    Thread(mpsc::Sender<Box<dyn Work>>),
    /// Under a paused clock everything happens in one order: each piece is committed by itself, in place, and none
    /// before those that came before it.
    InPlace(Arc<Mutex<InOrder>>, Clock),
}

impl Writer {
    /// Starts the thread. `died` turns true when a commit fails in a way that leaves its outcome unknown.
    pub fn start(
        connection: Connection,
        last_change: i64,
        (bells, tally, subscriptions): (Bells, Tally, Arc<OnceLock<Vec<Subscription>>>),
        died: watch::Sender<Option<String>>,
        clock: Clock,
    ) -> std::io::Result<(Self, Option<std::thread::JoinHandle<()>>)> {
        let writer = Loop {
            connection,
            change: last_change,
            bells,
            tally,
            subscriptions,
            clock: clock.clone(),
            died,
            share: Share::default(),
        };
        if clock.is_paused() {
            return Ok((
                Self(Way::InPlace(Arc::new(Mutex::new(InOrder { writer, waiting: VecDeque::new() })), clock)),
                None,
            ));
        }
        let (sender, work) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(&work))?;
        Ok((Self(Way::Thread(sender)), Some(thread)))
    }

    /// Has `work` done in a transaction and waits until it is committed.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_as(Manner::Plain, work).await
    }

    /// [`Writer::write`], in another manner than most.
    pub async fn write_as<T, F>(&self, manner: Manner, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let piece: Box<dyn Work> = Box::new(Piece { manner, work: Some(work), result: None, answer });
        match &self.0 {
            Way::Thread(sender) => sender.send(piece).map_err(|_| StoreError::Closed)?,
            Way::InPlace(in_order, clock) => {
                let in_order = in_order.clone();
                in_order.lock().unwrap_or_else(PoisonError::into_inner).waiting.push_back(piece);
                let write = move || {
                    let mut in_order = in_order.lock().unwrap_or_else(PoisonError::into_inner);
                    while let Some(piece) = in_order.waiting.pop_front() {
                        if in_order.writer.died.borrow().is_none() {
                            in_order.writer.settle(vec![piece], &mut VecDeque::new());
                        }
                    }
                };
                clock.aside(write).await.map_err(|_| StoreError::Closed)?;
            }
        }
        wait.await.map_err(|_| StoreError::Closed)?
    }
}

struct InOrder {
    writer: Loop,
    waiting: VecDeque<Box<dyn Work>>,
}

struct Loop {
    connection: Connection,
    change: i64,
    bells: Bells,
    tally: Tally,
    subscriptions: Arc<OnceLock<Vec<Subscription>>>,
    clock: Clock,
    died: watch::Sender<Option<String>>,
    share: Share,
}

/// How a batch ended.
enum Ended {
    Committed,
    /// Nothing of it was kept.
    Undone(fn() -> StoreError),
    /// It is not known what was kept.
    Unknown(String),
}

impl Loop {
    fn run(mut self, work: &mpsc::Receiver<Box<dyn Work>>) {
        let mut patient = VecDeque::new();
        loop {
            let began = self.clock.tick();
            let patience = self.share.until_quiet(began);
            let batch = next_batch(work, &mut patient, patience, |piece| piece.manner() == Manner::Patient);
            let Some(batch) = batch else { break };
            self.share.idle_for(self.clock.tick().since(began));
            if !self.settle(batch, &mut patient) {
                // Nothing more may be written over an unknown outcome; the next start looks again.
                return;
            }
        }
        lab::reach(Site::CheckpointBegan);
        // An orderly end leaves one whole file. If it fails, the log beside it is read at the next start.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Commits a batch with a share of patient work, and answers everybody in it. False: it is not known what was kept.
    fn settle(&mut self, mut batch: Vec<Box<dyn Work>>, patient: &mut VecDeque<Box<dyn Work>>) -> bool {
        let change_before = self.change;
        let began = self.clock.tick();
        let (ended, rung, counted) = self.commit(&mut batch, patient);
        match ended {
            Ended::Committed => {
                lab::reach(Site::CommitDone);
                self.tally.committed(batch.len(), self.clock.tick().since(began), counted);
                for piece in batch {
                    piece.answer(None);
                }
                lab::reach(Site::CommitTold);
                for bell in rung {
                    self.bells.ring(bell);
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

    fn commit(
        &mut self,
        batch: &mut Vec<Box<dyn Work>>,
        patient: &mut VecDeque<Box<dyn Work>>,
    ) -> (Ended, Vec<Bell>, Vec<Counted>) {
        let (mut rung, mut counted) = (Vec::new(), Vec::new());
        if let Err(error) = self.say("BEGIN IMMEDIATE") {
            return (ended_by(&error), rung, counted);
        }
        let clock = self.clock.clone();
        let mut then = clock.tick();
        let alone = batch.len() + patient.len() == 1;
        let (mut done, others) = (Ok(()), batch.len());
        for piece in batch.iter_mut() {
            done = done.and_then(|()| self.run_piece(piece.as_mut(), alone, &mut rung, &mut counted));
        }
        let mut took = || {
            let began = std::mem::replace(&mut then, clock.tick());
            then.since(began)
        };
        if others > 0 {
            let time = took();
            self.share.others_took(time, clock.tick());
        }
        while done.is_ok() && if others == 0 { batch.len() < BATCH } else { self.share.is_left() } {
            let Some(mut piece) = patient.pop_front() else { break };
            done = self.run_piece(piece.as_mut(), alone, &mut rung, &mut counted);
            batch.push(piece);
            self.share.patient_took(took());
        }
        if let Err(ended) = done {
            return (ended, rung, counted);
        }
        lab::reach(Site::CommitWritten);
        match self.say("COMMIT") {
            Ok(()) => (Ended::Committed, rung, counted),
            Err(error) => (self.roll_back(&error), rung, counted),
        }
    }

    /// Has a piece done inside the transaction, and undone if it fails: it must not take the others' work with it.
    fn run_piece(
        &mut self,
        piece: &mut dyn Work,
        alone: bool,
        rung: &mut Vec<Bell>,
        counted: &mut Vec<Counted>,
    ) -> Result<(), Ended> {
        // A savepoint has each page copied before its first change.
        let fenced = !alone && piece.manner() != Manner::OneRow;
        if fenced && let Err(error) = self.say("SAVEPOINT piece") {
            return Err(self.roll_back(&error));
        }
        let (connection, change) = (&self.connection, &mut self.change);
        let subscriptions = self.subscriptions.get().map_or(&[][..], Vec::as_slice);
        let mut writing =
            Writing { connection, rung: Vec::new(), counted: Vec::new(), change, subscriptions };
        let keep = piece.run(&mut writing);
        let (bells, counts) = (writing.rung, writing.counted);
        // A full disk or a failing one makes SQLite undo the whole transaction by itself.
        if self.connection.is_autocommit() {
            return Err(Ended::Undone(|| StoreError::DiskFull));
        }
        let settled = match (keep, fenced) {
            (true, true) => self.say("RELEASE piece"),
            (false, true) => self.say("ROLLBACK TO piece").and_then(|()| self.say("RELEASE piece")),
            // What undoes itself is undone; what is alone is undone with the transaction around it.
            (false, false) if alone => self.say("ROLLBACK").and_then(|()| self.say("BEGIN IMMEDIATE")),
            (_, false) => Ok(()),
        };
        if let Err(error) = settled {
            return Err(self.roll_back(&error));
        }
        if keep {
            for bell in bells {
                if !rung.contains(&bell) {
                    rung.push(bell);
                }
            }
            counted.extend(counts);
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
