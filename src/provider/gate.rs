//! The one gate that all calls to the provider pass: the rate of submits, and the stops of the line.
//!
//! Pure over the time it is given; it never waits, it says until when it is closed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::failpoints::{Bug, planted};
use crate::provider::suspension::{CAREFUL_PAUSE, LONGEST_PAUSE, Suspension, SuspensionCause};
use crate::provider::verdict::Answered;

/// What kind of call wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A submit: paid, so rated, and stopped by an empty balance.
    Submit,
    /// Any other call.
    Other,
}

/// Leave for one call; the client takes nothing without it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Pass {
    kind: Kind,
    number: u64,
    probe: bool,
}

impl Pass {
    /// What kind of call it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the call is the one careful try of a stopped line.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

/// The gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Ask again at this time.
    pub until: Timestamp,
    /// What stops the line; `None` when it is only the rate of submits.
    pub cause: Option<SuspensionCause>,
}

/// See the module. Shared by reference; no call waits while the lock is held.
#[derive(Debug)]
pub struct Gate {
    spacing: Duration,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// The earliest time of the next submit.
    next_submit: Timestamp,
    /// The number of the newest pass.
    passes: u64,
    /// Calls up to this one were sent with a key that has been replaced since.
    old_key: u64,
    stops: Vec<Stop>,
}

#[derive(Debug)]
struct Stop {
    line: Suspension,
    /// The newest pass when it was noted: what earlier calls say does not end it.
    noted: u64,
}

