//! Submits jobs in their turn, and repeats the submits whose outcome is not known: the stage that spends money.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::attempt::Attempt;
use crate::job::event::{Doubt, Event, SubmitVerdict};
use crate::job::next::{Move, is_due};
use crate::job::scheduling::{Limits, next_turn};
use crate::job::{JobId, state::StateName};
use crate::provider::gate::{Kind, Pass};
use crate::secret::Secret;
use crate::stages::provider_session::{Line, tell};
use crate::stages::{InFlight, Stage, Wake, isolate_corrupt_job, ring_of};
use crate::store::Store;
use crate::store::apply::Begun;
use crate::store::error::StoreError;
use crate::store::notify::Topic;
use crate::store::suspensions::StopCause;

/// So many submit calls are under way at once.
const CONCURRENCY: usize = 16;
/// So many due jobs are looked at in one pass.
const BATCH: u32 = 64;
/// How long a stop in flight may take to land at a shutdown before it is left to be repeated.
const LANDING: Duration = Duration::from_secs(8);

/// Makes the callback URL of a job, or `None` when there are no callbacks. Asked anew for each attempt, so that a
/// rotated secret counts from the next attempt on.
pub type CallbackUrls = Arc<dyn Fn(JobId) -> Option<Secret> + Send + Sync>;

/// The submit stage.
pub struct SubmitStage {
    inner: Arc<Inner>,
    limits: Limits,
    callback_urls: CallbackUrls,
    flights: InFlight,
    bell: Mutex<watch::Receiver<u64>>,
}

struct Inner {
    store: Store,
    line: Arc<Line>,
}

impl SubmitStage {
    /// Listens from now on.
    pub fn new(store: Store, line: Arc<Line>, limits: Limits, callback_urls: CallbackUrls) -> Self {
        let bell = Mutex::new(store.listen(Topic::Submit));
        let flights = InFlight::new(CONCURRENCY, line.clock.clone());
        let inner = Arc::new(Inner { store, line });
        Self { inner, limits, callback_urls, flights, bell }
    }

    /// Jobs that wait for a time get in line when it comes.
    async fn take_waiting(&self, now: Timestamp) -> Result<Wake, StoreError> {
        let due = self.inner.store.due(Move::Wait, now, BATCH).await?;
        for job in &due.jobs {
            let applied = self.inner.store.apply(*job, Event::TimeCame, now).await;
            isolate_corrupt_job(&self.inner.store, *job, applied).await?;
            failpoints::hit(FailPoint::WaitEnded);
        }
        Ok(Wake::at(due.next))
    }

    /// Submits whose outcome is not known go first: their tasks may already be running.
    async fn take_repeats(&self, now: Timestamp) -> Result<Wake, StoreError> {
        let due = self.inner.store.due(Move::Repeat, now, BATCH).await?;
        let mut wake = Wake::at(due.next);
        for job in due.jobs {
            // Repeated meanwhile, by a flight that has just landed, is as good as under way.
            if self.flights.bars(job)
                || !is_due(&self.inner.store.look(job).await?.job, Move::Repeat, self.inner.line.clock.now())
            {
                continue;
            }
            if let Some(why) = self.inner.line.clock_doubt() {
                tracing::warn!(%job, "job {job} is held: {why}");
                self.inner.store.apply(job, Event::Doubted(Doubt::Clock), now).await?;
                continue;
            }
            if let Some(closed) = self.launch(job).await? {
                wake = wake.or(closed);
                break;
            }
        }
        Ok(wake)
    }

    /// New submits, in their turn, as long as there is room.
    async fn take_turns(&self) -> Result<Wake, StoreError> {
        loop {
            let (heads, running) = self.inner.store.line().await?;
            let Some(turn) = next_turn(&heads, &running, &self.limits) else {
                return Ok(Wake::OnNotify);
            };
            if let Some(closed) = self.launch(turn.id).await? {
                return Ok(closed);
            }
        }
    }

    /// Begins a try and sends it, or says when to come back. The intent is committed before this returns.
    async fn launch(&self, job: JobId) -> Result<Option<Wake>, StoreError> {
        if self.flights.full() {
            return Ok(Some(Wake::OnNotify));
        }
        let line = &self.inner.line;
        let pass = match line.gate.admit(Kind::Submit, line.clock.now()) {
            Ok(pass) => pass,
            Err(closed) => return Ok(Some(Wake::At(closed.until))),
        };
        line.note_probe(&pass).await?;
        let urls = self.callback_urls.clone();
        let begun = self.inner.store.begin_try(job, Box::new(move |id| urls(id)), line.clock.now()).await;
        failpoints::hit(FailPoint::SubmitFrozen);
        match isolate_corrupt_job(&self.inner.store, job, begun).await? {
            Some(Begun::Send(attempt)) => self.flights.launch(job, self.inner.clone().send(pass, attempt)),
            Some(Begun::Nothing(applied)) => tell(&applied),
            Some(Begun::Paused) => return Ok(Some(Wake::OnNotify)),
            None => {}
        }
        Ok(None)
    }
}

impl Inner {
    async fn send(self: Arc<Self>, pass: Pass, attempt: Attempt) -> bool {
        let job = attempt.job();
        let sent = self.try_send(pass, &attempt).await;
        if let Err(error) = &sent {
            // Nothing is lost: the same key and bytes are sent again, and the provider answers with the same task.
            tracing::error!(%job, "the answer to the submit of job {job} could not be kept; it is repeated: {error}");
        }
        sent.is_ok()
    }

    async fn try_send(&self, pass: Pass, attempt: &Attempt) -> Result<(), StoreError> {
        let job = attempt.job();
        tracing::info!(%job, key = attempt.key(), "submitting job {job}");
        let answered = self.line.client.submit(&pass, attempt).await;
        let server_error = answered.server_error;
        let verdict = self.line.heard(pass, answered).await?;
        let verdict = self.line.judge(attempt, server_error, verdict);
        failpoints::hit(FailPoint::SubmitAnswered);
        let now = self.line.clock.now();
        let applied = match self.store.apply(job, Event::SubmitAnswered(verdict.clone()), now).await {
            Err(StoreError::TaskTaken(task)) => {
                failpoints::hit(FailPoint::SubmitShared);
                let shared = Event::SubmitAnswered(SubmitVerdict::Shared { task });
                self.store.apply(job, shared, now).await?
            }
            applied => applied?,
        };
        failpoints::hit(FailPoint::SubmitApplied);
        tell(&applied);
        if applied.job.state_name() == StateName::Submitting {
            let why = applied.job.learned().remark.clone().unwrap_or_default();
            tracing::warn!(%job, "the outcome of the submit of job {job} is not known, it is repeated: {why}");
        }
        Ok(())
    }
}

impl Stage for SubmitStage {
    const NAME: &'static str = "submit";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let now = self.inner.line.clock.now();
        self.inner.line.note_clock().await?;
        let waiting = self.take_waiting(now).await?;
        if self.inner.line.is_paused(StopCause::PausedSubmits).await? {
            return Ok(waiting);
        }
        let repeats = self.take_repeats(now).await?;
        let turns = self.take_turns().await?;
        Ok(waiting.or(repeats).or(turns))
    }

    async fn rung(&self) {
        tokio::select! {
            biased;
            () = ring_of(&self.bell) => {}
            () = self.flights.landed() => {}
        }
    }

    async fn land(&self) {
        // An answer that comes in time saves a repeat; one that does not is asked for again after the start.
        let _ = self.inner.line.clock.within(LANDING, self.flights.all_landed()).await;
        self.flights.abandon().await;
    }
}
