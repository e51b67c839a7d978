//! Holds jobs whose model the provider does not list, before anything is sent.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::scheduling::WaitingJob;
use crate::provider::catalogue::Listing;
use crate::stages::submit::Inner;
use crate::stages::{Wake, isolate_corrupt_job, log_transition};
use crate::store::error::StoreError;

/// How soon a job that waits for another list is looked at again, if no list comes.
const RECHECK: Duration = Duration::from_secs(10);

/// What became of jobs whose models are not listed.
pub(super) struct Unlisted {
    /// Some were held: others may be first in the queue now.
    pub any_held: bool,
    /// When to look again at those that wait for another list.
    pub wake: Wake,
}

impl Inner {
    /// Of the first job of each model, those that may be submitted. The others are held, or wait for another list; they
    /// keep no other model's job waiting.
    pub(super) async fn set_unlisted_aside(
        &self,
        heads: Vec<WaitingJob>,
        now: Timestamp,
    ) -> Result<(Vec<WaitingJob>, Unlisted), StoreError> {
        let (mut listed, mut unlisted) = (Vec::new(), Unlisted { any_held: false, wake: Wake::OnNotify });
        for head in heads {
            let listing = self.session.catalogue.listing(&head.model);
            if matches!(listing, Listing::Listed | Listing::Unknown)
                || !self.needs_listed_model(&head).await?
            {
                listed.push(head);
                continue;
            }
            let Listing::Unlisted { nearest } = listing else {
                self.tell_awaiting(&head, now).await?;
                unlisted.wake = Wake::At(now.plus(RECHECK));
                continue;
            };
            let applied = self.store.apply(head.id, Event::ModelUnlisted { nearest }, now).await;
            if let Some(applied) = isolate_corrupt_job(&self.store, head.id, applied).await? {
                log_transition(&applied);
            }
            unlisted.any_held = true;
        }
        Ok((listed, unlisted))
    }

    /// Makes a job that waits for another list say so.
    async fn tell_awaiting(&self, head: &WaitingJob, now: Timestamp) -> Result<(), StoreError> {
        let details = self.store.details(head.id).await?;
        if details.job.facts().status_message.is_some() {
            return Ok(());
        }
        let applied = self.store.apply(head.id, Event::ListAwaited, now).await;
        isolate_corrupt_job(&self.store, head.id, applied).await.map(drop)
    }

    async fn needs_listed_model(&self, head: &WaitingJob) -> Result<bool, StoreError> {
        let details = self.store.details(head.id).await;
        let details = isolate_corrupt_job(&self.store, head.id, details).await?;
        Ok(details.is_some_and(|details| details.job.needs_listed_model()))
    }
}
