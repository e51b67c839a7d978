use proptest::prelude::*;

use super::*;
use crate::provider::answer::Evidence;

const START: Timestamp = Timestamp::from_millis(1_775_285_200_000);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn suspension(cause: SuspensionCause, until: Timestamp) -> Suspension {
    Suspension { cause, until: Some(until), message: cause.into_str().into(), since: START }
}

fn classified(suspension: Option<Suspension>, evidence: Evidence) -> Classified<()> {
    Classified { verdict: (), suspension, evidence, provider_time: None, server_error: false }
}

fn success(evidence: Evidence) -> Classified<()> {
    classified(None, evidence)
}

fn refusal(cause: SuspensionCause, until: u64) -> Classified<()> {
    classified(Some(suspension(cause, at(until))), Evidence::None)
}

/// A gate that a call at second 1 has closed until second `until`.
fn closed_gate(cause: SuspensionCause, until: u64) -> Gate {
    let gate = Gate::new(2.0, START);
    let call = query(&gate, 1);
    assert!(gate.settle(call, &refusal(cause, until)));
    gate
}

/// Sends a query that the gate must permit.
fn query(gate: &Gate, seconds: u64) -> SentCall {
    gate.admit_query(at(seconds)).expect("an open gate").consume()
}

/// Sends a submit that the gate must permit.
fn submit(gate: &Gate, seconds: u64) -> SentCall {
    gate.admit_submit(at(seconds)).expect("an open gate").consume()
}

fn query_closed(gate: &Gate, seconds: u64) -> Option<(Timestamp, Option<SuspensionCause>)> {
    gate.admit_query(at(seconds)).err().map(|closed| (closed.until, closed.cause))
}

fn submit_closed(gate: &Gate, seconds: u64) -> Option<(Timestamp, Option<SuspensionCause>)> {
    gate.admit_submit(at(seconds)).err().map(|closed| (closed.until, closed.cause))
}

#[test]
fn submits_are_spaced_out_and_queries_are_not() {
    let gate = Gate::new(0.5, START);
    assert_eq!(submit_closed(&gate, 0), Some((at(2), None)), "also the first after a start");
    assert_eq!(submit_closed(&gate, 100), None);
    assert_eq!(submit_closed(&gate, 100), Some((at(102), None)), "no burst after a rest");
    assert_eq!(query_closed(&gate, 100), None);
    assert_eq!(query_closed(&gate, 100), None);
    assert_eq!(submit_closed(&gate, 102), None);
}

#[test]
fn a_rate_limit_closes_all_calls_until_its_time() {
    let gate = closed_gate(SuspensionCause::RateLimited, 60);
    let closed = Some((at(60), Some(SuspensionCause::RateLimited)));
    assert_eq!(query_closed(&gate, 59), closed);
    assert_eq!(submit_closed(&gate, 59), closed);
    assert!(!gate.settle(SentCall(99), &success(Evidence::BalanceSufficient)), "no success lifts a limit");
    assert_eq!(query_closed(&gate, 59), closed);
    assert_eq!(query_closed(&gate, 60), None);
    assert_eq!(query_closed(&gate, 60), None, "no probe is needed");
    assert_eq!(gate.suspensions(at(60)), []);
}

#[test]
fn an_empty_balance_suspends_submits_until_one_is_accepted() {
    let gate = closed_gate(SuspensionCause::BalanceEmpty, 300);
    assert_eq!(submit_closed(&gate, 10), Some((at(300), Some(SuspensionCause::BalanceEmpty))));
    let poll = gate.admit_query(at(10)).expect("queries continue");
    assert!(!poll.is_probe());
    assert!(!gate.settle(poll.consume(), &success(Evidence::KeyAccepted)));
    assert_eq!(gate.suspensions(at(10)).len(), 1);
    assert!(gate.settle(submit(&gate, 300), &success(Evidence::BalanceSufficient)));
    assert_eq!(submit_closed(&gate, 302), None);
}

#[test]
fn after_a_refused_key_a_single_probe_is_permitted() {
    for cause in [SuspensionCause::KeyRefused, SuspensionCause::Misconfigured] {
        let gate = closed_gate(cause, 300);
        assert_eq!(query_closed(&gate, 299), Some((at(300), Some(cause))));
        let probe = gate.admit_query(at(310)).expect("the probe");
        assert!(probe.is_probe());
        assert_eq!(submit_closed(&gate, 311), Some((at(610), Some(cause))));
        assert!(gate.settle(probe.consume(), &success(Evidence::KeyAccepted)));
        assert_eq!(submit_closed(&gate, 312), None);
    }
}

#[test]
fn a_probe_without_an_answer_is_followed_by_another() {
    let gate = closed_gate(SuspensionCause::KeyRefused, 300);
    drop(gate.admit_query(at(300)).expect("the first probe"));
    assert!(query_closed(&gate, 599).is_some());
    let second = query(&gate, 600);
    assert!(!gate.settle(second, &success(Evidence::None)), "an answer without evidence lifts nothing");
    assert!(query_closed(&gate, 899).is_some());
}

