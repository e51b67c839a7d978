//! The stages: each takes what is due, does one kind of work outside, and hands the store an event.
//!
//! A stage is a [`Stage::pass`]; the loop around it, the panic fence, backoff and shutdown exist once, here. The
//! state is the queue, so recovery is simply the first pass.

pub mod callback;
pub mod download;
pub mod hooks;
pub mod intake;
pub mod poll;
pub mod provider_session;
pub mod submit;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Tick, Timestamp};
use crate::job::JobId;
use crate::job::retry::Backoff;
use crate::store::Store;
use crate::store::error::StoreError;

/// Every stage looks at least this often, whatever bells it may have missed; the watchdog counts on it.
pub const NET: Duration = Duration::from_secs(20);
/// Work for a job that failed on our side (a full disk, a bug) is not launched again for so long.
const COOLING: Duration = Duration::from_secs(30);
/// After a pass that failed.
const AFTER_FAILURE: Backoff =
    Backoff { base: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(20) };

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is more to do.
    AtOnce,
    /// At this time, or at the bell.
    At(Timestamp),
    /// At the bell.
    OnNotify,
}

impl Wake {
    /// The earlier of the two.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::AtOnce, _) | (_, Self::AtOnce) => Self::AtOnce,
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (Self::At(time), Self::OnNotify) | (Self::OnNotify, Self::At(time)) => Self::At(time),
            (Self::OnNotify, Self::OnNotify) => Self::OnNotify,
        }
    }

    /// At `time` if there is one.
    pub fn at(time: Option<Timestamp>) -> Self {
        time.map_or(Self::OnNotify, Self::At)
    }
}

/// One stage of the river.
pub trait Stage: Send + Sync + 'static {
    /// For logs and the watchdog.
    const NAME: &'static str;

    /// Takes what is due and does it, or launches it. Safe to call at any time.
    fn pass(&self) -> impl Future<Output = Result<Wake, StoreError>> + Send;

    /// Waits until something rings for it.
    fn rung(&self) -> impl Future<Output = ()> + Send;

    /// Waits until what it launched has landed, or gives it up where that is harmless.
    fn land(&self) -> impl Future<Output = ()> + Send;
}

/// Signs of life, one for each stage: fed by the loops themselves, read by the watchdog.
#[derive(Clone)]
pub struct Heartbeats {
    clock: Clock,
    beats: Arc<Mutex<Vec<(&'static str, Tick)>>>,
}

impl Heartbeats {
    /// Nobody beats yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, beats: Arc::default() }
    }

    fn beat(&self, name: &'static str) {
        let now = self.clock.tick();
        let mut beats = locked(&self.beats);
        match beats.iter_mut().find(|beat| beat.0 == name) {
            Some(beat) => beat.1 = now,
            None => beats.push((name, now)),
        }
    }

    /// The stages that have not been heard of for longer than `limit`.
    pub fn silent(&self, limit: Duration) -> Vec<&'static str> {
        let now = self.clock.tick();
        let beats = locked(&self.beats);
        beats.iter().filter(|beat| now.since(beat.1) > limit).map(|beat| beat.0).collect()
    }
}

/// Runs a stage until `stop` turns true: pass, wait, pass. A pass that fails or panics is logged and tried again; the
/// other stages go on.
pub async fn run<S: Stage>(stage: Arc<S>, clock: Clock, pulse: Heartbeats, mut stop: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        pulse.beat(S::NAME);
        let passed = AssertUnwindSafe(stage.pass()).catch_unwind().await;
        let wait = match passed {
            Ok(Ok(wake)) => {
                failures = 0;
                match wake {
                    Wake::AtOnce => Duration::ZERO,
                    Wake::At(time) => time.since(clock.now()).min(NET),
                    Wake::OnNotify => NET,
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(stage = S::NAME, "the {} stage could not go on: {error}", S::NAME);
                failures += 1;
                AFTER_FAILURE.after(failures, 0.5)
            }
            Err(_) => {
                tracing::error!(stage = S::NAME, "a bug: the {} stage panicked; it goes on", S::NAME);
                failures += 1;
                AFTER_FAILURE.after(failures, 0.5)
            }
        };
        if *stop.borrow() {
            break;
        }
        let rung_counts = failures == 0;
        tokio::select! {
            biased;
            () = clock.sleep(wait) => {}
            () = stage.rung(), if rung_counts => {}
            _ = stop.changed() => {}
        }
        if *stop.borrow() {
            break;
        }
    }
    stage.land().await;
}

