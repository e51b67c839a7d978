use std::path::Path;

use super::{JOB_UPDATE, STATEMENTS};
use crate::job::event::{Event, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::state::StateName;
use crate::job::{JobId, TaskId};
use crate::library::published::Published;
use crate::secret::Secret;
use crate::store::deliveries::keep;
use crate::store::downloads::Plan;
use crate::store::job_files::{FileToIngest, Source};
use crate::store::start_attempt::AttemptStart;
use crate::store::tests::{NOW, draft, parts, raw};
use crate::store::*;

/// The steps of a job that goes well. The number of statements that each runs, with `BEGIN` and `COMMIT`; and the most
/// allocations it may make, a twentieth more than it makes today.
// A new state is two updates of `job_counts` in a trigger: three statements.
const STEPS: [(&str, u64, u64); 8] = [
    ("ingested", 10, 60),
    ("moved", 3, 11),
    ("submitted", 13, 51),
    ("accepted", 11, 45),
    ("delivery kept", 4, 17),
    ("callback processed", 8, 45),
    ("polled", 11, 55),
    ("stored", 21, 137),
];

struct Lifecycle {
    store: Store,
    number: i64,
    id: JobId,
    task: TaskId,
    key: OutputKey,
}

impl Lifecycle {
    async fn step(&mut self, step: &str) {
        let store = &self.store;
        match step {
            "ingested" => {
                let file = FileToIngest {
                    source: Source::Inbox,
                    file_name: Some("sakura.json".into()),
                    sha256: self.number.to_string(),
                    bytes: 10,
                    idempotency_key: None,
                    inputs_sha256: None,
                };
                let files = vec![(file, vec![draft("sakura")])];
                self.id = store.ingest_batch(files, NOW).await.unwrap().remove(0).unwrap().jobs[0];
            }
            "moved" => {
                store.mark_moved(vec![(self.number, Some("accepted/sakura.json".into()))], NOW).await.unwrap()
            }
            "submitted" => {
                let start = store.start_attempt(self.id, parts(Box::new(|_| None)), NOW).await.unwrap();
                assert!(matches!(start, AttemptStart::Send(_)));
            }
            "accepted" => {
                let verdict = SubmitVerdict::Accepted { task: self.task.clone(), reserved: None };
                store.apply(self.id, Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
            }
            "delivery kept" => drop(store.keep_delivery(self.id, b"{}".to_vec(), NOW).await.unwrap()),
            "callback processed" => {
                let delivery = store.unprocessed_deliveries(0, 1).await.unwrap().remove(0);
                let received = Event::CallbackReceived { hint: None, quiet: false };
                store.process_delivery(&delivery, received, None, NOW).await.unwrap();
            }
            "polled" => {
                let (kind, index) = (self.key.kind, self.key.index);
                let link = Secret::new("https://cdn.example/1");
                let outputs = vec![ReportedOutput { kind, index, link, expires_at: None }];
                let facts = TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) };
                let (task, verdict) = (self.task.clone(), StatusVerdict::Answered(facts));
                let polled = Event::StatusPolled { task, sent_at: NOW, verdict };
                store.apply(self.id, polled, NOW).await.unwrap();
            }
            _ => {
                let (path, sha256, host) =
                    (format!("{}.mp4", self.number), "1".to_owned(), "cdn.example".to_owned());
                let published = Published::for_test(&path, 9, &sha256);
                let plan = Plan { path, bytes: 9, sha256, host: host.clone() };
                assert!(store.plan_output(self.id, self.task.clone(), self.key, plan, None).await.unwrap());
                let stored = Event::Stored(Stored::new(self.task.clone(), self.key, &published, host, NOW));
                let applied = store.apply(self.id, stored, NOW).await.unwrap();
                assert_eq!(applied.job.state_name(), StateName::Succeeded);
            }
        }
    }
}

