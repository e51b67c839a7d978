//! The epoch: how often a daemon has started with this data folder, counted in the database and in a file beside it.
//!
//! A database behind that file was restored from an older state, and so was one that is marked as a backup. What it
//! calls pending may have been submitted since, so a person must look first.

use crate::api::list::{JobFilter, MAX_PAGE};
use crate::clock::Clock;
use crate::daemon::error::StartError;
use crate::failpoints::{self, FailPoint};
use crate::fs::write_durably;
use crate::job::event::Event;
use crate::job::state::StateName;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::error::StoreError;

/// Counts this start. Holds unsubmitted jobs if the database was restored.
pub(super) async fn begin(store: &Store, settings: &Settings, clock: &Clock) -> Result<(), StartError> {
    let path = settings.data_dir.join("epoch");
    let counted = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    };
    let copied_at = store.backup_made_at().await?;
    if copied_at.is_some() || counted > store.epoch().await? {
        let what = match copied_at {
            Some(at) => format!("a backup made at {at}"),
            None => "older than the last one used here".to_owned(),
        };
        tracing::error!(
            "the database is {what}; unsubmitted jobs are held, they may have been submitted since"
        );
        for state in [StateName::Pending, StateName::Submitting] {
            hold_all(store, state, clock).await?;
        }
    }
    let epoch = store.start_epoch(counted).await?;
    failpoints::hit(FailPoint::EpochCommitted);
    write_durably(&path, format!("{epoch}\n").as_bytes())?;
    failpoints::hit(FailPoint::EpochFileWritten);
    Ok(())
}

async fn hold_all(store: &Store, state: StateName, clock: &Clock) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let filter = JobFilter { state: Some(state), ..JobFilter::default() };
        let page = store.list(filter, cursor, MAX_PAGE).await?;
        for details in &page.jobs {
            store.apply(details.job.id(), Event::DatabaseRestored, clock.now()).await?;
            failpoints::hit(FailPoint::RestoredJobHeld);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
