use proptest::prelude::*;

use super::*;
use crate::job::TaskId;
use crate::job::suspension::PROBE_INTERVAL;
use crate::provider::answer::{Evidence, ReplyContext};
use crate::provider::classify::classify_status;
use crate::provider::neutral::classify_neutral;
use crate::provider::reply::{ApiReply, CallOutcome};
use crate::rng::Rng;
use SuspensionCause::{BalanceEmpty, KeyRefused, Misconfigured, PausedSubmits, RateLimited, Unreachable};

const START: Timestamp = Timestamp::from_millis(1_775_285_200_000);
/// The causes that only a probe finds to be gone.
const PROBED: [SuspensionCause; 4] = [KeyRefused, BalanceEmpty, Misconfigured, Unreachable];

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn job(number: u64) -> JobId {
    JobId::new(START, number, &Rng::seeded(1))
}

fn suspension(cause: SuspensionCause, since: u64, until: u64) -> Suspension {
    Suspension { cause, until: Some(at(until)), message: cause.into_str().into(), since: at(since) }
}

fn classified(refusal: Option<(Suspension, bool)>, evidence: Evidence) -> Classified<()> {
    let refusal = refusal.map(|(suspension, is_certain)| AccountRefusal { suspension, is_certain });
    Classified { refusal, evidence, ..Classified::unanswered(()) }
}

fn success(evidence: Evidence) -> Classified<()> {
    classified(None, evidence)
}

/// A refusal that does not say whether it concerns the account.
fn refusal(cause: SuspensionCause, now: u64) -> Classified<()> {
    let evidence = match cause {
        Unreachable => Evidence::None,
        BalanceEmpty => Evidence::KeyAccepted,
        _ => Evidence::Reachable,
    };
    classified(Some((suspension(cause, now, now + 300), false)), evidence)
}

/// A limit that names its end.
fn limit(now: u64, until: u64) -> Classified<()> {
    classified(Some((suspension(RateLimited, now, until), true)), Evidence::Reachable)
}

/// What a neutral call gets that shows that the cause is not there.
fn cleared(cause: SuspensionCause) -> Classified<()> {
    success(if cause == BalanceEmpty { Evidence::BalanceSufficient } else { Evidence::KeyAccepted })
}

/// What a neutral call gets that says nothing about the cause.
fn inconclusive(cause: SuspensionCause) -> Classified<()> {
    success(if cause == Unreachable { Evidence::None } else { Evidence::Reachable })
}

fn gate() -> Gate {
    Gate::new(2.0, START)
}

/// A submit of a job that the gate must permit, and its answer. Returns the new suspensions.
fn submit(gate: &Gate, number: u64, seconds: u64, answer: &Classified<()>) -> usize {
    let call = gate.admit_submit(job(number), at(seconds)).expect("an open gate").consume();
    gate.settle(call, answer, at(seconds)).suspended.len()
}

/// A neutral call that the gate must want now, and its answer. Returns the new suspensions.
fn neutral(gate: &Gate, seconds: u64, answer: &Classified<()>) -> usize {
    let permit = gate.admit_neutral(at(seconds)).expect("a neutral call is wanted");
    gate.settle(permit.consume(), answer, at(seconds)).suspended.len()
}

/// A gate that a job's refusal at second 1 and a neutral call have closed.
fn closed_gate(cause: SuspensionCause) -> Gate {
    let gate = gate();
    assert_eq!(submit(&gate, 1, 1, &refusal(cause, 1)), 0);
    assert_eq!(neutral(&gate, 1, &refusal(cause, 1)), 1);
    gate
}

fn query_closed(gate: &Gate, seconds: u64) -> Option<(Timestamp, Option<SuspensionCause>)> {
    gate.admit_query(job(7), at(seconds)).err().map(|closed| (closed.until, closed.cause))
}

