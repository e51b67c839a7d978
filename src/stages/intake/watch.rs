//! File system events of the inbox and of the folders below it. Events can be lost, and folders beyond the kernel's limit
//! cause none, so the intake stage also scans the inbox every `inbox.rescan`.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::fs::FileId;
use crate::inbox::ScannedFolder;

/// What makes a scan worth while. Not reads, our own among them: each scan would be the event that causes the next. Nor what
/// leaves the folder.
const EVENTS: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// The limit on watched folders.
const MAX_WATCHES: &str = "/proc/sys/fs/inotify/max_user_watches";

/// A watch of the inbox and the folders below it. A folder that replaces another is watched in its place.
pub struct Watch {
    inbox: PathBuf,
    /// A new folder is watched: a file that came after its last scan and before that caused no event.
    added: Notify,
    active: Mutex<Option<Active>>,
    /// Whether the last update failed: then the next failure is not logged.
    failing: AtomicBool,
}

struct Active {
    events: Arc<Events>,
    /// The watched folders by path, with the kernel's number of each watch.
    folders: BTreeMap<String, (FileId, i32)>,
}

/// The kernel's queue of events.
struct Events {
    queue: AsyncFd<OwnedFd>,
    /// The numbers of watches that ended with their folder. Another folder may have its inode.
    ended: Mutex<Vec<i32>>,
}

impl Watch {
    /// A watch of the inbox at this path, not started yet.
    pub fn new(inbox: PathBuf) -> Self {
        Self { inbox, added: Notify::new(), active: Mutex::default(), failing: AtomicBool::new(false) }
    }

    /// Watches these folders and no others. A failure is logged once; the stage continues with its regular scans.
    pub fn update(&self, folders: &[ScannedFolder]) {
        let mut active = self.active.lock();
        let (any_new, failure) = match active.take().map_or_else(Active::new, Ok) {
            Ok(mut started) => {
                let updated = started.update(&self.inbox, folders);
                *active = Some(started);
                updated
            }
            Err(error) => (false, Some(describe_start(&error))),
        };
        if any_new {
            self.added.notify_one();
        }
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        if let Some(why) = failure.filter(|_| !was_failing) {
            tracing::warn!("{why}; new files are found by scanning instead, every `inbox.rescan`");
        }
    }

    /// Stops the watch until it is updated again.
    pub fn stop(&self) {
        *self.active.lock() = None;
    }

    /// Waits for an event.
    pub async fn changed(&self) {
        let events = self.active.lock().as_ref().map(|active| active.events.clone());
        match events {
            None => self.added.notified().await,
            Some(events) => tokio::select! {
                () = self.added.notified() => {}
                () = events.next() => {}
            },
        }
    }
}

impl Active {
    #[expect(
        deprecated,
        reason = "its fault concerns types whose descriptor may change, which an OwnedFd's cannot"
    )]
    fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let queue = AsyncFd::with_interest(queue, Interest::READABLE)?;
        Ok(Self { events: Arc::new(Events { queue, ended: Mutex::default() }), folders: BTreeMap::new() })
    }

    /// Returns whether a new folder is watched, and why another cannot be.
    fn update(&mut self, inbox: &Path, wanted: &[ScannedFolder]) -> (bool, Option<String>) {
        let by_path: BTreeMap<&str, &ScannedFolder> =
            wanted.iter().map(|folder| (folder.path.as_str(), folder)).collect();
        let events = self.events.queue.get_ref();
        // What happened since the scan needs another one.
        let mut any_new = self.events.take();
        let ended = std::mem::take(&mut *self.events.ended.lock());
        self.folders.retain(|_, (_, number)| !ended.contains(number));
        // First, because a folder that was moved has only one watch, by whatever path.
        self.folders.retain(|path, (watched, number)| {
            let keep = by_path.get(path.as_str()).is_some_and(|folder| folder.id == *watched);
            if !keep {
                // The kernel may have removed it with its folder.
                let _ = inotify::remove_watch(events, *number);
            }
            keep
        });
        for folder in wanted {
            if self.folders.contains_key(&folder.path) {
                continue;
            }
            let path = if folder.path.is_empty() { inbox.to_owned() } else { inbox.join(&folder.path) };
            match inotify::add_watch(events, &path, EVENTS) {
                Ok(number) => {
                    self.folders.insert(folder.path.clone(), (folder.id, number));
                    any_new = true;
                }
                // Removed since it was listed.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    let why = match error {
                        Errno::NOSPC => self.describe_limit(wanted.len()),
                        error => format!("{} cannot be watched ({error})", path.display()),
                    };
                    return (any_new, Some(why));
                }
            }
        }
        (any_new, None)
    }

    fn describe_limit(&self, folders: usize) -> String {
        let limit = std::fs::read_to_string(MAX_WATCHES).unwrap_or_default();
        format!(
            "only {} of the {folders} folders of the inbox can be watched: raise fs.inotify.max_user_watches with sysctl \
             (it is {})",
            self.folders.len(),
            limit.trim()
        )
    }
}

