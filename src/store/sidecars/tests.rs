//! Which sidecars are outdated, and until when.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::job::event::{Event, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::library::Library;
use crate::library::published::Published;
use crate::rng::Rng;
use crate::secret::Secret;
use crate::settings::LibraryMode;
use crate::stages::sidecars::SidecarStage;
use crate::stages::{Stage, Wake};
use crate::store::downloads::Plan;
use crate::store::tests::{NOW, Rig, draft, parts};

const KEY: OutputKey = OutputKey { kind: OutputKind::Video, index: 0 };

fn task() -> TaskId {
    TaskId::parse("task-1").unwrap()
}

async fn poll(rig: &Rig, job: JobId, cost: Option<i64>) {
    let link = Secret::new("https://cdn.example/1");
    let outputs = vec![ReportedOutput { kind: KEY.kind, index: KEY.index, link, expires_at: None }];
    let cost = cost.map(Quota::new);
    let facts = TaskFacts { cost_pending: cost.is_none(), cost, outputs, ..TaskFacts::of(Phase::Completed) };
    let polled = Event::StatusPolled { task: task(), sent_at: NOW, verdict: StatusVerdict::Answered(facts) };
    rig.store.apply(job, polled, NOW).await.unwrap();
}

/// A job whose task has completed, with a cost that is not final.
async fn completed(rig: &Rig) -> JobId {
    let job = rig.ingest(vec![draft("a")]).await[0];
    rig.store.start_attempt(job, parts(Box::new(|_| None)), NOW).await.unwrap();
    let verdict = SubmitVerdict::Accepted { task: task(), reserved: None };
    rig.store.apply(job, Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
    poll(rig, job, None).await;
    job
}

async fn plan(rig: &Rig, job: JobId) {
    let plan = Plan { path: "a.mp4".into(), bytes: 9, sha256: "1".into(), host: "cdn.example".into() };
    assert!(rig.store.plan_output(job, task(), KEY, plan, None).await.unwrap());
}

async fn store_file(rig: &Rig, job: JobId) {
    let published = Published::for_test("a.mp4", 9, "1");
    let stored = Stored::new(task(), KEY, &published, "cdn.example".into(), NOW);
    rig.store.apply(job, Event::Stored(stored), NOW).await.unwrap();
}

async fn outdated(rig: &Rig) -> Vec<OutdatedSidecar> {
    rig.store.outdated_sidecars(String::new(), 10).await.unwrap()
}

#[tokio::test]
async fn sidecar_is_outdated_by_a_settlement_before_during_or_after_its_publication() {
    for settled_before in ["plan", "stored", "end"] {
        let rig = Rig::new();
        let job = completed(&rig).await;
        for step in ["plan", "stored", "end"] {
            if step != "end" {
                assert_eq!(outdated(&rig).await, [], "its file is not published yet");
            }
            if step == settled_before {
                poll(&rig, job, Some(75_000)).await;
            }
            match step {
                "plan" => plan(&rig, job).await,
                "stored" => store_file(&rig, job).await,
                _ => {}
            }
        }
        let found = outdated(&rig).await;
        let facts = Some(SidecarFacts {
            job,
            bucket: None,
            cost: Some(Quota::new(75_000)),
            rating: None,
            labels: Some(r#"{"project":"spring"}"#.into()),
        });
        assert_eq!(
            found.iter().map(|one| (one.path.as_str(), one.facts.clone())).collect::<Vec<_>>(),
            [("a.mp4", facts)]
        );
        poll(&rig, job, Some(75_000)).await;
        assert_eq!(outdated(&rig).await, found, "nothing new");
        rig.store.sidecar_rewritten("a.mp4".into(), found[0].version).await.unwrap();
        assert_eq!(outdated(&rig).await, []);
    }
}

#[tokio::test]
async fn sidecar_that_changes_while_it_is_rewritten_is_rewritten_again() {
    let rig = Rig::new();
    let job = completed(&rig).await;
    plan(&rig, job).await;
    store_file(&rig, job).await;
    poll(&rig, job, Some(75_000)).await;
    let read = outdated(&rig).await;
    poll(&rig, job, Some(0)).await;
    rig.store.sidecar_rewritten("a.mp4".into(), read[0].version).await.unwrap();
    let cost = outdated(&rig).await[0].facts.as_ref().unwrap().cost;
    assert_eq!(cost, Some(Quota::ZERO), "it was refunded meanwhile");
}

#[tokio::test]
async fn sidecar_that_cannot_be_written_is_tried_again_after_a_minute_and_not_before() {
    let rig = Rig::new();
    let job = completed(&rig).await;
    plan(&rig, job).await;
    store_file(&rig, job).await;
    poll(&rig, job, Some(500)).await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("videos");
    let library = Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(1)).unwrap();
    let sidecar = root.join("a.mp4.json");
    std::fs::write(&sidecar, b"\xff unreadable").unwrap();
    let clock = Clock::paused(NOW);
    let stage = SidecarStage::new(rig.store.clone(), library, clock.clone());
    let due = Wake::At(NOW.plus(Duration::from_secs(60)));
    assert_eq!(stage.pass().await.unwrap(), due);
    std::fs::write(&sidecar, format!(r#"{{"path":"a.mp4","job_id":"{job}","cost_quota":null}}"#)).unwrap();
    clock.advance(Duration::from_secs(59));
    assert_eq!(stage.pass().await.unwrap(), due);
    assert_eq!(outdated(&rig).await.len(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(stage.pass().await.unwrap(), Wake::OnNotify);
    assert_eq!(outdated(&rig).await, []);
    let text = std::fs::read_to_string(&sidecar).unwrap();
    assert!(text.contains("\"cost_quota\": 500") || text.contains("\"cost_quota\":500"), "{text}");
}
