//! The gate that every call to the provider goes through: it spaces submits out and keeps suspended calls back.
//!
//! What one job gets as an answer suspends nothing: it may concern that job alone. Calls are suspended when a neutral call
//! gets the same, when several jobs in a row do and a neutral call says nothing, and at once by a limit that names its end.
//!
//! Pure over the time that it is given: it never waits, it answers until when it is closed.

mod permits;
mod quote_budget;
mod state;
mod unconfirmed;

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::suspension::{MAX_SUSPENSION, Suspension, SuspensionCause};
use crate::provider::answer::{AccountRefusal, Classified};
use crate::provider::neutral::NeutralCall;
use crate::provider::quote::QuoteAnswer;
pub use permits::{BalancePermit, NeutralPermit, QueryPermit, SentCall, SubmitPermit};
use permits::{Permit, Subject};
use quote_budget::QuoteBudget;
pub use quote_budget::QuotePermit;
pub use state::Settled;
use state::{Active, NEUTRAL_SPACING, Probe, RESUME_SPACING, State};
use unconfirmed::UnconfirmedCauses;

/// How soon to look whether calls are still suspended.
const QUOTE_RECHECK: Duration = Duration::from_secs(5);

/// The gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When to try again.
    pub until: Timestamp,
    /// Why calls are suspended; `None` when only the rate of submits is exhausted.
    pub cause: Option<SuspensionCause>,
}

/// See the module. Shared by reference; no call is in flight while the lock is held.
#[derive(Debug)]
pub struct Gate {
    spacing: Duration,
    state: Mutex<State>,
    quotes: Mutex<QuoteBudget>,
}

impl Gate {
    /// A gate for at most `submit_per_second` submits, evenly spaced. The first one comes a spacing after `now`, so
    /// that a daemon that is restarted again and again keeps to the rate too.
    pub fn new(submit_per_second: f64, now: Timestamp) -> Self {
        let spacing = Duration::try_from_secs_f64(1.0 / submit_per_second)
            .map_or(MAX_SUSPENSION, |spacing| spacing.min(MAX_SUSPENSION));
        // Rounded up to whole milliseconds, the resolution of a timestamp.
        let spacing =
            Duration::from_millis(u64::try_from(spacing.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
        let state = State {
            next_submit: now.plus(spacing),
            next_neutral: now,
            issued: 0,
            old_key: 0,
            active: Vec::new(),
            unconfirmed: UnconfirmedCauses::default(),
            models_wanted: false,
            last_was_wanted_list: false,
        };
        Self { spacing, state: Mutex::new(state), quotes: Mutex::new(QuoteBudget::new(now)) }
    }

    /// Permits one submit of `job`, if it may be sent now.
    ///
    /// Once the time of a suspension has come whose end only a probe can find out, a neutral call is made. If that says
    /// nothing, a single call of a job is permitted, preferably of another one than was refused last. The others wait
    /// until an answer lifts the suspension, or for the next probe.
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_submit(&self, job: JobId, now: Timestamp) -> Result<SubmitPermit, Closed> {
        self.admit(Subject::Submit(job), job, now).map(SubmitPermit::new)
    }

    /// Permits one status query or cancel call about `job`, if it may be sent now. See [`Gate::admit_submit`].
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_query(&self, job: JobId, now: Timestamp) -> Result<QueryPermit, Closed> {
        self.admit(Subject::Query(job), job, now).map(QueryPermit::new)
    }

    fn admit(&self, subject: Subject, job: JobId, now: Timestamp) -> Result<Permit, Closed> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        let is_submit = matches!(subject, Subject::Submit(_));
        let suspends = |active: &Active| {
            let cause = active.suspension.cause;
            if is_submit { cause.suspends_submits() } else { cause.suspends_queries() }
        };
        let closed = state
            .active
            .iter()
            .filter(|active| suspends(active))
            .filter_map(|active| Some((active.closed_until(job, now)?, active.suspension.cause)));
        if let Some((until, cause)) = closed.max_by_key(|(until, _)| *until) {
            return Err(Closed { until, cause: Some(cause) });
        }
        if is_submit {
            // Further away than one spacing: the clock was set back. Without the cap, submits would wait until the
            // clock has caught up.
            let next = state.next_submit.min(now.plus(self.spacing));
            state.next_submit = next;
            if next > now {
                return Err(Closed { until: next, cause: None });
            }
            state.next_submit = now.plus(self.spacing);
        }
        let mut probe = false;
        for active in state.active.iter_mut().filter(|active| suspends(active)) {
            active.probed(now);
            probe = true;
        }
        Ok(state.permit(subject, probe))
    }

    /// When the next neutral call is due, if one is wanted.
    pub fn next_neutral(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        state.wanted_neutral(now).map(|(at, _)| at)
    }

    /// Permits the neutral call that is wanted now.
    pub fn admit_neutral(&self, now: Timestamp) -> Option<NeutralPermit> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        let (_, call) = state.wanted_neutral(now).filter(|(at, _)| *at <= now)?;
        state.next_neutral = now.plus(NEUTRAL_SPACING);
        state.last_was_wanted_list = state.models_wanted && state.unconfirmed.wanted().is_none();
        state.unconfirmed.sent(call);
        if call == NeutralCall::Models {
            state.models_wanted = false;
        }
        let mut probe = false;
        for active in &mut state.active {
            if active.is_probed_by(call) && active.suspension.until <= Some(now) {
                active.probed(now);
                active.probe = Probe::Sent;
                probe = true;
            }
        }
        Some(NeutralPermit::new(state.permit(Subject::Neutral(call), probe), call))
    }

