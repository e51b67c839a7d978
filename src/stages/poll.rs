//! Polls the provider for the status of due tasks. A callback makes a task due at once; without one, it comes due by time.
//! While somebody watches, tasks are polled before their time too.

use std::sync::Arc;
use std::time::Duration;

use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, StatusVerdict};
use crate::job::next_action::{NextAction, is_due};
use crate::job::notification::JobNotification;
use crate::job::state::State;
use crate::job::{JobId, TaskId};
use crate::provider::gate::QueryPermit;
use crate::stages::provider_session::ProviderSession;
use crate::stages::{InFlight, Stage, Wake, log_transition};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::metrics::MISSED_CALLBACKS_THRESHOLD;
use crate::store::notify::{Notifications, Topic};
use crate::watchers::Watchers;

/// Most calls at the same time.
const CONCURRENCY: usize = 8;
/// A call that takes longer no longer counts towards `CONCURRENCY`: calls that hang do not stop the others.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// Before and after the commit of a status.
const STATUS: [FailPoint; 2] = [FailPoint::PollClassified, FailPoint::PollApplied];
/// The same where the job only needs the cost.
const SETTLEMENT: [FailPoint; 2] = [FailPoint::SettlementReceived, FailPoint::SettlementApplied];
/// Most due jobs read in one pass.
const BATCH: u32 = 64;

pub struct PollStage {
    inner: Arc<Inner>,
    in_flight: InFlight,
    /// Polls of tasks whose calls have failed before.
    failing_in_flight: InFlight,
    notifications: Notifications,
    watchers: Watchers,
    /// How often a task is polled while somebody watches.
    watched_interval: Duration,
}

struct Inner {
    store: Store,
    session: Arc<ProviderSession>,
}

impl PollStage {
    /// Listens from now on, so that no commit before the first pass is missed.
    pub fn new(
        store: Store,
        session: Arc<ProviderSession>,
        watchers: Watchers,
        watched_interval: Duration,
    ) -> Self {
        let notifications = store.listen(Topic::Poll);
        let in_flight = InFlight::with_slow_after(CONCURRENCY, SLOW_AFTER, session.clock.clone());
        let failing_in_flight = InFlight::new(CONCURRENCY / 4, session.clock.clone());
        let inner = Arc::new(Inner { store, session });
        Self { inner, in_flight, failing_in_flight, notifications, watchers, watched_interval }
    }

    /// Starts a call for each job that needs `action` now.
    async fn start_due(&self, action: NextAction, in_flight: &InFlight) -> Result<Wake, StoreError> {
        let now = self.inner.session.clock.now();
        let due = self.inner.store.due_jobs(action, now, BATCH).await?;
        let mut wake = Wake::at(due.next);
        for job in due.jobs {
            if in_flight.is_full() {
                return Ok(wake);
            }
            if self.in_flight.contains(job) || self.failing_in_flight.contains(job) {
                continue;
            }
            match self.inner.session.admit_query(job).await? {
                Ok(permit) => in_flight.spawn(job, self.inner.clone().call(permit, job, action)),
                Err(closed) => {
                    wake = wake.or(Wake::At(closed.until));
                    break;
                }
            }
        }
        Ok(wake)
    }

    /// Polls tasks before their time while somebody watches, so that they see progress.
    async fn poll_watched(&self) -> Result<Wake, StoreError> {
        if !self.watchers.is_watched() {
            return Ok(Wake::OnNotify);
        }
        let now = self.inner.session.clock.now();
        let unpolled = self.inner.store.unpolled_jobs(now, self.watched_interval).await?;
        let mut wake = Wake::at(unpolled.next);
        for job in unpolled.jobs {
            if self.in_flight.is_full() {
                break;
            }
            if self.in_flight.contains(job) || self.failing_in_flight.contains(job) {
                continue;
            }
            match self.inner.session.admit_query(job).await? {
                Ok(permit) => {
                    let call = self.inner.clone().call_watched(permit, job, self.watched_interval);
                    self.in_flight.spawn(job, call);
                }
                Err(closed) => {
                    wake = wake.or(Wake::At(closed.until));
                    break;
                }
            }
        }
        Ok(wake)
    }
}

impl PollStage {
    /// Polls tasks that their jobs no longer have for their final cost, in the share of the failing.
    async fn poll_earlier(&self) -> Result<Wake, StoreError> {
        let now = self.inner.session.clock.now();
        let earlier = self.inner.store.earlier_tasks(now, BATCH).await?;
        let mut wake = Wake::at(earlier.next);
        for (job, task) in earlier.due {
            if self.failing_in_flight.is_full() {
                break;
            }
            if self.in_flight.contains(job) || self.failing_in_flight.contains(job) {
                continue;
            }
            match self.inner.session.admit_query(job).await? {
                Ok(permit) => {
                    self.failing_in_flight.spawn(job, self.inner.clone().call_earlier(permit, job, task));
                }
                Err(closed) => {
                    wake = wake.or(Wake::At(closed.until));
                    break;
                }
            }
        }
        Ok(wake)
    }
}

