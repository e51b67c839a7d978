//! The event stream: what changed, as it changes (server-sent events, WHATWG HTML, section 9.2).
//!
//! No change is missed: the stream begins to listen before it looks, and looks by the number of the last change it
//! has told. A job that changed many times meanwhile is told once, as it is now.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::watch;

use crate::api::event::{Hello, StreamEvent};
use crate::clock::Clock;
use crate::job::JobId;
use crate::job::suspension::Suspension;
use crate::server::status::status_view;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

/// A comment is sent after so much silence, so that proxies and both ends know the connection lives.
const SILENCE: Duration = Duration::from_secs(15);
/// So many changed jobs are told at once; the others right after.
const AT_ONCE: u32 = 200;

/// Who follows, and from where on.
pub(super) struct Follower {
    store: Store,
    clock: Clock,
    library_dir: PathBuf,
    notifications: Notifications,
    stop: watch::Receiver<bool>,
    only: BTreeSet<JobId>,
    /// From where on it wants to know, if it said so.
    asked: Option<i64>,
    /// The last change told; `None` before the first look.
    told: Option<i64>,
    /// The suspensions last sent.
    suspensions: Option<Vec<Suspension>>,
    news: bool,
}

impl Follower {
    /// Begins to listen. `asked`: the last change known, `None` for now; `only`: these jobs, all if empty. The
    /// stream ends once `stop` turns true.
    pub(super) fn new(
        store: Store,
        clock: Clock,
        library_dir: PathBuf,
        stop: watch::Receiver<bool>,
        asked: Option<i64>,
        only: BTreeSet<JobId>,
    ) -> Self {
        let notifications = store.listen(Topic::Changes);
        Self {
            store,
            clock,
            library_dir,
            notifications,
            stop,
            only,
            asked,
            told: None,
            suspensions: None,
            news: true,
        }
    }

    /// The stream itself. It ends without a word when the database cannot be read: whoever follows comes again.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures_util::stream::unfold(self, |mut follower| async move {
            let told = follower.next().await?;
            Some((Ok(Bytes::from(told)), follower))
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            if self.news {
                let told = self.look().await;
                let told = told.inspect_err(|error| tracing::warn!("an event stream ends: {error}")).ok()?;
                if !told.is_empty() {
                    return Some(told);
                }
                if self.news {
                    continue;
                }
            }
            tokio::select! {
                biased;
                stopped = self.stop.wait_for(|stop| *stop) => { let _ = stopped; return None },
                () = self.notifications.next() => self.news = true,
                () = self.clock.sleep(SILENCE) => return Some(": still here\n\n".to_owned()),
            }
        }
    }

    /// What is new since the last look, as events.
    async fn look(&mut self) -> Result<String, StoreError> {
        let mut told = String::new();
        let after = match self.told {
            Some(told) => told,
            None => {
                // A number from the future is one of another database: what is to come would never reach it.
                let last = self.store.last_change().await?;
                let after = self.asked.map_or(last, |asked| asked.min(last));
                tell(&mut told, None, &StreamEvent::Hello(Hello { change: after }));
                after
            }
        };
        self.told = Some(after);
        let changed = self.store.changes_since(after, AT_ONCE).await?;
        self.news = changed.len() == AT_ONCE as usize;
        for sight in &changed {
            self.told = Some(sight.changed);
            if self.only.is_empty() || self.only.contains(&sight.job.id()) {
                let view = sight.view(&self.library_dir);
                tell(&mut told, Some(sight.changed), &StreamEvent::Job(Box::new(view)));
            }
        }
        let suspensions = self.store.suspensions().await?;
        if self.suspensions.as_ref() != Some(&suspensions) {
            self.suspensions = Some(suspensions.clone());
            let status = status_view(&self.store, suspensions).await?;
            tell(&mut told, None, &StreamEvent::Status(status));
        }
        Ok(told)
    }
}

/// Adds an event.
fn tell(to: &mut String, id: Option<i64>, event: &StreamEvent) {
    // Texts, numbers and maps of texts always have a JSON form.
    let (event, data) = (event.name(), event.data().unwrap_or_default());
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = write!(to, "event: {event}\n{id}data: {data}\n\n");
}