    /// Permits one query of the balance, for people, unless calls are suspended. What it gets says nothing about other calls.
    pub fn admit_balance(&self, now: Timestamp) -> Option<BalancePermit> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        let is_suspended = state.active.iter().any(|active| active.suspension.cause.suspends_queries());
        (!is_suspended).then(BalancePermit::new)
    }

    /// Until when no quotes are asked for: while calls are suspended, or because the provider had none.
    pub fn quotes_closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        let suspended = state.active.iter().filter(|active| active.suspension.cause.suspends_queries());
        // Quotes are no probes: they wait until another call has ended the suspension.
        let suspended =
            suspended.map(|active| active.suspension.until.unwrap_or(now).max(now.plus(QUOTE_RECHECK)));
        suspended.max().max(self.quotes.lock().closed_until(now))
    }

    /// Permits one call for a quote, or answers when to try again. Nothing else depends on it.
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_quote(&self, now: Timestamp) -> Result<QuotePermit, Timestamp> {
        match self.quotes_closed_until(now) {
            Some(until) => Err(until),
            None => self.quotes.lock().admit(now),
        }
    }

    /// Records what a call for a quote got. It says nothing about other calls.
    pub fn quote_answered(&self, answer: QuoteAnswer, now: Timestamp) {
        self.quotes.lock().answered(answer, now);
    }

    /// Records what the answer to a call means for all calls: new suspensions, or the end of others.
    pub fn settle<V>(&self, call: SentCall, classified: &Classified<V>, now: Timestamp) -> Settled {
        let SentCall { number, subject } = call;
        let mut state = self.state.lock();
        let before = state.active.len();
        state.active.retain(|active| {
            number <= active.recorded_at || !classified.evidence.lifts(active.suspension.cause)
        });
        let mut settled = Settled { changed: state.active.len() < before, ..Settled::default() };
        let is_of_old_key = |refusal: &&AccountRefusal| {
            refusal.suspension.cause == SuspensionCause::KeyRefused && number <= state.old_key
        };
        let refusal = classified.refusal.as_ref().filter(|refusal| !is_of_old_key(refusal));
        match subject {
            Subject::Submit(job) | Subject::Query(job) => {
                state.unconfirmed.job_answered(subject, classified.evidence);
                if let Some(refusal) = refusal {
                    let is_submit = matches!(subject, Subject::Submit(_));
                    state.job_refused(job, number, is_submit, refusal, &mut settled);
                }
            }
            Subject::Neutral(call) => {
                // Wanted again while it was being made.
                state.models_wanted = false;
                state.neutral_call_answered(call, classified, refusal, now, &mut settled)
            }
        }
        settled
    }

    /// A list of models is wanted: for its models, or to compare the clock with the provider's.
    pub fn want_models(&self) {
        self.state.lock().models_wanted = true;
    }

    /// Suspends submits while the clock is in doubt, as `doubt` says, and lifts that when it is not.
    pub fn set_clock_doubt(&self, doubt: Option<String>, now: Timestamp) -> Settled {
        let mut state = self.state.lock();
        let is_clock = |active: &Active| active.suspension.cause == SuspensionCause::ClockUnreliable;
        let known = state.active.iter().any(is_clock);
        let mut settled = Settled::default();
        match doubt {
            Some(message) if !known => {
                let (cause, until) = (SuspensionCause::ClockUnreliable, Some(now));
                state.suspend(Suspension { cause, until, message, since: now }, None, &mut settled);
            }
            None if known => {
                state.active.retain(|active| !is_clock(active));
                settled.changed = true;
            }
            Some(_) | None => {}
        }
        settled
    }

    /// Whether submits are suspended.
    pub fn suspends_submits(&self, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        state.drop_expired(now);
        state.active.iter().any(|active| active.suspension.cause.suspends_submits())
    }

    /// An operator wants suspended calls to be tried at once.
    pub fn resume(&self, now: Timestamp) {
        let mut state = self.state.lock();
        state.next_neutral = state.next_neutral.min(now.plus(RESUME_SPACING));
        for active in state.active.iter_mut().filter(|active| active.suspension.cause.needs_probe()) {
            active.suspension.until = active.suspension.until.min(Some(now));
            active.probe = Probe::Neutral;
        }
    }

    /// The key has been replaced: what the provider answered to the old one no longer counts.
    pub fn key_replaced(&self) {
        let mut state = self.state.lock();
        state.old_key = state.issued;
        state.active.retain(|active| active.suspension.cause != SuspensionCause::KeyRefused);
        state.unconfirmed.remove(SuspensionCause::KeyRefused);
    }

    /// Restores the suspensions that the previous process saved. A person's pauses are not the gate's.
    pub fn restore(&self, suspensions: Vec<Suspension>) {
        let mut state = self.state.lock();
        for suspension in suspensions.into_iter().filter(|suspension| suspension.cause.is_of_provider()) {
            state.record(suspension, None);
        }
    }

    /// The suspensions in force.
    pub fn suspensions(&self, now: Timestamp) -> Vec<Suspension> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        state.active.iter().map(|active| active.suspension.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
