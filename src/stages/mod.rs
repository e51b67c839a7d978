//! The stages: each takes the jobs that are due, does one kind of outside work, and hands the store an event.
//!
//! A stage is a [`Stage::pass`]; its loop, panic isolation, backoff and shutdown exist once, here. The state is the
//! queue, so recovery after a restart is simply the first pass.

pub mod account;
pub mod adopt;
pub mod balance;
pub mod callback;
pub mod download;
pub mod epoch;
pub mod gone_processes;
pub mod hooks;
mod in_flight;
pub mod intake;
pub mod pictures;
pub mod poll;
pub mod provider_session;
pub mod quotes;
pub mod sidecars;
pub mod submit;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::heartbeats::Heartbeats;
use crate::job::JobId;
use crate::job::retry::Backoff;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::apply::Applied;
use crate::store::error::StoreError;
pub use in_flight::InFlight;

/// The longest wait between two passes, in case a notification was missed. The watchdog relies on it.
pub const MAX_WAIT: Duration = Duration::from_secs(20);
/// The wait after a pass that failed.
const FAILURE_BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(20) };

/// When a stage runs its next pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At once: there is more to do.
    AtOnce,
    /// At this time, or at a notification before it.
    At(Timestamp),
    /// At a notification.
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

/// One stage of the pipeline.
pub trait Stage: Send + Sync + 'static {
    /// For logs and the watchdog.
    const NAME: &'static str;

    /// Does what is due, or spawns it. May be called at any time.
    fn pass(&self) -> impl Future<Output = Result<Wake, StoreError>> + Send;

    /// Waits until there may be something to do.
    fn notified(&self) -> impl Future<Output = ()> + Send;

    /// Waits for the work it has spawned, or aborts it where that is harmless.
    fn drain(&self) -> impl Future<Output = ()> + Send;
}

/// Runs a stage until `stop` turns true: pass, wait, pass. A pass that fails or panics is logged and run again; the
/// other stages continue.
pub async fn run<S: Stage>(
    stage: Arc<S>,
    clock: Clock,
    heartbeats: Heartbeats,
    mut stop: watch::Receiver<bool>,
) {
    let mut failures = 0;
    loop {
        heartbeats.record(S::NAME);
        let result = AssertUnwindSafe(stage.pass()).catch_unwind().await;
        let wait = match result {
            Ok(Ok(wake)) => {
                failures = 0;
                match wake {
                    Wake::AtOnce => Duration::ZERO,
                    Wake::At(time) => time.since(clock.now()).min(MAX_WAIT),
                    Wake::OnNotify => MAX_WAIT,
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(stage = S::NAME, "{} stage failed; it is tried again: {error}", S::NAME);
                failures += 1;
                FAILURE_BACKOFF.after(failures, 0.5)
            }
            Err(_) => {
                tracing::error!(stage = S::NAME, "a bug: {} stage panicked; it is tried again", S::NAME);
                failures += 1;
                FAILURE_BACKOFF.after(failures, 0.5)
            }
        };
        if *stop.borrow() {
            break;
        }
        // After a failure, notifications must not shorten the backoff.
        let wake_on_notify = failures == 0;
        tokio::select! {
            biased;
            () = clock.sleep(wait) => {}
            () = stage.notified(), if wake_on_notify => {}
            _ = stop.changed() => {}
        }
        if *stop.borrow() {
            break;
        }
    }
    stage.drain().await;
}

/// Takes a job whose row cannot be processed out of all queues, so that it does not block the others. Returns `None`
/// then, and any error that is not this one job's.
pub(crate) async fn isolate_corrupt_job<T>(
    store: &Store,
    job: JobId,
    result: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.concerns_one_job() => {
            tracing::error!(%job, "job {job} cannot be processed and is ignored from now on: {error}");
            store.isolate_job(job, error.to_string()).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Logs a change of state.
pub(crate) fn log_transition(applied: &Applied) {
    let (job, state) = (applied.job.id(), applied.job.state_name());
    let name = &applied.job.identity().name;
    if state == applied.before {
        return;
    }
    let last = applied.history.last();
    let detail = last.map(|line| line.detail.as_str()).filter(|detail| !detail.is_empty());
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    match state {
        StateName::Held | StateName::Failed | StateName::Expired => {
            tracing::warn!(%job, %state, "job {job} ({name}) {state}{detail}");
        }
        StateName::Pending | StateName::Submitting | StateName::Processing | StateName::Downloading => {
            tracing::info!(%job, %state, "job {job} ({name}) is {state}{detail}");
        }
        StateName::Queued | StateName::Succeeded | StateName::Cancelled => {
            tracing::info!(%job, %state, "job {job} ({name}) {state}{detail}");
        }
    }
}

/// Runs file work off the async threads. A panic is passed on to the loop of the stage, which isolates it.
pub(crate) async fn run_blocking<T: Send + 'static>(
    clock: &Clock,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    clock.run_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests;
