//! Sums, times and disputes of a report.

use std::time::Duration;

use super::*;
use crate::clock::calendar::Zone;
use crate::job::JobId;
use crate::job::TaskId;
use crate::job::budget::Budgets;
use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::money::Quota;
use crate::store::start_attempt::AttemptStart;
use crate::store::tests::{NOW, Rig, draft, parts, url};

/// Runs a task of the job, which fails at `at` and is charged.
async fn fail(rig: &Rig, job: JobId, task: &str, charged: i64, at: Timestamp) {
    let AttemptStart::Send(attempt) =
        rig.store.start_attempt(job, parts(url("https://example.org/x")), at).await.unwrap()
    else {
        panic!("nothing to send")
    };
    let task = TaskId::parse(task).unwrap();
    let verdict = SubmitVerdict::Accepted { task: task.clone(), reserved: None };
    let answered = Event::SubmitAnswered { attempt: attempt.number(), verdict };
    rig.store.apply(job, answered, at).await.unwrap();
    let facts = TaskFacts { cost: Some(Quota::new(charged)), ..TaskFacts::of(Phase::Failed) };
    let polled = Event::StatusPolled { task, sent_at: at, verdict: StatusVerdict::Answered(facts) };
    rig.store.apply(job, polled, at).await.unwrap();
}

#[tokio::test]
async fn retried_job_counts_the_charges_of_all_its_attempts() {
    let rig = Rig::new();
    rig.store.set_budgets(Budgets { zone: Zone::named("Asia/Shanghai").unwrap(), ..Budgets::default() });
    let job = rig.ingest_file("a.json", "1", vec![draft("one")], NOW).await.unwrap()[0];
    fail(&rig, job, "t-1", 7, NOW).await;
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    // While it waits, its first task is in dispute already.
    assert_eq!(rig.store.disputes(NOW, 10).await.unwrap().len(), 1);
    let later = Timestamp::parse_rfc3339("2026-11-30T16:30:00Z").unwrap();
    fail(&rig, job, "t-2", 75_000, later).await;
    let report = rig.store.report(NOW).await.unwrap();
    assert_eq!((report.total.jobs, report.total.cost_quota), (1, 75_007));
    let groups = [&report.by_model, &report.by_label, &report.by_file, &report.by_day];
    let groups = groups.map(|groups| {
        let group = &groups[0];
        (group.key.as_str(), group.totals.cost_quota, groups.len())
    });
    let expected = ["wan2.5-t2v", "project=spring", "a.json", "2026-12-01"].map(|key| (key, 75_007, 1));
    assert_eq!(groups, expected, "one of each, and the day is that of the zone");
    assert_eq!(report.time_zone, "Asia/Shanghai");
    let midnight = Timestamp::parse_rfc3339("2026-12-01T00:00:00+08:00");
    assert_eq!(rig.store.start_of_day("2026-12-01"), midnight);
    assert_eq!(rig.store.report(midnight.unwrap()).await.unwrap().total.jobs, 1);

    let disputes = rig.store.disputes(NOW, 10).await.unwrap();
    let found: Vec<_> = disputes
        .iter()
        .map(|dispute| (dispute.task_id.as_str(), dispute.charged_quota, dispute.submitted_at))
        .collect();
    assert_eq!(found, [("t-2", 75_000, later), ("t-1", 7, NOW)]);
    assert!(disputes.iter().all(|dispute| dispute.why.starts_with("failed: task_failed: ")), "{disputes:?}");
    let after = later.plus(Duration::from_secs(1));
    assert_eq!(rig.store.disputes(after, 10).await.unwrap(), [], "it ended before");
}
