//! Ingests dropped files: waits until they are complete, validates them, commits their jobs, moves them. A file that
//! left the inbox is a committed job, or lies in `rejected/` with its reason.

mod archive;
mod folder_defaults;
mod ingest;
mod new_folders;
mod pictures;
mod validate;
mod watch;
mod writers;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::{Clock, Tick, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::fs::lock::{InboxLock, LockError};
use crate::inbox::{FileVersion, Inbox, InboxEntry, Scan, ScanCache, ScannedFolder};
use crate::jobfile::{self, JobFileLimits, JobFileReader, Problem, split_path};
use crate::pictures::PictureFolder;
use crate::rng::Rng;
use crate::stages::intake::folder_defaults::{DefaultsByFolder, FoundDefaults, folders_of};
use crate::stages::intake::new_folders::KnownFolders;
use crate::stages::intake::pictures::PictureFinder;
use crate::stages::intake::validate::{Candidate, Validator};
use crate::stages::intake::watch::Watch;
use crate::stages::{Stage, Wake, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;

/// From this many files on, a pass runs without the watch: each of our own moves would be an event. So does the wait for
/// this many in new folders: each file that is copied into one would be an event, and nothing but time ends the wait.
const UNWATCHED_FILES: usize = 256;
/// Delay before the next scan after a transient fault (full disk, busy database).
const FAULT_DELAY: Duration = Duration::from_secs(5);
/// How long a pass works on unfinished files, so that neither a stop nor the watchdog waits for it.
const LONGEST_FINISH: Duration = Duration::from_secs(5);
/// Minimum time between two warnings about the same file.
const WARNING_INTERVAL: Duration = Duration::from_secs(3600);

/// The folders of the intake stage, and its timing.
#[derive(Clone, Debug)]
pub struct IntakeFolders {
    /// The watched folder.
    pub inbox: PathBuf,
    /// Gets one folder per day.
    pub accepted: PathBuf,
    /// For bad files and their reasons.
    pub rejected: PathBuf,
    /// Whether the folders below the inbox are read too.
    pub recursive: bool,
    /// How long a file must be unchanged before a bad one is rejected.
    pub settle: Duration,
    /// Time between two scans without an event.
    pub rescan: Duration,
    /// For copies of local pictures.
    pub pictures: PictureFolder,
    /// How long a job file waits for its pictures.
    pub picture_wait: Duration,
}

/// The intake stage.
pub struct IntakeStage {
    store: Store,
    clock: Clock,
    validator: Arc<Validator>,
    folders: Arc<IntakeFolders>,
    /// Renewed before each scan, in case the folder was replaced.
    lock: Option<Arc<InboxLock>>,
    watch: Watch,
    has_event: AtomicBool,
    next_scan: Mutex<Option<Tick>>,
    /// The job files found by the last scan, by path.
    known_files: Mutex<BTreeMap<String, KnownFile>>,
    known_folders: Mutex<KnownFolders>,
    scan_cache: Arc<Mutex<ScanCache>>,
    /// The folders that the last scan skipped, and when each was reported.
    skipped_folders: Mutex<BTreeMap<String, Tick>>,
}

/// A file that was in the inbox at the last scan.
#[derive(Clone, Copy, Debug)]
struct KnownFile {
    version: FileVersion,
    unchanged_since: Tick,
    /// It is not read again before it has been unchanged for this long.
    settle: Duration,
    warned_at: Option<Tick>,
}

/// What of the inbox is validated now.
#[derive(Default)]
struct Selection {
    candidates: Vec<Candidate>,
    defaults: DefaultsByFolder,
    /// The time until the next file can be.
    next: Option<Duration>,
    /// How many files wait for the rest of their folder, or for its defaults.
    in_new_folders: usize,
}

/// Why the inbox cannot be scanned.
#[derive(Debug, thiserror::Error)]
enum ScanError {
    #[error(transparent)]
    Folder(#[from] FsError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The content of `NAME.reason.json` (docs/reference.md#folders).
#[derive(Serialize)]
struct Reason<'a> {
    file: &'a str,
    at: Timestamp,
    errors: &'a [Problem],
}

impl IntakeStage {
    /// A stage for these folders, which are created when they are needed.
    pub fn new(store: Store, clock: Clock, folders: IntakeFolders, limits: JobFileLimits, rng: Rng) -> Self {
        let inbox = Inbox::new(folders.inbox.clone());
        let pictures = Arc::new(PictureFinder {
            inbox: folders.inbox.clone(),
            folder: folders.pictures.clone(),
            wait: folders.picture_wait,
            settle: folders.settle,
            clock: clock.clone(),
            removal_interval: folders.rescan,
            removed_at: Mutex::default(),
        });
        let reader = JobFileReader::new(limits, rng);
        let validator = Arc::new(Validator { inbox, settle: folders.settle, reader, pictures });
        Self {
            store,
            clock,
            validator,
            watch: Watch::new(folders.inbox.clone()),
            folders: Arc::new(folders),
            lock: None,
            has_event: AtomicBool::new(true),
            next_scan: Mutex::default(),
            known_files: Mutex::default(),
            known_folders: Mutex::default(),
            scan_cache: Arc::default(),
            skipped_folders: Mutex::default(),
        }
    }

    /// Scans only while the inbox is locked.
    #[must_use]
    pub fn locking(self, lock: Option<Arc<InboxLock>>) -> Self {
        Self { lock, ..self }
    }

    /// Selects the files to validate now, and the defaults.
    fn select_files(
        &self,
        entries: Vec<InboxEntry>,
        folders: &[ScannedFolder],
        unmoved: &BTreeSet<String>,
    ) -> Selection {
        let now = self.clock.tick();
        let mut waits = self.known_folders.lock().waits(folders, now, self.folders.settle);
        let mut known_files = self.known_files.lock();
        let mut before = std::mem::take(&mut *known_files);
        let (mut job_files, mut defaults) = (Vec::new(), DefaultsByFolder::new());
        for entry in entries {
            let is_defaults = jobfile::is_defaults_name(&entry.name);
            if !is_defaults && !jobfile::is_job_file_name(&entry.name) || unmoved.contains(&entry.name) {
                continue;
            }
            let new = KnownFile {
                version: entry.version,
                unchanged_since: now,
                settle: Duration::ZERO,
                warned_at: None,
            };
            let (name, mut known) =
                before.remove_entry(&entry.name).unwrap_or_else(|| (entry.name.clone(), new));
            if known.version != entry.version {
                let is_growing = entry.version.has_grown_since(&known.version);
                let settle = if is_growing { self.folders.settle } else { Duration::ZERO };
                known = KnownFile { settle, warned_at: known.warned_at, ..new };
            }
            known_files.insert(name, known);
            let unchanged_for = now.since(known.unchanged_since);
            let left = known.settle.saturating_sub(unchanged_for);
            if !is_defaults {
                job_files.push((left, Candidate { entry, unchanged_for }));
                continue;
            }
            let folder = split_path(&entry.name).0.to_owned();
            // What is below waits for its defaults.
            let wait = waits.entry(folder.clone()).or_default();
            *wait = left.max(*wait);
            let found = FoundDefaults { entry, unchanged_for, other: None };
            match defaults.entry(folder) {
                Entry::Vacant(entry) => drop(entry.insert(found)),
                Entry::Occupied(mut first) => first.get_mut().other = Some(found.entry.name),
            }
        }
        let mut selection = Selection { defaults, ..Selection::default() };
        let of_folder = |folder: &str| waits.get(folder).copied().unwrap_or_default();
        for (left, candidate) in job_files {
            let folder = split_path(&candidate.entry.name).0;
            let of_folders = match waits.is_empty() {
                true => Duration::ZERO,
                false => folders_of(folder).map(of_folder).max().unwrap_or_default(),
            };
            selection.in_new_folders += usize::from(!of_folders.is_zero());
            let left = left.max(of_folders);
            if left.is_zero() {
                selection.candidates.push(candidate);
            } else {
                selection.next = Some(selection.next.map_or(left, |next| next.min(left)));
            }
        }
        selection
    }

    /// Does not read the file again before it has been unchanged for `settle`. Returns the time until then.
    fn postpone(&self, name: &str, settle: Duration) -> Duration {
        let now = self.clock.tick();
        let mut known_files = self.known_files.lock();
        let Some(known) = known_files.get_mut(name) else { return settle };
        known.settle = settle;
        settle.saturating_sub(now.since(known.unchanged_since))
    }

    fn warn_file_stays(&self, name: &str, why: &str) {
        let now = self.clock.tick();
        let mut known_files = self.known_files.lock();
        let known = known_files.get_mut(name);
        let warned_at = known.as_ref().and_then(|known| known.warned_at);
        if warned_at.is_some_and(|warned_at| now.since(warned_at) < WARNING_INTERVAL) {
            return;
        }
        tracing::warn!("{name} stays in the inbox: {why}");
        if let Some(known) = known {
            known.warned_at = Some(now);
        }
    }

    async fn reject(&self, name: &str, version: FileVersion, problems: Vec<Problem>) {
        let (validator, folders) = (self.validator.clone(), self.folders.clone());
        let (at, owned) = (self.clock.now(), name.to_owned());
        let more = problems.len().saturating_sub(1);
        let first = problems.first().map(Problem::to_string).unwrap_or_default();
        let rejected = run_blocking(&self.clock, move || {
            validator.inbox.reject(&owned, &version, &folders.rejected, |file| {
                let reason = Reason { file, at, errors: &problems };
                // Strings and numbers always have a JSON form.
                serde_json::to_vec_pretty(&reason).unwrap_or_default()
            })
        })
        .await;
        match rejected {
            Ok(to) => {
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                tracing::warn!("rejected {name}: {first}{more}; see {}.reason.json", to.display());
            }
            // Edited while it was validated: the next pass validates it again.
            Err(FsError::Changed(_) | FsError::NotFound(_)) => {}
            Err(error) => self.warn_file_stays(name, &format!("it is invalid but cannot be moved: {error}")),
        }
    }

    /// Warns of folders that are not read.
    fn report_skipped(&self, skipped: Vec<(String, String)>) {
        if !self.folders.recursive {
            return;
        }
        let now = self.clock.tick();
        let mut reported = self.skipped_folders.lock();
        reported.retain(|path, _| skipped.iter().any(|(skipped, _)| skipped == path));
        for (path, why) in skipped {
            if reported.get(&path).is_none_or(|at| now.since(*at) >= WARNING_INTERVAL) {
                tracing::warn!("the folder {path} of the inbox is not read: {why}");
                reported.insert(path, now);
            }
        }
    }

    fn update_watch(&self, folders: &[ScannedFolder]) {
        // Under a paused clock, events would arrive in no fixed order.
        if !self.clock.is_paused() {
            self.watch.update(folders);
        }
    }

    /// Time until the next scan; `None` if it is due or an event came in.
    fn time_until_scan(&self) -> Option<Duration> {
        let has_event = self.has_event.swap(false, Ordering::Relaxed);
        let next = *self.next_scan.lock();
        let now = self.clock.tick();
        next.filter(|next| !has_event && *next > now).map(|next| next.since(now))
    }
}

impl Stage for IntakeStage {
    const NAME: &'static str = "intake";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if let Some(left) = self.time_until_scan() {
            return Ok(Wake::At(self.clock.now().plus(left)));
        }
        failpoints::hit(FailPoint::IntakeBegan);
        let (validator, lock, recursive) =
            (self.validator.clone(), self.lock.clone(), self.folders.recursive);
        let (cache, now) = (self.scan_cache.clone(), self.clock.tick());
        let scanned = run_blocking(&self.clock, move || {
            validator.inbox.create_if_missing()?;
            lock.map_or(Ok(()), |lock| lock.renew())?;
            Ok::<_, ScanError>(validator.inbox.scan_again(recursive, &mut cache.lock(), now)?)
        })
        .await;
        let Scan { files, folders, skipped } = match scanned {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("the inbox cannot be scanned: {error}");
                return Ok(Wake::At(self.clock.now().plus(FAULT_DELAY)));
            }
        };
        self.report_skipped(skipped);
        if self.store.finish_unfinished_within(LONGEST_FINISH).await? {
            self.has_event.store(true, Ordering::Relaxed);
            return Ok(Wake::AtOnce);
        }
        let unmoved = self.resume_moves().await?;
        self.remove_unneeded_pictures().await?;
        let Selection { candidates, defaults, next, in_new_folders } =
            self.select_files(files, &folders, &unmoved);
        let many_wait = in_new_folders >= UNWATCHED_FILES;
        let unwatched = many_wait || candidates.len() >= UNWATCHED_FILES;
        if unwatched {
            self.watch.stop();
        } else {
            self.update_watch(&folders);
        }
        let (postponed, ingested) = self.ingest(candidates, defaults).await;
        if unwatched && !many_wait {
            // A new watch is an event itself, so files that came meanwhile are found at once.
            self.update_watch(&folders);
        }
        let fault = match ingested {
            Ok(()) => None,
            Err(
                error @ (StoreError::DiskFull(_)
                | StoreError::Busy
                | StoreError::Unavailable(_)
                | StoreError::FileReplaced),
            ) => {
                tracing::warn!("job files stay in the inbox for now: {error}");
                Some(FAULT_DELAY)
            }
            Err(error) => return Err(error),
        };
        let wait = [next, postponed, fault].into_iter().flatten().fold(self.folders.rescan, Duration::min);
        *self.next_scan.lock() = Some(self.clock.tick().plus(wait));
        Ok(Wake::At(self.clock.now().plus(wait)))
    }

    async fn notified(&self) {
        self.watch.changed().await;
        self.has_event.store(true, Ordering::Relaxed);
    }

    async fn drain(&self) {}
}
