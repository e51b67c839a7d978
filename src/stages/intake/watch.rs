//! Hints from the file system that the inbox has news. Only hints: events get lost, so the intake stage also looks
//! by itself every `inbox.rescan`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::inbox::FolderId;

/// A watch over one folder that can be armed anew when the folder is replaced.
pub struct Watch {
    folder: PathBuf,
    news: Arc<Notify>,
    armed: Mutex<Armed>,
}

#[derive(Default)]
struct Armed {
    watcher: Option<RecommendedWatcher>,
    /// Which folder is watched: its device and inode.
    identity: Option<FolderId>,
    told: bool,
}

impl Watch {
    /// A watch over `folder`, not armed yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, news: Arc::default(), armed: Mutex::default() }
    }

    /// Sees to it that the folder of this `identity` is the one watched. A watch that cannot be had is told once;
    /// the regular looks go on without it.
    pub fn arm(&self, identity: FolderId) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.watcher.is_some() && armed.identity == Some(identity) {
            return;
        }
        match watcher(&self.folder, self.news.clone()) {
            Ok(watcher) => {
                *armed = Armed { watcher: Some(watcher), identity: Some(identity), told: false };
                // What came after the look and before the watch told nobody.
                self.news.notify_one();
            }
            Err(error) => {
                if !armed.told {
                    tracing::warn!(
                        "{} cannot be watched ({error}); it is looked at every `inbox.rescan` instead",
                        self.folder.display()
                    );
                }
                *armed = Armed { told: true, ..Armed::default() };
            }
        }
    }

    /// Ends the watch until it is armed again: while many files are taken in, each of our own moves would be news.
    pub fn rest(&self) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        (armed.watcher, armed.identity) = (None, None);
    }

    /// Waits for news.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

fn watcher(folder: &Path, news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reads make no news; everything else, and every overflow or error, is worth a look.
        if !event.is_ok_and(|event| event.kind.is_access() && !closed_after_writing(&event)) {
            news.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn closed_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::inbox::Inbox;

    #[tokio::test]
    async fn what_came_before_the_watch_is_looked_for_once_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let id = Inbox::new(folder.path().to_owned()).create_if_missing().unwrap();
        let watch = Watch::new(folder.path().to_owned());
        let clock = Clock::machine();
        watch.arm(id);
        assert!(clock.within(Duration::from_secs(5), watch.news()).await.is_some());
        watch.arm(id);
        let again = clock.within(Duration::from_millis(200), watch.news()).await;
        assert!(again.is_none(), "it stood already");
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        assert!(clock.within(Duration::from_secs(5), watch.news()).await.is_some());
        watch.rest();
        clock.sleep(Duration::from_millis(50)).await;
        let _ = clock.within(Duration::ZERO, watch.news()).await;
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        let unheard = clock.within(Duration::from_millis(200), watch.news()).await;
        assert!(unheard.is_none(), "it rests");
        watch.arm(id);
        assert!(clock.within(Duration::from_secs(5), watch.news()).await.is_some(), "what came meanwhile");
    }
}
