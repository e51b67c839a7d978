//! Which job an adopted task gets, and what it counts for.

use super::*;
use crate::job::event::{OperatorAction, Phase, ReportedOutput, TaskFacts};
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::secret::Secret;
use crate::store::tests::{NOW, Rig, accepted, draft, raw, url};

fn task(id: &str) -> TaskId {
    TaskId::parse(id).unwrap()
}

fn found(id: &str, facts: TaskFacts) -> FoundTask {
    let description = TaskDescription {
        model: Some("wan2.6".into()),
        prompt: Some("春天".into()),
        created_at: Some(NOW.minus(std::time::Duration::from_secs(60))),
    };
    FoundTask { task: task(id), description, facts, sent_at: NOW }
}

fn running(id: &str) -> FoundTask {
    found(id, TaskFacts::of(Phase::Processing))
}

/// Ended, with its cost.
fn ended(id: &str, phase: Phase, cost: i64) -> FoundTask {
    let output = |index| ReportedOutput {
        kind: OutputKind::Video,
        index,
        link: Secret::new(format!("https://cdn.example/{index}")),
        expires_at: None,
    };
    let outputs = if phase == Phase::Completed { vec![output(0), output(1)] } else { Vec::new() };
    found(id, TaskFacts { cost: Some(Quota::new(cost)), outputs, ..TaskFacts::of(phase) })
}

async fn adopt(rig: &Rig, tasks: Vec<FoundTask>) -> Vec<Adoption> {
    rig.store.adopt(tasks, None, "https://qingbo.dev".into(), NOW).await.unwrap()
}

/// Number of jobs, and the sums that budgets see.
fn sums(rig: &Rig) -> (i64, i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM jobs), coalesce(sum(reserved), 0), coalesce(sum(settled), 0) FROM spending";
    raw(&rig.path()).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

async fn callback(rig: &Rig, job: JobId, id: &str) {
    let event = Event::CallbackReceived { hint: Some(task(id)), quiet: false };
    rig.store.apply(job, event, NOW).await.unwrap();
}

