//! How things stand as a whole: counts, stops, and what is waited for.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::suspensions::{Stop, StopCause};

/// The answer of `GET /api/v1/status`, and the data of a `status` event.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub(super) struct StatusView {
    version: &'static str,
    /// All ten states, in the order of a job's life.
    #[schema(value_type = BTreeMap<String, u64>)]
    counts: Counts,
    stops: Vec<StopView>,
    /// What stands still and why, in a sentence; `None` when all goes on.
    waiting: Option<String>,
}

/// How many jobs are in each state.
pub(super) struct Counts(BTreeMap<StateName, u64>);

impl Counts {
    /// As things stand now.
    pub(super) async fn look(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(store.counts().await?))
    }

    /// Those in one state.
    pub(super) fn of(&self, state: StateName) -> u64 {
        self.0.get(&state).copied().unwrap_or(0)
    }
}

/// A stop in force.
#[derive(Serialize, ToSchema)]
#[schema(as = Stop)]
pub(super) struct StopView {
    /// One word.
    pub(super) cause: &'static str,
    /// `null`: until a person's word, or the provider's.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    pub(super) message: String,
    #[schema(value_type = String, format = DateTime)]
    pub(super) since: Timestamp,
}

impl StatusView {
    /// As things stand now, with these stops in force.
    pub(super) async fn look(store: &Store, stops: Vec<Stop>) -> Result<Self, StoreError> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            counts: Counts::look(store).await?,
            waiting: waiting(&stops),
            stops: stops.into_iter().map(StopView::from).collect(),
        })
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(StateName::ALL.iter().map(|state| (state.as_str(), self.of(*state))))
    }
}

impl From<Stop> for StopView {
    fn from(stop: Stop) -> Self {
        Self { cause: stop.cause.as_str(), until: stop.until, message: stop.message, since: stop.since }
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
