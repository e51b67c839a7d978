//! What the gate remembers: suspensions with their probes, and what is not confirmed.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::suspension::{MAX_SUSPENSION, PROBE_INTERVAL, Suspension, SuspensionCause};
use crate::provider::answer::{AccountRefusal, Classified};
use crate::provider::gate::permits::{Permit, Subject};
use crate::provider::gate::unconfirmed::UnconfirmedCauses;
use crate::provider::neutral::NeutralCall;

/// The shortest time between two neutral calls.
pub(super) const NEUTRAL_SPACING: Duration = Duration::from_secs(10);
/// The same after an operator asked to try at once.
pub(super) const RESUME_SPACING: Duration = Duration::from_secs(2);
/// How long jobs wait for the neutral call that probes for them, before they ask the gate again.
const NEUTRAL_WAIT: Duration = Duration::from_secs(5);
/// How long a probe is left to another job than the one refused last.
const OTHER_JOB_WAIT: Duration = Duration::from_secs(60);
/// Between two probes whether the clock is right again.
const CLOCK_PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Between two probes whether the provider can be reached: grows up to the last.
const UNREACHABLE_PROBES: [u64; 5] = [5, 10, 20, 40, 60];

#[derive(Debug)]
pub(super) struct State {
    /// The earliest time of the next submit.
    pub(super) next_submit: Timestamp,
    /// The earliest time of the next neutral call.
    pub(super) next_neutral: Timestamp,
    /// How many permits were issued: the number of the newest.
    pub(super) issued: u64,
    /// Calls up to this one were sent with a key that has been replaced since.
    pub(super) old_key: u64,
    pub(super) active: Vec<Active>,
    pub(super) unconfirmed: UnconfirmedCauses,
    /// A neutral call is wanted to compare the clocks.
    pub(super) models_wanted: bool,
    /// The last neutral call compared the clocks only: one about a refusal does not wait for its spacing.
    pub(super) last_was_wanted_list: bool,
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) suspension: Suspension,
    /// The newest permit when the suspension was recorded. Answers to earlier calls do not lift it: they may be older
    /// than what caused it.
    pub(super) recorded_at: u64,
    /// The job that was refused last.
    refused: Option<JobId>,
    pub(super) probe: Probe,
    /// How often it was confirmed.
    times: usize,
}

/// What the next probe of a suspension is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// A neutral call.
    Neutral,
    /// The same, and it is being made.
    Sent,
    /// The call of a job, because a neutral call says nothing.
    Job,
}

/// What an answer has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// New suspensions.
    pub suspended: Vec<Suspension>,
    /// Suspensions were lifted, renewed, or wait for the call of a job: they must be saved, and the stages woken.
    pub changed: bool,
}

impl Active {
    /// Until when a call about `job` has to wait.
    pub(super) fn closed_until(&self, job: JobId, now: Timestamp) -> Option<Timestamp> {
        let until = self.suspension.until?;
        let free = match self.probe {
            _ if until > now => until,
            Probe::Job if self.refused == Some(job) => until.plus(OTHER_JOB_WAIT),
            Probe::Job => until,
            Probe::Neutral | Probe::Sent => now.plus(NEUTRAL_WAIT),
        };
        (free > now).then_some(free)
    }

    pub(super) fn is_probed_by(&self, call: NeutralCall) -> bool {
        let cause = self.suspension.cause;
        cause.needs_probe() && self.probe != Probe::Job && NeutralCall::about(cause) == call
    }

    /// A probe is being made: whatever becomes of it, the next one comes an interval later.
    pub(super) fn probed(&mut self, now: Timestamp) {
        self.suspension.until = Some(now.plus(probe_interval(self.suspension.cause, self.times)));
        self.probe = Probe::Neutral;
    }
}

fn probe_interval(cause: SuspensionCause, times: usize) -> Duration {
    match cause {
        SuspensionCause::Unreachable => {
            let last = UNREACHABLE_PROBES.len() - 1;
            Duration::from_secs(UNREACHABLE_PROBES[times.saturating_sub(1).min(last)])
        }
        SuspensionCause::ClockUnreliable => CLOCK_PROBE_INTERVAL,
        _ => PROBE_INTERVAL,
    }
}

impl State {
    pub(super) fn permit(&mut self, subject: Subject, probe: bool) -> Permit {
        self.issued += 1;
        Permit { number: self.issued, subject, probe }
    }

    pub(super) fn job_refused(
        &mut self,
        job: JobId,
        number: u64,
        at_submit: bool,
        refusal: &AccountRefusal,
        settled: &mut Settled,
    ) {
        let suspension = &refusal.suspension;
        let active = self.active.iter().find(|active| active.suspension.cause == suspension.cause);
        // A call that was sent before the suspension says nothing new.
        let is_old = active.is_some_and(|active| number <= active.recorded_at);
        if refusal.is_certain || (active.is_some() && !is_old) {
            self.suspend(suspension.clone(), Some(job), settled);
        } else if active.is_none()
            && let Some(confirmed) = self.unconfirmed.job_refused(job, at_submit, suspension)
        {
            self.suspend(confirmed, Some(job), settled);
        }
    }