#[tokio::test]
async fn foreign_task_gets_a_job_in_its_own_state_outside_budgets() {
    let rig = Rig::new();
    let cases = [
        (found("t-queued", TaskFacts::of(Phase::Queued)), StateName::Queued, 0, None),
        (running("t-processing"), StateName::Processing, 0, None),
        (ended("t-completed", Phase::Completed, 75_000), StateName::Downloading, 2, Some(75_000)),
        (ended("t-failed", Phase::Failed, 9), StateName::Failed, 0, Some(9)),
        (ended("t-cancelled", Phase::Cancelled, 0), StateName::Cancelled, 0, Some(0)),
    ];
    let adopted = adopt(&rig, cases.iter().map(|(found, ..)| found.clone()).collect()).await;
    for ((found, state, outputs, charged), adoption) in cases.iter().zip(&adopted) {
        assert_eq!(adoption.kind, AdoptionKind::Made);
        let details = rig.store.details(adoption.job).await.unwrap();
        let job = &details.job;
        assert_eq!((job.state_name(), job.outputs().len()), (*state, *outputs), "{}", found.task);
        assert_eq!((job.task(), job.attempts()), (Some(&found.task), 1));
        let identity = job.identity();
        assert_eq!((identity.name.as_str(), identity.model.as_str()), (found.task.as_str(), "wan2.6"));
        assert_eq!(job.facts().submitted_at, found.description.created_at);
        let row: (i64, String, Option<i64>) = raw(&rig.path())
            .query_row(
                "SELECT sends, base_url, charged_quota FROM attempts WHERE task_id = ?1",
                [found.task.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(row, (0, "https://qingbo.dev".to_owned(), *charged), "{}", found.task);
        let request = rig.store.request(adoption.job).await.unwrap();
        assert_eq!(request, r#"{"model":"wan2.6","prompt":"春天"}"#);
    }
    assert_eq!(sums(&rig), (5, 0, 0), "budgets see nothing");
    let jobs: i64 =
        raw(&rig.path()).query_row("SELECT sum(jobs) FROM batches", [], |row| row.get(0)).unwrap();
    assert_eq!(jobs, 5);
}

#[tokio::test]
async fn task_of_a_known_job_names_that_job() {
    let rig = Rig::new();
    let own = rig.ingest(vec![draft("own")]).await[0];
    rig.start_attempt(own, url("https://example.org/x")).await;
    rig.store.apply(own, accepted("t-own"), NOW).await.unwrap();
    assert_eq!(adopt(&rig, vec![running("t-own")]).await, [Adoption::known(own)]);
    let made = adopt(&rig, vec![running("t-1")]).await[0];
    let again = adopt(&rig, vec![running("t-1"), running("t-1")]).await;
    assert_eq!(again, [Adoption::known(made.job); 2]);
    assert_eq!(sums(&rig).0, 2);
}

#[tokio::test]
async fn task_named_by_a_callback_is_bound_to_the_job_that_waits_for_it() {
    let rig = Rig::new();
    let jobs = rig.ingest(vec![draft("lost"), draft("other"), draft("restored")]).await;
    for job in &jobs[..2] {
        rig.start_attempt(*job, url("https://example.org/x")).await;
    }
    rig.store.apply(jobs[2], Event::DatabaseRestored, NOW).await.unwrap();
    callback(&rig, jobs[0], "t-lost").await;
    callback(&rig, jobs[2], "t-restored").await;
    let tasks = vec![ended("t-lost", Phase::Failed, 9), running("t-restored"), running("t-foreign")];
    let adopted = adopt(&rig, tasks).await;
    let kinds: Vec<_> = adopted.iter().map(|adoption| adoption.kind).collect();
    assert_eq!(kinds, [AdoptionKind::Bound, AdoptionKind::Bound, AdoptionKind::Made]);
    assert_eq!([adopted[0].job, adopted[1].job], [jobs[0], jobs[2]]);
    assert_eq!(rig.state(jobs[0]).await, StateName::Failed);
    assert_eq!(rig.state(jobs[1]).await, StateName::Submitting, "no callback named its task");
    assert_eq!(rig.state(jobs[2]).await, StateName::Processing);
    // Of its own attempts, that of `lost` is settled, and that of `other` stays reserved.
    assert_eq!(sums(&rig), (4, 75_000, 9));
    // A late answer to the submit changes nothing.
    rig.store.apply(jobs[0], accepted("t-lost"), NOW).await.unwrap();
    assert_eq!(rig.state(jobs[0]).await, StateName::Failed);
}

#[tokio::test]
async fn callback_that_may_be_of_an_earlier_attempt_binds_nothing() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("twice")]).await[0];
    rig.start_attempt(job, url("https://example.org/x")).await;
    let unknown = Event::SubmitAnswered {
        attempt: 1,
        verdict: crate::job::event::SubmitVerdict::Unknown { why: "HTTP 503".into(), not_before: None },
    };
    rig.store.apply(job, unknown, NOW).await.unwrap();
    rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    rig.start_attempt(job, url("https://example.org/x")).await;
    callback(&rig, job, "t-first").await;
    assert_eq!(adopt(&rig, vec![running("t-first")]).await[0].kind, AdoptionKind::Made);
    assert_eq!(rig.state(job).await, StateName::Submitting);
}

#[tokio::test]
async fn names_are_numbered_and_adopted_jobs_are_not_retried() {
    let rig = Rig::new();
    let tasks = vec![ended("t-1", Phase::Failed, 9), running("t-2")];
    let adopted = rig.store.adopt(tasks, Some("春".into()), "https://qingbo.dev".into(), NOW).await.unwrap();
    for (adoption, name) in adopted.iter().zip(["春", "春-2"]) {
        assert_eq!(rig.store.details(adoption.job).await.unwrap().job.identity().name, name);
    }
    let retry = Event::Operator(OperatorAction::Retry);
    let reply = rig.store.apply(adopted[0].job, retry, NOW).await.unwrap().reply;
    let Some(crate::job::step::ActionReply::Rejected(why)) = reply else { panic!("{reply:?}") };
    assert!(why.contains("no request to submit"), "{why}");
    assert_eq!(rig.state(adopted[0].job).await, StateName::Failed);
}
