//! A retried job's first task is polled until its cost is final, and the job's second one is not mixed up with it.

use std::time::Duration;

use super::*;
use crate::job::event::{Event, OperatorAction, Phase, SubmitVerdict, TaskFacts};
use crate::job::retry::MAX_SETTLEMENT_TRIES;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::tests::{NOW, Rig, draft, parts, raw};

fn task(number: u32) -> TaskId {
    TaskId::parse(&format!("task-{number}")).unwrap()
}

/// Starts the job's attempt of this number, which gets the task of that number.
async fn submit(rig: &Rig, job: JobId, number: u32) {
    rig.store.start_attempt(job, parts(Box::new(|_| None)), NOW).await.unwrap();
    let verdict = SubmitVerdict::Accepted { task: task(number), reserved: None };
    rig.store.apply(job, Event::SubmitAnswered { attempt: number, verdict }, NOW).await.unwrap();
}

/// A job that was retried while its first task could not be polled.
async fn retried(rig: &Rig) -> JobId {
    let job = rig.ingest(vec![draft("a")]).await[0];
    submit(rig, job, 1).await;
    poll(rig, job, 1, StatusVerdict::Missing, NOW).await;
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    submit(rig, job, 2).await;
    job
}

async fn poll(rig: &Rig, job: JobId, number: u32, verdict: StatusVerdict, now: Timestamp) {
    let polled = Event::StatusPolled { task: task(number), sent_at: now, verdict };
    rig.store.apply(job, polled, now).await.unwrap();
}

async fn next_poll(rig: &Rig) -> Option<Timestamp> {
    let EarlierTasks { due, next } = rig.store.earlier_tasks(Timestamp::from_millis(0), 10).await.unwrap();
    assert_eq!(due, []);
    next
}

fn settled(phase: Phase, quota: i64) -> StatusVerdict {
    StatusVerdict::Answered(TaskFacts { cost: Some(Quota::new(quota)), ..TaskFacts::of(phase) })
}

fn counted(rig: &Rig) -> Vec<(i64, i64)> {
    let connection = raw(&rig.path());
    let mut statement = connection
        .prepare_cached("SELECT counted_settled, counted_quota FROM attempts ORDER BY number")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn earlier_task_is_polled_until_its_cost_is_final() {
    let rig = Rig::new();
    let job = retried(&rig).await;
    let reserved = counted(&rig);
    assert!(reserved.iter().all(|(settled, quota)| (*settled, *quota > 0) == (0, true)), "{reserved:?}");
    let first = next_poll(&rig).await.expect("a poll");
    assert!(first > NOW && first.since(NOW) < Duration::from_secs(10));
    assert_eq!(rig.store.earlier_tasks(first, 10).await.unwrap().due, [(job, task(1))]);
    poll(&rig, job, 1, StatusVerdict::Answered(TaskFacts::of(Phase::Processing)), first).await;
    let second = next_poll(&rig).await.expect("a poll");
    assert!(second > first && !rig.store.is_earlier_task_due(task(1), first).await.unwrap());
    // Its callback is sent once it is settled.
    let received = Event::CallbackReceived { hint: Some(task(1)), quiet: false };
    rig.store.apply(job, received, first).await.unwrap();
    assert_eq!(next_poll(&rig).await, Some(first.plus(Duration::from_secs(1))));
    poll(&rig, job, 1, settled(Phase::Completed, 75_000), first).await;
    assert_eq!(next_poll(&rig).await, None);
    assert_eq!(counted(&rig), [(1, 75_000), reserved[1]]);
    let details = rig.store.details(job).await.unwrap();
    assert_eq!((details.job.state_name(), details.job.task()), (StateName::Queued, Some(&task(2))));
    poll(&rig, job, 2, settled(Phase::Failed, 5_000), first).await;
    assert_eq!(rig.store.details(job).await.unwrap().cost, Some(Quota::new(80_000)), "the sum of both");
}

#[tokio::test]
async fn earlier_task_without_a_final_cost_is_left_after_some_polls() {
    let rig = Rig::new();
    let job = retried(&rig).await;
    let mut polls = 0;
    while let Some(due) = next_poll(&rig).await {
        poll(&rig, job, 1, StatusVerdict::Missing, due).await;
        polls += 1;
        assert!(due.since(NOW) < Duration::from_secs(24 * 3600));
    }
    assert_eq!(polls, MAX_SETTLEMENT_TRIES + 1);
    assert_eq!(counted(&rig)[0].0, 0, "it stays reserved");
}

#[tokio::test]
async fn task_whose_cost_is_final_is_not_polled_after_a_retry() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("a")]).await[0];
    submit(&rig, job, 1).await;
    poll(&rig, job, 1, settled(Phase::Failed, 0), NOW).await;
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    assert_eq!(next_poll(&rig).await, None);
}

