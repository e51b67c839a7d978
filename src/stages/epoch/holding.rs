//! Holds what may have been submitted since a copy of the database was made.

use crate::api::list::{JobFilter, MAX_PAGE};
use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::job::event::Event;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::stages::epoch::EpochStage;
use crate::store::error::StoreError;

impl EpochStage {
    /// Suspends submits, and holds all jobs that are not submitted.
    pub(super) async fn supersede(&self, message: String) -> Result<(), StoreError> {
        let (cause, since) = (SuspensionCause::Superseded, self.parts.clock.now());
        if self.parts.is_shared {
            self.parts.store.forget_takeover().await?;
        }
        self.parts.store.suspend(Suspension { cause, until: None, message, since }).await?;
        self.hold_unsubmitted(Timestamp::from_millis(0)).await
    }

    pub(super) async fn superseded(&self) -> Result<Option<Suspension>, StoreError> {
        let suspensions = self.parts.store.suspensions().await?;
        Ok(suspensions.into_iter().find(|suspension| suspension.cause == SuspensionCause::Superseded))
    }

    /// Holds the unsubmitted jobs that were accepted from this time on.
    pub(super) async fn hold_unsubmitted(&self, from: Timestamp) -> Result<(), StoreError> {
        let store = &self.parts.store;
        for state in [StateName::Pending, StateName::Submitting] {
            let mut cursor = None;
            loop {
                let filter = JobFilter { state: Some(state), ..JobFilter::default() };
                let page = store.list(filter, cursor, MAX_PAGE).await?;
                let accepted = page.jobs.iter().filter(|details| details.job.identity().created_at >= from);
                for details in accepted {
                    store.apply(details.job.id(), Event::DatabaseRestored, self.parts.clock.now()).await?;
                    failpoints::hit(FailPoint::RestoredJobHeld);
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}
