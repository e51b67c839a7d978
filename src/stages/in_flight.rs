//! Work in flight: at most one piece for each job, with a cooldown after a failure on our side.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
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

/// The outside work of a stage: at most one task per job, so that nothing is sent or fetched twice at the same time.
pub struct InFlight {
    limit: usize,
    state: Arc<State>,
}

struct State {
    clock: Clock,
    jobs: Mutex<BTreeSet<JobId>>,
    cooldown: Mutex<BTreeMap<JobId, Tick>>,
    completed: Notify,
    tasks: Mutex<JoinSet<()>>,
}

impl InFlight {
    /// At most `limit` tasks at the same time.
    pub fn new(limit: usize, clock: Clock) -> Self {
        let state = State {
            clock,
            jobs: Mutex::default(),
            cooldown: Mutex::default(),
            completed: Notify::new(),
            tasks: Mutex::default(),
        };
        Self { limit: limit.max(1), state: Arc::new(state) }
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.count() >= self.limit
    }

    /// How many tasks are under way.
    pub fn count(&self) -> usize {
        self.state.jobs.lock().len()
    }

    /// Whether work for `job` is under way, or has failed on our side less than a cooldown ago.
    pub fn contains(&self, job: JobId) -> bool {
        let now = self.state.clock.tick();
        let mut cooldown = self.state.cooldown.lock();
        cooldown.retain(|_, until| *until > now);
        cooldown.contains_key(&job) || self.state.jobs.lock().contains(&job)
    }

    /// Spawns `work` for `job`, unless it already [contains](Self::contains) the job. `work` returns whether its result
    /// was saved; if not, or if it panics, the job cools down.
    pub fn spawn(&self, job: JobId, work: impl Future<Output = bool> + Send + 'static) {
        if self.contains(job) || !self.state.jobs.lock().insert(job) {
            return;
        }
        let state = self.state.clone();
        let mut tasks = self.state.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let guard = CompletionGuard { state, job };
            let saved = AssertUnwindSafe(work).catch_unwind().await;
            if saved.is_err() {
                tracing::error!(%job, "a bug: the work for job {job} panicked; it is tried again later");
            }
            if !saved.unwrap_or(false) {
                let until = guard.state.clock.tick().plus(COOLDOWN);
                guard.state.cooldown.lock().insert(job, until);
            }
        });
    }

    /// Waits until a task completes.
    pub async fn completed(&self) {
        self.state.completed.notified().await;
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
struct CompletionGuard {
    state: Arc<State>,
    job: JobId,
}

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        self.state.jobs.lock().remove(&self.job);
        self.state.completed.notify_one();
    }
}
