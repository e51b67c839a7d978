//! What the submit, poll and account stages share: gate and client of the provider, the saved suspensions, the clock check.

mod clock_check;
mod suspensions;
pub mod unusable_answers;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::job::JobId;
use crate::job::suspension::Suspension;
use crate::provider::answer::{Classified, Evidence};
use crate::provider::balance::SharedBalance;
use crate::provider::catalogue::SharedCatalogue;
use crate::provider::client::ProviderClient;
use crate::provider::gate::{
    Closed, Gate, NeutralPermit, QueryPermit, QuotePermit, SentCall, Settled, SubmitPermit,
};
use crate::provider::quote::QuoteAnswer;
use crate::store::Store;
use crate::store::error::StoreError;
use clock_check::ClockCheck;
use suspensions::SavedSuspensions;
use unusable_answers::UnusableAnswers;

/// See the module.
pub struct ProviderSession {
    /// The clock of both stages.
    pub clock: Clock,
    /// The client; its calls need permits of this session.
    pub client: ProviderClient,
    /// Whether the clock can be trusted.
    pub clock_check: ClockCheck,
    /// The models that the account may use.
    pub catalogue: SharedCatalogue,
    /// The balance of the account.
    pub balance: SharedBalance,
    gate: Gate,
    saved: SavedSuspensions,
    unusable: UnusableAnswers,
    neutral_wanted: Notify,
}

/// What a session is made of.
pub struct SessionParts {
    pub store: Store,
    pub gate: Gate,
    pub client: ProviderClient,
    /// Of the key that the client has.
    pub key_fingerprint: i64,
    /// For answers that mean nothing.
    pub quarantine: PathBuf,
    pub clock: Clock,
    pub catalogue: SharedCatalogue,
    pub balance: SharedBalance,
}

