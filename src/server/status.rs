//! The status record, made from the store.

use std::collections::BTreeMap;

use crate::api::status::{StatusView, SuspensionView};
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::suspensions::{Stop, StopCause};

/// The status, with these suspensions in force.
pub(super) async fn status_view(store: &Store, stops: Vec<Stop>) -> Result<StatusView, StoreError> {
    Ok(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        counts: counts(store).await?,
        waiting: waiting(&stops),
        suspensions: stops.into_iter().map(suspension_view).collect(),
    })
}

/// The number of jobs in each of the ten states.
pub(super) async fn counts(store: &Store) -> Result<BTreeMap<StateName, u64>, StoreError> {
    let counts = store.counts().await?;
    let count = |state| (state, counts.get(&state).copied().unwrap_or(0));
    Ok(StateName::ALL.into_iter().map(count).collect())
}

/// A suspension as the API shows it.
pub(super) fn suspension_view(stop: Stop) -> SuspensionView {
    SuspensionView {
        cause: stop.cause.as_str().to_owned(),
        until: stop.until,
        message: stop.message,
        since: stop.since,
    }
}

fn waiting(stops: &[Stop]) -> Option<String> {
    let of = |what, is_of: fn(StopCause) -> bool| {
        let stops = stops.iter().filter(|stop| is_of(stop.cause));
        let why: Vec<&str> = stops.map(|stop| stop.message.as_str()).collect();
        (!why.is_empty()).then(|| format!("{what}: {}", why.join("; ")))
    };
    let downloads = |cause| cause == StopCause::PausedDownloads;
    let told: Vec<String> = [
        of("nothing is submitted", |cause| cause != StopCause::PausedDownloads),
        of("nothing is downloaded", downloads),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!told.is_empty()).then(|| told.join(". "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::rig::NOW;

    #[test]
    fn what_stands_still_is_told_in_a_sentence() {
        let stop = |cause, message: &str| Stop { cause, until: None, message: message.into(), since: NOW };
        assert_eq!(waiting(&[]), None);
        let stops = [
            stop(StopCause::PausedDownloads, "paused"),
            stop(StopCause::KeyRefused, "the key is refused"),
            stop(StopCause::PausedSubmits, "paused"),
        ];
        assert_eq!(
            waiting(&stops).unwrap(),
            "nothing is submitted: the key is refused; paused. nothing is downloaded: paused"
        );
    }
}