/// A job whose submit was perhaps executed.
async fn submitted_unanswered(rig: &Rig) -> JobId {
    let job = rig.ingest(vec![draft("a")]).await[0];
    rig.store.start_attempt(job, parts(Box::new(|_| None)), NOW).await.unwrap();
    let verdict = SubmitVerdict::Unknown { why: "HTTP 503".into(), not_before: None };
    rig.store.apply(job, Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
    job
}

async fn callback(rig: &Rig, job: JobId, number: u32) {
    let received = Event::CallbackReceived { hint: Some(task(number)), quiet: false };
    rig.store.apply(job, received, NOW).await.unwrap();
}

/// The tasks of all attempts.
fn tasks(rig: &Rig) -> Vec<Option<String>> {
    let connection = raw(&rig.path());
    let mut statement = connection.prepare_cached("SELECT task_id FROM attempts ORDER BY number").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn named(numbers: [Option<u32>; 2]) -> Vec<Option<String>> {
    numbers.map(|number| number.map(|number| format!("task-{number}"))).into()
}

#[tokio::test]
async fn task_of_a_lost_answer_counts_although_the_job_was_retried() {
    let rig = Rig::new();
    let job = submitted_unanswered(&rig).await;
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    callback(&rig, job, 1).await;
    submit(&rig, job, 2).await;
    assert_eq!(tasks(&rig), named([Some(1), Some(2)]));
    let due = next_poll(&rig).await.expect("a poll for the cost");
    assert_eq!(rig.store.earlier_tasks(due, 10).await.unwrap().due, [(job, task(1))]);
    poll(&rig, job, 1, settled(Phase::Completed, 75_000), due).await;
    assert_eq!(counted(&rig)[0], (1, 75_000));
    let details = rig.store.details(job).await.unwrap();
    assert_eq!((details.cost, details.job.task()), (Some(Quota::new(75_000)), Some(&task(2))));
}

#[tokio::test]
async fn task_is_not_given_to_an_earlier_attempt_while_it_may_be_of_the_newest() {
    for (answered, expected) in [(2, [Some(1), Some(2)]), (1, [None, Some(1)])] {
        let rig = Rig::new();
        let job = submitted_unanswered(&rig).await;
        rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
        rig.store.start_attempt(job, parts(Box::new(|_| None)), NOW).await.unwrap();
        callback(&rig, job, 1).await;
        assert_eq!(tasks(&rig), named([None, None]));
        let verdict = SubmitVerdict::Accepted { task: task(answered), reserved: None };
        rig.store.apply(job, Event::SubmitAnswered { attempt: 2, verdict }, NOW).await.unwrap();
        assert_eq!(tasks(&rig), named(expected));
    }
}

#[tokio::test]
async fn task_of_a_job_given_up_is_polled_for_its_cost() {
    for callback_first in [true, false] {
        let rig = Rig::new();
        let job = submitted_unanswered(&rig).await;
        if callback_first {
            callback(&rig, job, 1).await;
        }
        // The first asks the provider, the second gives up.
        for _ in 0..2 {
            rig.store.apply(job, Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
        }
        let details = rig.store.details(job).await.unwrap();
        assert_eq!(details.job.state_name(), StateName::Cancelled);
        if !callback_first {
            callback(&rig, job, 1).await;
        }
        let due = next_poll(&rig).await.expect("a poll for the cost");
        poll(&rig, job, 1, settled(Phase::Completed, 75_000), due).await;
        assert_eq!((counted(&rig)[0], next_poll(&rig).await), ((1, 75_000), None));
        let disputes = rig.store.disputes(Timestamp::from_millis(0), 10).await.unwrap();
        assert_eq!(disputes.iter().map(|one| one.task_id.as_str()).collect::<Vec<_>>(), ["task-1"]);
    }
}
