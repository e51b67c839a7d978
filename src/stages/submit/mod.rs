//! Submits jobs, highest priority first, and repeats submits whose outcome is not known: the stage that spends money.

mod callback_urls;
mod unlisted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, SubmitVerdict};
use crate::job::next_action::{NextAction, is_due};
use crate::job::retry::FAILING_GRACE;
use crate::job::scheduling::{TaskLimits, Turns, next_to_submit};
use crate::job::suspension::SuspensionCause;
use crate::job::{JobId, state::StateName};
use crate::pictures::address::PictureUrls;
use crate::provider::gate::SubmitPermit;
use crate::stages::provider_session::ProviderSession;
use crate::stages::{InFlight, Stage, Wake, isolate_corrupt_job, log_transition};
use crate::store::Store;
use crate::store::attempt::Attempt;
use crate::store::error::StoreError;
use crate::store::estimates::JobEstimate;
use crate::store::notify::{Notifications, Topic};
use crate::store::start_attempt::{AttemptParts, AttemptStart};
pub use callback_urls::CallbackUrls;

/// Most submit calls at the same time.
const CONCURRENCY: usize = 16;
/// Most due jobs read in one pass.
const BATCH: u32 = 64;
/// A call that takes longer no longer counts towards `CONCURRENCY`: calls that hang do not stop the others.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// How soon a submit asks again whether the clock has been compared with the provider's.
const CLOCK_RECHECK: Duration = Duration::from_secs(10);
/// How long a shutdown waits for the answers to submits that are under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

pub struct SubmitStage {
    inner: Arc<Inner>,
    limits: TaskLimits,
    callback_urls: CallbackUrls,
    picture_urls: PictureUrls,
    in_flight: InFlight,
    /// Submits that have failed before.
    failing_in_flight: InFlight,
    notifications: Notifications,
    budget_freed: Notifications,
    /// Whether jobs that wait for a budget are to be tried in the next pass. At first they are: the budgets of the settings
    /// may have changed since the last run.
    budget_was_freed: AtomicBool,
    /// Kept in memory: after a restart the first value begins.
    turns: Mutex<Turns>,
}

struct Inner {
    store: Store,
    session: Arc<ProviderSession>,
}

impl SubmitStage {
    /// Listens from now on, so that no commit before the first pass is missed.
    pub fn new(
        store: Store,
        session: Arc<ProviderSession>,
        limits: TaskLimits,
        callback_urls: CallbackUrls,
        picture_urls: PictureUrls,
    ) -> Self {
        let notifications = store.listen(Topic::Submit);
        let budget_freed = store.listen(Topic::BudgetFreed);
        let in_flight = InFlight::with_slow_after(CONCURRENCY, SLOW_AFTER, session.clock.clone());
        let failing_in_flight = InFlight::new(CONCURRENCY / 4, session.clock.clone());
        let inner = Arc::new(Inner { store, session });
        Self {
            inner,
            limits,
            callback_urls,
            picture_urls,
            in_flight,
            failing_in_flight,
            notifications,
            budget_freed,
            budget_was_freed: AtomicBool::new(true),
            turns: Mutex::default(),
        }
    }

    /// Makes jobs ready whose `not_before` or pause after a refusal is over.
    async fn end_waits(&self, now: Timestamp) -> Result<Wake, StoreError> {
        loop {
            let due = self.inner.store.due_jobs(NextAction::Wait, now, BATCH).await?;
            for job in &due.jobs {
                let applied = self.inner.store.apply(*job, Event::TimeElapsed, now).await;
                isolate_corrupt_job(&self.inner.store, *job, applied).await?;
                failpoints::hit(FailPoint::WaitEnded);
            }
            // All of them, before any job is submitted: at the turn of a day the first in the queue must not find its budget
            // spent by those behind it.
            if due.jobs.is_empty() {
                return Ok(Wake::at(due.next));
            }
        }
    }

    /// Makes jobs ready that have waited for a budget and fit now, the first in the queue first.
    async fn end_budget_waits(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.budget_was_freed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let ended = self.try_end_budget_waits(now).await;
        if !matches!(ended, Ok(true)) {
            self.budget_was_freed.store(true, Ordering::Relaxed);
        }
        ended.map(drop)
    }

    /// True if no more jobs fit.
    async fn try_end_budget_waits(&self, now: Timestamp) -> Result<bool, StoreError> {
        let jobs = self.inner.store.jobs_that_fit_now(now, BATCH as usize).await?;
        for job in &jobs {
            let applied = self.inner.store.apply(*job, Event::BudgetFreed, now).await;
            isolate_corrupt_job(&self.inner.store, *job, applied).await?;
        }
        Ok(jobs.len() < BATCH as usize)
    }