impl Inner {
    async fn call_earlier(self: Arc<Self>, permit: QueryPermit, job: JobId, task: TaskId) -> bool {
        let called = match self.store.is_earlier_task_due(task.clone(), self.session.clock.now()).await {
            Ok(true) => self.poll(permit, job, &task, SETTLEMENT).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        log_if_unsaved(job, called)
    }

    async fn call_watched(self: Arc<Self>, permit: QueryPermit, job: JobId, interval: Duration) -> bool {
        let called = match self.store.details(job).await {
            Ok(details) => match details.job.state() {
                // The list may be outdated: a call that has just ended may have polled the task.
                State::Queued(running) | State::Processing(running)
                    if running.polled_at.is_none_or(|at| at.plus(interval) <= self.session.clock.now()) =>
                {
                    self.poll(permit, job, &running.task, STATUS).await
                }
                _ => Ok(()),
            },
            Err(error) => Err(error),
        };
        log_if_unsaved(job, called)
    }

    async fn call(self: Arc<Self>, permit: QueryPermit, job: JobId, action: NextAction) -> bool {
        let called = match self.store.details(job).await {
            // The list may be outdated: a call that has just ended may have polled the task.
            Ok(details) if !is_due(&details.job, action, self.session.clock.now()) => Ok(()),
            Ok(details) => match details.job.task() {
                Some(task) if action == NextAction::Cancel => self.cancel(permit, job, task).await,
                Some(task) => {
                    let points = if details.job.state_name().is_end() { SETTLEMENT } else { STATUS };
                    self.poll(permit, job, task, points).await
                }
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        log_if_unsaved(job, called)
    }

    async fn poll(
        &self,
        permit: QueryPermit,
        job: JobId,
        task: &TaskId,
        [classified_at, applied_at]: [FailPoint; 2],
    ) -> Result<(), StoreError> {
        let base_url = self.store.base_url_of(task).await?;
        let began = self.session.clock.now();
        let (call, classified) = self.session.client.poll(permit, task, base_url.as_deref()).await;
        let verdict = self.session.record(call, classified).await?;
        match &verdict {
            StatusVerdict::Answered(_) => {}
            StatusVerdict::Missing => {
                tracing::warn!(%job, "the provider does not know task {task} of job {job}");
            }
            StatusVerdict::Unanswered { why, .. } | StatusVerdict::Unreadable { why, .. } => {
                tracing::warn!(%job, "no status of job {job}: {why}");
            }
        }
        failpoints::hit(classified_at);
        let now = self.session.clock.now();
        let applied = self
            .store
            .apply(job, Event::StatusPolled { task: task.clone(), sent_at: began, verdict }, now)
            .await?;
        failpoints::hit(applied_at);
        log_transition(&applied);
        // Warned once, at the very task that reaches the count.
        if applied.before != applied.job.state_name()
            && self.store.missed_callbacks() == Some(MISSED_CALLBACKS_THRESHOLD)
        {
            tracing::warn!(
                "the last {MISSED_CALLBACKS_THRESHOLD} tasks ended without a callback; check that callbacks.public_url leads to \
                 callbacks.listen and accepts POST from outside without a redirect; tasks are polled meanwhile, which \
                 takes longer"
            );
            self.store.notify_hooks(JobNotification::CallbacksMissing, self.session.clock.now()).await?;
        }
        Ok(())
    }

    async fn cancel(&self, permit: QueryPermit, job: JobId, task: &TaskId) -> Result<(), StoreError> {
        let base_url = self.store.base_url_of(task).await?;
        let (call, classified) = self.session.client.cancel(permit, task, base_url.as_deref()).await;
        let verdict = self.session.record(call, classified).await?;
        let now = self.session.clock.now();
        let applied =
            self.store.apply(job, Event::CancelAnswered { task: task.clone(), verdict }, now).await?;
        failpoints::hit(FailPoint::CancelApplied);
        log_transition(&applied);
        Ok(())
    }
}

/// Whether a call and the commit of its answer succeeded.
fn log_if_unsaved(job: JobId, called: Result<(), StoreError>) -> bool {
    if let Err(error) = &called {
        tracing::error!(%job, "saving the provider's answer about job {job} failed; it is polled again: {error}");
    }
    called.is_ok()
}

impl Stage for PollStage {
    const NAME: &'static str = "poll";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let polls = self.start_due(NextAction::Poll, &self.in_flight).await?;
        let cancels = self.start_due(NextAction::Cancel, &self.in_flight).await?;
        let failing = self.start_due(NextAction::PollFailing, &self.failing_in_flight).await?;
        let earlier = self.poll_earlier().await?;
        let watched = self.poll_watched().await?;
        Ok(polls.or(cancels).or(failing).or(earlier).or(watched))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
            () = self.failing_in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // A query has no effect at the provider, and a cancel may be repeated.
        self.in_flight.abort().await;
        self.failing_in_flight.abort().await;
    }
}