impl Lifecycle {
    fn new(store: &Store, number: i64) -> Self {
        let task = TaskId::parse(&format!("task-{number}")).unwrap();
        let key = OutputKey { kind: OutputKind::Video, index: 0 };
        Self { store: store.clone(), number, id: JobId::NONE, task, key }
    }
}

fn open(folder: &Path) -> (Store, tokio::runtime::Runtime) {
    // Under a paused clock the caller's thread does all the work, so the thread-local counters see it.
    let (path, clock) = (folder.join("dropreel.db"), Clock::paused(NOW));
    let (store, _closing) = Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), clock).unwrap();
    (store, tokio::runtime::Builder::new_current_thread().build().unwrap())
}

#[test]
fn poll_without_news_updates_only_its_time_and_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let (store, runtime) = open(folder.path());
    let mut job = Lifecycle::new(&store, 1);
    runtime.block_on(async {
        for step in ["ingested", "submitted", "accepted"] {
            job.step(step).await;
        }
        for seconds in [200, 210] {
            let sent_at = NOW.plus(std::time::Duration::from_secs(seconds));
            let verdict = StatusVerdict::Answered(TaskFacts::of(Phase::Processing));
            let polled = Event::StatusPolled { task: job.task.clone(), sent_at, verdict };
            store.apply(job.id, polled, sent_at).await.unwrap();
        }
    });
    assert_eq!(
        JOB_UPDATE.take(),
        "UPDATE jobs SET next_action_at = ?2, last_change = ?3, due_at = ?4, tries = ?5, polled_at = ?6 WHERE nr = ?1"
    );
}

#[test]
fn step_of_a_job_keeps_its_number_of_statements_and_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let (store, runtime) = open(folder.path());
    let mut counted = Vec::new();
    // The first job prepares the statements.
    for number in 1..=2 {
        let mut job = Lifecycle::new(&store, number);
        counted.clear();
        for (step, ..) in STEPS {
            let before = STATEMENTS.get();
            let allocated = allocation_counter::measure(|| runtime.block_on(job.step(step)));
            counted.push((step, STATEMENTS.get() - before, allocated.count_total));
        }
    }
    for ((step, statements, allocations), (_, expected, limit)) in counted.iter().zip(STEPS) {
        assert_eq!(*statements, expected, "statements of a job {step}: {counted:?}");
        assert!(*allocations <= limit, "allocations of a job {step}: {counted:?}");
    }
}

#[test]
fn callbacks_that_share_a_commit_share_its_pages_of_the_log() {
    const CALLBACKS: u8 = 14;
    let folder = tempfile::tempdir().unwrap();
    let (store, runtime) = open(folder.path());
    let file = FileToIngest {
        source: Source::Inbox,
        file_name: Some("sakura.jsonl".into()),
        sha256: "sakura".into(),
        bytes: 10,
        idempotency_key: None,
        inputs_sha256: None,
    };
    let drafts = (0..CALLBACKS).map(|_| draft("sakura")).collect();
    let jobs =
        runtime.block_on(store.ingest_batch(vec![(file, drafts)], NOW)).unwrap().remove(0).unwrap().jobs;
    // Far from each other among jobs that have had callbacks.
    let other = raw(&folder.path().join("dropreel.db"));
    other
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             UPDATE jobs SET nr = nr * 1000;
             INSERT INTO deliveries (job, received_at, overflow, processed, body)
                 WITH RECURSIVE numbers (job) AS (SELECT 1 UNION ALL SELECT job + 1 FROM numbers WHERE job < 14000)
                 SELECT job, 0, 0, 1, x'00' FROM numbers;
             PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .unwrap();
    let kept =
        store.writer.write(move |writing| jobs.iter().try_for_each(|job| keep(writing, *job, &[0; 80], NOW)));
    runtime.block_on(kept).unwrap();
    let pages: i64 = other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap();
    assert!(pages <= 4, "{pages} pages");
}
