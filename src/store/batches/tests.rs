//! Batches as users see them: their jobs, what these cost, and when they will have ended.

use std::path::Path;

use super::*;
use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::notification::JobNotification;
use crate::job::{JobId, TaskId};
use crate::jobfile::Draft;
use crate::store::hooks::Subject;
use crate::store::job_files::{FileToIngest, Source};
use crate::store::start_attempt::AttemptParts;
use crate::store::subscription::Subscription;
use crate::store::tests::{NOW, Rig, draft, parts, raw};

#[tokio::test]
async fn batches_are_paged_newest_first_and_finished_with_their_last_job() {
    let rig = Rig::new();
    rig.skip_counts();
    let first = rig.ingest_file("a.json", "1", vec![draft("a"), draft("b")], NOW).await.unwrap();
    rig.ingest_file("b.json", "2", vec![draft("c")], NOW).await.unwrap();
    let (sha256, file_name) = ("3".to_owned(), None);
    let api = FileToIngest {
        source: Source::Api,
        file_name,
        sha256,
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    };
    rig.store.ingest_batch(vec![(api, vec![draft("d")])], NOW).await.unwrap();
    let (newest, next) = rig.store.batches(None, 2, NOW).await.unwrap();
    let files: Vec<_> = newest.iter().map(|batch| (batch.id.as_str(), batch.file.as_deref())).collect();
    assert_eq!(files, [("b3", None), ("b2", Some("b.json"))]);
    let (oldest, end) = rig.store.batches(next, 2, NOW).await.unwrap();
    let [batch] = &oldest[..] else { panic!("one batch is left: {oldest:?}") };
    assert_eq!((end, batch.jobs, batch.created_at), (None, 2, NOW));
    assert_eq!(batch.states, [(StateName::Pending, 2)].into());
    let job = rig.store.details(first[1]).await.unwrap().view(Path::new("/videos"), &[], NOW);
    assert_eq!(job.batch, batch.id);

    let later = NOW.plus(Duration::from_secs(60));
    let mut finished = Vec::new();
    for (id, at) in [(first[1], later), (first[0], NOW)] {
        rig.store.apply(id, Event::Operator(OperatorAction::Cancel), at).await.unwrap();
        finished.push(rig.store.batches(next, 1, NOW).await.unwrap().0.remove(0).finished_at);
    }
    assert_eq!(finished, [None, Some(later)]);
    raw(&rig.path())
        .execute_batch(
            "INSERT INTO attempts (job, number, key, body, body_sha256, created_at, sends, last_sent_at, charged_quota,
                                   counted_quota, counted_settled, counted_at, settlement_tries)
             SELECT nr, number, nr || '.' || number, '', '', 1, 1, 1, 75000, 0, 1, 1, 0
             FROM jobs, (SELECT 1 AS number UNION ALL SELECT 2) AS numbers WHERE batch = 1;
             UPDATE jobs SET attempts = 2 WHERE batch = 1",
        )
        .unwrap();
    let batch = rig.store.batches(next, 1, NOW).await.unwrap().0.remove(0);
    assert_eq!((batch.states, batch.cost_usd), ([(StateName::Cancelled, 2)].into(), 0.6), "all attempts");
}

