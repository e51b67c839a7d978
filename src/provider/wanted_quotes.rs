//! Requests that wait for a quote. The admin server adds them, the quote stage takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// Most requests that wait at a time.
const MAX_WAITING: usize = 256;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct WantedQuotes(Arc<Shared>);

struct Shared {
    clock: Clock,
    waiting: Mutex<VecDeque<WantedQuote>>,
    added: Notify,
}

/// A request that waits for a quote until this is dropped.
pub struct WantedQuote {
    /// The body of the request.
    pub body: String,
    done: oneshot::Sender<()>,
}

impl WantedQuotes {
    /// Without a request.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, waiting: Mutex::default(), added: Notify::new() }))
    }

    /// Waits until each of these requests has a quote or certainly none, but no longer than `timeout`.
    pub async fn wait_for(&self, bodies: Vec<String>, timeout: Duration) {
        let mut answers = Vec::new();
        {
            let mut waiting = self.0.waiting.lock();
            let room = MAX_WAITING.saturating_sub(waiting.len());
            for body in bodies.into_iter().take(room) {
                let (done, answer) = oneshot::channel();
                waiting.push_back(WantedQuote { body, done });
                answers.push(answer);
            }
        }
        self.0.added.notify_one();
        let _ = self.0.clock.within(timeout, join_all(answers)).await;
    }

    /// The next request, if somebody still waits for it.
    pub fn take(&self) -> Option<WantedQuote> {
        let mut waiting = self.0.waiting.lock();
        std::iter::from_fn(|| waiting.pop_front()).find(|wanted| !wanted.done.is_closed())
    }

    /// There are no quotes now: nobody waits any longer.
    pub fn give_up(&self) {
        self.0.waiting.lock().clear();
    }

    /// Waits until requests are added.
    pub async fn added(&self) {
        self.0.added.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_answers_or_at_the_timeout() {
        let clock = Clock::machine();
        let wanted = WantedQuotes::new(clock.clone());
        let begun = clock.tick();
        let answer = async {
            wanted.added().await;
            while let Some(request) = wanted.take() {
                assert!(["a", "b"].contains(&request.body.as_str()));
            }
        };
        tokio::join!(wanted.wait_for(vec!["a".into(), "b".into()], Duration::from_secs(60)), answer);
        tokio::join!(wanted.wait_for(vec!["c".into()], Duration::from_secs(60)), async { wanted.give_up() });
        assert!(clock.tick().since(begun) < Duration::from_secs(30));
        wanted.wait_for(vec!["d".into()], Duration::from_millis(1)).await;
        assert!(wanted.take().is_none(), "nobody waits any longer");
    }
}
