//! What is frozen, charged and refunded, and what the ledger says of it.

use super::*;
use crate::sandbox::ledger::Amounts;

const NEW: &str = "generation=new";

fn amounts(provider: &Provider) -> [i64; 4] {
    let Amounts { frozen, pending, charged, refunded, .. } = provider.world.totals().all;
    [frozen, pending, charged, refunded].map(Quota::get)
}

fn moved(provider: &Provider) -> Vec<(&'static str, i64)> {
    provider.world.ledger().money.iter().map(|moved| (moved.kind, moved.amount.get())).collect()
}

/// A submit that the newest generation accepts: 5 s at 0.05625 dollars.
fn submit_new(provider: &mut Provider, key: &str) -> Response {
    provider.submit_with(key, json!({"model": "wan2.6"}))
}

#[test]
fn price_is_frozen_then_charged_or_refunded() {
    let mut provider = Provider::with_options(Options { balance: Quota::new(200_000), ..Options::default() });
    let queued = provider.task("a");
    assert_eq!((moved(&provider), amounts(&provider)), (vec![("freeze", 75_000)], [75_000, 75_000, 0, 0]));
    let cancelled = provider.request(&Request::cancel(&queued));
    assert_eq!((cancelled.status, cancelled.value()["status"].as_str()), (200, Some("cancelled")));
    assert_eq!(provider.world.ledger().total, Quota::ZERO);
    let running = provider.task("b");
    provider.advance(15);
    assert_eq!(code(&provider.request(&Request::cancel(&running))), "task_not_cancellable");
    provider.world.set_fault_plan(FaultPlan::parse("cost=1").expect("a plan"));
    provider.task("c");
    assert_eq!(provider.submit("d").status, 402, "50,000 are left");
    provider.advance(20);
    let balance = provider.request(&Request::get("/v1/dashboard/billing/balance")).value();
    assert_eq!(
        moved(&provider),
        [
            ("freeze", 75_000),
            ("refund", 75_000),
            ("freeze", 75_000),
            ("freeze", 75_000),
            ("charge", 75_000),
            ("charge", 1),
            ("refund", 74_999),
        ]
    );
    assert_eq!(amounts(&provider), [225_000, 0, 75_001, 149_999]);
    assert_eq!(provider.world.balance_left(), Quota::new(124_999));
    assert_eq!(balance["total_available_usd"], 124_999.0 / 500_000.0);
    assert_eq!(provider.request(&Request::get("/v1/dashboard/billing/usage")).value()["total_usage"], 15);
    let keys: Vec<_> = provider.world.ledger().money.iter().map(|moved| moved.key.as_deref()).collect();
    assert_eq!(keys, ["a", "a", "b", "c", "b", "c", "c"].map(Some));
    assert_eq!(provider.world.ledger().max_running, 2);
}

#[test]
fn balance_below_the_price_refuses_before_a_task_is_made() {
    for (balance, status) in [(140_624, 402), (140_625, 200)] {
        let fault_plan = FaultPlan::parse(NEW).expect("a plan");
        let options = Options { fault_plan, balance: Quota::new(balance), ..Options::default() };
        let mut provider = Provider::with_options(options);
        assert_eq!(submit_new(&mut provider, "a").status, status, "{balance}");
        assert_eq!(provider.world.ledger().tasks.len(), usize::from(status == 200));
        assert_eq!(provider.world.balance_left(), Quota::new(if status == 200 { 0 } else { balance }));
    }
}

#[test]
fn settlement_follows_the_plan() {
    // What is frozen, still pending, charged and refunded when the task has ended; the same 60 s later.
    let settled = |charged, refunded| [140_625, 0, charged, refunded];
    let pending = [140_625, 140_625, 0, 0];
    for (plan, at_end, later) in [
        ("generation=old", settled(140_625, 0), settled(140_625, 0)),
        ("generation=old settle=after:5s", pending, settled(140_625, 0)),
        ("generation=old settle=never", pending, pending),
        ("generation=old end=task_failed", settled(0, 140_625), settled(0, 140_625)),
        ("generation=old end=task_failed refund=no", settled(140_625, 0), settled(140_625, 0)),
        (NEW, pending, settled(140_625, 0)),
        ("generation=new settle=after:0s", settled(140_625, 0), settled(140_625, 0)),
        ("generation=new settle=never", pending, pending),
        ("generation=new cost-percent=150", pending, settled(210_937, 0)),
        ("generation=new cost-percent=50", pending, settled(70_312, 70_313)),
        ("generation=new cost=7", pending, settled(7, 140_618)),
        ("generation=new end=task_failed", pending, settled(0, 140_625)),
    ] {
        let mut provider = Provider::with_faults(plan);
        submit_new(&mut provider, "a");
        assert_eq!(amounts(&provider), pending, "{plan}");
        for (seconds, expected) in [(20, at_end), (60, later)] {
            provider.advance(seconds);
            provider.world.advance(provider.now);
            assert_eq!(amounts(&provider), expected, "{plan}");
            let [_, open, charged, _] = expected;
            let left = Options::default().balance.get() - open - charged;
            assert_eq!(provider.world.balance_left(), Quota::new(left), "{plan}");
            assert_eq!(provider.world.ledger().total, Quota::new(open + charged), "{plan}");
        }
    }
}

