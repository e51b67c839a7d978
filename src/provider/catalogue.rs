//! The last list of models that the provider answered, shared by all, and what it says about a model. No call is made for a
//! single job: neutral calls bring the list.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Tick, Timestamp};
pub use crate::provider::wire::catalogue::{Catalogue, ListedPrice};

/// How long a list proves that a model is missing.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// How long a job waits for a second list before it is submitted all the same.
const SECOND_LIST_WITHIN: Duration = Duration::from_secs(60);

/// What the lists say about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The last list has it.
    Listed,
    /// Nothing is known: no list could be read, or not recently.
    Unknown,
    /// The last list lacks it; another is wanted, which may show that this was a mistake.
    Awaited,
    /// Two lists in a row lack it, the last of them recent.
    Unlisted {
        /// The listed model with the most similar name.
        nearest: Option<String>,
    },
}

/// The last lists. Clones share them.
#[derive(Clone)]
pub struct SharedCatalogue(Arc<Shared>);

struct Shared {
    clock: Clock,
    lists: Mutex<Lists>,
    /// Another list is wanted.
    wanted: Notify,
    /// For the submit stage: a list was read.
    read: Notify,
    /// For everybody else.
    updated: Notify,
}

#[derive(Default)]
struct Lists {
    last: Option<LastList>,
    before: Option<Arc<Catalogue>>,
    /// Since when a further list has been wanted and has not come.
    awaited_since: Option<Tick>,
}

#[derive(Clone)]
struct LastList {
    catalogue: Arc<Catalogue>,
    tick: Tick,
    at: Timestamp,
}

impl SharedCatalogue {
    /// Without a list.
    pub fn new(clock: Clock) -> Self {
        let lists = Mutex::default();
        let (wanted, read, updated) = (Notify::new(), Notify::new(), Notify::new());
        Self(Arc::new(Shared { clock, lists, wanted, read, updated }))
    }

    /// A list was read.
    pub fn record(&self, catalogue: Catalogue) {
        let (tick, at) = (self.0.clock.tick(), self.0.clock.now());
        let mut lists = self.0.lists.lock();
        lists.before = lists.last.take().map(|last| last.catalogue);
        lists.last = Some(LastList { catalogue: Arc::new(catalogue), tick, at });
        lists.awaited_since = None;
        drop(lists);
        self.0.read.notify_one();
        self.0.updated.notify_waiters();
    }

    /// Another key may see other models: what the old one saw no longer counts.
    pub fn forget(&self) {
        *self.0.lists.lock() = Lists::default();
    }

    /// What the lists say about a model. Where one says that it is missing, a second is wanted before a job is held for it:
    /// a list may be incomplete for a moment.
    pub fn listing(&self, model: &str) -> Listing {
        let now = self.0.clock.tick();
        let mut lists = self.0.lists.lock();
        let Some(last) = &lists.last else { return Listing::Unknown };
        if last.catalogue.lists(model) {
            return Listing::Listed;
        }
        let is_fresh = now.since(last.tick) < FRESH_FOR;
        if is_fresh && lists.before.as_ref().is_some_and(|before| !before.lists(model)) {
            return Listing::Unlisted { nearest: last.catalogue.nearest(model).map(str::to_owned) };
        }
        let waited = now.since(*lists.awaited_since.get_or_insert(now));
        if waited < SECOND_LIST_WITHIN {
            self.0.wanted.notify_one();
            return Listing::Awaited;
        }
        if waited >= FRESH_FOR {
            lists.awaited_since = None;
        }
        Listing::Unknown
    }

    /// Whether a job for this model waits for another list. Unlike [`listing`](Self::listing), asks for none.
    pub fn is_awaited(&self, model: &str) -> bool {
        let now = self.0.clock.tick();
        let lists = self.0.lists.lock();
        let is_missing = lists.last.as_ref().is_some_and(|last| !last.catalogue.lists(model));
        is_missing && lists.awaited_since.is_some_and(|since| now.since(since) < SECOND_LIST_WITHIN)
    }

    /// The last list, and when it was read.
    pub fn last(&self) -> Option<(Arc<Catalogue>, Timestamp)> {
        self.0.lists.lock().last.as_ref().map(|last| (last.catalogue.clone(), last.at))
    }

    /// The last list. If it is not recent, another is wanted, and waited for as long as `timeout`.
    pub async fn recent(&self, timeout: Duration) -> Option<(Arc<Catalogue>, Timestamp)> {
        // Registered first: a list that is read before the check would be missed otherwise.
        let updated = self.0.updated.notified();
        let now = self.0.clock.tick();
        let is_recent =
            self.0.lists.lock().last.as_ref().is_some_and(|last| now.since(last.tick) < FRESH_FOR);
        if !is_recent {
            self.0.wanted.notify_one();
            let _ = self.0.clock.within(timeout, updated).await;
        }
        self.last()
    }

    /// Waits until another list is wanted.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Waits until a list was read.
    pub async fn read(&self) {
        self.0.read.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::wire::catalogue::read_catalogue;

    const SECOND: Duration = Duration::from_secs(1);

    fn list(names: &[&str]) -> Catalogue {
        read_catalogue(&json!(names)).expect("a list")
    }

    fn unlisted() -> Listing {
        Listing::Unlisted { nearest: Some("wan2.6".into()) }
    }

    #[test]
    fn model_is_unlisted_only_after_two_lists_without_it() {
        let clock = Clock::paused(Timestamp::from_millis(1_775_285_160_000));
        let shared = SharedCatalogue::new(clock.clone());
        assert_eq!(shared.listing("wan2.5"), Listing::Unknown, "no list");
        shared.record(list(&["wan2.6"]));
        assert_eq!(shared.listing("wan2.6"), Listing::Listed);
        assert!(!shared.is_awaited("wan2.5"), "no job waits");
        assert_eq!(shared.listing("wan2.5"), Listing::Awaited, "one list");
        assert_eq!(["wan2.5", "wan2.6"].map(|model| shared.is_awaited(model)), [true, false]);
        shared.record(list(&["wan2.6"]));
        assert_eq!(shared.listing("wan2.5"), unlisted());
        shared.record(list(&["wan2.5", "wan2.6"]));
        assert_eq!(shared.listing("wan2.5"), Listing::Listed);
        shared.record(list(&["wan2.6"]));
        assert_eq!(shared.listing("wan2.5"), Listing::Awaited, "it was listed just before");
        shared.record(list(&["wan2.6"]));
        assert_eq!(shared.listing("wan2.5"), unlisted());
        shared.forget();
        assert_eq!(shared.listing("wan2.5"), Listing::Unknown, "another key");
    }

    #[test]
    fn old_list_proves_nothing_and_a_job_waits_a_minute_for_another() {
        let clock = Clock::paused(Timestamp::from_millis(1_775_285_160_000));
        let shared = SharedCatalogue::new(clock.clone());
        shared.record(list(&["wan2.6"]));
        shared.record(list(&["wan2.6"]));
        clock.advance(FRESH_FOR);
        assert_eq!(shared.listing("wan2.6"), Listing::Listed, "a listed model needs no further list");
        assert_eq!(shared.listing("wan2.5"), Listing::Awaited);
        clock.advance(SECOND_LIST_WITHIN - SECOND);
        assert_eq!(shared.listing("wan2.5"), Listing::Awaited);
        clock.advance(SECOND);
        assert!(!shared.is_awaited("wan2.5"));
        assert_eq!(shared.listing("wan2.5"), Listing::Unknown, "no list came");
        shared.record(list(&["wan2.6"]));
        assert_eq!(shared.listing("wan2.5"), unlisted(), "it has come after all");
    }
}