/// Work under way outside, one at a time for each job, so that nothing is asked, sent or fetched twice at once.
pub struct InFlight {
    limit: usize,
    aloft: Arc<InFlightState>,
}

struct InFlightState {
    clock: Clock,
    jobs: Mutex<BTreeSet<JobId>>,
    cooling: Mutex<BTreeMap<JobId, Tick>>,
    landed: Notify,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

impl InFlight {
    /// At most `limit` at once.
    pub fn new(limit: usize, clock: Clock) -> Self {
        let aloft = InFlightState {
            clock,
            jobs: Mutex::default(),
            cooling: Mutex::default(),
            landed: Notify::new(),
            tasks: Mutex::default(),
        };
        Self { limit: limit.max(1), aloft: Arc::new(aloft) }
    }

    /// Whether no more may be launched.
    pub fn full(&self) -> bool {
        locked(&self.aloft.jobs).len() >= self.limit
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        locked(&self.aloft.jobs).len()
    }

    /// Whether nothing may be launched for `job` just now: there is work under way, or the last has just failed on
    /// our side. Without that pause a full disk would have us ask the provider as fast as we can.
    pub fn bars(&self, job: JobId) -> bool {
        let now = self.aloft.clock.tick();
        let mut cooling = locked(&self.aloft.cooling);
        cooling.retain(|_, until| *until > now);
        cooling.contains_key(&job) || locked(&self.aloft.jobs).contains(&job)
    }

    /// Launches `work` for `job` unless it is barred. The work tells whether its outcome was kept; if not, or if it
    /// panics, the job is left alone for a while.
    pub fn launch(&self, job: JobId, work: impl Future<Output = bool> + Send + 'static) {
        if self.bars(job) || !locked(&self.aloft.jobs).insert(job) {
            return;
        }
        let aloft = self.aloft.clone();
        let mut tasks = locked(&self.aloft.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let landing = CompletionGuard { aloft, job };
            let kept = AssertUnwindSafe(work).catch_unwind().await;
            if kept.is_err() {
                tracing::error!(%job, "a bug: the work for job {job} panicked; it is tried again later");
            }
            if !kept.unwrap_or(false) {
                let until = landing.aloft.clock.tick().plus(COOLING);
                locked(&landing.aloft.cooling).insert(job, until);
            }
        });
    }

    /// Waits until one lands.
    pub async fn landed(&self) {
        self.aloft.landed.notified().await;
    }

    /// Waits until all have landed.
    pub async fn all_landed(&self) {
        let mut tasks = std::mem::take(&mut *locked(&self.aloft.tasks));
        while tasks.join_next().await.is_some() {}
    }

    /// Ends all that are under way where they stand.
    pub async fn abandon(&self) {
        let mut tasks = std::mem::take(&mut *locked(&self.aloft.tasks));
        tasks.shutdown().await;
    }
}

/// Takes a job off the list when its work ends, however it ends.
struct CompletionGuard {
    aloft: Arc<InFlightState>,
    job: JobId,
}

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        locked(&self.aloft.jobs).remove(&self.job);
        self.aloft.landed.notify_one();
    }
}

/// A job whose row cannot be worked with is taken out of every line, so that it does not hold up those behind it.
/// Anything that is not that one job's fault is handed on.
pub(crate) async fn isolate_corrupt_job<T>(
    store: &Store,
    job: JobId,
    result: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_of_one_job() => {
            tracing::error!(%job, "job {job} is left alone from now on, the others go on: {error}");
            store.bench(job, error.to_string()).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// No code that holds these locks can panic, so a poisoned one is still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a ring of `bell` that came after the last one seen.
async fn ring_of(bell: &tokio::sync::Mutex<watch::Receiver<u64>>) {
    // The sender lives in the store, which the stage holds: it cannot go away while we wait.
    let _ = bell.lock().await.changed().await;
}

/// Has files handled off the async threads. A panic is told and fenced by the loop around the stage, like any other.
pub(crate) async fn blocking<T: Send + 'static>(
    clock: &Clock,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    clock.aside(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests;
