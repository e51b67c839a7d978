//! Work in flight: at most one piece for each job, with a cooldown after a failure on our side.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::{Clock, Tick};
use crate::job::JobId;

/// How long a job waits after its work failed on our side, such as on a full disk. Without the wait, a full disk would
/// have the same call made as fast as the provider answers.
pub(super) const COOLDOWN: Duration = Duration::from_secs(30);

/// How many times the limit may be under way when calls hang.
pub(super) const MAX_HANGING: usize = 4;

/// The outside work of a stage: at most one task per job, or whatever else `K` tells apart, so that nothing is sent or
/// fetched twice at the same time.
pub struct InFlight<K: Ord = JobId> {
    limit: usize,
    /// Work that takes longer does not count against the limit any more, up to [`MAX_HANGING`] times the limit in all:
    /// otherwise a few calls that hang would hold up all others.
    slow_after: Duration,
    /// Whether the last question whether it is full was answered with yes.
    full: AtomicBool,
    state: Arc<State<K>>,
}

struct State<K> {
    clock: Clock,
    /// When the work for each began.
    jobs: Mutex<BTreeMap<K, Tick>>,
    cooldown: Mutex<BTreeMap<K, Tick>>,
    completed: Notify,
    tasks: Mutex<JoinSet<()>>,
}

impl<K: Ord + Copy + Display + Send + 'static> InFlight<K> {
    /// At most `limit` tasks at the same time, however long they take.
    pub fn new(limit: usize, clock: Clock) -> Self {
        Self::with_slow_after(limit, Duration::MAX, clock)
    }

    /// At most `limit` tasks at the same time that have not been under way for longer than `slow_after`.
    pub fn with_slow_after(limit: usize, slow_after: Duration, clock: Clock) -> Self {
        let state = State {
            clock,
            jobs: Mutex::default(),
            cooldown: Mutex::default(),
            completed: Notify::new(),
            tasks: Mutex::default(),
        };
        Self { limit: limit.max(1), slow_after, full: AtomicBool::new(false), state: Arc::new(state) }
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        let now = self.state.clock.tick();
        let jobs = self.state.jobs.lock();
        let counted = jobs.values().filter(|began| now.since(**began) < self.slow_after).count();
        let full = counted >= self.limit || jobs.len() >= self.limit.saturating_mul(MAX_HANGING);
        self.full.store(full, Ordering::Relaxed);
        full
    }

    /// How many tasks are under way.
    pub fn count(&self) -> usize {
        self.state.jobs.lock().len()
    }

    /// Whether work for `job` is under way, or has failed on our side less than a cooldown ago.
    pub fn contains(&self, job: K) -> bool {
        let now = self.state.clock.tick();
        let mut cooldown = self.state.cooldown.lock();
        cooldown.retain(|_, until| *until > now);
        cooldown.contains_key(&job) || self.state.jobs.lock().contains_key(&job)
    }

    /// Spawns `work` for `job`, unless it already [contains](Self::contains) the job. `work` returns whether its result
    /// was saved; if not, or if it panics, the job cools down.
    pub fn spawn(&self, job: K, work: impl Future<Output = bool> + Send + 'static) {
        if self.contains(job) || self.state.jobs.lock().insert(job, self.state.clock.tick()).is_some() {
            return;
        }
        let state = self.state.clone();
        let mut tasks = self.state.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let guard = CompletionGuard { state, job };
            let saved = AssertUnwindSafe(work).catch_unwind().await;
            if saved.is_err() {
                tracing::error!(%job, "a bug: the work for {job} panicked; it is tried again later");
            }
            if !saved.unwrap_or(false) {
                let until = guard.state.clock.tick().plus(COOLDOWN);
                guard.state.cooldown.lock().insert(job, until);
            }
        });
    }

    /// Waits until a task completes or, if it was full, until one no longer counts.
    pub async fn completed(&self) {
        let now = self.state.clock.tick();
        let ages: Vec<_> = self.state.jobs.lock().values().map(|began| now.since(*began)).collect();
        let oldest = ages.into_iter().filter(|age| *age < self.slow_after).max();
        match oldest.filter(|_| self.full.load(Ordering::Relaxed) && self.slow_after < Duration::MAX) {
            None => self.state.completed.notified().await,
            Some(age) => tokio::select! {
                biased;
                () = self.state.completed.notified() => {}
                () = self.state.clock.sleep(self.slow_after.saturating_sub(age)) => {}
            },
        }
    }

    /// Waits until all tasks have completed.
    pub async fn drain(&self) {
        let mut tasks = std::mem::take(&mut *self.state.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Aborts all tasks.
    pub async fn abort(&self) {
        let mut tasks = std::mem::take(&mut *self.state.tasks.lock());
        tasks.shutdown().await;
    }
}

/// Removes a job when its work ends: by completing, by a panic or by being aborted.
struct CompletionGuard<K: Ord> {
    state: Arc<State<K>>,
    job: K,
}

impl<K: Ord> Drop for CompletionGuard<K> {
    fn drop(&mut self) {
        self.state.jobs.lock().remove(&self.job);
        self.state.completed.notify_one();
    }
}
