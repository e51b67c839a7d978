//! Takes dropped files in: settles, checks, commits, moves. A file that left the inbox is a committed job, or lies in
//! `rejected/` with its reason.

mod archive;
mod ingest;
mod read_ahead;
mod validate;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Tick, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::inbox::{FileVersion, FolderId, Inbox, InboxEntry};
use crate::jobfile::{self, Limits, Problem};
use crate::stages::{Stage, Wake, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use ingest::Chosen;
use validate::Judge;
use watch::Watch;

/// So many files at once are taken in unwatched.
const MANY: usize = 256;
/// After a fault that passes (full disk, busy database), files are tried again so soon.
const FAULT_PAUSE: Duration = Duration::from_secs(5);
/// The same trouble with the same file is told again after this.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// Where the intake stage takes from and to, and how patient it is.
#[derive(Clone, Debug)]
pub struct IntakeFolders {
    /// The watched folder.
    pub inbox: PathBuf,
    /// Gets one folder per day.
    pub accepted: PathBuf,
    /// For bad files and their reasons.
    pub rejected: PathBuf,
    /// How long a file must be still before it is judged.
    pub settle: Duration,
    /// Between two looks without news.
    pub rescan: Duration,
}

/// The intake stage.
pub struct IntakeStage {
    store: Store,
    clock: Clock,
    judge: Arc<Judge>,
    folders: Arc<IntakeFolders>,
    watch: Watch,
    news: AtomicBool,
    next_look: Mutex<Option<Tick>>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// A file as last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    version: FileVersion,
    still_since: Tick,
    /// Not to be read again before it has been still for so long.
    patience: Duration,
    told_at: Option<Tick>,
}

/// The reason file beside a rejected one (docs/reference.md#folders).
#[derive(Serialize)]
struct Reason<'a> {
    file: &'a str,
    at: Timestamp,
    errors: &'a [Problem],
}

impl IntakeStage {
    /// A stage over these folders, which are made if need be.
    pub fn new(store: Store, clock: Clock, folders: IntakeFolders, limits: Limits) -> Self {
        let inbox = Inbox::new(folders.inbox.clone());
        let judge = Arc::new(Judge { inbox, settle: folders.settle, limits });
        Self {
            store,
            clock,
            judge,
            watch: Watch::new(folders.inbox.clone()),
            folders: Arc::new(folders),
            news: AtomicBool::new(true),
            next_look: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The files to judge now, with how long each has been still, and when the next one may be.
    fn choose(
        &self,
        entries: Vec<InboxEntry>,
        pending: &BTreeSet<String>,
    ) -> (Vec<Chosen>, Option<Duration>) {
        let now = self.clock.tick();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        seen.retain(|name, _| names.contains(name.as_str()));
        let mut chosen = Vec::new();
        let mut next: Option<Duration> = None;
        for entry in entries {
            if !jobfile::is_job_file_name(&entry.name) || pending.contains(&entry.name) {
                continue;
            }
            let fresh =
                Seen { version: entry.version, still_since: now, patience: Duration::ZERO, told_at: None };
            let known = seen.entry(entry.name.clone()).or_insert(fresh);
            if known.version != entry.version {
                *known = Seen { told_at: known.told_at, ..fresh };
            }
            let still = now.since(known.still_since);
            if still < known.patience {
                let left = known.patience - still;
                next = Some(next.map_or(left, |next| next.min(left)));
            } else {
                chosen.push((entry, still));
            }
        }
        (chosen, next)
    }

    fn be_patient(&self, name: &str, patience: Duration) -> Duration {
        let now = self.clock.tick();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = seen.get_mut(name) else { return patience };
        known.patience = patience;
        patience.saturating_sub(now.since(known.still_since))
    }

    fn tell_trouble(&self, name: &str, trouble: &str) {
        let now = self.clock.tick();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let told_at = seen.get_mut(name).map(|known| &mut known.told_at);
        let fresh =
            told_at.as_deref().is_none_or(|told| told.is_none_or(|told| now.since(told) >= TELL_AGAIN));
        if fresh {
            tracing::warn!("{name} stays in the inbox: {trouble}");
        }
        if let Some(told_at) = told_at.filter(|_| fresh) {
            *told_at = Some(now);
        }
    }

    async fn reject(&self, name: &str, version: FileVersion, problems: Vec<Problem>) {
        let (judge, folders) = (self.judge.clone(), self.folders.clone());
        let (at, owned) = (self.clock.now(), name.to_owned());
        let more = problems.len().saturating_sub(1);
        let first = problems.first().map(Problem::to_string).unwrap_or_default();
        let rejected = run_blocking(&self.clock, move || {
            judge.inbox.reject(&owned, &version, &folders.rejected, |file| {
                let reason = Reason { file, at, errors: &problems };
                // A list of texts and numbers always has a JSON form.
                serde_json::to_vec_pretty(&reason).unwrap_or_default()
            })
        })
        .await;
        match rejected {
            Ok(to) => {
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                tracing::warn!("rejected {name}: {first}{more}; see {}.reason.json", to.display());
            }
            // Edited while it was judged: it is judged again.
            Err(FsError::Changed(_) | FsError::NotFound(_)) => {}
            Err(error) => self.tell_trouble(name, &format!("it is bad but cannot be moved: {error}")),
        }
    }

    fn arm(&self, identity: FolderId) {
        // Under a paused clock nothing may come of itself.
        if !self.clock.is_paused() {
            self.watch.arm(identity);
        }
    }

    fn look_is_due(&self) -> Option<Duration> {
        let news = self.news.swap(false, Ordering::Relaxed);
        let next = *self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.tick();
        next.filter(|next| !news && *next > now).map(|next| next.since(now))
    }
}

impl Stage for IntakeStage {
    const NAME: &'static str = "intake";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if let Some(left) = self.look_is_due() {
            return Ok(Wake::At(self.clock.now().plus(left)));
        }
        failpoints::hit(FailPoint::IntakeBegan);
        let judge = self.judge.clone();
        let looked = run_blocking(&self.clock, move || {
            judge.inbox.create_if_missing().and_then(|id| Ok((id, judge.inbox.list()?)))
        })
        .await;
        let (identity, entries) = match looked {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("the inbox cannot be looked at: {error}");
                return Ok(Wake::At(self.clock.now().plus(FAULT_PAUSE)));
            }
        };
        let pending = self.finish_moves().await?;
        let (chosen, next) = self.choose(entries, &pending);
        let many = chosen.len() >= MANY;
        if many {
            self.watch.rest();
        } else {
            self.arm(identity);
        }
        let (left, taken) = self.take(chosen).await;
        if many {
            // Which is news itself: what came meanwhile is looked for at once.
            self.arm(identity);
        }
        let fault = match taken {
            Ok(()) => None,
            Err(error @ (StoreError::DiskFull | StoreError::Busy)) => {
                tracing::warn!("job files stay in the inbox for now: {error}");
                Some(FAULT_PAUSE)
            }
            Err(error) => return Err(error),
        };
        let wait = [next, left, fault, Some(self.folders.rescan)].into_iter().flatten().min();
        let wait = wait.unwrap_or(self.folders.rescan);
        *self.next_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.tick().plus(wait));
        Ok(Wake::At(self.clock.now().plus(wait)))
    }

    async fn notified(&self) {
        self.watch.news().await;
        self.news.store(true, Ordering::Relaxed);
    }

    async fn drain(&self) {}
}