#[tokio::test]
async fn hooks_are_notified_each_time_a_batch_becomes_finished() {
    let rig = Rig::new();
    let on = [JobNotification::BatchFinished].into();
    rig.store.set_subscriptions(vec![Subscription { hook: "h".into(), on }]);
    let jobs = rig.ingest_file("a.json", "1", vec![draft("a"), draft("b"), draft("c")], NOW).await.unwrap();
    let calls = async || {
        let (calls, _) = rig.store.due_hook_calls("h".into(), NOW, 10).await.unwrap();
        assert!(calls.iter().all(|call| call.subject == Subject::Batch(1)), "{calls:?}");
        calls.len()
    };
    let act = async |job: JobId, action| {
        rig.store.apply(job, Event::Operator(action), NOW).await.unwrap().job.state_name()
    };
    let held = rig.store.apply(jobs[0], Event::TooExpensive { why: "dear".into() }, NOW).await.unwrap();
    assert_eq!(held.job.state_name(), StateName::Held);
    for job in [jobs[1], jobs[2]] {
        act(job, OperatorAction::Cancel).await;
    }
    assert_eq!(calls().await, 0, "a held job has not ended");
    act(jobs[0], OperatorAction::Cancel).await;
    assert_eq!(calls().await, 1);
    act(jobs[0], OperatorAction::Cancel).await;
    assert_eq!(calls().await, 1, "what has ended does not end again");
    assert_eq!(act(jobs[1], OperatorAction::Retry).await, StateName::Pending);
    assert_eq!(calls().await, 1);
    act(jobs[1], OperatorAction::Cancel).await;
    assert_eq!(calls().await, 2);
}

/// Of five seconds each, which the list prices.
fn drafts(count: usize) -> Vec<Draft> {
    let body = r#"{"model": "wan2.7", "resolution": "720p", "duration": 5}"#;
    (0..count).map(|n| Draft { body: body.to_owned(), ..draft(&format!("job-{n}")) }).collect()
}

async fn newest(rig: &Rig, now: Timestamp) -> BatchView {
    rig.store.batches(None, 1, now).await.unwrap().0.remove(0)
}

async fn submit(rig: &Rig, job: JobId, task: &str, now: Timestamp) {
    rig.store.start_attempt(job, parts(Box::new(|_| None)), now).await.unwrap();
    let verdict = SubmitVerdict::Accepted { task: TaskId::parse(task).unwrap(), reserved: None };
    rig.store.apply(job, Event::SubmitAnswered { attempt: 1, verdict }, now).await.unwrap();
}

async fn end(rig: &Rig, job: JobId, task: &str, now: Timestamp) {
    let facts = TaskFacts { cost: Some(Quota::new(100_000)), ..TaskFacts::of(Phase::Failed) };
    let task = TaskId::parse(task).unwrap();
    let polled = Event::StatusPolled { task, sent_at: now, verdict: StatusVerdict::Answered(facts) };
    rig.store.apply(job, polled, now).await.unwrap();
}

#[tokio::test]
async fn estimate_is_of_the_newest_attempt_or_else_of_the_request() {
    let rig = Rig::new();
    let jobs = rig.ingest(drafts(3)).await;
    let batch = newest(&rig, NOW).await;
    assert_eq!((batch.estimate_usd, batch.cost_usd, batch.eta_at), (1.35, 0.0, None), "$0.45 each");
    submit(&rig, jobs[0], "task-1", NOW).await;
    let attempt = parts(Box::new(|_| None)).estimate.quota.usd();
    let expected = 0.9 + attempt;
    assert!((newest(&rig, NOW).await.estimate_usd - expected).abs() < 1e-9);
    end(&rig, jobs[0], "task-1", NOW).await;
    let cancel = Event::Operator(OperatorAction::Cancel);
    rig.store.apply(jobs[1], cancel, NOW).await.unwrap();
    let batch = newest(&rig, NOW).await;
    assert!((batch.estimate_usd - 0.45 - attempt).abs() < 1e-9, "a job that is not bought costs nothing");
    assert_eq!(batch.cost_usd, 0.2);
}

#[tokio::test]
async fn estimate_has_the_charges_of_earlier_attempts() {
    let rig = Rig::new();
    let job = rig.ingest(drafts(1)).await[0];
    let newest_estimate = parts(Box::new(|_| None)).estimate.quota.usd();
    for (number, task) in [(1_u32, "task-1"), (2, "task-2"), (3, "task-3")] {
        rig.store.start_attempt(job, parts(Box::new(|_| None)), NOW).await.unwrap();
        let verdict = SubmitVerdict::Accepted { task: TaskId::parse(task).unwrap(), reserved: None };
        rig.store.apply(job, Event::SubmitAnswered { attempt: number, verdict }, NOW).await.unwrap();
        let batch = newest(&rig, NOW).await;
        assert!((batch.estimate_usd - batch.cost_usd - newest_estimate).abs() < 1e-9, "{batch:?}");
        end(&rig, job, task, NOW).await;
        rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    }
    assert_eq!(newest(&rig, NOW).await.cost_usd, 0.6);
}

