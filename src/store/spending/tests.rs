//! The sums of budgets: whatever happens to attempts, they are those of the attempts, and no submit exceeds a limit.

mod any_order;

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::clock::calendar::Zone;
use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::state::StateName;
use crate::jobfile::Draft;
use crate::money::estimate::EstimateSource;
use crate::store::start_attempt::{AttemptParts, AttemptStart};
use crate::store::subscription::Subscription;
use crate::store::tests::{self, NOW, Rig, raw};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn usd(cents: i64) -> Quota {
    Quota::new(cents * 5000)
}

fn label(key: &str, value: &str) -> Label {
    Label { key: key.into(), value: value.into() }
}

fn budgets() -> Budgets {
    Budgets {
        per_day: Some(usd(100)),
        per_month: Some(usd(250)),
        per_label: [(label("project", "spring"), usd(60))].into(),
        ..Budgets::default()
    }
}

/// A job without labels.
fn draft(name: &str) -> Draft {
    Draft { labels: Labels::new(), ..tests::draft(name) }
}

fn spring(name: &str) -> Draft {
    Draft { labels: [("project".to_owned(), "spring".to_owned())].into(), ..draft(name) }
}

async fn start(rig: &Rig, job: JobId, cents: i64, now: Timestamp) -> AttemptStart {
    let estimate = Estimate::exactly(usd(cents), EstimateSource::List);
    let parts = AttemptParts { estimate, ..tests::parts(Box::new(|_| None)) };
    rig.store.start_attempt(job, parts, now).await.unwrap()
}

fn answered(attempt: u32, verdict: SubmitVerdict) -> Event {
    Event::SubmitAnswered { attempt, verdict }
}

fn accepted(task: &str, frozen: Option<i64>) -> SubmitVerdict {
    SubmitVerdict::Accepted { task: TaskId::parse(task).unwrap(), reserved: frozen.map(usd) }
}

fn not_executed() -> SubmitVerdict {
    SubmitVerdict::NotExecuted { why: "no connection".into(), not_before: None }
}

fn unknown() -> SubmitVerdict {
    SubmitVerdict::Unknown { why: "HTTP 503".into(), not_before: None }
}

fn ended(task: &str, phase: Phase, cents: Option<i64>, now: Timestamp) -> Event {
    let facts = TaskFacts { cost: cents.map(usd), ..TaskFacts::of(phase) };
    let task = TaskId::parse(task).unwrap();
    Event::StatusPolled { task, sent_at: now, verdict: StatusVerdict::Answered(facts) }
}

async fn today(rig: &Rig, now: Timestamp) -> (Quota, Quota) {
    let spent = rig.store.spent(now).await.unwrap();
    let day = spent.iter().find(|(budget, _)| matches!(budget.scope, Scope::Day(_))).unwrap().1;
    (day.reserved, day.settled)
}

#[tokio::test]
async fn attempt_is_reserved_then_settled_at_its_charge() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let job = rig.ingest(vec![spring("a")]).await[0];
    assert!(matches!(start(&rig, job, 15, NOW).await, AttemptStart::Send(_)));
    assert_eq!(today(&rig, NOW).await, (usd(15), usd(0)));
    rig.store.apply(job, answered(1, accepted("task-1", Some(20))), NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(20), usd(0)), "the provider has frozen more");
    let next_day = NOW.plus(DAY);
    rig.store.apply(job, ended("task-1", Phase::Completed, Some(17), next_day), next_day).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(0), usd(17)), "it counts for the day of the submit");
    assert_eq!(today(&rig, next_day).await, (usd(0), usd(0)));
    let of_label = spent_of(&raw(&rig.path()), &Scope::Label(label("project", "spring"))).unwrap();
    assert_eq!(of_label, Spent { reserved: usd(0), settled: usd(17) });
}

#[tokio::test]
async fn larger_of_estimate_and_freeze_stays_reserved() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let job = rig.ingest(vec![draft("a")]).await[0];
    start(&rig, job, 15, NOW).await;
    rig.store.apply(job, answered(1, accepted("task-1", Some(10))), NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(15), usd(0)));
}

