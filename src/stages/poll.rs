//! Asks the provider how tasks stand, when they are due: callbacks hurry it, their absence does not stop it.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::failpoints::{self, FailPoint};
use crate::job::event::{Event, StatusVerdict};
use crate::job::next::{Move, is_due};
use crate::job::notification::JobNotification;
use crate::job::{JobId, TaskId};
use crate::provider::gate::Kind;
use crate::provider::gate::Pass;
use crate::stages::provider_session::{Line, tell};
use crate::stages::{InFlight, Stage, Wake, ring_of};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::metrics::MISSED_IN_A_ROW;
use crate::store::notify::Topic;

/// So many questions are under way at once.
const CONCURRENCY: usize = 8;
/// So many due jobs are looked at in one pass.
const BATCH: u32 = 64;

/// The poll stage.
pub struct PollStage {
    inner: Arc<Inner>,
    flights: InFlight,
    bell: Mutex<watch::Receiver<u64>>,
}

struct Inner {
    store: Store,
    line: Arc<Line>,
}

impl PollStage {
    /// Listens from now on.
    pub fn new(store: Store, line: Arc<Line>) -> Self {
        let bell = Mutex::new(store.listen(Topic::Poll));
        let flights = InFlight::new(CONCURRENCY, line.clock.clone());
        let inner = Arc::new(Inner { store, line });
        Self { inner, flights, bell }
    }

    async fn take_due(&self, what: Move) -> Result<Wake, StoreError> {
        let now = self.inner.line.clock.now();
        let due = self.inner.store.due(what, now, BATCH).await?;
        let mut wake = Wake::at(due.next);
        for job in due.jobs {
            if self.flights.full() {
                return Ok(Wake::OnNotify);
            }
            if self.flights.bars(job) {
                continue;
            }
            match self.inner.line.gate.admit(Kind::Other, self.inner.line.clock.now()) {
                Ok(pass) => {
                    self.inner.line.note_probe(&pass).await?;
                    self.flights.launch(job, self.inner.clone().ask(pass, job, what));
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
    async fn ask(self: Arc<Self>, pass: Pass, job: JobId, what: Move) -> bool {
        let asked = match self.store.look(job).await {
            // Asked meanwhile, by a flight that has just landed: a second question would come too soon.
            Ok(sight) if !is_due(&sight.job, what, self.line.clock.now()) => Ok(()),
            Ok(sight) => match sight.job.task() {
                Some(task) if what == Move::Cancel => self.call_off(pass, job, task).await,
                Some(task) => self.status(pass, job, task).await,
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = &asked {
            tracing::error!(%job, "what the provider said of job {job} could not be kept; it is asked again: {error}");
        }
        asked.is_ok()
    }

    async fn status(&self, pass: Pass, job: JobId, task: &TaskId) -> Result<(), StoreError> {
        let began = self.line.clock.now();
        let answered = self.line.client.ask(&pass, task).await;
        let verdict = self.line.heard(pass, answered).await?;
        match &verdict {
            StatusVerdict::Seen(_) => {}
            StatusVerdict::Missing => {
                tracing::warn!(%job, "the provider does not know task {task} of job {job}");
            }
            StatusVerdict::Unanswered { why, .. } => tracing::warn!(%job, "no status of job {job}: {why}"),
        }
        failpoints::hit(FailPoint::AskAnswered);
        let applied = self.store.apply(job, Event::Asked { began, verdict }, self.line.clock.now()).await?;
        failpoints::hit(FailPoint::AskApplied);
        tell(&applied);
        if applied.before != applied.job.state_name()
            && self.store.missed_callbacks() == Some(MISSED_IN_A_ROW)
        {
            tracing::warn!(
                "the last {MISSED_IN_A_ROW} tasks ended without a callback: is callbacks.public_url reached from \
                 outside, by POST, without a redirect, and does it lead to callbacks.listen? Meanwhile the provider \
                 is asked, which takes longer"
            );
            self.store.tell_hooks(JobNotification::CallbacksMissing, self.line.clock.now()).await?;
        }
        Ok(())
    }

    async fn call_off(&self, pass: Pass, job: JobId, task: &TaskId) -> Result<(), StoreError> {
        let answered = self.line.client.call_off(&pass, task).await;
        let verdict = self.line.heard(pass, answered).await?;
        let applied = self.store.apply(job, Event::CancelAnswered(verdict), self.line.clock.now()).await?;
        failpoints::hit(FailPoint::CallOffApplied);
        tell(&applied);
        Ok(())
    }
}

impl Stage for PollStage {
    const NAME: &'static str = "poll";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let asks = self.take_due(Move::Ask).await?;
        let cancels = self.take_due(Move::Cancel).await?;
        Ok(asks.or(cancels))
    }

    async fn rung(&self) {
        tokio::select! {
            biased;
            () = ring_of(&self.bell) => {}
            () = self.flights.landed() => {}
        }
    }

    async fn land(&self) {
        // A question has no effect at the provider: it is asked again after the start.
        self.flights.abandon().await;
    }
}
