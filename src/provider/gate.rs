//! The gate that every call to the provider goes through: it spaces submits out and keeps suspended calls back.
//!
//! Pure over the time that it is given: it never waits, it answers until when it is closed.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::job::suspension::{MAX_SUSPENSION, PROBE_INTERVAL, Suspension, SuspensionCause};
use crate::provider::answer::Classified;

/// Permission for one submit. Only [`Gate::admit_submit`] makes one, and the client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct SubmitPermit(Permit);

/// Permission for one status query or cancel call. Only [`Gate::admit_query`] makes one, and the client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct QueryPermit(Permit);

#[derive(Debug, PartialEq, Eq)]
struct Permit {
    number: u64,
    probe: bool,
}

impl SubmitPermit {
    /// Whether the call is the one probe of suspended calls.
    pub fn is_probe(&self) -> bool {
        self.0.probe
    }

    pub(super) fn consume(self) -> SentCall {
        SentCall(self.0.number)
    }
}

impl QueryPermit {
    /// Whether the call is the one probe of suspended calls.
    pub fn is_probe(&self) -> bool {
        self.0.probe
    }

    pub(super) fn consume(self) -> SentCall {
        SentCall(self.0.number)
    }
}

/// A call that was sent, for [`Gate::settle`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct SentCall(u64);

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
}

#[derive(Debug)]
struct State {
    /// The earliest time of the next submit.
    next_submit: Timestamp,
    /// How many permits were issued: the number of the newest.
    issued: u64,
    /// Calls up to this one were sent with a key that has been replaced since.
    old_key: u64,
    active: Vec<Active>,
}

#[derive(Debug)]
struct Active {
    suspension: Suspension,
    /// The newest permit when the suspension was recorded. Answers to earlier calls do not lift it: they may be older
    /// than what caused it.
    recorded_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallKind {
    Submit,
    Query,
}

impl CallKind {
    const fn is_suspended_by(self, cause: SuspensionCause) -> bool {
        match self {
            Self::Submit => cause.suspends_submits(),
            Self::Query => cause.suspends_queries(),
        }
    }
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
        let state = State { next_submit: now.plus(spacing), issued: 0, old_key: 0, active: Vec::new() };
        Self { spacing, state: Mutex::new(state) }
    }

    /// Permits one submit, if one may be sent now.
    ///
    /// Once the time of a suspension for key, balance or configuration has come, a single call is permitted, the
    /// probe. The others wait until its answer lifts the suspension, or for the next probe five minutes later,
    /// whatever became of the first.
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_submit(&self, now: Timestamp) -> Result<SubmitPermit, Closed> {
        self.admit(CallKind::Submit, now).map(SubmitPermit)
    }

    /// Permits one status query or cancel call, if one may be sent now. See [`Gate::admit_submit`].
    ///
    /// # Errors
    /// With the time when to try again.
    pub fn admit_query(&self, now: Timestamp) -> Result<QueryPermit, Closed> {
        self.admit(CallKind::Query, now).map(QueryPermit)
    }

    fn admit(&self, kind: CallKind, now: Timestamp) -> Result<Permit, Closed> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        let closed = state.active.iter().filter_map(|Active { suspension, .. }| {
            let until = suspension.until.filter(|until| *until > now)?;
            kind.is_suspended_by(suspension.cause).then_some((until, suspension.cause))
        });
        if let Some((until, cause)) = closed.max_by_key(|(until, _)| *until) {
            return Err(Closed { until, cause: Some(cause) });
        }
        if kind == CallKind::Submit {
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
        for active in state.active.iter_mut().filter(|active| kind.is_suspended_by(active.suspension.cause)) {
            active.suspension.until = Some(now.plus(PROBE_INTERVAL));
            probe = true;
        }
        state.issued += 1;
        Ok(Permit { number: state.issued, probe })
    }

    /// Records what the answer to a call means for all calls: a new suspension, or the end of others. Returns whether
    /// the suspensions have changed, so that they must be saved again.
    pub fn settle<V>(&self, call: SentCall, classified: &Classified<V>) -> bool {
        let SentCall(number) = call;
        let mut state = self.state.lock();
        let before = state.active.len();
        state.active.retain(|active| {
            number <= active.recorded_at || !classified.evidence.lifts(active.suspension.cause)
        });
        let lifted = state.active.len() < before;
        let suspended = match &classified.suspension {
            Some(new) if new.cause == SuspensionCause::KeyRefused && number <= state.old_key => false,
            Some(new) => {
                state.record(new.clone());
                true
            }
            None => false,
        };
        lifted || suspended
    }

    /// The key has been replaced: what the provider answered to the old one no longer counts.
    pub fn key_replaced(&self) {
        let mut state = self.state.lock();
        state.old_key = state.issued;
        state.active.retain(|active| active.suspension.cause != SuspensionCause::KeyRefused);
    }

    /// Restores the suspensions that the previous process saved. A person's pauses are not the gate's.
    pub fn restore(&self, suspensions: Vec<Suspension>) {
        let mut state = self.state.lock();
        for suspension in suspensions.into_iter().filter(|suspension| !suspension.cause.is_pause()) {
            state.record(suspension);
        }
    }

    /// The suspensions in force.
    pub fn suspensions(&self, now: Timestamp) -> Vec<Suspension> {
        let mut state = self.state.lock();
        state.drop_expired(now);
        state.active.iter().map(|active| active.suspension.clone()).collect()
    }
}

impl State {
    /// One suspension per cause: a later one replaces an earlier one, but never shortens it.
    fn record(&mut self, mut suspension: Suspension) {
        let same_cause = |active: &Active| active.suspension.cause == suspension.cause;
        if let Some(known) = self.active.iter().position(same_cause) {
            let known = self.active.swap_remove(known).suspension;
            suspension.until = suspension.until.max(known.until);
            suspension.since = known.since;
        }
        self.active.push(Active { suspension, recorded_at: self.issued });
    }

    /// Drops what time alone lifts, and caps what only a clock that was set back can have moved so far away.
    fn drop_expired(&mut self, now: Timestamp) {
        self.active
            .retain(|active| active.suspension.cause.needs_probe() || active.suspension.until > Some(now));
        for Active { suspension, .. } in &mut self.active {
            let longest = if suspension.cause.needs_probe() { PROBE_INTERVAL } else { MAX_SUSPENSION };
            suspension.until = suspension.until.min(Some(now.plus(longest)));
        }
    }
}

#[cfg(test)]
mod tests;