#[test]
fn answers_to_calls_before_a_suspension_do_not_lift_it() {
    let gate = Gate::new(2.0, START);
    let early = query(&gate, 1);
    let refused = query(&gate, 1);
    assert!(gate.settle(refused, &refusal(SuspensionCause::KeyRefused, 300)));
    assert!(!gate.settle(early, &success(Evidence::KeyAccepted)));
    assert!(query_closed(&gate, 2).is_some());
}

#[test]
fn late_refusals_of_the_old_key_do_not_count_against_the_new() {
    let gate = closed_gate(SuspensionCause::KeyRefused, 300);
    let probe = query(&gate, 300);
    gate.key_replaced();
    assert!(!gate.settle(probe, &refusal(SuspensionCause::KeyRefused, 600)));
    assert_eq!(query_closed(&gate, 301), None);
}

#[test]
fn one_answer_may_lift_a_suspension_and_start_another() {
    let gate = closed_gate(SuspensionCause::KeyRefused, 300);
    let probe = submit(&gate, 300);
    let empty = suspension(SuspensionCause::BalanceEmpty, at(600));
    assert!(gate.settle(probe, &classified(Some(empty), Evidence::KeyAccepted)));
    assert_eq!(query_closed(&gate, 301), None);
    assert_eq!(submit_closed(&gate, 301), Some((at(600), Some(SuspensionCause::BalanceEmpty))));
}

#[test]
fn suspensions_outlive_a_restart_with_their_latest_time() {
    let gate = Gate::new(2.0, START);
    let pause = Suspension { until: None, ..suspension(SuspensionCause::PausedSubmits, START) };
    gate.restore(vec![
        suspension(SuspensionCause::RateLimited, at(90)),
        suspension(SuspensionCause::RateLimited, at(30)),
        suspension(SuspensionCause::BalanceEmpty, at(60)),
        pause,
    ]);
    assert_eq!(submit_closed(&gate, 61), Some((at(90), Some(SuspensionCause::RateLimited))));
    assert_eq!(gate.suspensions(at(61)).len(), 2, "a pause is not the gate's");
    let probe = gate.admit_submit(at(91)).expect("the probe");
    assert!(probe.is_probe() && gate.settle(probe.consume(), &success(Evidence::BalanceSufficient)));
    assert_eq!(gate.suspensions(at(91)), []);
}

#[test]
fn a_clock_set_back_does_not_close_the_gate_for_days() {
    let gate = Gate::new(2.0, at(1_000_000));
    gate.restore(vec![suspension(SuspensionCause::KeyRefused, at(1_000_300))]);
    assert_eq!(query_closed(&gate, 0), Some((at(300), Some(SuspensionCause::KeyRefused))));
    gate.key_replaced();
    let soon = START.plus(Duration::from_millis(500));
    assert_eq!(submit_closed(&gate, 0), Some((soon, None)));
    assert!(gate.admit_submit(soon).is_ok(), "open then, not another half second away");
}

#[test]
fn an_impossible_rate_becomes_a_slow_one() {
    for rate in [0.0, -1.0, f64::NAN, 1e-300] {
        assert_eq!(submit_closed(&Gate::new(rate, START), 10), Some((at(86_400), None)), "{rate}");
    }
    assert!(Gate::new(f64::INFINITY, START).admit_submit(START).is_ok());
}

proptest! {
    #[test]
    fn the_rate_and_all_suspensions_are_always_respected(
        rate in 0.05_f64..50.0,
        events in prop::collection::vec((0_u64..20_000, any::<bool>(), 0_usize..8, 1_u64..2000, any::<bool>()), 1..200),
    ) {
        let gate = Gate::new(rate, START);
        let spacing = Duration::from_secs_f64(1.0 / rate);
        let (mut now, mut last_submit) = (START, START);
        let mut limited_until = START;
        let mut refused_until: Option<Timestamp> = None;
        for (wait, is_submit, happens, length, is_answered) in events {
            now = now.plus(Duration::from_millis(wait));
            let admitted = if is_submit {
                gate.admit_submit(now).map(|permit| (permit.is_probe(), permit.consume()))
            } else {
                gate.admit_query(now).map(|permit| (permit.is_probe(), permit.consume()))
            };
            let (is_probe, call) = match admitted {
                Ok(admitted) => admitted,
                Err(closed) => {
                    prop_assert!(closed.until > now, "a closed gate answers with a later time");
                    continue;
                }
            };
            prop_assert!(now >= limited_until, "a limit was broken");
            if is_submit {
                prop_assert!(now.since(last_submit) >= spacing - Duration::from_micros(1));
                last_submit = now;
            }
            if let Some(until) = refused_until {
                prop_assert!(now >= until && is_probe, "a call was permitted after the key was refused");
                refused_until = Some(now.plus(PROBE_INTERVAL));
            }
            if !is_answered {
                continue;
            }
            let until = now.plus(Duration::from_secs(length));
            let answer = match happens {
                0 => {
                    limited_until = limited_until.max(until);
                    classified(Some(suspension(SuspensionCause::RateLimited, until)), Evidence::None)
                }
                1 => {
                    let until = now.plus(PROBE_INTERVAL);
                    refused_until = Some(until);
                    classified(Some(suspension(SuspensionCause::KeyRefused, until)), Evidence::None)
                }
                2 => success(Evidence::None),
                _ => {
                    refused_until = None;
                    success(Evidence::KeyAccepted)
                }
            };
            gate.settle(call, &answer);
        }
    }
}