#[tokio::test]
async fn long_batch_is_estimated_by_its_first_requests() {
    let rig = Rig::new();
    let count = MOST_ESTIMATED as usize + 40;
    rig.ingest(drafts(count)).await;
    let expected = 0.45 * count as f64;
    assert!((newest(&rig, NOW).await.estimate_usd - expected).abs() < 1e-6);
}

#[tokio::test]
async fn end_is_expected_by_the_times_of_earlier_jobs_of_the_model() {
    let rig = Rig::new();
    rig.skip_counts();
    let minute = Duration::from_secs(60);
    let earlier = rig.ingest(drafts(1)).await;
    submit(&rig, earlier[0], "task-1", NOW).await;
    let jobs = rig.ingest(drafts(5)).await;
    for (job, task) in jobs.iter().zip(["task-2", "task-3"]) {
        submit(&rig, *job, task, NOW).await;
    }
    assert_eq!(newest(&rig, NOW).await.eta_at, None, "nothing is known yet");
    raw(&rig.path())
        .execute("UPDATE jobs SET state = 'succeeded', finished_at = ?1 WHERE nr = 1", [NOW.plus(minute)])
        .unwrap();
    let eta = newest(&rig, NOW).await.eta_at;
    // Two run for a minute more, then three wait for a minute each, two at a time.
    assert_eq!(eta, Some(NOW.plus(minute + minute * 3 / 2)));
    let late = NOW.plus(minute * 5);
    assert_eq!(newest(&rig, late).await.eta_at, Some(late.plus(minute * 3 / 2)), "not in the past");
    let no_room = Event::OverBudget { need: Quota::new(1), why: "no".into(), until: NOW.plus(minute * 60) };
    rig.store.apply(jobs[4], no_room, NOW).await.unwrap();
    assert_eq!(newest(&rig, NOW).await.eta_at, None, "it waits for a budget");
    for job in &jobs[2..] {
        rig.store.apply(*job, Event::DatabaseRestored, NOW).await.unwrap();
    }
    assert_eq!(newest(&rig, NOW).await.eta_at, Some(NOW.plus(minute)), "held jobs wait for a person");
    for (job, task) in jobs.iter().zip(["task-2", "task-3"]) {
        end(&rig, *job, task, NOW).await;
    }
    assert_eq!(newest(&rig, NOW).await.eta_at, None, "none runs");
}

#[tokio::test]
async fn end_is_expected_by_what_is_learned_of_jobs_like_these() {
    let rig = Rig::new();
    let jobs = rig.ingest(drafts(3)).await;
    let class = "720p|5|-|wan2.7";
    let parts = AttemptParts { price_class: Some(class.to_owned()), ..parts(Box::new(|_| None)) };
    rig.store.start_attempt(jobs[0], parts, NOW).await.unwrap();
    let verdict = SubmitVerdict::Accepted { task: TaskId::parse("task-1").unwrap(), reserved: None };
    rig.store.apply(jobs[0], Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
    assert_eq!(newest(&rig, NOW).await.eta_at, None, "nothing is known yet");
    let learned = "INSERT INTO learned_times VALUES (?1, '[]', 30000, 60000, 90000, 0)";
    raw(&rig.path()).execute(learned, [class]).unwrap();
    // One runs for 30 s more, then two after each other.
    assert_eq!(newest(&rig, NOW).await.eta_at, Some(NOW.plus(Duration::from_secs(90))));
}
