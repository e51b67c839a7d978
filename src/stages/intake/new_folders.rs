//! A new folder is read once its content is complete: a program that copies it creates the files one by one, and
//! `defaults.json` may be the last of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Tick;
use crate::inbox::ScannedFolder;

/// The longest wait for a new folder to which files are added all the time.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The folders that the last scan found.
#[derive(Debug, Default)]
pub(super) struct KnownFolders(BTreeMap<String, KnownFolder>);

#[derive(Debug)]
struct KnownFolder {
    id: (u64, u64),
    entries: usize,
    first_seen: Tick,
    last_change: Tick,
    is_complete: bool,
}

impl KnownFolders {
    /// How long the files of each of these folders must wait still, if at all. The inbox itself never waits.
    pub fn waits(
        &mut self,
        folders: &[ScannedFolder],
        now: Tick,
        settle: Duration,
    ) -> BTreeMap<String, Duration> {
        let mut before = std::mem::take(&mut self.0);
        let mut waits = BTreeMap::new();
        for ScannedFolder { path, id, entries } in folders.iter().filter(|folder| !folder.path.is_empty()) {
            let known = before.remove(path).filter(|known| known.id == *id);
            let mut known = known.unwrap_or(KnownFolder {
                id: *id,
                entries: *entries,
                first_seen: now,
                last_change: now,
                is_complete: false,
            });
            if known.entries != *entries {
                (known.entries, known.last_change) = (*entries, now);
            }
            let quiet = now.since(known.last_change);
            known.is_complete |= quiet >= settle || now.since(known.first_seen) >= MAX_WAIT;
            if !known.is_complete {
                waits.insert(path.clone(), settle.saturating_sub(quiet));
            }
            self.0.insert(path.clone(), known);
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn new_folder_waits_until_it_is_quiet_and_a_known_one_never() {
        let clock = Clock::paused(Timestamp::from_millis(0));
        let (settle, second) = (Duration::from_secs(2), Duration::from_secs(1));
        let mut known = KnownFolders::default();
        let mut wait = |inode: u64, entries: usize| {
            let folder = |path: &str| ScannedFolder { path: path.to_owned(), id: (1, inode), entries };
            let waits = known.waits(&[folder(""), folder("a")], clock.tick(), settle);
            assert!(!waits.contains_key(""));
            clock.advance(second);
            waits.get("a").map_or(0, Duration::as_secs)
        };
        assert_eq!([wait(1, 1), wait(1, 2), wait(1, 2), wait(1, 2)], [2, 2, 1, 0]);
        assert_eq!([wait(1, 3), wait(1, 0)], [0, 0], "complete");
        assert_eq!(wait(2, 3), 2, "another folder in its place");
        let waited = (0..100).take_while(|entries| wait(3, *entries) > 0).count();
        assert_eq!(waited, 60);
    }
}
