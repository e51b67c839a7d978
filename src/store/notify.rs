//! Notifications after a commit. A missed one costs a stage one interval, never a job: the state is the queue.

use std::sync::Arc;

use strum::{EnumCount, VariantArray};
use tokio::sync::{Mutex, watch};

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantArray)]
pub enum Topic {
    /// The submit stage.
    Submit,
    /// The stage of local pictures.
    Pictures,
    /// The poll stage.
    Poll,
    /// The download stage.
    Download,
    /// The upload stage.
    Upload,
    /// The callback stage.
    Deliveries,
    /// The hook stage.
    Hooks,
    /// The account stage: an operator wants suspended calls to be tried at once.
    Resume,
    /// The submit stage: money was given back to a budget, or the budgets were changed.
    BudgetFreed,
    /// The sidecar stage.
    Sidecars,
    /// Everything that follows changes: event streams, waiting commands, tests.
    Changes,
}

/// Sends the notifications of all topics. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Notifier(Arc<[watch::Sender<u64>; Topic::COUNT]>);

impl Notifier {
    pub(super) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| watch::Sender::new(0))))
    }

    pub(super) fn notify(&self, topic: Topic) {
        self.0[topic as usize].send_modify(|count| *count = count.wrapping_add(1));
    }

    /// After commits of other processes, which may be about anything. What is only a wish travels in the database.
    pub(super) fn notify_all(&self) {
        for topic in Topic::VARIANTS.iter().filter(|topic| **topic != Topic::Resume) {
            self.notify(*topic);
        }
    }

    pub(super) fn listen(&self, topic: Topic) -> Notifications {
        Notifications(Mutex::new(self.0[topic as usize].subscribe()))
    }
}

/// The notifications of one topic. Those that arrive while nothing waits count as one.
#[derive(Debug)]
pub struct Notifications(Mutex<watch::Receiver<u64>>);

impl Notifications {
    /// Waits for a notification that came after the last one returned, or after listening began.
    pub async fn next(&self) {
        if self.0.lock().await.changed().await.is_err() {
            // The store is closed: no notification will ever come.
            std::future::pending::<()>().await;
        }
    }
}