    pub(super) fn neutral_call_answered<V>(
        &mut self,
        call: NeutralCall,
        classified: &Classified<V>,
        refusal: Option<&AccountRefusal>,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        if let Some(refusal) = refusal {
            self.suspend(refusal.suspension.clone(), None, settled);
        }
        for confirmed in self.unconfirmed.neutral_call_answered(call, classified.evidence, now) {
            self.suspend(confirmed, None, settled);
        }
        // Where the call said nothing about a cause, the call of a job is the probe.
        let refused_for = refusal.map(|refusal| refusal.suspension.cause);
        let sent = |active: &&mut Active| active.probe == Probe::Sent && active.is_probed_by(call);
        for active in self.active.iter_mut().filter(sent) {
            // A submit cannot tell whether the clock is right.
            if active.suspension.cause == SuspensionCause::ClockUnreliable {
                active.probe = Probe::Neutral;
            } else if refused_for != Some(active.suspension.cause)
                && refused_for != Some(SuspensionCause::Unreachable)
            {
                active.suspension.until = Some(now);
                active.probe = Probe::Job;
                settled.changed = true;
            }
        }
    }

    pub(super) fn suspend(&mut self, suspension: Suspension, job: Option<JobId>, settled: &mut Settled) {
        self.unconfirmed.remove(suspension.cause);
        let recorded = self.record(suspension, job);
        settled.suspended.push(recorded);
        settled.changed = true;
    }

    /// One suspension per cause: a later one replaces an earlier one, but never shortens it.
    pub(super) fn record(&mut self, mut suspension: Suspension, job: Option<JobId>) -> Suspension {
        let same_cause = |active: &Active| active.suspension.cause == suspension.cause;
        let known = self.active.iter().position(same_cause).map(|known| self.active.swap_remove(known));
        let times = known.as_ref().map_or(1, |known| known.times + 1);
        if suspension.cause == SuspensionCause::Unreachable {
            suspension.until = Some(suspension.since.plus(probe_interval(suspension.cause, times)));
        }
        if let Some(known) = &known {
            suspension.until = suspension.until.max(known.suspension.until);
            suspension.since = known.suspension.since;
        }
        let refused = job.or_else(|| known?.refused);
        let active = Active {
            suspension: suspension.clone(),
            recorded_at: self.issued,
            refused,
            probe: Probe::Neutral,
            times,
        };
        self.active.push(active);
        suspension
    }

    /// The neutral call that is wanted first, and when. It waits for what suspends all calls, too.
    pub(super) fn wanted_neutral(&self, now: Timestamp) -> Option<(Timestamp, NeutralCall)> {
        let probes = self.active.iter().filter_map(|active| {
            let call = NeutralCall::about(active.suspension.cause);
            active.is_probed_by(call).then_some((active.suspension.until?, call))
        });
        let unconfirmed = self.unconfirmed.wanted().map(|call| (now, call));
        // It serves submits: while they are suspended for another reason, it can wait.
        let submits = self.active.iter().filter(|active| active.suspension.cause.suspends_submits());
        let free_at = submits.filter_map(|active| active.suspension.until).max().unwrap_or(now).max(now);
        let clock_check = self.models_wanted.then_some((free_at, NeutralCall::Models));
        let wanted = unconfirmed.into_iter().chain(clock_check).chain(probes);
        let (at, call) = wanted.min_by_key(|(at, _)| *at)?;
        let is_urgent = self.last_was_wanted_list && self.unconfirmed.wanted().is_some();
        let spaced = match call {
            NeutralCall::Balance if is_urgent => now,
            // The same call was made for the clocks.
            NeutralCall::Models if is_urgent => self.next_neutral.minus(NEUTRAL_SPACING - RESUME_SPACING),
            NeutralCall::Balance | NeutralCall::Models => self.next_neutral,
        };
        let suspended = self.active.iter().filter(|active| active.suspension.cause.suspends_queries());
        let free = suspended.filter_map(|active| active.suspension.until).max();
        Some((at.max(spaced).max(free.unwrap_or(at)), call))
    }

    /// Drops what time alone lifts, and caps what only a clock that was set back can have moved so far away.
    pub(super) fn drop_expired(&mut self, now: Timestamp) {
        self.next_neutral = self.next_neutral.min(now.plus(NEUTRAL_SPACING));
        self.active
            .retain(|active| active.suspension.cause.needs_probe() || active.suspension.until > Some(now));
        for Active { suspension, .. } in &mut self.active {
            let longest = if suspension.cause.needs_probe() { PROBE_INTERVAL } else { MAX_SUSPENSION };
            suspension.until = suspension.until.min(Some(now.plus(longest)));
        }
    }
}