fn describe_start(error: &io::Error) -> String {
    let fix = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => "; raise fs.inotify.max_user_instances with sysctl",
        _ => "",
    };
    format!("the inbox cannot be watched ({error}){fix}")
}

impl Events {
    /// Waits for an event and takes all that are there.
    async fn next(&self) {
        loop {
            // An error would last: then only the regular scans remain.
            let Ok(mut ready) = self.queue.readable().await else { return std::future::pending().await };
            let any = self.take();
            ready.clear_ready();
            if any {
                return;
            }
        }
    }

    /// Takes the events that are there. What happened does not matter, since the scan finds it; but for ends of watches.
    fn take(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(self.queue.get_ref(), &mut buffer);
        let mut any = false;
        while let Ok(event) = reader.next() {
            any = true;
            if event.events().contains(ReadFlags::IGNORED) {
                self.ended.lock().push(event.wd());
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::inbox::Inbox;

    struct Watched {
        inbox: Inbox,
        watch: Watch,
        clock: Clock,
        folder: tempfile::TempDir,
    }

    impl Watched {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("inbox");
            let inbox = Inbox::new(path.clone());
            inbox.create_if_missing().unwrap();
            Self { inbox, watch: Watch::new(path), clock: Clock::machine(), folder }
        }

        fn update(&self) {
            self.watch.update(&self.inbox.scan(true).unwrap().folders);
        }

        async fn has_event(&self) -> bool {
            self.clock.within(Duration::from_millis(500), self.watch.changed()).await.is_some()
        }

        /// Updates until nothing new is found, as the stage does.
        async fn settle(&self) {
            self.update();
            while self.has_event().await {
                self.update();
            }
        }
    }

    #[tokio::test]
    async fn start_of_the_watch_and_each_change_are_events_and_scans_are_not() {
        let watched = Watched::new();
        watched.update();
        assert!(watched.has_event().await, "the start");
        watched.update();
        assert!(!watched.has_event().await, "a scan");
        std::fs::write(watched.inbox.path().join("a.json"), "{}").unwrap();
        assert!(watched.has_event().await, "a file");
        watched.watch.stop();
        std::fs::write(watched.inbox.path().join("b.json"), "{}").unwrap();
        assert!(!watched.has_event().await, "stopped");
        watched.update();
        assert!(watched.has_event().await, "files that came meanwhile");
    }

    #[tokio::test]
    async fn folders_are_watched_wherever_they_come_from() {
        let watched = Watched::new();
        let path = |relative: &str| watched.inbox.path().join(relative);
        watched.settle().await;
        std::fs::create_dir_all(path("a/b")).unwrap();
        assert!(watched.has_event().await, "created");
        watched.settle().await;
        std::fs::write(path("a/b/c.json"), "{}").unwrap();
        assert!(watched.has_event().await, "a file in it");
        watched.settle().await;
        std::fs::rename(path("a"), path("moved")).unwrap();
        assert!(watched.has_event().await, "renamed");
        watched.settle().await;
        std::fs::write(path("moved/b/d.json"), "{}").unwrap();
        assert!(watched.has_event().await, "a file in the renamed one");
        watched.settle().await;
        let outside = watched.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::rename(&outside, path("a")).unwrap();
        assert!(watched.has_event().await, "moved in");
        watched.settle().await;
        std::fs::write(path("a/e.json"), "{}").unwrap();
        assert!(watched.has_event().await, "a file in another folder of the same name");
        watched.settle().await;
        std::fs::remove_dir_all(path("a")).unwrap();
        std::fs::create_dir(path("a")).unwrap();
        watched.settle().await;
        std::fs::write(path("a/f.json"), "{}").unwrap();
        assert!(watched.has_event().await, "a file in a folder that was made again");
    }
}
