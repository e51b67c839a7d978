//! What the submit and the poll stage share: gate and client of the provider, the saved suspensions, the clock check.

mod clock_check;
mod suspensions;

use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::job::suspension::Suspension;
use crate::provider::answer::Classified;
use crate::provider::client::ProviderClient;
use crate::provider::gate::{Closed, Gate, QueryPermit, SentCall, SubmitPermit};
use crate::store::Store;
use crate::store::error::StoreError;
use clock_check::ClockCheck;
use suspensions::SavedSuspensions;

/// See the module.
pub struct ProviderSession {
    /// The clock of both stages.
    pub clock: Clock,
    /// The client; its calls need permits of this session.
    pub client: ProviderClient,
    /// Whether the clock can be trusted.
    pub clock_check: ClockCheck,
    gate: Gate,
    saved: SavedSuspensions,
}

impl ProviderSession {
    /// Continues the session of the previous process: its suspensions and the latest time it knew.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn open(
        store: Store,
        gate: Gate,
        client: ProviderClient,
        key_fingerprint: i64,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let saved = SavedSuspensions::restore(store.clone(), &gate, key_fingerprint).await?;
        let clock_check = ClockCheck::open(store, clock.clone()).await?;
        Ok(Arc::new(Self { clock, client, clock_check, gate, saved }))
    }

    /// Permits one submit, or answers when to try again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn admit_submit(&self) -> Result<Result<SubmitPermit, Closed>, StoreError> {
        let admitted = self.gate.admit_submit(self.clock.now());
        self.save_probe(admitted.as_ref().is_ok_and(SubmitPermit::is_probe)).await?;
        Ok(admitted)
    }

    /// Permits one status query or cancel call, or answers when to try again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn admit_query(&self) -> Result<Result<QueryPermit, Closed>, StoreError> {
        let admitted = self.gate.admit_query(self.clock.now());
        self.save_probe(admitted.as_ref().is_ok_and(QueryPermit::is_probe)).await?;
        Ok(admitted)
    }

    /// Before a probe, saves when the next may follow. Otherwise each of many restarts would send one at once.
    async fn save_probe(&self, is_probe: bool) -> Result<(), StoreError> {
        if is_probe { self.saved.save(&self.gate, self.clock.now()).await } else { Ok(()) }
    }

    /// Records what an answer means for all calls, saves changed suspensions, and returns the verdict.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn record<V>(&self, call: SentCall, classified: Classified<V>) -> Result<V, StoreError> {
        let now = self.clock.now();
        if let Some(provider_time) = classified.provider_time {
            self.clock_check.record_provider_time(provider_time, now);
        }
        if let Some(Suspension { cause, until: Some(until), message, .. }) = &classified.suspension {
            let cause = cause.into_str();
            tracing::warn!(cause, %until, "calls to the provider are suspended until {until}: {message}");
        }
        if self.gate.settle(call, &classified) {
            self.saved.save(&self.gate, now).await?;
        }
        Ok(classified.verdict)
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
        self.saved.save(&self.gate, now).await
    }
}