    /// Repeats submits whose outcome is not known. They come before new ones because their tasks may already be running.
    async fn repeat_submits(&self, now: Timestamp) -> Result<Wake, StoreError> {
        let due = self.inner.store.due_jobs(NextAction::Resend, now, BATCH).await?;
        let mut wake = Wake::at(due.next);
        for job in due.jobs {
            if !self.is_still_due(job, NextAction::Resend).await? {
                continue;
            }
            if self.in_flight.is_full() {
                return Ok(Wake::OnNotify);
            }
            if let Some(closed) = self.start(job, &self.in_flight).await? {
                wake = wake.or(closed);
                break;
            }
        }
        Ok(wake)
    }

    /// Repeats submits that have failed before, as far as their share goes: they must not hold up the others.
    async fn repeat_failing(&self, now: Timestamp) -> Result<Wake, StoreError> {
        let due = self.inner.store.due_jobs(NextAction::ResendFailing, now, BATCH).await?;
        let mut wake = Wake::at(due.next);
        for job in due.jobs {
            if self.failing_in_flight.is_full() {
                return Ok(wake);
            }
            if !self.is_still_due(job, NextAction::ResendFailing).await? || !self.has_room(job).await? {
                continue;
            }
            if let Some(closed) = self.start(job, &self.failing_in_flight).await? {
                wake = wake.or(closed);
                break;
            }
        }
        Ok(wake)
    }

    /// A list of due jobs may be outdated: a call that has just ended may have sent the submit.
    async fn is_still_due(&self, job: JobId, action: NextAction) -> Result<bool, StoreError> {
        if self.in_flight.contains(job) || self.failing_in_flight.contains(job) {
            return Ok(false);
        }
        let details = self.inner.store.details(job).await;
        let details = isolate_corrupt_job(&self.inner.store, job, details).await?;
        Ok(details.is_some_and(|details| is_due(&details.job, action, self.inner.session.clock.now())))
    }

    /// Whether there is room at the provider for the task of a job. One whose outcome is not known has its place.
    async fn has_room(&self, job: JobId) -> Result<bool, StoreError> {
        let details = self.inner.store.details(job).await?;
        if details.job.state_name() != StateName::Pending {
            return Ok(true);
        }
        let (_, running) =
            self.inner.store.submit_queue(self.inner.session.clock.now(), Turns::default()).await?;
        Ok(self.limits.room_for(&details.job.identity().model, &running) > 0)
    }

    /// Submits new jobs while there is room for them.
    async fn submit_new(&self) -> Result<Wake, StoreError> {
        loop {
            let now = self.inner.session.clock.now();
            let turns = self.turns.lock().clone();
            let (heads, running) = self.inner.store.submit_queue(now, turns.clone()).await?;
            let (heads, unlisted) = self.inner.set_unlisted_aside(heads, now).await?;
            let Some(turn) = next_to_submit(&heads, &running, &self.limits, &turns) else {
                if unlisted.any_held {
                    continue;
                }
                // Jobs that fail give their places back after a while.
                let wake = if heads.is_empty() { Wake::OnNotify } else { Wake::At(now.plus(FAILING_GRACE)) };
                return Ok(wake.or(unlisted.wake));
            };
            if self.in_flight.is_full() {
                return Ok(unlisted.wake);
            }
            if let Some(closed) = self.start(turn.id, &self.in_flight).await? {
                return Ok(closed.or(unlisted.wake));
            }
            if self.inner.store.fair_by().is_some() {
                self.turns.lock().take(turn);
            }
        }
    }

