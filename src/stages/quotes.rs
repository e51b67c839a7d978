//! Gets quotes from the provider: for requests that somebody waits for, and for jobs that are not submitted yet. Nothing
//! waits for this stage: a job without a quote is estimated from the next source.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::money::Quota;
use crate::provider::gate::QuotePermit;
use crate::provider::quote::QuoteAnswer;
use crate::provider::wanted_quotes::{WantedQuote, WantedQuotes};
use crate::stages::provider_session::ProviderSession;
use crate::stages::{InFlight, Stage, Wake};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};
use crate::store::quotes::QUOTE_AGE;

/// Most jobs read at a time.
const BATCH: u32 = 16;
/// How often all jobs that are not submitted are looked at.
const ROUND: Duration = Duration::from_secs(600);

pub struct QuoteStage {
    store: Store,
    session: Arc<ProviderSession>,
    wanted: WantedQuotes,
    pending: Mutex<Pending>,
    in_flight: InFlight,
    notifications: Notifications,
}

/// The jobs that are not submitted yet, read in batches.
struct Pending {
    batch: VecDeque<(i64, String)>,
    /// The last one read.
    cursor: i64,
    /// When they were last read from the beginning.
    begun_at: Timestamp,
}

/// What there is to do.
enum Next {
    Call(Request),
    /// All requests looked at have quotes; there may be more.
    Look,
    Nothing,
}

/// A request to get a quote for.
struct Request {
    body: String,
    /// The row of the job that waits to be submitted with it.
    job: Option<i64>,
    /// Whoever waits for it waits until this is dropped.
    _wanted: Option<WantedQuote>,
}

impl QuoteStage {
    /// Listens from now on.
    pub fn new(store: Store, session: Arc<ProviderSession>, wanted: WantedQuotes) -> Self {
        let (in_flight, notifications) =
            (InFlight::new(1, session.clock.clone()), store.listen(Topic::Submit));
        let pending = Pending { batch: VecDeque::new(), cursor: 0, begun_at: session.clock.now() };
        Self { store, session, wanted, pending: Mutex::new(pending), in_flight, notifications }
    }

    /// The next request without a quote. Those that somebody waits for come first.
    async fn next(&self) -> Result<Next, StoreError> {
        for _ in 0..BATCH {
            let request = match self.wanted.take() {
                Some(wanted) => Request { body: wanted.body.clone(), job: None, _wanted: Some(wanted) },
                None => match self.next_pending().await? {
                    Some((job, body)) => Request { body, job: Some(job), _wanted: None },
                    None => return Ok(Next::Nothing),
                },
            };
            if !self.store.is_quoted(request.body.clone()).await? {
                return Ok(Next::Call(request));
            }
        }
        Ok(Next::Look)
    }

    async fn next_pending(&self) -> Result<Option<(i64, String)>, StoreError> {
        if let Some(next) = self.pending.lock().batch.pop_front() {
            return Ok(Some(next));
        }
        let cursor = self.pending.lock().cursor;
        let batch = self.store.unsubmitted_requests(cursor, BATCH).await?;
        let mut pending = self.pending.lock();
        if let Some((last, _)) = batch.last() {
            pending.cursor = *last;
        }
        pending.batch = batch.into();
        Ok(pending.batch.pop_front())
    }

    /// Begins again after a while, for jobs that are to be submitted once more and for quotes that have become old.
    async fn end_round(&self, now: Timestamp) -> Result<Wake, StoreError> {
        let again_at = self.pending.lock().begun_at.plus(ROUND);
        if again_at > now {
            return Ok(Wake::At(again_at));
        }
        self.store.remove_old_quotes(now.minus(QUOTE_AGE)).await?;
        let mut pending = self.pending.lock();
        (pending.cursor, pending.begun_at) = (0, now);
        Ok(Wake::AtOnce)
    }
}

async fn call(store: Store, session: Arc<ProviderSession>, permit: QuotePermit, request: Request) -> bool {
    let answer = session.quote(permit, &request.body).await;
    if let QuoteAnswer::Price(quota) = answer
        && let Err(error) = keep(&store, &request, quota, session.clock.now()).await
    {
        tracing::warn!("saving a quote failed: {error}");
    }
    true
}

async fn keep(store: &Store, request: &Request, quota: Quota, now: Timestamp) -> Result<(), StoreError> {
    store.keep_quote(request.body.clone(), quota, now).await?;
    match request.job {
        Some(nr) => store.estimate_again(nr, request.body.clone(), now).await,
        None => Ok(()),
    }
}

impl Stage for QuoteStage {
    const NAME: &'static str = "quotes";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let now = self.session.clock.now();
        if self.in_flight.is_full() {
            return Ok(Wake::OnNotify);
        }
        if let Some(until) = self.session.quotes_closed_until() {
            self.wanted.give_up();
            return Ok(Wake::At(until));
        }
        let request = match self.next().await? {
            Next::Call(request) => request,
            Next::Look => return Ok(Wake::AtOnce),
            Next::Nothing => return self.end_round(now).await,
        };
        match self.session.admit_quote() {
            Ok(permit) => {
                let work = call(self.store.clone(), self.session.clone(), permit, request);
                self.in_flight.spawn(JobId::NONE, work);
                Ok(Wake::OnNotify)
            }
            Err(until) => {
                self.wanted.give_up();
                Ok(Wake::At(until))
            }
        }
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.wanted.added() => {}
            () = self.in_flight.completed() => {}
            () = self.notifications.next() => {}
        }
    }

    async fn drain(&self) {
        // It has no effect at the provider.
        self.in_flight.abort().await;
    }
}
