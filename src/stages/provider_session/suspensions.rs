//! Keeps the saved suspensions in step with those of the gate, so that they outlive a restart.

use std::sync::atomic::{AtomicBool, Ordering};

use strum::VariantArray;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::provider::gate::Gate;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

/// See the module.
pub struct SavedSuspensions {
    store: Store,
    /// The database lacks the latest suspensions of the gate: saving them failed.
    outdated: AtomicBool,
}

impl SavedSuspensions {
    /// Restores the suspensions of the previous process into the gate. A refused key counts only if the key is still
    /// the same, which `key_fingerprint` shows.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn restore(store: Store, gate: &Gate, key_fingerprint: i64) -> Result<Self, StoreError> {
        if store.api_key_fingerprint().await? != Some(key_fingerprint) {
            if store.lift_suspensions(vec![SuspensionCause::KeyRefused]).await? {
                tracing::info!("the API key has changed; calls to the provider resume");
            }
            store.set_api_key_fingerprint(key_fingerprint).await?;
        }
        // Each process finds out for itself whether the clock is in doubt.
        store.lift_suspensions(vec![SuspensionCause::ClockUnreliable]).await?;
        gate.restore(store.suspensions().await?);
        Ok(Self { store, outdated: AtomicBool::new(false) })
    }

    /// Saves the suspensions of the gate as they are now.
    ///
    /// # Errors
    /// Any failure of the database; [`SavedSuspensions::refresh`] then saves them later.
    pub async fn save(&self, gate: &Gate, now: Timestamp) -> Result<(), StoreError> {
        self.outdated.store(true, Ordering::SeqCst);
        let in_force = gate.suspensions(now);
        let is_over = |cause: &SuspensionCause| {
            cause.is_of_provider() && in_force.iter().all(|suspension| suspension.cause != *cause)
        };
        let over = SuspensionCause::VARIANTS.iter().copied().filter(is_over).collect();
        if self.store.lift_suspensions(over).await? {
            failpoints::hit(FailPoint::SuspensionLifted);
            tracing::info!("calls to the provider resume");
        }
        for suspension in in_force {
            self.store.suspend(suspension).await?;
            failpoints::hit(FailPoint::SuspensionCommitted);
        }
        self.outdated.store(false, Ordering::SeqCst);
        // The call of a job may be the probe now.
        self.store.wake(Topic::Submit);
        self.store.wake(Topic::Poll);
        Ok(())
    }

    /// The saved suspensions, a person's pauses among them. Saves the gate's first if that failed before, and lifts
    /// rate limits whose time is over.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn refresh(&self, gate: &Gate, now: Timestamp) -> Result<Vec<Suspension>, StoreError> {
        let suspensions = self.store.suspensions().await?;
        let is_expired = |suspension: &Suspension| {
            suspension.cause == SuspensionCause::RateLimited && suspension.until.is_some_and(|end| end <= now)
        };
        if self.outdated.load(Ordering::SeqCst) || suspensions.iter().any(is_expired) {
            self.save(gate, now).await?;
        }
        Ok(suspensions)
    }
}
