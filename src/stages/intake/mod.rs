//! Takes dropped files in: settles, checks, commits, moves. A file that left the inbox is a committed job, or lies in
//! `rejected/` with its reason.

mod judge;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Tick, Timestamp};
use crate::disk::DiskError;
use crate::disk::inbox::{Entry, Inbox, Stamp};
use crate::jobfile::{self, Limits, Problem};
use crate::lab::{self, Bug, Site, planted};
use crate::stages::{Stage, Wake, blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::intake::{Intake, Source, TakeError, Unmoved};
use judge::{Judge, Judgement, Ready, whole};
use watch::Watch;

/// So many files are read, committed and moved together.
const BATCH: usize = 24;
/// After a fault that passes (full disk, busy database), files are tried again so soon.
const FAULT_PAUSE: Duration = Duration::from_secs(5);
/// So often a file that changes while it is moved is looked at again.
const SECOND_LOOKS: u32 = 100;
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
    stamp: Stamp,
    still_since: Tick,
    /// Not to be read again before it has been still for so long.
    patience: Duration,
    told_at: Option<Tick>,
}

/// The reason file beside a rejected one (contract, section 1).
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

    /// Finishes the moves that a crash or a full disk left: their jobs are committed, so their files are no new drops.
    async fn finish_moves(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut pending = BTreeSet::new();
        for unmoved in self.store.unmoved().await? {
            let (judge, folders) = (self.judge.clone(), self.folders.clone());
            let name = unmoved.file_name.clone();
            lab::reach(Site::MoveResumed);
            match blocking(&self.clock, move || {
                finish_move(&judge.inbox, &folders, &unmoved).map(|to| (unmoved.nr, to))
            })
            .await
            {
                Ok((nr, to)) => self.store.mark_moved(nr, to, self.clock.now()).await?,
                Err(error) => {
                    tracing::warn!("{name} was accepted but cannot be moved out of the inbox yet: {error}");
                    pending.insert(name);
                }
            }
        }
        Ok(pending)
    }

    /// The files to judge now, with how long each has been still, and when the next one may be.
    fn choose(
        &self,
        entries: Vec<Entry>,
        pending: &BTreeSet<String>,
    ) -> (Vec<(Entry, Duration)>, Option<Duration>) {
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
                Seen { stamp: entry.stamp, still_since: now, patience: Duration::ZERO, told_at: None };
            let known = seen.entry(entry.name.clone()).or_insert(fresh);
            if known.stamp != entry.stamp {
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

    /// Judges, commits and moves a batch of files. The earliest time to look again, if any of them must wait.
    async fn take(&self, batch: &[(Entry, Duration)]) -> Result<Option<Duration>, StoreError> {
        let judged = futures_util::future::join_all(batch.iter().cloned().map(|(entry, still)| {
            let judge = self.judge.clone();
            blocking(&self.clock, move || judge.judge(&entry, still))
        }))
        .await;
        let mut next: Option<Duration> = None;
        let mut ready = Vec::new();
        for ((entry, _), judgement) in batch.iter().zip(judged) {
            match judgement {
                Judgement::Wait(patience) => {
                    let left = self.be_patient(&entry.name, patience);
                    next = Some(next.map_or(left, |next| next.min(left)));
                }
                Judgement::Trouble(trouble) => self.tell_trouble(&entry.name, &trouble),
                Judgement::Reject(problems, stamp) => self.reject(&entry.name, stamp, problems).await,
                Judgement::Ready(file) => ready.push((entry.name.clone(), file)),
            }
        }
        // Handed to the writer in the order of names, so that ids follow it; committed together.
        let taken =
            futures_util::future::join_all(ready.into_iter().map(|(name, file)| self.commit(name, file)))
                .await;
        let mut fault = None;
        let moves = taken.into_iter().filter_map(|taken| {
            taken.unwrap_or_else(|error| {
                fault = Some(error);
                None
            })
        });
        let moves: Vec<_> = moves.collect();
        futures_util::future::join_all(moves.into_iter().map(|file| self.archive(file))).await;
        fault.map_or(Ok(next), Err)
    }

    /// Commits the jobs of a file. `None` when there is nothing to move.
    async fn commit(&self, name: String, mut file: Ready) -> Result<Option<Committed>, StoreError> {
        let now = self.clock.now();
        let drafts = match self.judge.drafts(&name, &mut file) {
            Ok(drafts) => drafts,
            Err(DiskError::Changed(_) | DiskError::Gone(_)) => return Ok(None),
            Err(error) => {
                self.tell_trouble(&name, &error.to_string());
                return Ok(None);
            }
        };
        let intake = Intake {
            source: Source::Inbox,
            file_name: Some(name.clone()),
            sha256: file.sha256.clone(),
            bytes: file.stamp.bytes,
        };
        if planted(Bug::MoveBeforeCommit) {
            let _ = self.judge.inbox.archive(&name, &file.stamp, &self.folders.accepted.join(now.date()));
        }
        lab::reach(Site::IntakeJudged);
        match self.store.take_in(intake, drafts, now).await {
            Ok(taken) => {
                lab::reach(Site::IntakeCommitted);
                for job in &taken.jobs {
                    tracing::debug!(%job, "accepted job {job} from {name}");
                }
                let count = taken.jobs.len();
                tracing::info!("accepted {name}: {count} job{}", if count == 1 { "" } else { "s" });
                Ok(Some(Committed { nr: taken.nr, name, file, now }))
            }
            Err(TakeError::Store(error)) => Err(error),
            Err(TakeError::Unread(why)) => {
                self.tell_trouble(&name, &why);
                Ok(None)
            }
            Err(refusal @ TakeError::Repeated { .. }) => {
                self.reject(&name, file.stamp, vec![whole(refusal.to_string())]).await;
                Ok(None)
            }
            Err(refusal @ TakeError::KeySeen { .. }) => {
                let problem = Problem { pointer: key_pointer(&refusal), ..whole(refusal.to_string()) };
                self.reject(&name, file.stamp, vec![problem]).await;
                Ok(None)
            }
        }
    }

    async fn archive(&self, committed: Committed) {
        let Committed { nr, name, file, now } = committed;
        let (judge, folders) = (self.judge.clone(), self.folders.clone());
        let shown = name.clone();
        let moved = blocking(&self.clock, move || {
            let folder = folders.accepted.join(now.date());
            let moved = match judge.inbox.archive(&name, &file.stamp, &folder) {
                Err(DiskError::Changed(_)) => archive_if_the_same(&judge.inbox, &name, &file.sha256, &folder),
                moved => moved,
            };
            match (moved, file.bytes) {
                // Edited or taken away in this very moment: what is there is a new drop, and what was read is kept.
                (Err(DiskError::Changed(_) | DiskError::Gone(_)), Some(bytes)) => {
                    judge.inbox.keep_copy(&name, &bytes, &folder).map(Some)
                }
                (Err(DiskError::Changed(_) | DiskError::Gone(_)), None) => Ok(None),
                (moved, _) => moved.map(Some),
            }
        })
        .await;
        let marked = match moved {
            Ok(to) => self.store.mark_moved(nr, shown_path(to), self.clock.now()).await,
            Err(error) => {
                tracing::warn!("{shown} was accepted but cannot be moved out of the inbox yet: {error}");
                return;
            }
        };
        if let Err(error) = marked {
            tracing::warn!("{shown} was moved, which is written down later: {error}");
        }
        lab::reach(Site::MoveMarked);
    }

    async fn reject(&self, name: &str, stamp: Stamp, problems: Vec<Problem>) {
        let (judge, folders) = (self.judge.clone(), self.folders.clone());
        let (at, owned) = (self.clock.now(), name.to_owned());
        let more = problems.len().saturating_sub(1);
        let first = problems.first().map(Problem::to_string).unwrap_or_default();
        let rejected = blocking(&self.clock, move || {
            judge.inbox.reject(&owned, &stamp, &folders.rejected, |file| {
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
            Err(DiskError::Changed(_) | DiskError::Gone(_)) => {}
            Err(error) => self.tell_trouble(name, &format!("it is bad but cannot be moved: {error}")),
        }
    }

    fn look_is_due(&self) -> Option<Duration> {
        let news = self.news.swap(false, Ordering::Relaxed);
        let next = *self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.tick();
        next.filter(|next| !news && *next > now).map(|next| next.since(now))
    }
}

/// A file whose jobs are committed and which is now to be moved.
struct Committed {
    nr: i64,
    name: String,
    file: Ready,
    now: Timestamp,
}

impl Stage for IntakeStage {
    const NAME: &'static str = "intake";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if let Some(left) = self.look_is_due() {
            return Ok(Wake::At(self.clock.now().plus(left)));
        }
        lab::reach(Site::IntakeBegan);
        let judge = self.judge.clone();
        let looked =
            blocking(&self.clock, move || judge.inbox.ensure().and_then(|id| Ok((id, judge.inbox.look()?))))
                .await;
        let (identity, entries) = match looked {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("the inbox cannot be looked at: {error}");
                return Ok(Wake::At(self.clock.now().plus(FAULT_PAUSE)));
            }
        };
        // Under a paused clock nothing may come of itself.
        if !self.clock.is_paused() {
            self.watch.arm(identity);
        }
        let pending = self.finish_moves().await?;
        let (chosen, mut next) = self.choose(entries, &pending);
        let mut fault = None;
        for batch in chosen.chunks(BATCH) {
            match self.take(batch).await {
                Ok(Some(left)) => next = Some(next.map_or(left, |next| next.min(left))),
                Ok(None) => {}
                Err(error @ (StoreError::DiskFull | StoreError::Busy)) => {
                    tracing::warn!("job files stay in the inbox for now: {error}");
                    fault = Some(FAULT_PAUSE);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let wait = [next, fault, Some(self.folders.rescan)].into_iter().flatten().min();
        let wait = wait.unwrap_or(self.folders.rescan);
        *self.next_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.tick().plus(wait));
        Ok(Wake::At(self.clock.now().plus(wait)))
    }

    async fn rung(&self) {
        self.watch.news().await;
        self.news.store(true, Ordering::Relaxed);
    }

    async fn land(&self) {}
}

/// For a file that is no longer as it was: if its bytes are, it is the same drop and not to be bought again. Its mode
/// may have been changed, or another of its names been taken away, and that more than once.
fn archive_if_the_same(inbox: &Inbox, name: &str, sha256: &str, folder: &Path) -> Result<PathBuf, DiskError> {
    let changed = || DiskError::Changed(inbox.path().join(name));
    for _ in 0..SECOND_LOOKS {
        let stamp = match inbox.fingerprint(name) {
            Ok((found, stamp)) if found == sha256 => stamp,
            Err(DiskError::Changed(_)) => continue,
            Ok(_) | Err(_) => return Err(changed()),
        };
        match inbox.archive(name, &stamp, folder) {
            Err(DiskError::Changed(_)) => {}
            moved => return moved,
        }
    }
    Err(changed())
}

fn finish_move(
    inbox: &Inbox,
    folders: &IntakeFolders,
    unmoved: &Unmoved,
) -> Result<Option<String>, DiskError> {
    let found = match inbox.fingerprint(&unmoved.file_name) {
        Ok((sha256, stamp)) if sha256 == unmoved.sha256 => stamp,
        // Moved already, taken away, or another file by now.
        Ok(_) | Err(DiskError::Gone(_) | DiskError::NotRegular { .. } | DiskError::Changed(_)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let folder = folders.accepted.join(unmoved.taken_at.date());
    match inbox.archive(&unmoved.file_name, &found, &folder) {
        Err(DiskError::Changed(_) | DiskError::Gone(_)) => Ok(None),
        moved => moved.map(|to| shown_path(Some(to))),
    }
}

fn key_pointer(refusal: &TakeError) -> String {
    match refusal {
        TakeError::KeySeen { place, .. } if *place > 0 => format!("/{place}/dropreel/key"),
        TakeError::KeySeen { .. } => "/dropreel/key".into(),
        TakeError::Repeated { .. } | TakeError::Unread(_) | TakeError::Store(_) => String::new(),
    }
}

fn shown_path(path: Option<PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