    /// Commits an attempt and starts to send it, or answers when to come back. The attempt is committed before this
    /// returns, so that the next pass sees it.
    async fn start(&self, job: JobId, in_flight: &InFlight) -> Result<Option<Wake>, StoreError> {
        let session = &self.inner.session;
        // The age of a key decides whether a submit may be repeated: a key made by a wrong clock could be paid for twice.
        if !session.is_clock_verified() {
            return Ok(Some(Wake::At(session.clock.now().plus(CLOCK_RECHECK))));
        }
        let permit = match session.admit_submit(job).await? {
            Ok(permit) => permit,
            Err(closed) => return Ok(Some(Wake::At(closed.until))),
        };
        let estimate = self.inner.store.estimate_job(job).await;
        let Some(JobEstimate { estimate, price_class, change }) =
            isolate_corrupt_job(&self.inner.store, job, estimate).await?
        else {
            return Ok(None);
        };
        let (urls, picture_urls) = (self.callback_urls.clone(), self.picture_urls.clone());
        let parts = AttemptParts {
            base_url: session.client.base_url().to_owned(),
            callback_url: Box::new(move |id| urls.url(id)),
            picture_url: Box::new(move |id, content| picture_urls.url(id, content)),
            estimate,
            price_class,
            estimated_change: Some(change),
        };
        let begun = self.inner.store.start_attempt(job, parts, session.clock.now()).await;
        failpoints::hit(FailPoint::AttemptCommitted);
        match isolate_corrupt_job(&self.inner.store, job, begun).await? {
            Some(AttemptStart::Send(attempt)) => {
                in_flight.spawn(job, self.inner.clone().send(permit, attempt));
            }
            Some(AttemptStart::Nothing(applied)) => log_transition(&applied),
            // The next look at the queue finds it as it is now.
            Some(AttemptStart::Changed) => {}
            Some(AttemptStart::Paused) => return Ok(Some(Wake::OnNotify)),
            None => {}
        }
        Ok(None)
    }
}

impl Inner {
    async fn send(self: Arc<Self>, permit: SubmitPermit, attempt: Attempt) -> bool {
        let job = attempt.job();
        let sent = self.try_send(permit, &attempt).await;
        if let Err(error) = &sent {
            // Safe to repeat: to the same key and bytes, the provider answers with the same task.
            tracing::error!(%job, "saving the submit answer of job {job} failed; the submit is repeated: {error}");
        }
        sent.is_ok()
    }

    async fn try_send(&self, permit: SubmitPermit, attempt: &Attempt) -> Result<(), StoreError> {
        let job = attempt.job();
        tracing::info!(%job, key = attempt.key(), "submitting job {job}");
        let (call, classified) = self.session.client.submit(permit, attempt).await;
        let verdict = match self.session.record(call, classified).await? {
            SubmitVerdict::NotExecuted { why, not_before } if self.session.suspends_submits() => {
                SubmitVerdict::Suspended { why, not_before }
            }
            verdict => verdict,
        };
        let now = self.session.clock.now();
        failpoints::hit(FailPoint::SubmitClassified);
        let answered = |verdict| Event::SubmitAnswered { attempt: attempt.number(), verdict };
        let applied = match self.store.apply(job, answered(verdict), now).await {
            Err(StoreError::DuplicateTask(task)) => {
                failpoints::hit(FailPoint::SubmitTaskShared);
                self.store.apply(job, answered(SubmitVerdict::DuplicateTask { task }), now).await?
            }
            applied => applied?,
        };
        failpoints::hit(FailPoint::SubmitApplied);
        log_transition(&applied);
        if applied.job.state_name() == StateName::Submitting {
            let why = applied.job.facts().status_message.clone().unwrap_or_default();
            tracing::warn!(%job, "submit outcome of job {job} unknown; the submit is repeated: {why}");
        }
        Ok(())
    }
}

impl Stage for SubmitStage {
    const NAME: &'static str = "submit";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let now = self.inner.session.clock.now();
        self.inner.session.check_clock().await?;
        let waits = self.end_waits(now).await?;
        self.end_budget_waits(now).await?;
        let suspensions = self.inner.session.suspensions().await?;
        let ends_by_operator = [SuspensionCause::PausedSubmits, SuspensionCause::Superseded];
        if suspensions.iter().any(|suspension| ends_by_operator.contains(&suspension.cause)) {
            return Ok(waits);
        }
        let repeats = self.repeat_submits(now).await?;
        let (submits, failing) = if self.limits.failing_have_places() {
            // In their share, the failing ones come first: otherwise a long queue would never let them try again.
            let failing = self.repeat_failing(now).await?;
            (self.submit_new().await?, failing)
        } else {
            (self.submit_new().await?, self.repeat_failing(now).await?)
        };
        Ok(waits.or(repeats).or(submits).or(failing))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.budget_freed.next() => self.budget_was_freed.store(true, Ordering::Relaxed),
            () = self.in_flight.completed() => {}
            () = self.failing_in_flight.completed() => {}
            () = self.inner.session.clock_verified() => {}
            () = self.inner.session.catalogue.read() => {}
        }
    }

    async fn drain(&self) {
        // An answer that comes in time saves a repeat after the restart. The others are safe to abort: their attempts
        // are committed.
        let _ = self
            .inner
            .session
            .clock
            .within(DRAIN_TIMEOUT, async {
                self.in_flight.drain().await;
                self.failing_in_flight.drain().await;
            })
            .await;
        self.in_flight.abort().await;
        self.failing_in_flight.abort().await;
    }
}
