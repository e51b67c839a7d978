//! File system events of the inbox. Events can be lost, so the intake stage also scans the inbox every
//! `inbox.rescan`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::inbox::FolderId;

/// A watch of one folder. It is started again when the folder is replaced.
pub struct Watch {
    path: PathBuf,
    event: Arc<Notify>,
    active: Mutex<Active>,
}

#[derive(Default)]
struct Active {
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched.
    folder: Option<FolderId>,
    failure_logged: bool,
}

impl Watch {
    /// A watch of the folder at `path`, not started yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, event: Arc::default(), active: Mutex::default() }
    }

    /// Starts the watch, unless `folder` is watched already. A failure is logged once; the stage continues with its
    /// regular scans.
    pub fn start(&self, folder: FolderId) {
        let mut active = self.active.lock();
        if active.watcher.is_some() && active.folder == Some(folder) {
            return;
        }
        match watcher(&self.path, self.event.clone()) {
            Ok(watcher) => {
                *active = Active { watcher: Some(watcher), folder: Some(folder), failure_logged: false };
                // A file that came after the last scan and before the watch caused no event.
                self.event.notify_one();
            }
            Err(error) => {
                if !active.failure_logged {
                    tracing::warn!(
                        "{} cannot be watched ({error}); it is scanned every `inbox.rescan` instead",
                        self.path.display()
                    );
                }
                *active = Active { failure_logged: true, ..Active::default() };
            }
        }
    }

    /// Stops the watch until it is started again.
    pub fn stop(&self) {
        let mut active = self.active.lock();
        (active.watcher, active.folder) = (None, None);
    }

    /// Waits for an event.
    pub async fn changed(&self) {
        self.event.notified().await;
    }
}

fn watcher(folder: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reads, also our own, change nothing. Everything else counts, overflows and errors too.
        if !event.is_ok_and(|event| event.kind.is_access() && !is_close_after_write(&event)) {
            changed.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn is_close_after_write(event: &notify::Event) -> bool {
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
    async fn start_of_the_watch_and_each_change_are_events() {
        let folder = tempfile::tempdir().unwrap();
        let id = Inbox::new(folder.path().to_owned()).create_if_missing().unwrap();
        let watch = Watch::new(folder.path().to_owned());
        let clock = Clock::machine();
        watch.start(id);
        assert!(clock.within(Duration::from_secs(5), watch.changed()).await.is_some());
        watch.start(id);
        let again = clock.within(Duration::from_millis(200), watch.changed()).await;
        assert!(again.is_none(), "already started");
        std::fs::write(folder.path().join("a.json"), "{}").unwrap();
        assert!(clock.within(Duration::from_secs(5), watch.changed()).await.is_some());
        watch.stop();
        clock.sleep(Duration::from_millis(50)).await;
        let _ = clock.within(Duration::ZERO, watch.changed()).await;
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        let stopped = clock.within(Duration::from_millis(200), watch.changed()).await;
        assert!(stopped.is_none(), "stopped");
        watch.start(id);
        assert!(
            clock.within(Duration::from_secs(5), watch.changed()).await.is_some(),
            "files that came meanwhile"
        );
    }
}
