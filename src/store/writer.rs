//! The writer thread: writes that wait together share a commit, and are answered after it.

mod batches;
mod commit;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::clock::calendar::Zone;
use crate::job::budget::Budgets;
use crate::store::database_file::DatabaseFile;
use crate::store::db::Connection;
use crate::store::error::StoreError;
use crate::store::leadership::LeadershipWatch;
use crate::store::metrics::{MetricEvent, Metrics};
use crate::store::notify::{Notifier, Topic};
use crate::store::subscription::Subscription;
use crate::store::unprocessed::Unprocessed;
use batches::Sent;
use commit::WriterLoop;

/// What a write may use while the transaction is open.
pub(super) struct Writing<'a> {
    /// The writer's connection, inside a transaction.
    pub connection: &'a Connection,
    pub unprocessed: &'a mut Unprocessed,
    notified: Vec<Topic>,
    counted: Vec<MetricEvent>,
    change: &'a mut i64,
    subscriptions: &'a [Subscription],
    zone: Zone,
}

impl Writing<'_> {
    /// Sends a notification after the commit.
    pub fn notify(&mut self, topic: Topic) {
        if !self.notified.contains(&topic) {
            self.notified.push(topic);
        }
    }

    pub fn subscriptions(&self) -> &[Subscription] {
        self.subscriptions
    }

    /// The zone whose days are counted.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Records a metric after the commit.
    pub fn count(&mut self, counted: MetricEvent) {
        self.counted.push(counted);
    }

    /// The next number for the change feed.
    pub fn next_change(&mut self) -> i64 {
        self.next_changes(1)
    }

    /// The first of the next `count` numbers.
    pub fn next_changes(&mut self, count: i64) -> i64 {
        *self.change += count;
        *self.change - count + 1
    }
}

/// A write with the caller that waits for its answer. A trait, since each write has a result type of its own.
trait PendingWrite: Send {
    fn kind(&self) -> WriteKind;
    /// Runs the write; runs it again if the batch was rolled back. False: undo it.
    fn run(&mut self, writing: &mut Writing<'_>) -> bool;
    /// Answers with the result, or with why nothing was committed.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct QueuedWrite<T, F> {
    kind: WriteKind,
    work: F,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> PendingWrite for QueuedWrite<T, F>
where
    T: Send,
    F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send,
{
    fn kind(&self) -> WriteKind {
        self.kind
    }

    fn run(&mut self, writing: &mut Writing<'_>) -> bool {
        // A panic in one write must not fail the others of the batch.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| (self.work)(writing)))
            .unwrap_or_else(|_| Err(StoreError::Aborted("a bug: the work on the database panicked".into())));
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
        // The caller may have stopped waiting; the write is committed all the same.
        let _ = self.answer.send(result);
    }
}

/// How a write shares commits with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// Joins the next commit, and can run again: if another write of the batch fails, all of them do.
    Normal,
    /// No caller outside waits for it, so it yields to the other kinds (see [`batches`]).
    Background,
}

/// What the writer shares with the store.
pub(super) struct Shared {
    pub notifier: Notifier,
    pub metrics: Metrics,
    pub subscriptions: Arc<OnceLock<Vec<Subscription>>>,
    pub budgets: Arc<RwLock<Budgets>>,
}

/// A handle to the writer. The writer ends when the last one is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    handle: WriterHandle,
    file: Arc<DatabaseFile>,
}

#[derive(Clone)]
enum WriterHandle {
    Thread(Arc<mpsc::Sender<Sent<Box<dyn PendingWrite>>>>),
    /// Under a paused clock, without a thread: each write has a commit of its own, in the order of the calls, so that a
    /// simulation is repeatable.
    InPlace(Arc<Mutex<InOrder>>, Clock),
}

impl Writer {
    /// Starts the thread. `died` gets the reason when a commit fails with an unknown outcome, `leadership` who leads.
    pub fn start(
        opened: (Connection, Arc<DatabaseFile>),
        last_change: i64,
        shared: Shared,
        (died, leadership): (watch::Sender<Option<String>>, LeadershipWatch),
        clock: Clock,
    ) -> std::io::Result<(Self, Option<std::thread::JoinHandle<()>>)> {
        let file = opened.1.clone();
        let (sender, work) = mpsc::channel();
        let sender = Arc::new(sender);
        // The writer ends with the last handle.
        let to_writer = Arc::downgrade(&sender);
        opened.0.hear_news(move || {
            let _ = to_writer.upgrade().map(|sender| sender.send(Sent::News));
        });
        let writer = WriterLoop::new(opened, last_change, shared, (died, leadership), clock.clone());
        if clock.is_paused() {
            let in_order = Arc::new(Mutex::new(InOrder { writer, waiting: VecDeque::new() }));
            return Ok((Self { handle: WriterHandle::InPlace(in_order, clock), file }, None));
        }
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(work))?;
        Ok((Self { handle: WriterHandle::Thread(sender), file }, Some(thread)))
    }

    /// Runs `work` in a transaction and waits for its commit.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_as(WriteKind::Normal, work).await
    }

    /// Like [`Writer::write`], for another kind.
    pub async fn write_as<T, F>(&self, kind: WriteKind, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let write: Box<dyn PendingWrite> = Box::new(QueuedWrite { kind, work, result: None, answer });
        match &self.handle {
            WriterHandle::Thread(sender) => {
                sender.send(Sent::Write(write)).map_err(|_| StoreError::Closed)?;
            }
            WriterHandle::InPlace(in_order, clock) => {
                let in_order = in_order.clone();
                in_order.lock().waiting.push_back(write);
                let commit_all = move || {
                    let mut in_order = in_order.lock();
                    while let Some(write) = in_order.waiting.pop_front() {
                        if !in_order.writer.has_died() {
                            in_order.writer.commit_and_answer(vec![write]);
                        }
                    }
                };
                clock.run_blocking(commit_all).await.map_err(|_| StoreError::Closed)?;
            }
        }
        let result = wait.await.map_err(|_| StoreError::Closed)?;
        result.map_err(|error| error.of_database(self.file.database()))
    }
}

struct InOrder {
    writer: WriterLoop,
    waiting: VecDeque<Box<dyn PendingWrite>>,
}

#[cfg(test)]
mod tests;
