//! Takes dropped files in: settles, checks, commits, moves. A file that left the inbox is a committed job, or lies in
//! `rejected/` with its reason.

mod archive;
mod judge;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::clock::{Clock, Tick, Timestamp};
use crate::disk::DiskError;
use crate::disk::inbox::{Entry, Inbox, Stamp};
use crate::jobfile::{self, Limits, Problem};
use crate::lab::{self, Bug, Site, planted};
use crate::stages::{Stage, Wake, blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::intake::{Intake, Source, TakeError};
use archive::Committed;
use judge::{Judge, Judgement, Ready, whole};
use watch::Watch;

/// So many files are committed together, and their moves flushed together, at most.
const BATCH: usize = 256;
/// So many bytes they are, together, unless one file is more: they are held in memory.
const BATCH_BYTES: u64 = 8 << 20;
/// So many of them are read or moved by one thread, one after the other: handing each over would cost more than it does.
const IN_A_ROW: usize = 32;
/// So many threads read or move at once.
const AT_ONCE: usize = 4;
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
        let judged = stream::iter(batch.chunks(IN_A_ROW).map(<[_]>::to_vec)).map(|files| {
            let judge = self.judge.clone();
            let judged = move || files.iter().map(|(entry, still)| judge.judge(entry, *still)).collect();
            blocking(&self.clock, judged)
        });
        let judged: Vec<Vec<Judgement>> = judged.buffered(AT_ONCE).collect().await;
        let mut next: Option<Duration> = None;
        let mut ready = Vec::new();
        for ((entry, _), judgement) in batch.iter().zip(judged.into_iter().flatten()) {
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
        // Handed to the writer in the order of names, so that ids follow it; committed together. One that had to give way
        // to other tasks would be overtaken by the next.
        let taken = ready.into_iter().map(|(name, file)| self.commit(name, file));
        let taken = tokio::task::unconstrained(futures_util::future::join_all(taken)).await;
        let mut fault = None;
        let moves = taken.into_iter().filter_map(|taken| {
            taken.unwrap_or_else(|error| {
                fault = Some(error);
                None
            })
        });
        let mut moves = moves.peekable();
        let moves: Vec<Vec<_>> = std::iter::from_fn(|| {
            moves.peek()?;
            Some(moves.by_ref().take(IN_A_ROW).collect())
        })
        .collect();
        let moved = stream::iter(moves).map(|files| self.archive(files));
        let moved: Vec<Vec<_>> = moved.buffered(AT_ONCE).collect().await;
        self.mark(moved.into_iter().flatten().collect()).await;
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

/// How many of these are taken in together: at least one.
fn together(files: &[(Entry, Duration)]) -> usize {
    let mut bytes = 0_u64;
    let fit = files.iter().take(BATCH).take_while(|(entry, _)| {
        bytes = bytes.saturating_add(entry.stamp.bytes);
        bytes <= BATCH_BYTES
    });
    fit.count().max(1)
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
        let mut rest = &chosen[..];
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(together(rest));
            rest = others;
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

fn key_pointer(refusal: &TakeError) -> String {
    match refusal {
        TakeError::KeySeen { place, .. } if *place > 0 => format!("/{place}/dropreel/key"),
        TakeError::KeySeen { .. } => "/dropreel/key".into(),
        TakeError::Repeated { .. } | TakeError::Unread(_) | TakeError::Store(_) => String::new(),
    }
}
