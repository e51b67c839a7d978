//! The line to the provider as the stages share it: gate and client, the stops written down, the clocks compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::api::list::{JobFilter, MAX_PAGE};
use crate::clock::{Clock, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::job::attempt::Attempt;
use crate::job::event::{Event, SubmitVerdict};
use crate::job::retry::CLOCK_TOLERANCE;
use crate::job::state::StateName;
use crate::provider::client::ProviderClient;
use crate::provider::gate::{Gate, Pass};
use crate::provider::suspension::{Suspension, SuspensionCause};
use crate::provider::verdict::Answered;
use crate::stages::isolate_corrupt_job;
use crate::store::Store;
use crate::store::apply::Applied;
use crate::store::error::StoreError;
use crate::store::suspensions::{Stop, StopCause};

/// The high water of the clock is written down this often.
const HIGH_WATER_STEP: Duration = Duration::from_secs(60);
/// A key answered so often with a server error, while other submits succeed, is answered from storage.
const STORED_ERRORS: u32 = 5;

/// What the submit and the poll stage share.
pub struct Line {
    /// The clock of both.
    pub clock: Clock,
    /// The one gate.
    pub gate: Gate,
    /// The one client.
    pub client: ProviderClient,
    store: Store,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The provider's clock less ours, at the last answer that told.
    skew: Option<(bool, Duration)>,
    /// Keys that were answered with a server error: when first, and how often.
    server_errors: BTreeMap<String, (Timestamp, u32)>,
    last_success: Option<Timestamp>,
    high_water: Option<Timestamp>,
    /// The clock is behind its high water, and what was reckoned by it is put right.
    set_back: bool,
    /// The stops of the gate are not in the database as they are: it could not be written to.
    unwritten: bool,
}

impl Line {
    /// Takes up the stops of the process before this one. That the key was refused counts only if it was this key.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn open(
        store: Store,
        gate: Gate,
        client: ProviderClient,
        key_print: i64,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        note_key(&store, key_print).await?;
        let stops = store.stops().await?;
        gate.restore(stops.into_iter().filter_map(line_stop).collect());
        let high_water = store.high_water().await?;
        let seen = Mutex::new(Seen { high_water, ..Seen::default() });
        Ok(Arc::new(Self { clock, gate, client, store, seen }))
    }

    /// Takes in what an answer means for the line, writes changed stops down, and hands on the verdict.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn heard<V>(&self, pass: Pass, answered: Answered<V>) -> Result<V, StoreError> {
        let now = self.clock.now();
        if let Some(theirs) = answered.provider_time {
            self.seen().skew = Some((theirs >= now, theirs.since(now).max(now.since(theirs))));
        }
        if let Some(stop) = &answered.line {
            tracing::warn!(
                cause = stop.cause.as_str(),
                "the line to the provider stops until {}: {}",
                stop.until,
                stop.message
            );
        }
        if self.gate.settle(pass, &answered) {
            self.write_stops(now).await?;
        }
        Ok(answered.verdict)
    }

    /// Writes the stops of the gate down as they are now.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn write_stops(&self, now: Timestamp) -> Result<(), StoreError> {
        self.seen().unwritten = true;
        let standing = self.gate.stops(now);
        let ended =
            SuspensionCause::ALL.into_iter().filter(|cause| standing.iter().all(|stop| stop.cause != *cause));
        if self.store.lift_stops(ended.map(stop_cause).collect()).await? {
            failpoints::hit(FailPoint::StopLifted);
            tracing::info!("the line to the provider goes on");
        }
        for stop in standing {
            let cause = stop_cause(stop.cause);
            let stop = Stop { cause, until: Some(stop.until), message: stop.message, since: now };
            self.store.put_stop(stop).await?;
            failpoints::hit(FailPoint::StopWritten);
        }
        self.seen().unwritten = false;
        Ok(())
    }

    /// Before the one careful try of a stopped line: writes down when the next may follow, so that a restart does not
    /// try at once again.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn note_probe(&self, pass: &Pass) -> Result<(), StoreError> {
        if pass.is_probe() { self.write_stops(self.clock.now()).await } else { Ok(()) }
    }

    /// Whether a person has paused this. On the way, writes down what could not be written when it was heard, and lifts
    /// limits of the provider whose time is over.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn is_paused(&self, cause: StopCause) -> Result<bool, StoreError> {
        let (stops, now) = (self.store.stops().await?, self.clock.now());
        let lapsed =
            |stop: &Stop| stop.cause == StopCause::RateLimited && stop.until.is_some_and(|end| end <= now);
        let unwritten = self.seen().unwritten;
        if unwritten || stops.iter().any(lapsed) {
            self.write_stops(now).await?;
        }
        Ok(stops.iter().any(|stop| stop.cause == cause))
    }

    /// Writes the wall clock's high water down now and then. A clock well below it was set back: then what was
    /// reckoned by it is put right, once; and if the provider's clock agrees with the new time, the old one is
    /// forgotten.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn note_clock(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (mut known, set_back) = {
            let seen = self.seen();
            (seen.high_water, seen.set_back)
        };
        if set_back {
            // A person may have said meanwhile that the clock is right.
            known = self.store.high_water().await?;
        }
        let behind = known.is_some_and(|known| known.since(now) > CLOCK_TOLERANCE);
        if behind && !set_back {
            tracing::warn!("the clock was set back: it says {now}, and was beyond that");
            // Only what the provider says from now on counts.
            self.seen().skew = None;
            put_right(&self.store, now).await?;
        }
        if behind && self.seen().skew.is_some_and(|(_, skew)| skew <= CLOCK_TOLERANCE) {
            tracing::info!("the clock agrees with the provider's again");
            self.store.reset_high_water(now).await?;
            known = Some(now);
        } else if known.is_none_or(|known| now >= known.plus(HIGH_WATER_STEP)) {
            self.store.raise_high_water(now).await?;
            known = Some(now);
        }
        let mut seen = self.seen();
        seen.high_water = known;
        seen.set_back = known.is_some_and(|known| known.since(now) > CLOCK_TOLERANCE);
        Ok(())
    }

    /// Why the clock cannot be trusted with the age of a key, if it cannot.
    pub fn clock_doubt(&self) -> Option<String> {
        let now = self.clock.now();
        let seen = self.seen();
        if let Some(known) = seen.high_water.filter(|known| known.since(now) > CLOCK_TOLERANCE) {
            return Some(format!("the clock says {now}, but it has already been {known}"));
        }
        let (ahead, skew) = seen.skew.filter(|(_, skew)| *skew > CLOCK_TOLERANCE)?;
        let side = if ahead { "behind" } else { "ahead of" };
        Some(format!("the clock is {} s {side} the provider's", skew.as_secs()))
    }

    /// Sees through a server error that is stored under one key: other submits succeed, this key never does
    /// (docs/provider.md#headers).
    pub fn judge(&self, attempt: &Attempt, server_error: bool, verdict: SubmitVerdict) -> SubmitVerdict {
        let now = self.clock.now();
        let mut seen = self.seen();
        match verdict {
            SubmitVerdict::Unknown { why, not_before } if server_error => {
                let last_success = seen.last_success;
                let (first, count) = seen.server_errors.entry(attempt.key()).or_insert((now, 0));
                *count += 1;
                if *count >= STORED_ERRORS && last_success.is_some_and(|success| success > *first) {
                    return SubmitVerdict::Replayed { why };
                }
                SubmitVerdict::Unknown { why, not_before }
            }
            SubmitVerdict::Unknown { .. } => verdict,
            SubmitVerdict::Accepted { .. } => {
                seen.last_success = Some(now);
                seen.server_errors.remove(&attempt.key());
                verdict
            }
            SubmitVerdict::Refused(_)
            | SubmitVerdict::NotExecuted { .. }
            | SubmitVerdict::Replayed { .. }
            | SubmitVerdict::Shared { .. } => {
                seen.server_errors.remove(&attempt.key());
                verdict
            }
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // No code that holds this lock can panic, so a poisoned one is still whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another key than the last process had has not been refused yet.
async fn note_key(store: &Store, print: i64) -> Result<(), StoreError> {
    if store.known_key().await? == Some(print) {
        return Ok(());
    }
    if store.lift_stops(vec![StopCause::KeyRefused]).await? {
        tracing::info!("there is another API key: the line to the provider goes on");
    }
    store.note_key(print).await
}

/// Tells every unfinished job that the clock was set back.
async fn put_right(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    for state in StateName::ALL.into_iter().filter(|state| !state.is_end()) {
        let mut cursor = None;
        loop {
            let filter = JobFilter { state: Some(state), ..JobFilter::default() };
            let page = store.list(filter, cursor, MAX_PAGE).await?;
            let told = page.jobs.iter().map(|sight| async {
                let job = sight.job.id();
                (job, store.apply(job, Event::ClockSetBack, now).await)
            });
            for (job, told) in futures_util::future::join_all(told).await {
                isolate_corrupt_job(store, job, told).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Tells the log of a change of state, once, where it is handled.
pub fn tell(applied: &Applied) {
    let (job, state) = (applied.job.id(), applied.job.state_name());
    let name = &applied.job.identity().name;
    if state == applied.before {
        return;
    }
    let last = applied.history.last();
    let detail = last.map(|line| line.detail.as_str()).filter(|detail| !detail.is_empty());
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    match state {
        StateName::Held | StateName::Failed | StateName::Expired => {
            tracing::warn!(%job, %state, "job {job} ({name}) is {state}{detail}");
        }
        StateName::Pending
        | StateName::Submitting
        | StateName::Queued
        | StateName::Processing
        | StateName::Downloading
        | StateName::Succeeded
        | StateName::Cancelled => tracing::info!(%job, %state, "job {job} ({name}) is {state}{detail}"),
    }
}

fn stop_cause(cause: SuspensionCause) -> StopCause {
    match cause {
        SuspensionCause::RateLimited => StopCause::RateLimited,
        SuspensionCause::KeyRefused => StopCause::KeyRefused,
        SuspensionCause::BalanceEmpty => StopCause::BalanceEmpty,
        SuspensionCause::Misconfigured => StopCause::Misconfigured,
    }
}

fn line_stop(stop: Stop) -> Option<Suspension> {
    let cause = match stop.cause {
        StopCause::PausedSubmits | StopCause::PausedDownloads => return None,
        StopCause::RateLimited => SuspensionCause::RateLimited,
        StopCause::KeyRefused => SuspensionCause::KeyRefused,
        StopCause::BalanceEmpty => SuspensionCause::BalanceEmpty,
        StopCause::Misconfigured => SuspensionCause::Misconfigured,
    };
    Some(Suspension { cause, until: stop.until?, message: stop.message })
}
