//! Whether somebody watches the jobs: recorded by the admin server, read by the poll stage.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Tick};

/// How long somebody who has fetched a page is taken to look at it.
const PAGE_LIFETIME: Duration = Duration::from_secs(30);

/// The open event streams and the last page fetched. Clones share them.
#[derive(Clone)]
pub struct Watchers {
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    streams: usize,
    last_page: Option<Tick>,
}

/// An open event stream, until it is dropped.
pub struct OpenStream(Watchers);

impl Watchers {
    /// Nobody watches yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, seen: Arc::default() }
    }

    /// Whether an event stream is open, or a page was fetched a moment ago.
    pub fn is_watched(&self) -> bool {
        self.seen.lock().is_watched(self.clock.tick())
    }

    /// A page is fetched. Returns whether nobody watched before.
    pub fn page_fetched(&self) -> bool {
        let (mut seen, now) = (self.seen.lock(), self.clock.tick());
        let is_first = !seen.is_watched(now);
        seen.last_page = Some(now);
        is_first
    }

    /// An event stream is opened.
    pub fn open_stream(&self) -> OpenStream {
        self.seen.lock().streams += 1;
        OpenStream(self.clone())
    }
}

impl Seen {
    fn is_watched(&self, now: Tick) -> bool {
        self.streams > 0 || self.last_page.is_some_and(|fetched| now.since(fetched) < PAGE_LIFETIME)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut seen = self.0.seen.lock();
        seen.streams = seen.streams.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn page_is_watched_for_a_while_and_a_stream_while_it_is_open() {
        let clock = Clock::paused(Timestamp::from_millis(0));
        let watchers = Watchers::new(clock.clone());
        assert!(!watchers.is_watched());
        assert!(watchers.page_fetched(), "the first");
        assert!(!watchers.page_fetched());
        clock.advance(PAGE_LIFETIME / 2);
        assert!(watchers.is_watched());
        clock.advance(PAGE_LIFETIME / 2);
        assert!(!watchers.is_watched());

        let streams = [watchers.open_stream(), watchers.open_stream()];
        clock.advance(PAGE_LIFETIME * 9);
        let [first, second] = streams;
        drop(first);
        assert!(watchers.is_watched());
        assert!(!watchers.page_fetched(), "a stream is open");
        drop(second);
        clock.advance(PAGE_LIFETIME);
        assert!(!watchers.is_watched());
    }
}