impl ProviderSession {
    /// Continues the session of the previous process: its suspensions and the latest time it knew.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn open(parts: SessionParts) -> Result<Arc<Self>, StoreError> {
        let SessionParts { store, gate, client, key_fingerprint, quarantine, clock, catalogue, balance } =
            parts;
        let saved = SavedSuspensions::restore(store.clone(), &gate, key_fingerprint).await?;
        let clock_check = ClockCheck::open(store, clock.clone()).await?;
        let unusable = UnusableAnswers::new(quarantine, clock.clone());
        let neutral_wanted = Notify::new();
        Ok(Arc::new(Self {
            clock,
            client,
            clock_check,
            catalogue,
            balance,
            gate,
            saved,
            unusable,
            neutral_wanted,
        }))
    }

    /// Permits one submit of `job`, or answers when to try again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn admit_submit(&self, job: JobId) -> Result<Result<SubmitPermit, Closed>, StoreError> {
        let admitted = self.gate.admit_submit(job, self.clock.now());
        self.save_probe(admitted.as_ref().is_ok_and(SubmitPermit::is_probe)).await?;
        Ok(admitted)
    }

    /// Permits one status query or cancel call about `job`, or answers when to try again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn admit_query(&self, job: JobId) -> Result<Result<QueryPermit, Closed>, StoreError> {
        let admitted = self.gate.admit_query(job, self.clock.now());
        self.save_probe(admitted.as_ref().is_ok_and(QueryPermit::is_probe)).await?;
        Ok(admitted)
    }

    /// Permits the neutral call that is wanted, if it is due.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn admit_neutral(&self) -> Result<Option<NeutralPermit>, StoreError> {
        let admitted = self.gate.admit_neutral(self.clock.now());
        self.save_probe(admitted.as_ref().is_some_and(NeutralPermit::is_probe)).await?;
        Ok(admitted)
    }

    /// Until when no quotes are asked for.
    pub fn quotes_closed_until(&self) -> Option<Timestamp> {
        self.gate.quotes_closed_until(self.clock.now())
    }

    /// Permits one call for a quote, or answers when to try again.
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_quote(&self) -> Result<QuotePermit, Timestamp> {
        self.gate.admit_quote(self.clock.now())
    }

    /// Asks for the price of a request.
    pub async fn quote(&self, permit: QuotePermit, body: &str) -> QuoteAnswer {
        let answer = self.client.quote(permit, body).await;
        self.gate.quote_answered(answer, self.clock.now());
        answer
    }

    /// Reads the balance for people. While calls are suspended, it is not known.
    pub async fn read_balance(&self) {
        let balance = match self.gate.admit_balance(self.clock.now()) {
            Some(permit) => self.client.balance(permit).await,
            None => None,
        };
        self.balance.record(balance);
    }

    /// When the next neutral call is due, if one is wanted.
    pub fn next_neutral(&self) -> Option<Timestamp> {
        self.gate.next_neutral(self.clock.now())
    }

    /// Waits until a neutral call may be wanted.
    pub async fn neutral_wanted(&self) {
        tokio::select! {
            biased;
            () = self.neutral_wanted.notified() => {}
            () = self.catalogue.wanted() => self.gate.want_models(),
        }
    }

    /// An operator wants suspended calls to be tried at once, and vouches for the clock.
    pub fn resume(&self) {
        self.clock_check.confirm();
        self.gate.resume(self.clock.now());
    }

    /// Before a probe, saves when the next may follow. Otherwise each of many restarts would send one at once.
    async fn save_probe(&self, is_probe: bool) -> Result<(), StoreError> {
        if is_probe { self.saved.save(&self.gate, self.clock.now()).await } else { Ok(()) }
    }

    /// Records what an answer means for all calls, saves changed suspensions, and returns the verdict.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn record<V>(&self, call: SentCall, mut classified: Classified<V>) -> Result<V, StoreError> {
        let now = self.clock.now();
        if let Some(job) = call.job() {
            // A completed task without an output, or a firewall's page, says enough by itself.
            let at_once = classified.refusal.is_some() || classified.evidence == Evidence::KeyAccepted;
            self.unusable.record(job, classified.unusable.take(), at_once).await;
        }
        self.clock_check.record_answer(classified.provider_time, classified.evidence, now);
        let mut settled = self.gate.settle(call, &classified, now);
        let doubted = self.gate.set_clock_doubt(self.clock_check.doubt(), now);
        settled.suspended.extend(doubted.suspended);
        settled.changed |= doubted.changed;
        self.save_settled(&settled, now).await?;
        if self.gate.next_neutral(now).is_some() {
            self.neutral_wanted.notify_one();
        }
        Ok(classified.verdict)
    }

    /// Checks the clock, and suspends submits while it is in doubt.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn check_clock(&self) -> Result<(), StoreError> {
        self.clock_check.run().await?;
        let now = self.clock.now();
        let settled = self.gate.set_clock_doubt(self.clock_check.doubt(), now);
        self.save_settled(&settled, now).await?;
        if !settled.suspended.is_empty() {
            self.neutral_wanted.notify_one();
        }
        Ok(())
    }

    /// Whether the clock has been compared with the provider's since the start and its last jump. If not, that is done
    /// now; [`ProviderSession::clock_verified`] tells when.
    pub fn is_clock_verified(&self) -> bool {
        let verified = self.clock_check.is_verified();
        if !verified {
            self.gate.want_models();
            self.neutral_wanted.notify_one();
        }
        verified
    }

    /// Waits until the clock has been compared with the provider's.
    pub async fn clock_verified(&self) {
        self.clock_check.verified().await;
    }

    /// Whether submits are suspended.
    pub fn suspends_submits(&self) -> bool {
        self.gate.suspends_submits(self.clock.now())
    }

    async fn save_settled(&self, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        for Suspension { cause, until, message, .. } in &settled.suspended {
            let (cause, until) = (cause.into_str(), until.unwrap_or(now));
            tracing::warn!(cause, %until, "calls to the provider are suspended until {until}: {message}");
        }
        if settled.changed {
            self.saved.save(&self.gate, now).await?;
        }
        Ok(())
    }

    /// The suspensions in force, a person's pauses among them.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.saved.refresh(&self.gate, self.clock.now()).await
    }

    /// The API key has been replaced: lifts a suspension that the old one caused.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn key_replaced(&self, now: Timestamp) -> Result<(), StoreError> {
        self.gate.key_replaced();
        self.catalogue.forget();
        self.balance.forget();
        self.saved.save(&self.gate, now).await
    }
}
