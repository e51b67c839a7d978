use std::time::Duration;

use super::*;
use crate::job::event::{DownloadFailure, Event, Phase, ReportedOutput, StatusVerdict, TaskFacts};
use crate::job::output::OutputKind;
use crate::secret::Secret;
use crate::store::tests::{NOW, Rig, accepted, draft, open, url};

const VIDEO: OutputKey = OutputKey { kind: OutputKind::Video, index: 0 };

fn hours(hours: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(hours * 3600))
}

/// Jobs with one video each, whose link expires after these hours. Their tasks are `task-0`, `task-1`, ...
async fn downloading(rig: &Rig, lifetimes: &[u64]) -> Vec<JobId> {
    let jobs = rig.ingest(lifetimes.iter().map(|hours| draft(&format!("{hours} hours"))).collect()).await;
    for (number, (&job, &lifetime)) in jobs.iter().zip(lifetimes).enumerate() {
        rig.start_attempt(job, url("https://a.example")).await;
        rig.store.apply(job, accepted(&format!("task-{number}")), NOW).await.unwrap();
        let outputs = vec![ReportedOutput {
            kind: VIDEO.kind,
            index: VIDEO.index,
            link: Secret::new(format!("https://cdn-{number}.example/video.mp4")),
            expires_at: Some(hours(lifetime)),
        }];
        let verdict = StatusVerdict::Answered(TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) });
        let polled = Event::StatusPolled { task: task(number), sent_at: NOW, verdict };
        rig.store.apply(job, polled, NOW).await.unwrap();
    }
    jobs
}

fn task(number: usize) -> TaskId {
    TaskId::parse(&format!("task-{number}")).unwrap()
}

#[tokio::test]
async fn link_that_expires_first_is_due_first_and_alerted_about() {
    let rig = Rig::new();
    let jobs = downloading(&rig, &[20, 2, 10]).await;
    let queue = rig.store.download_queue(NOW, hours(3), 2).await.unwrap();
    assert_eq!(queue.due, [(jobs[1], "cdn-1.example".to_owned()), (jobs[2], "cdn-2.example".to_owned())]);
    assert_eq!((queue.alerts, queue.next), (vec![jobs[1]], None));
}

#[tokio::test]
async fn failed_download_is_due_again_after_the_others_and_at_its_time() {
    let rig = Rig::new();
    let jobs = downloading(&rig, &[2, 10]).await;
    let again = NOW.plus(Duration::from_secs(60));
    let failure = DownloadFailure::Transient { why: "the host is busy".into(), not_before: Some(again) };
    let failed = Event::DownloadFailed { task: task(0), key: VIDEO, failure };
    rig.store.apply(jobs[0], failed, NOW).await.unwrap();
    let due = async |now| {
        let queue = rig.store.download_queue(now, NOW, 9).await.unwrap();
        (queue.due.into_iter().map(|(job, _)| job).collect::<Vec<_>>(), queue.next)
    };
    assert_eq!(due(NOW).await, (vec![jobs[1]], Some(again)));
    assert_eq!(due(again).await, (vec![jobs[1], jobs[0]], None));
}

#[tokio::test]
async fn planned_path_is_refused_to_others_and_found_after_a_restart() {
    let rig = Rig::new();
    let jobs = downloading(&rig, &[2, 10]).await;
    let plan = |path: &str| Plan {
        path: path.into(),
        bytes: 7,
        sha256: "ab".repeat(32),
        host: "cdn.example".into(),
    };
    assert!(rig.store.plan_output(jobs[0], task(0), VIDEO, plan("a.mp4"), None).await.unwrap());
    assert!(rig.store.plan_output(jobs[0], task(0), VIDEO, plan("a.mp4"), None).await.unwrap());
    assert!(!rig.store.plan_output(jobs[1], task(1), VIDEO, plan("a.mp4"), None).await.unwrap());
    let reopened = open(&rig.path()).unwrap();
    assert_eq!(reopened.job_to_download(jobs[0]).await.unwrap().plans, [(VIDEO, plan("a.mp4"))]);
    assert!(reopened.job_to_download(jobs[1]).await.unwrap().plans.is_empty());
}