impl Gate {
    /// A gate for at most `submit_per_second` submits, evenly spaced, the first one a spacing after `now`: a daemon
    /// that is restarted again and again keeps to the rate too.
    pub fn new(submit_per_second: f64, now: Timestamp) -> Self {
        let spacing = Duration::try_from_secs_f64(1.0 / submit_per_second)
            .map_or(LONGEST_PAUSE, |spacing| spacing.min(LONGEST_PAUSE));
        // Up to a whole millisecond, which is all that a time can tell.
        let spacing =
            Duration::from_millis(u64::try_from(spacing.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
        let inside = Inside { next_submit: now.plus(spacing), passes: 0, old_key: 0, stops: Vec::new() };
        Self { spacing, inside: Mutex::new(inside) }
    }

    /// Leave for one call, now or not.
    ///
    /// Once the time of a stop by key, balance or configuration has come, one single call passes; the others wait
    /// until its answer ends the stop, or for the next one five minutes later, whatever became of the first.
    ///
    /// # Errors
    /// With the time when to ask again.
    pub fn admit(&self, kind: Kind, now: Timestamp) -> Result<Pass, Closed> {
        let mut inside = self.inside();
        inside.forget_lapsed(now);
        let closed = inside
            .stops
            .iter()
            .map(|stop| &stop.line)
            .filter(|line| line.cause.stops(kind) && line.until > now);
        if let Some(last) = closed.max_by_key(|line| line.until) {
            return Err(Closed { until: last.until, cause: Some(last.cause) });
        }
        if kind == Kind::Submit {
            // Further off than one spacing: the clock was set back. Drawn in for good, or it would stay that far off.
            let next = inside.next_submit.min(now.plus(self.spacing));
            inside.next_submit = next;
            if next > now {
                return Err(Closed { until: next, cause: None });
            }
            inside.next_submit = now.plus(self.spacing);
        }
        let mut probe = false;
        for stop in inside.stops.iter_mut().filter(|stop| stop.line.cause.stops(kind)) {
            stop.line.until = now.plus(CAREFUL_PAUSE);
            probe = true;
        }
        inside.passes += 1;
        Ok(Pass { kind, number: inside.passes, probe })
    }

    /// Takes in what the answer to a call means for the line: a new stop, or the end of others. Returns whether the
    /// stops have changed and are worth writing down again.
    pub fn settle<V>(&self, pass: Pass, answered: &Answered<V>) -> bool {
        let mut inside = self.inside();
        let before = inside.stops.len();
        inside.stops.retain(|stop| pass.number <= stop.noted || !answered.proof.ends(stop.line.cause));
        let ended = inside.stops.len() < before;
        let noted = match &answered.line {
            Some(line) if line.cause == SuspensionCause::KeyRefused && pass.number <= inside.old_key => false,
            Some(line) if line.cause == SuspensionCause::RateLimited && planted(Bug::PauseIgnored) => false,
            Some(line) => {
                inside.note(line.clone());
                true
            }
            None => false,
        };
        ended || noted
    }

    /// The key has been replaced: what was said of the old one no longer holds.
    pub fn key_replaced(&self) {
        let mut inside = self.inside();
        inside.old_key = inside.passes;
        inside.stops.retain(|stop| stop.line.cause != SuspensionCause::KeyRefused);
    }

    /// Takes up the stops of the process before this one.
    pub fn restore(&self, stops: Vec<Suspension>) {
        let mut inside = self.inside();
        for line in stops {
            inside.note(line);
        }
    }

    /// What stops the line now, for people and for the database.
    pub fn stops(&self, now: Timestamp) -> Vec<Suspension> {
        let mut inside = self.inside();
        inside.forget_lapsed(now);
        inside.stops.iter().map(|stop| stop.line.clone()).collect()
    }

    /// No code that holds this lock can panic, so a poisoned one is still whole.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// One stop per cause: a later one replaces an earlier, but never shortens it.
    fn note(&mut self, mut line: Suspension) {
        if let Some(known) = self.stops.iter().position(|stop| stop.line.cause == line.cause) {
            line.until = line.until.max(self.stops.swap_remove(known).line.until);
        }
        self.stops.push(Stop { line, noted: self.passes });
    }

    /// Drops what ends by time alone, and draws in what only a clock set back can have put so far off.
    fn forget_lapsed(&mut self, now: Timestamp) {
        self.stops.retain(|stop| stop.line.cause.wants_probe() || stop.line.until > now);
        for stop in &mut self.stops {
            let longest = if stop.line.cause.wants_probe() { CAREFUL_PAUSE } else { LONGEST_PAUSE };
            stop.line.until = stop.line.until.min(now.plus(longest));
        }
    }
}

impl SuspensionCause {
    const fn stops(self, kind: Kind) -> bool {
        match self {
            Self::RateLimited | Self::KeyRefused | Self::Misconfigured => true,
            Self::BalanceEmpty => matches!(kind, Kind::Submit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::suspension::Proof;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_775_285_200_000);

    fn at(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn answer(line: Option<(SuspensionCause, u64)>, proof: Proof) -> Answered<()> {
        let line =
            line.map(|(cause, until)| Suspension { cause, until: at(until), message: cause.as_str().into() });
        Answered { verdict: (), line, proof, provider_time: None, server_error: false }
    }

    /// A gate that a call at second 1 has stopped until second `until`.
    fn stopped(cause: SuspensionCause, until: u64) -> Gate {
        let gate = Gate::new(2.0, START);
        let pass = gate.admit(Kind::Other, at(1)).expect("open");
        assert!(gate.settle(pass, &answer(Some((cause, until)), Proof::Nothing)));
        gate
    }

    fn closed(gate: &Gate, kind: Kind, seconds: u64) -> Option<(Timestamp, Option<SuspensionCause>)> {
        gate.admit(kind, at(seconds)).err().map(|closed| (closed.until, closed.cause))
    }

    #[test]
    fn submits_keep_their_distance_and_other_calls_need_none() {
        let gate = Gate::new(0.5, START);
        assert_eq!(closed(&gate, Kind::Submit, 0), Some((at(2), None)), "also the first after a start");
        assert_eq!(closed(&gate, Kind::Submit, 100), None);
        assert_eq!(closed(&gate, Kind::Submit, 100), Some((at(102), None)), "no burst after a rest");
        assert_eq!(closed(&gate, Kind::Other, 100), None);
        assert_eq!(closed(&gate, Kind::Other, 100), None);
        assert_eq!(closed(&gate, Kind::Submit, 102), None);
    }

    #[test]
    fn a_limit_closes_all_calls_until_its_time_and_no_success_opens_it() {
        let gate = stopped(SuspensionCause::RateLimited, 60);
        let told = Some((at(60), Some(SuspensionCause::RateLimited)));
        assert_eq!(closed(&gate, Kind::Other, 59), told);
        assert_eq!(closed(&gate, Kind::Submit, 59), told);
        let late = Pass { kind: Kind::Submit, number: 99, probe: false };
        assert!(!gate.settle(late, &answer(None, Proof::Funds)));
        assert_eq!(closed(&gate, Kind::Other, 59), told);
        assert_eq!(closed(&gate, Kind::Other, 60), None);
        assert_eq!(closed(&gate, Kind::Other, 60), None, "not one by one, but open");
        assert_eq!(gate.stops(at(60)), []);
    }

    #[test]
    fn an_empty_balance_stops_submits_only_and_a_poll_does_not_prove_it_full() {
        let gate = stopped(SuspensionCause::BalanceEmpty, 300);
        assert_eq!(closed(&gate, Kind::Submit, 10), Some((at(300), Some(SuspensionCause::BalanceEmpty))));
        let poll = gate.admit(Kind::Other, at(10)).expect("polls go on");
        assert!(!poll.is_probe());
        assert!(!gate.settle(poll, &answer(None, Proof::Access)));
        assert_eq!(gate.stops(at(10)).len(), 1);
        let probe = gate.admit(Kind::Submit, at(300)).expect("one careful try");
        assert!(gate.settle(probe, &answer(None, Proof::Funds)));
        assert_eq!(closed(&gate, Kind::Submit, 302), None);
    }

    #[test]
    fn after_a_refused_key_one_call_tries_and_the_others_wait_for_its_answer() {
        for cause in [SuspensionCause::KeyRefused, SuspensionCause::Misconfigured] {
            let gate = stopped(cause, 300);
            assert_eq!(closed(&gate, Kind::Other, 299), Some((at(300), Some(cause))));
            let probe = gate.admit(Kind::Other, at(310)).expect("one careful try");
            assert!(probe.is_probe());
            assert_eq!(closed(&gate, Kind::Submit, 311), Some((at(610), Some(cause))));
            assert!(gate.settle(probe, &answer(None, Proof::Access)));
            assert_eq!(closed(&gate, Kind::Submit, 312), None);
        }
    }

    #[test]
    fn a_try_whose_answer_is_lost_does_not_close_the_gate_for_ever() {
        let gate = stopped(SuspensionCause::KeyRefused, 300);
        drop(gate.admit(Kind::Other, at(300)).expect("one careful try"));
        assert!(closed(&gate, Kind::Other, 599).is_some());
        let second = gate.admit(Kind::Other, at(600)).expect("another careful try");
        assert!(
            !gate.settle(second, &answer(None, Proof::Nothing)),
            "an answer that proves nothing opens nothing"
        );
        assert!(closed(&gate, Kind::Other, 899).is_some());
    }

    #[test]
    fn a_call_sent_before_the_stop_does_not_end_it() {
        let gate = Gate::new(2.0, START);
        let early = gate.admit(Kind::Other, at(1)).expect("open");
        let refused = gate.admit(Kind::Other, at(1)).expect("open");
        assert!(gate.settle(refused, &answer(Some((SuspensionCause::KeyRefused, 300)), Proof::Nothing)));
        assert!(!gate.settle(early, &answer(None, Proof::Access)));
        assert!(closed(&gate, Kind::Other, 2).is_some());
    }

    #[test]
    fn a_new_key_opens_the_gate_and_a_late_word_about_the_old_one_does_not_close_it() {
        let gate = stopped(SuspensionCause::KeyRefused, 300);
        let probe = gate.admit(Kind::Other, at(300)).expect("one careful try");
        gate.key_replaced();
        assert!(!gate.settle(probe, &answer(Some((SuspensionCause::KeyRefused, 600)), Proof::Nothing)));
        assert_eq!(closed(&gate, Kind::Other, 301), None);
    }

    #[test]
    fn an_answer_may_open_one_stop_and_call_for_another() {
        let gate = stopped(SuspensionCause::KeyRefused, 300);
        let probe = gate.admit(Kind::Submit, at(300)).expect("one careful try");
        assert!(gate.settle(probe, &answer(Some((SuspensionCause::BalanceEmpty, 600)), Proof::Access)));
        assert_eq!(closed(&gate, Kind::Other, 301), None);
        assert_eq!(closed(&gate, Kind::Submit, 301), Some((at(600), Some(SuspensionCause::BalanceEmpty))));
    }

    #[test]
    fn stops_outlive_a_restart_and_the_latest_time_holds() {
        let gate = Gate::new(2.0, START);
        let stop = |cause, until| Suspension { cause, until: at(until), message: String::new() };
        gate.restore(vec![
            stop(SuspensionCause::RateLimited, 90),
            stop(SuspensionCause::RateLimited, 30),
            stop(SuspensionCause::BalanceEmpty, 60),
        ]);
        assert_eq!(closed(&gate, Kind::Submit, 61), Some((at(90), Some(SuspensionCause::RateLimited))));
        assert_eq!(gate.stops(at(61)).len(), 2);
        let probe = gate.admit(Kind::Submit, at(91)).expect("one careful try");
        assert!(probe.is_probe() && gate.settle(probe, &answer(None, Proof::Funds)));
        assert_eq!(gate.stops(at(91)), []);
    }

    #[test]
    fn a_clock_set_back_does_not_close_the_gate_for_days() {
        let gate = Gate::new(2.0, at(1_000_000));
        gate.restore(vec![Suspension {
            cause: SuspensionCause::KeyRefused,
            until: at(1_000_300),
            message: String::new(),
        }]);
        assert_eq!(closed(&gate, Kind::Other, 0), Some((at(300), Some(SuspensionCause::KeyRefused))));
        gate.key_replaced();
        assert_eq!(
            closed(&gate, Kind::Submit, 0).map(|(until, _)| until),
            Some(START.plus(Duration::from_millis(500)))
        );
        let soon = START.plus(Duration::from_millis(500));
        assert!(gate.admit(Kind::Submit, soon).is_ok(), "and then it is open, not another half second away");
    }

    #[test]
    fn a_nonsense_rate_is_a_slow_one() {
        for rate in [0.0, -1.0, f64::NAN, 1e-300] {
            assert_eq!(
                closed(&Gate::new(rate, START), Kind::Submit, 10).map(|(until, _)| until),
                Some(at(86_400)),
                "{rate}"
            );
        }
        assert!(Gate::new(f64::INFINITY, START).admit(Kind::Submit, START).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_happens_submits_keep_their_distance_and_no_stop_is_broken(
            rate in 0.05_f64..50.0,
            events in prop::collection::vec((0_u64..20_000, any::<bool>(), 0_usize..8, 1_u64..2000, any::<bool>()), 1..200),
        ) {
            let gate = Gate::new(rate, START);
            let spacing = Duration::from_secs_f64(1.0 / rate);
            let (mut now, mut last_submit) = (START, START);
            let mut limited_until = START;
            let mut refused_until: Option<Timestamp> = None;
            for (wait, submit, happens, length, answered) in events {
                now = now.plus(Duration::from_millis(wait));
                let kind = if submit { Kind::Submit } else { Kind::Other };
                let pass = match gate.admit(kind, now) {
                    Ok(pass) => pass,
                    Err(closed) => {
                        prop_assert!(closed.until > now, "a closed gate says until when");
                        continue;
                    }
                };
                prop_assert!(now >= limited_until, "a limit was broken");
                if submit {
                    prop_assert!(now.since(last_submit) >= spacing - Duration::from_micros(1));
                    last_submit = now;
                }
                if let Some(until) = refused_until {
                    prop_assert!(now >= until && pass.is_probe(), "a call passed a line stopped by its key");
                    refused_until = Some(now.plus(CAREFUL_PAUSE));
                }
                if !answered {
                    continue;
                }
                let until = now.plus(Duration::from_secs(length));
                let stop = |cause, until| Some(Suspension { cause, until, message: String::new() });
                let (line, proof) = match happens {
                    0 => {
                        limited_until = limited_until.max(until);
                        (stop(SuspensionCause::RateLimited, until), Proof::Nothing)
                    }
                    1 => {
                        refused_until = Some(now.plus(CAREFUL_PAUSE));
                        (stop(SuspensionCause::KeyRefused, now.plus(CAREFUL_PAUSE)), Proof::Nothing)
                    }
                    2 => (None, Proof::Nothing),
                    _ => {
                        refused_until = None;
                        (None, Proof::Access)
                    }
                };
                gate.settle(pass, &Answered { verdict: (), line, proof, provider_time: None, server_error: false });
            }
        }
    }
}