#[test]
fn status_says_when_the_cost_is_final() {
    // billing_status and cost: while it runs, when it has ended, a minute later.
    let (none, frozen) = (Value::Null, json!(140_625));
    for (plan, running, ended, later) in [
        ("generation=old", ["-", "-"], ["-", "140625"], ["-", "140625"]),
        ("generation=old settle=after:9s", ["-", "-"], ["-", "140625"], ["-", "140625"]),
        (NEW, ["pending", "-"], ["pending", "140625"], ["settled", "140625"]),
        ("generation=new cost=7", ["pending", "-"], ["pending", "140625"], ["settled", "7"]),
        ("generation=new cost=7 pending-cost=absent", ["pending", "-"], ["pending", "-"], ["settled", "7"]),
        ("generation=new cost=7 pending-cost=zero", ["pending", "-"], ["pending", "0"], ["settled", "7"]),
        ("generation=new show-cost=no", ["pending", "-"], ["pending", "-"], ["settled", "-"]),
        ("generation=new settle=never", ["pending", "-"], ["pending", "140625"], ["pending", "140625"]),
        ("generation=new end=task_failed", ["pending", "-"], ["pending", "140625"], ["settled", "0"]),
    ] {
        let mut provider = Provider::with_faults(plan);
        let submitted = submit_new(&mut provider, "a");
        assert_eq!(submitted.value()["pre_consumed_cost"], frozen, "{plan}");
        let id = id_of(&submitted);
        let mut seen = Vec::new();
        for seconds in [10, 10, 60] {
            provider.advance(seconds);
            let status = provider.status(&id);
            let text = |value: &Value| match value {
                value if *value == none => "-".to_owned(),
                Value::String(word) => word.clone(),
                other => other.to_string(),
            };
            seen.push([text(&status["billing_status"]), text(&status["cost"])]);
        }
        assert_eq!(seen, [running, ended, later], "{plan}");
    }
}

#[test]
fn cancel_answer_names_the_refund() {
    for (plan, refunded, quota, later) in [
        (NEW, true, 140_625, ("settled", 0)),
        ("generation=new refund=no", false, 0, ("settled", 140_625)),
        ("generation=new settle=after:5s", false, 0, ("settled", 0)),
        ("generation=new settle=never", false, 0, ("pending", 140_625)),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = id_of(&submit_new(&mut provider, "a"));
        let answer = provider.request(&Request::cancel(&id)).value();
        let expected =
            json!({"task_id": id, "status": "cancelled", "refunded": refunded, "refunded_quota": quota});
        assert_eq!(answer, expected, "{plan}");
        provider.advance(60);
        let status = provider.status(&id);
        assert_eq!(
            (&status["billing_status"], &status["cost"]),
            (&json!(later.0), &json!(later.1)),
            "{plan}"
        );
    }
}

#[test]
fn callback_of_the_new_generation_follows_the_settlement() {
    for (plan, seconds) in [("generation=old", 20), (NEW, 22), ("generation=new settle=never", 20)] {
        let mut provider = Provider::with_faults(plan);
        let more = json!({"model": "wan2.6", "callback_url": "http://127.0.0.1:9/x"});
        provider.submit_with("a", more);
        provider.advance(seconds - 1);
        assert!(provider.world.take_due_callbacks(provider.now).is_empty(), "{plan}");
        provider.advance(1);
        let due = provider.world.take_due_callbacks(provider.now);
        let body: Value = serde_json::from_slice(&due[0].body).expect("JSON");
        let word = if plan == NEW { json!("settled") } else { body["billing_status"].clone() };
        assert_eq!((due.len(), &body["billing_status"]), (1, &word), "{plan}");
    }
}

#[test]
fn totals_count_by_the_day_of_the_submit() {
    // The first task is made before midnight and settled after it.
    let mut provider = Provider::with_faults("cost-percent=50");
    provider.advance(62_035);
    provider.task("a");
    provider.advance(10);
    provider.task("b");
    provider.advance(100);
    provider.task("c");
    provider.request(&Request::get("/v1/models"));
    let totals = provider.world.totals();
    let day = |day: &str| totals.by_day[day];
    let amounts = |tasks, frozen, pending, charged, refunded| Amounts {
        tasks,
        frozen: Quota::new(frozen),
        pending: Quota::new(pending),
        charged: Quota::new(charged),
        refunded: Quota::new(refunded),
    };
    assert_eq!(day("2026-04-04"), amounts(1, 75_000, 0, 37_500, 37_500));
    assert_eq!(day("2026-04-05"), amounts(2, 150_000, 75_000, 37_500, 37_500));
    assert_eq!(totals.all, amounts(3, 225_000, 75_000, 75_000, 75_000));
    assert_eq!(totals.by_day.len(), 2);
}
