//! The one thread that writes: what waits together is committed together, and answered after the commit.

mod batches;
mod commit;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::store::error::StoreError;
use crate::store::metrics::{MetricEvent, Metrics};
use crate::store::notify::{Notifier, Topic};
use crate::store::subscription::Subscription;
use commit::Loop;

/// What a piece of work may use while the transaction is open.
pub(super) struct Writing<'a> {
    /// The writer's connection, inside a transaction.
    pub connection: &'a Connection,
    notified: Vec<Topic>,
    counted: Vec<MetricEvent>,
    change: &'a mut i64,
    subscriptions: &'a [Subscription],
}

impl Writing<'_> {
    /// Sends a notification once the work is committed.
    pub fn notify(&mut self, topic: Topic) {
        if !self.notified.contains(&topic) {
            self.notified.push(topic);
        }
    }

    /// The subscriptions of hooks.
    pub fn subscriptions(&self) -> &[Subscription] {
        self.subscriptions
    }

    /// Counts it once the work is committed.
    pub fn count(&mut self, counted: MetricEvent) {
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
    fn kind(&self) -> WriteKind;
    /// Does it, again if need be after it was undone. False: undo it.
    fn run(&mut self, writing: &mut Writing<'_>) -> bool;
    /// Answers: what came of it, or the reason why it was not committed.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct Piece<T, F> {
    kind: WriteKind,
    work: F,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Piece<T, F>
where
    T: Send,
    F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send,
{
    fn kind(&self) -> WriteKind {
        self.kind
    }

    fn run(&mut self, writing: &mut Writing<'_>) -> bool {
        // A panic in one job's work must not take the others' work with it.
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
        // Whoever asked may have gone: the work is done all the same.
        let _ = self.answer.send(result);
    }
}

/// How a piece of work stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// Goes into the next commit, and may be done again: if another's work fails in the middle, all of it is.
    Normal,
    /// Goes into the next commit, and is done once only: it uses up what it works on.
    Once,
    /// No caller outside waits for it: yields to the other kinds (see [`batches`]).
    Background,
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
        (notifier, metrics, subscriptions): (Notifier, Metrics, Arc<OnceLock<Vec<Subscription>>>),
        died: watch::Sender<Option<String>>,
        clock: Clock,
    ) -> std::io::Result<(Self, Option<std::thread::JoinHandle<()>>)> {
        let writer =
            Loop::new(connection, last_change, (notifier, metrics, subscriptions), died, clock.clone());
        if clock.is_paused() {
            return Ok((
                Self(Way::InPlace(Arc::new(Mutex::new(InOrder { writer, waiting: VecDeque::new() })), clock)),
                None,
            ));
        }
        let (sender, work) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(work))?;
        Ok((Self(Way::Thread(sender)), Some(thread)))
    }

    /// Has `work` done in a transaction and waits until it is committed.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_as(WriteKind::Normal, work).await
    }

    /// [`Writer::write`], in another kind than most.
    pub async fn write_as<T, F>(&self, kind: WriteKind, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let piece: Box<dyn Work> = Box::new(Piece { kind, work, result: None, answer });
        match &self.0 {
            Way::Thread(sender) => sender.send(piece).map_err(|_| StoreError::Closed)?,
            Way::InPlace(in_order, clock) => {
                let in_order = in_order.clone();
                in_order.lock().waiting.push_back(piece);
                let write = move || {
                    let mut in_order = in_order.lock();
                    while let Some(piece) = in_order.waiting.pop_front() {
                        if !in_order.writer.has_died() {
                            in_order.writer.settle(vec![piece]);
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

#[cfg(test)]
mod tests;
