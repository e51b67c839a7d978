//! Notifier: rung after a commit, so that whoever waits looks at once. A bell missed costs one interval, never a job.

use std::sync::Arc;

use tokio::sync::watch;

/// Who is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The submit stage.
    Submit,
    /// The poll stage.
    Poll,
    /// The download stage.
    Fetch,
    /// The callback stage.
    Deliveries,
    /// The hook stage.
    Hooks,
    /// Whoever follows changes: the event stream, waiting commands, tests.
    Changes,
}

/// All the bells. Clones are the same bells.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<[watch::Sender<u64>; 6]>);

impl Notifier {
    pub(super) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| watch::Sender::new(0))))
    }

    /// Rings one.
    pub fn ring(&self, bell: Topic) {
        self.0[bell as usize].send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Listens to one. Begin to listen before you look.
    pub fn listen(&self, bell: Topic) -> watch::Receiver<u64> {
        self.0[bell as usize].subscribe()
    }
}