fn submit_closed(gate: &Gate, seconds: u64) -> Option<(Timestamp, Option<SuspensionCause>)> {
    gate.admit_submit(job(7), at(seconds)).err().map(|closed| (closed.until, closed.cause))
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
fn limit_that_names_its_end_closes_all_calls_until_then() {
    let gate = gate();
    assert_eq!(submit(&gate, 1, 1, &limit(1, 60)), 1);
    let closed = Some((at(60), Some(RateLimited)));
    assert_eq!(query_closed(&gate, 59), closed);
    assert_eq!(submit_closed(&gate, 59), closed);
    assert_eq!(gate.next_neutral(at(59)), None);
    assert_eq!(query_closed(&gate, 60), None);
    assert_eq!(query_closed(&gate, 60), None, "no probe is needed");
    assert_eq!(gate.suspensions(at(60)), []);
}

#[test]
fn refusal_of_one_job_suspends_calls_only_if_a_neutral_call_gets_it_too() {
    for cause in PROBED {
        let gate = closed_gate(cause);
        assert!(submit_closed(&gate, 2).is_some_and(|closed| closed.1 == Some(cause)), "{cause:?}");
        assert_eq!(query_closed(&gate, 2).is_some(), cause != BalanceEmpty, "{cause:?}");
    }
}

#[test]
fn refusals_of_jobs_suspend_nothing_while_neutral_calls_go_well() {
    for cause in PROBED.into_iter().chain([RateLimited]) {
        let gate = gate();
        for (seconds, number) in (1..200).zip([1, 2, 3, 4, 5].into_iter().cycle()) {
            assert_eq!(submit(&gate, number, seconds, &refusal(cause, seconds)), 0, "{cause:?} at {seconds}");
            if gate.next_neutral(at(seconds)) == Some(at(seconds)) {
                assert_eq!(neutral(&gate, seconds, &cleared(cause)), 0);
            }
        }
        assert!((3..=5).contains(&neutral_calls(&gate)), "{cause:?}: about one a minute");
    }
}

/// How many neutral calls were permitted, if all others were submits at each second up to 199.
fn neutral_calls(gate: &Gate) -> u64 {
    gate.state.lock().issued - 199
}

#[test]
fn different_jobs_in_a_row_confirm_a_cause_about_which_neutral_calls_say_nothing() {
    for (cause, jobs) in [(KeyRefused, 3), (Misconfigured, 3), (Unreachable, 3), (BalanceEmpty, 2)] {
        let gate = gate();
        assert_eq!(submit(&gate, 1, 1, &refusal(cause, 1)), 0);
        assert_eq!(neutral(&gate, 1, &inconclusive(cause)), 0);
        assert_eq!(submit(&gate, 1, 2, &refusal(cause, 2)), 0, "{cause:?}: the same job counts once");
        for number in 2..=jobs {
            let suspended = submit(&gate, number, number + 1, &refusal(cause, number + 1));
            assert_eq!(suspended, usize::from(number == jobs), "{cause:?} after {number} jobs");
        }
    }
}

#[test]
fn page_before_the_provider_suspends_polls_only_if_a_neutral_call_gets_it_too() {
    let reply = |status, body: &str| {
        CallOutcome::Reply(ApiReply { status, headers: Default::default(), body: Ok(body.to_owned().into()) })
    };
    let page = reply(403, "<html>Access denied</html>");
    let cases = [(&page, 1), (&reply(200, r#"{"data":[]}"#), 0), (&reply(503, ""), 0)];
    for (neutral_answer, suspended) in cases {
        let gate = gate();
        let context = ReplyContext { now: at(1), base_url: "https://qingbo.dev" };
        let task = TaskId::parse("task_1").expect("an id");
        let call = gate.admit_query(job(1), at(1)).expect("an open gate").consume();
        assert!(gate.settle(call, &classify_status(&page, &task, context), at(1)).suspended.is_empty());
        let call = gate.admit_neutral(at(1)).expect("a neutral call is wanted").consume();
        let classified = classify_neutral(NeutralCall::Models, neutral_answer, context);
        assert_eq!(gate.settle(call, &classified, at(1)).suspended.len(), suspended);
        let closed = query_closed(&gate, 2).and_then(|(_, cause)| cause);
        assert_eq!(closed, (suspended == 1).then_some(Misconfigured), "{neutral_answer:?}");
    }
}

#[test]
fn success_in_between_starts_the_count_again() {
    for cause in PROBED {
        let gate = gate();
        assert_eq!(submit(&gate, 1, 1, &refusal(cause, 1)), 0);
        assert_eq!(neutral(&gate, 1, &inconclusive(cause)), 0);
        for seconds in 2..30 {
            let healthy = seconds % 2 == 0;
            let answer = if healthy { success(Evidence::BalanceSufficient) } else { refusal(cause, seconds) };
            assert_eq!(submit(&gate, seconds, seconds, &answer), 0, "{cause:?}");
            if gate.next_neutral(at(seconds)) == Some(at(seconds)) {
                assert_eq!(neutral(&gate, seconds, &inconclusive(cause)), 0);
            }
        }
    }
}

#[test]
fn limit_without_an_end_needs_a_second_job_and_a_neutral_call() {
    let gate = gate();
    assert_eq!(submit(&gate, 1, 1, &refusal(RateLimited, 1)), 0);
    assert_eq!(submit(&gate, 1, 2, &refusal(RateLimited, 2)), 0);
    assert_eq!(gate.next_neutral(at(2)), None, "one job's limit may be its own");
    assert_eq!(submit(&gate, 2, 3, &refusal(RateLimited, 3)), 0);
    assert_eq!(neutral(&gate, 3, &refusal(RateLimited, 3)), 1);
    assert_eq!(query_closed(&gate, 4), Some((at(303), Some(RateLimited))));
}

#[test]
fn limit_of_submits_is_not_disproved_by_queries() {
    let gate = gate();
    assert_eq!(submit(&gate, 1, 1, &refusal(RateLimited, 1)), 0);
    let poll = gate.admit_query(job(9), at(1)).expect("an open gate").consume();
    let _ = gate.settle(poll, &success(Evidence::KeyAccepted), at(1));
    assert_eq!(submit(&gate, 2, 2, &refusal(RateLimited, 2)), 0);
    assert_eq!(gate.next_neutral(at(2)), Some(at(2)));
}

#[test]
fn neutral_call_probes_first_and_lifts_the_suspension() {
    for cause in PROBED {
        let gate = closed_gate(cause);
        let probe = gate.next_neutral(at(2)).expect("a probe");
        assert_eq!(probe, if cause == Unreachable { at(11) } else { at(301) }, "{cause:?}");
        let due = if cause == Unreachable { 11 } else { 301 };
        assert_eq!(
            submit_closed(&gate, due).map(|closed| closed.0),
            Some(at(due + 5)),
            "the neutral call first"
        );
        assert_eq!(neutral(&gate, due, &cleared(cause)), 0);
        assert_eq!(submit_closed(&gate, due), None, "{cause:?}");
        assert_eq!(gate.next_neutral(at(due)), None);
    }
}

#[test]
fn failed_probe_is_followed_by_another_after_the_interval() {
    for cause in [KeyRefused, BalanceEmpty, Misconfigured] {
        let gate = closed_gate(cause);
        assert_eq!(neutral(&gate, 301, &refusal(cause, 301)), 1);
        assert!(
            submit_closed(&gate, 600).is_some() && gate.next_neutral(at(600)) == Some(at(601)),
            "{cause:?}"
        );
    }
}

#[test]
fn probes_of_an_unreachable_provider_become_rarer() {
    let gate = closed_gate(Unreachable);
    let mut now = 1;
    for wait in [10, 10, 20, 40, 60, 60] {
        now += wait;
        assert_eq!(gate.next_neutral(at(now - 1)), Some(at(now)));
        assert_eq!(neutral(&gate, now, &refusal(Unreachable, now)), 1);
    }
}

#[test]
fn call_of_another_job_is_the_probe_where_neutral_calls_say_nothing() {
    for cause in [KeyRefused, BalanceEmpty, Misconfigured] {
        let gate = gate();
        for number in [1, 2, 3] {
            gate.restore(vec![suspension(cause, 0, 1)]);
            if gate.next_neutral(at(1)).is_some_and(|due| due == at(1)) {
                assert_eq!(neutral(&gate, 1, &inconclusive(cause)), 0);
                let probe = gate.admit_submit(job(number), at(1)).expect("the probe");
                assert!(probe.is_probe());
                let _ = gate.settle(probe.consume(), &refusal(cause, 1), at(1));
            }
        }
        assert_eq!(submit_closed(&gate, 300).map(|closed| closed.0), Some(at(301)), "{cause:?}");
        assert_eq!(neutral(&gate, 301, &inconclusive(cause)), 0);
        let same = gate.admit_submit(job(1), at(302)).expect_err("the job that was refused last");
        assert_eq!(same.until, at(361));
        assert_eq!(submit(&gate, 2, 302, &success(Evidence::BalanceSufficient)), 0);
        assert_eq!(submit_closed(&gate, 303), None, "{cause:?}");
    }
}

#[test]
fn only_job_probes_for_itself_after_a_minute() {
    let gate = gate();
    gate.restore(vec![suspension(KeyRefused, 0, 1)]);
    assert_eq!(neutral(&gate, 1, &inconclusive(KeyRefused)), 0);
    assert_eq!(submit(&gate, 1, 1, &refusal(KeyRefused, 1)), 1);
    assert_eq!(neutral(&gate, 301, &inconclusive(KeyRefused)), 0);
    assert!(gate.admit_submit(job(1), at(360)).is_err());
    assert!(gate.admit_submit(job(1), at(361)).is_ok_and(|permit| permit.is_probe()));
    assert!(gate.admit_submit(job(2), at(362)).is_err(), "a single one");
}

#[test]
fn answers_to_calls_before_a_suspension_neither_lift_nor_renew_it() {
    let gate = gate();
    let [early, late] = [8, 9].map(|number| gate.admit_query(job(number), at(1)).expect("open").consume());
    assert_eq!(submit(&gate, 1, 1, &refusal(KeyRefused, 1)), 0);
    assert_eq!(neutral(&gate, 1, &refusal(KeyRefused, 1)), 1);
    assert_eq!(gate.settle(early, &success(Evidence::KeyAccepted), at(2)), Settled::default());
    assert_eq!(gate.settle(late, &refusal(KeyRefused, 3), at(3)), Settled::default());
    assert_eq!(query_closed(&gate, 4).map(|closed| closed.0), Some(at(301)));
}

#[test]
fn operator_has_suspended_calls_tried_at_once() {
    for cause in PROBED {
        let gate = closed_gate(cause);
        assert!(gate.next_neutral(at(5)) > Some(at(5)));
        gate.resume(at(5));
        assert_eq!(gate.next_neutral(at(7)), Some(at(7)));
        assert_eq!(neutral(&gate, 7, &cleared(cause)), 0);
        assert_eq!(submit_closed(&gate, 7), None, "{cause:?}");
    }
}

#[test]
fn neutral_call_about_a_refusal_does_not_wait_for_a_comparison_of_clocks() {
    let gate = gate();
    gate.want_models();
    assert_eq!(neutral(&gate, 1, &cleared(KeyRefused)), 0);
    gate.want_models();
    assert_eq!(gate.next_neutral(at(2)), Some(at(11)));
    assert_eq!(submit(&gate, 1, 2, &refusal(BalanceEmpty, 2)), 0);
    assert_eq!(neutral(&gate, 2, &refusal(BalanceEmpty, 2)), 1);
    assert!(gate.next_neutral(at(3)) >= Some(at(12)));
}

#[test]
fn neutral_call_about_another_cause_waits_for_the_end_of_a_suspension() {
    let gate = gate();
    let earlier = gate.admit_query(job(2), at(1)).expect("an open gate").consume();
    assert_eq!(submit(&gate, 1, 1, &refusal(KeyRefused, 1)), 0);
    assert_eq!(neutral(&gate, 1, &refusal(KeyRefused, 1)), 1);
    gate.settle(earlier, &refusal(Unreachable, 2), at(2));
    assert_eq!(gate.next_neutral(at(2)), Some(at(301)));
}

#[test]
fn neutral_calls_wait_for_a_limit() {
    let gate = gate();
    assert_eq!(submit(&gate, 1, 1, &refusal(KeyRefused, 1)), 0);
    assert_eq!(submit(&gate, 2, 2, &limit(2, 90)), 1);
    assert_eq!((gate.next_neutral(at(3)), gate.admit_neutral(at(89))), (Some(at(90)), None));
    assert_eq!(neutral(&gate, 90, &cleared(KeyRefused)), 0);
}

#[test]
fn late_refusals_of_the_old_key_do_not_count_against_the_new() {
    let gate = closed_gate(KeyRefused);
    let probe = gate.admit_neutral(at(301)).expect("the probe").consume();
    gate.key_replaced();
    assert_eq!(gate.settle(probe, &refusal(KeyRefused, 302), at(302)), Settled::default());
    assert_eq!(query_closed(&gate, 303), None);
}

#[test]
fn one_answer_may_lift_a_suspension_and_start_another() {
    let gate = closed_gate(KeyRefused);
    assert_eq!(neutral(&gate, 301, &refusal(BalanceEmpty, 301)), 1);
    assert_eq!(query_closed(&gate, 302), None);
    assert_eq!(submit_closed(&gate, 302), Some((at(601), Some(BalanceEmpty))));
}

#[test]
fn suspensions_outlive_a_restart_with_their_latest_time() {
    let gate = gate();
    let pause = Suspension { until: None, ..suspension(PausedSubmits, 0, 0) };
    gate.restore(vec![
        suspension(RateLimited, 0, 90),
        suspension(RateLimited, 0, 30),
        suspension(BalanceEmpty, 0, 60),
        pause,
    ]);
    assert_eq!(submit_closed(&gate, 61), Some((at(90), Some(RateLimited))));
    assert_eq!(gate.suspensions(at(61)).len(), 2, "a pause is not the gate's");
    assert_eq!(neutral(&gate, 91, &cleared(BalanceEmpty)), 0);
    assert_eq!(gate.suspensions(at(91)), []);
}

#[test]
fn a_clock_set_back_does_not_close_the_gate_for_days() {
    let gate = Gate::new(2.0, at(1_000_000));
    gate.restore(vec![suspension(KeyRefused, 1_000_000, 1_000_300)]);
    assert_eq!(query_closed(&gate, 0), Some((at(300), Some(KeyRefused))));
    assert_eq!(gate.next_neutral(at(0)), Some(at(300)));
    gate.key_replaced();
    let soon = START.plus(Duration::from_millis(500));
    assert_eq!(submit_closed(&gate, 0), Some((soon, None)));
    assert!(gate.admit_submit(job(1), soon).is_ok(), "open then, not another half second away");
}

#[test]
fn an_impossible_rate_becomes_a_slow_one() {
    for rate in [0.0, -1.0, f64::NAN, 1e-300] {
        assert_eq!(submit_closed(&Gate::new(rate, START), 10), Some((at(86_400), None)), "{rate}");
    }
    assert!(Gate::new(f64::INFINITY, START).admit_submit(job(1), START).is_ok());
}

proptest! {
    #[test]
    fn the_rate_and_all_suspensions_are_always_respected(
        rate in 0.05_f64..50.0,
        events in prop::collection::vec((0_u64..20_000, any::<bool>(), 0_usize..8, 1_u64..2000, 0_u64..6), 1..200),
    ) {
        let gate = Gate::new(rate, START);
        let spacing = Duration::from_secs_f64(1.0 / rate);
        let (mut now, mut last_submit, mut last_neutral) = (START, START, None);
        let mut limited_until = START;
        // Suspended by a neutral call; then, until the next neutral call or probe, nothing is sent.
        let mut refused_until: Option<Timestamp> = None;
        for (wait, is_submit, happens, length, number) in events {
            now = now.plus(Duration::from_millis(wait));
            let neutral = gate.admit_neutral(now);
            if let Some(permit) = neutral {
                prop_assert!(now >= limited_until, "a limit was broken");
                prop_assert!(last_neutral.is_none_or(|last| now.since(last) >= NEUTRAL_SPACING));
                prop_assert!(refused_until.is_none_or(|until| now >= until));
                last_neutral = Some(now);
                let answer = match happens {
                    0..=3 => {
                        refused_until = Some(now.plus(PROBE_INTERVAL));
                        let refused = Suspension { since: now, ..suspension(KeyRefused, 0, 0) };
                        let refused = Suspension { until: refused_until, ..refused };
                        classified(Some((refused, false)), Evidence::Reachable)
                    }
                    4 => success(Evidence::None),
                    _ => {
                        refused_until = None;
                        success(Evidence::KeyAccepted)
                    }
                };
                let _ = gate.settle(permit.consume(), &answer, now);
                if happens == 4 {
                    refused_until = refused_until.map(|_| now);
                }
                continue;
            }
            let admitted = if is_submit {
                gate.admit_submit(job(number), now).map(|permit| (permit.is_probe(), permit.consume()))
            } else {
                gate.admit_query(job(number), now).map(|permit| (permit.is_probe(), permit.consume()))
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
            let until = now.plus(Duration::from_secs(length));
            let answer = match happens {
                0 => {
                    limited_until = limited_until.max(until);
                    let limit = Suspension { since: now, until: Some(until), ..suspension(RateLimited, 0, 0) };
                    classified(Some((limit, true)), Evidence::Reachable)
                }
                1 | 2 if refused_until.is_none() => {
                    let refused = Suspension { since: now, ..suspension(KeyRefused, 0, 0) };
                    classified(Some((refused, false)), Evidence::Reachable)
                }
                _ if refused_until.is_some() => success(Evidence::None),
                _ => success(Evidence::Reachable),
            };
            for suspended in gate.settle(call, &answer, now).suspended {
                if suspended.cause == KeyRefused {
                    refused_until = suspended.until;
                }
            }
        }
    }
}
