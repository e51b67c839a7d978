//! The status record, made from the store.

use std::collections::BTreeMap;

use strum::VariantArray;

use crate::api::budget::BudgetView;
use crate::api::slots::SlotsView;
use crate::api::status::StatusView;
use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::money::Quota;
use crate::server::admin::state::AdminServer;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::slots::Slots;

/// The status, with these suspensions in force.
pub(super) async fn status_view(
    server: &AdminServer,
    suspensions: Vec<Suspension>,
) -> Result<StatusView, StoreError> {
    let (store, now) = (&server.store, server.clock.now());
    let counts = counts(store).await?;
    let pending = counts.get(&StateName::Pending).copied().unwrap_or(0);
    Ok(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: slots_view(&store.slots(now).await?, pending, &server.settings),
        counts,
        message: message(&suspensions),
        suspensions,
        budgets: budgets(store, now).await?,
        waiting_usd: store.waiting_cost().await?.usd(),
        balance_usd: server.balance.last().map(Quota::usd),
    })
}

/// The places at the provider, while this many jobs are pending.
pub(super) fn slots_view(slots: &Slots, pending: u64, settings: &Settings) -> SlotsView {
    SlotsView {
        running: slots.running(),
        max: settings.provider.max_running,
        waiting: pending.saturating_sub(slots.scheduled),
        scheduled: slots.scheduled,
        next_scheduled_at: slots.next_scheduled,
    }
}

/// The budgets as of `now`.
pub(super) async fn budgets(store: &Store, now: Timestamp) -> Result<Vec<BudgetView>, StoreError> {
    let spent = store.spent(now).await?;
    Ok(spent.iter().map(|(budget, spent)| BudgetView::new(budget, *spent)).collect())
}

/// The number of jobs in each of the ten states.
pub(super) async fn counts(store: &Store) -> Result<BTreeMap<StateName, u64>, StoreError> {
    let counts = store.counts().await?;
    let count = |state| (state, counts.get(&state).copied().unwrap_or(0));
    Ok(StateName::VARIANTS.iter().copied().map(count).collect())
}

fn message(suspensions: &[Suspension]) -> Option<String> {
    let sentence = |effect, has_effect: fn(SuspensionCause) -> bool| {
        let reasons = suspensions.iter().filter(|suspension| has_effect(suspension.cause));
        let reasons: Vec<&str> = reasons.map(|suspension| suspension.message.as_str()).collect();
        (!reasons.is_empty()).then(|| format!("{effect}: {}", reasons.join("; ")))
    };
    let sentences: Vec<String> = [
        sentence("submitting is suspended", SuspensionCause::suspends_submits),
        sentence("downloads are suspended", SuspensionCause::suspends_downloads),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::rig::NOW;

    #[test]
    fn status_message_names_every_suspension() {
        let suspension =
            |cause, message: &str| Suspension { cause, until: None, message: message.into(), since: NOW };
        assert_eq!(message(&[]), None);
        let suspensions = [
            suspension(SuspensionCause::PausedDownloads, "paused"),
            suspension(SuspensionCause::KeyRefused, "the key is refused"),
            suspension(SuspensionCause::PausedSubmits, "paused"),
        ];
        assert_eq!(
            message(&suspensions).unwrap(),
            "submitting is suspended: the key is refused; paused. downloads are suspended: paused"
        );
    }
}
