//! Whether the wall clock can be trusted: compared with the latest time ever saved, and with the provider's clock.
//!
//! The age of an idempotency key decides whether a submit may be repeated, so a wrong clock could pay twice.

use std::time::Duration;

use parking_lot::Mutex;
use strum::VariantArray;
use tokio::sync::Notify;

use crate::api::list::{JobFilter, MAX_PAGE};
use crate::clock::{Clock, Tick, Timestamp};
use crate::job::event::Event;
use crate::job::retry::CLOCK_TOLERANCE;
use crate::job::state::StateName;
use crate::provider::answer::Evidence;
use crate::stages::isolate_corrupt_job;
use crate::store::Store;
use crate::store::error::StoreError;

/// How far the clock advances before its high water is saved again.
const HIGH_WATER_STEP: Duration = Duration::from_secs(60);

/// After this many calls without an answer the clock is trusted: the provider does not tell its time.
const MAX_UNANSWERED: u32 = 3;

/// See the module.
pub struct ClockCheck {
    store: Store,
    clock: Clock,
    state: Mutex<State>,
    verified: Notify,
}

struct State {
    skew: Option<Skew>,
    /// The provider has answered since the start and since the last jump of the clock.
    is_verified: bool,
    /// Answers that a call about the clock did not get.
    unanswered: u32,
    /// The wall clock and the monotonic one, when they were last compared.
    compared: (Timestamp, Tick),
    /// An operator vouches for the clock.
    confirmed: bool,
    /// The latest time that was saved.
    high_water: Option<Timestamp>,
    /// The clock is behind its high water, and all jobs were rescheduled for that.
    set_back: bool,
}

/// By how much the provider's clock differed from ours in its latest answer.
#[derive(Clone, Copy)]
struct Skew {
    provider_ahead: bool,
    difference: Duration,
}

impl ClockCheck {
    /// Continues with the high water of the previous process.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn open(store: Store, clock: Clock) -> Result<Self, StoreError> {
        let state = State {
            skew: None,
            is_verified: false,
            unanswered: 0,
            compared: (clock.now(), clock.tick()),
            confirmed: false,
            high_water: store.clock_high_water().await?,
            set_back: false,
        };
        Ok(Self { store, clock, state: Mutex::new(state), verified: Notify::new() })
    }

    /// Compares the clock with the provider's at `now`, if its answer names the time. Where it never does, or never comes,
    /// the clock is trusted.
    pub fn record_answer(&self, provider_time: Option<Timestamp>, evidence: Evidence, now: Timestamp) {
        let mut state = self.state.lock();
        if let Some(provider_time) = provider_time {
            let difference = provider_time.since(now).max(now.since(provider_time));
            state.skew = Some(Skew { provider_ahead: provider_time >= now, difference });
        }
        if evidence == Evidence::None {
            state.unanswered = state.unanswered.saturating_add(1);
        }
        if !state.is_verified && (evidence != Evidence::None || state.unanswered >= MAX_UNANSWERED) {
            state.is_verified = true;
            self.verified.notify_one();
        }
    }

    /// Whether the clock has been compared with the provider's since the start and its last jump.
    pub fn is_verified(&self) -> bool {
        self.state.lock().is_verified
    }

    /// Waits until it has been.
    pub async fn verified(&self) {
        self.verified.notified().await;
    }

    /// An operator vouches for the clock: the latest time that was saved no longer counts.
    pub fn confirm(&self) {
        self.state.lock().confirmed = true;
    }

    /// Saves the high water now and then. If the clock was set back, reschedules all unfinished jobs, once. If the
    /// provider's clock confirms the new time, forgets the old high water.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn run(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (mut high_water, set_back, confirmed) = {
            let mut state = self.state.lock();
            let (wall, tick) = state.compared;
            let (by_wall, by_tick) = (now.since(wall), self.clock.tick().since(tick));
            if now < wall || by_wall.abs_diff(by_tick) > CLOCK_TOLERANCE {
                // It jumped: what the provider's clock said before no longer counts.
                state.is_verified = false;
                state.unanswered = 0;
                state.skew = None;
            }
            state.compared = (now, self.clock.tick());
            (state.high_water, state.set_back, std::mem::take(&mut state.confirmed))
        };
        if confirmed && is_behind(now, high_water) {
            tracing::info!(%now, "an operator has confirmed the clock");
            self.store.reset_clock_high_water(now).await?;
            high_water = Some(now);
        }
        let behind = is_behind(now, high_water);
        if behind && !set_back {
            tracing::warn!(%now, "the clock was set back");
            // The provider's time must confirm the new clock, not the old one.
            self.state.lock().skew = None;
            reschedule_all(&self.store, now).await?;
        }
        if behind && self.state.lock().skew.is_some_and(|skew| skew.difference <= CLOCK_TOLERANCE) {
            tracing::info!("the clock agrees with the provider's again");
            self.store.reset_clock_high_water(now).await?;
            high_water = Some(now);
        } else if high_water.is_none_or(|time| now >= time.plus(HIGH_WATER_STEP)) {
            self.store.raise_clock_high_water(now).await?;
            high_water = Some(now);
        }
        let mut state = self.state.lock();
        state.high_water = high_water;
        state.set_back = is_behind(now, high_water);
        Ok(())
    }

    /// Why the clock cannot be trusted with the age of a key; `None` if it can.
    pub fn doubt(&self) -> Option<String> {
        let now = self.clock.now();
        let state = self.state.lock();
        if let Some(high_water) = state.high_water.filter(|_| is_behind(now, state.high_water)) {
            return Some(format!("the clock says {now}, but it was already {high_water}"));
        }
        let skew = state.skew.filter(|skew| skew.difference > CLOCK_TOLERANCE)?;
        let side = if skew.provider_ahead { "behind" } else { "ahead of" };
        Some(format!("the clock is {} s {side} the provider's", skew.difference.as_secs()))
    }
}

fn is_behind(now: Timestamp, high_water: Option<Timestamp>) -> bool {
    high_water.is_some_and(|time| time.since(now) > CLOCK_TOLERANCE)
}

/// Applies [`Event::ClockSetBack`] to every unfinished job.
async fn reschedule_all(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    for state in StateName::VARIANTS.iter().copied().filter(|state| !state.is_end()) {
        let mut cursor = None;
        loop {
            let filter = JobFilter { state: Some(state), ..JobFilter::default() };
            let page = store.list(filter, cursor, MAX_PAGE).await?;
            let applied = page.jobs.iter().map(|details| async {
                let job = details.job.id();
                (job, store.apply(job, Event::ClockSetBack, now).await)
            });
            for (job, applied) in futures_util::future::join_all(applied).await {
                isolate_corrupt_job(store, job, applied).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}