#[tokio::test]
async fn day_of_a_budget_is_that_of_its_zone() {
    let rig = Rig::new();
    rig.store.set_budgets(Budgets { zone: Zone::named("Asia/Shanghai").unwrap(), ..budgets() });
    let job = rig.ingest(vec![draft("a")]).await[0];
    let [before, after] =
        ["2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"].map(|text| Timestamp::parse_rfc3339(text).unwrap());
    start(&rig, job, 15, before).await;
    assert_eq!(today(&rig, before).await, (usd(15), usd(0)));
    assert_eq!(today(&rig, after).await, (usd(0), usd(0)));
}

#[tokio::test]
async fn refused_submit_that_was_executed_counts_again() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let job = rig.ingest(vec![draft("a")]).await[0];
    start(&rig, job, 15, NOW).await;
    let refused = SubmitVerdict::Refused(crate::job::JobError { code: "c".into(), message: "m".into() });
    rig.store.apply(job, answered(1, refused), NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(0), usd(0)));
    rig.store.keep_delivery(job, b"{}".to_vec(), NOW).await.unwrap();
    let delivery = rig.store.unprocessed_deliveries(0, 1).await.unwrap().remove(0);
    let received = Event::CallbackReceived { hint: TaskId::parse("task-9"), quiet: false };
    let applied = rig.store.process_delivery(&delivery, received, None, NOW).await.unwrap();
    assert_eq!((applied.before, applied.job.state_name()), (StateName::Failed, StateName::Held));
    assert_eq!(today(&rig, NOW).await, (usd(15), usd(0)));
}

#[tokio::test]
async fn what_was_not_executed_is_given_back_and_reserved_again() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let jobs = rig.ingest(vec![draft("a"), draft("b"), draft("c")]).await;
    for job in &jobs {
        start(&rig, *job, 10, NOW).await;
    }
    let refused = SubmitVerdict::Refused(crate::job::JobError { code: "c".into(), message: "m".into() });
    rig.store.apply(jobs[0], answered(1, refused), NOW).await.unwrap();
    rig.store.apply(jobs[1], answered(1, not_executed()), NOW).await.unwrap();
    rig.store.apply(jobs[2], answered(1, unknown()), NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(10), usd(0)), "only the unknown outcome");
    let next_day = NOW.plus(DAY);
    start(&rig, jobs[1], 12, next_day).await;
    assert_eq!(today(&rig, next_day).await, (usd(12), usd(0)), "for the day on which it was sent");
    let given_up = Event::Operator(OperatorAction::Cancel);
    rig.store.apply(jobs[2], given_up.clone(), NOW).await.unwrap();
    rig.store.apply(jobs[2], given_up, NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(10), usd(0)), "it may have been billed");
}

#[tokio::test]
async fn earlier_attempt_is_settled_by_a_late_answer() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let job = rig.ingest(vec![draft("a")]).await[0];
    start(&rig, job, 10, NOW).await;
    rig.store.apply(job, answered(1, accepted("task-1", None)), NOW).await.unwrap();
    rig.store.apply(job, ended("task-1", Phase::Failed, Some(0), NOW), NOW).await.unwrap();
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    start(&rig, job, 10, NOW).await;
    assert_eq!(today(&rig, NOW).await, (usd(10), usd(0)));
    rig.store.apply(job, ended("task-1", Phase::Failed, Some(4), NOW), NOW).await.unwrap();
    assert_eq!(today(&rig, NOW).await, (usd(10), usd(4)));
}

#[tokio::test]
async fn job_over_budget_waits_and_smaller_ones_pass_it() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let jobs = rig.ingest(vec![draft("a"), draft("large"), draft("small")]).await;
    start(&rig, jobs[0], 70, NOW).await;
    assert!(matches!(start(&rig, jobs[1], 40, NOW).await, AttemptStart::Nothing(_)));
    assert!(matches!(start(&rig, jobs[2], 30, NOW).await, AttemptStart::Send(_)));
    let waiting = rig.store.details(jobs[1]).await.unwrap().job;
    assert_eq!(waiting.state_name(), StateName::Pending);
    assert_eq!(
        waiting.facts().status_message.as_deref(),
        Some(
            "of today's $1.00, $0.70 are used or reserved, and it costs about $0.40; continues at 00:00 UTC"
        )
    );
    assert!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap().is_empty());
    rig.store.apply(jobs[0], answered(1, not_executed()), NOW).await.unwrap();
    assert_eq!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap(), [jobs[1]]);
    rig.store.apply(jobs[1], Event::BudgetFreed, NOW).await.unwrap();
    assert!(matches!(start(&rig, jobs[1], 40, NOW).await, AttemptStart::Send(_)));
}

#[tokio::test]
async fn jobs_behind_one_that_needs_less_than_expected_are_tried_again() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let jobs = rig.ingest(vec![draft("a"), draft("b"), draft("c"), draft("d")]).await;
    start(&rig, jobs[0], 60, NOW).await;
    for job in &jobs[1..] {
        assert!(matches!(start(&rig, *job, 60, NOW).await, AttemptStart::Nothing(_)));
    }
    rig.store.apply(jobs[0], answered(1, not_executed()), NOW).await.unwrap();
    assert_eq!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap(), [jobs[1]], "it leaves too little");
    rig.store.apply(jobs[1], Event::BudgetFreed, NOW).await.unwrap();
    let freed = rig.store.listen(Topic::BudgetFreed);
    start(&rig, jobs[1], 20, NOW).await;
    // The notification follows the answer of the writer.
    let clock = Clock::machine();
    let wait = Duration::from_secs(10);
    assert!(clock.within(wait, freed.next()).await.is_some(), "it needs less by now");
    assert_eq!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap(), [jobs[2]]);
    rig.store.apply(jobs[2], Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    assert!(clock.within(wait, freed.next()).await.is_some(), "it needs nothing by now");
    assert_eq!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap(), [jobs[3]]);
}

#[tokio::test]
async fn job_above_its_own_limit_or_a_whole_budget_is_held() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let own = Draft { max_cost: Some(usd(10)), ..draft("own") };
    let jobs = rig.ingest(vec![own, draft("whole")]).await;
    assert!(matches!(start(&rig, jobs[0], 11, NOW).await, AttemptStart::Nothing(_)));
    assert!(matches!(start(&rig, jobs[1], 101, NOW).await, AttemptStart::Nothing(_)));
    for job in &jobs {
        assert_eq!(rig.store.details(*job).await.unwrap().job.state_name(), StateName::Held);
        rig.store.apply(*job, Event::Operator(OperatorAction::Release), NOW).await.unwrap();
    }
    assert!(
        matches!(start(&rig, jobs[0], 11, NOW).await, AttemptStart::Send(_)),
        "once, as the operator says"
    );
    assert!(matches!(start(&rig, jobs[1], 101, NOW).await, AttemptStart::Nothing(_)), "budgets still apply");
}

#[tokio::test]
async fn budget_is_reported_once_when_high_and_once_when_it_refuses_a_job() {
    let rig = Rig::new();
    rig.store.set_budgets(Budgets { per_month: None, per_label: [].into(), ..budgets() });
    rig.store
        .set_subscriptions(vec![Subscription { hook: "h".into(), on: [JobNotification::Budget].into() }]);
    let calls = || {
        let sql = "SELECT count(*) FROM hook_calls WHERE event = 'budget' AND job IS NULL";
        raw(&rig.path()).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let jobs = rig.ingest(["a", "b", "c", "d", "e"].map(draft).into()).await;
    // (job, cents, time, calls so far) of a budget of $1.00 that warns at $0.80.
    let cases = [
        (0, 79, NOW, 0),
        (1, 10, NOW, 1),
        (2, 5, NOW, 1),
        (3, 10, NOW, 2),
        (4, 10, NOW, 2),
        (4, 90, NOW.plus(DAY), 3),
    ];
    for (job, cents, now, expected) in cases {
        start(&rig, jobs[job], cents, now).await;
        assert_eq!(calls(), expected, "job {job}");
    }
}

#[tokio::test]
async fn job_that_failed_before_gets_money_that_is_given_back_too() {
    let rig = Rig::new();
    rig.store.set_budgets(budgets());
    let jobs = rig.ingest(vec![draft("a"), draft("b")]).await;
    start(&rig, jobs[0], 60, NOW).await;
    rig.store.apply(jobs[0], answered(1, not_executed()), NOW).await.unwrap();
    start(&rig, jobs[1], 60, NOW).await;
    assert!(matches!(start(&rig, jobs[0], 60, NOW).await, AttemptStart::Nothing(_)));
    assert!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap().is_empty());
    rig.store.set_budgets(Budgets::default());
    assert_eq!(rig.store.jobs_that_fit_now(NOW, 10).await.unwrap(), [jobs[0]]);
}
