use std::path::Path;

use super::{JOB_UPDATE, STATEMENTS};
use crate::clock::Timestamp;
use crate::job::event::{Event, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::state::StateName;
use crate::job::{JobId, TaskId};
use crate::jobfile::Draft;
use crate::library::published::Published;
use crate::secret::Secret;
use crate::store::apply::AttemptStart;
use crate::store::intake::{Intake, Source};
use crate::store::outputs::Plan;
use crate::store::*;

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
/// What each step of a plain life runs, with its `BEGIN` and `COMMIT`, which steps share when they come together; and how
/// many allocations it may take, a fifth more than it does.
const STEPS: [(&str, u64, u64); 8] = [
    ("taken in", 8, 41),
    ("moved", 3, 10),
    ("submitted", 8, 47),
    ("accepted", 7, 48),
    ("called back", 4, 18),
    ("callback processed", 8, 52),
    ("asked", 7, 59),
    ("planned and stored", 14, 98),
];

fn draft() -> Draft {
    Draft {
        name: "sakura".into(),
        priority: 0,
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        key: None,
        again: false,
        not_before: None,
        model: "wan2.5-t2v".into(),
        prompt: Some("春天的樱花树下".into()),
        body: r#"{"model":"wan2.5-t2v"}"#.into(),
    }
}

struct Life {
    store: Store,
    number: i64,
    id: JobId,
    task: TaskId,
    key: OutputKey,
}

impl Life {
    async fn step(&mut self, step: &str) {
        let store = &self.store;
        match step {
            "taken in" => {
                let intake = Intake {
                    source: Source::Inbox,
                    file_name: Some("sakura.json".into()),
                    sha256: self.number.to_string(),
                    bytes: 10,
                };
                let files = vec![(intake, vec![draft()])];
                self.id = store.ingest_batch(files, NOW).await.unwrap().remove(0).unwrap().jobs[0];
            }
            "moved" => {
                store.mark_moved(vec![(self.number, Some("accepted/sakura.json".into()))], NOW).await.unwrap()
            }
            "submitted" => {
                let begun = store.start_attempt(self.id, Box::new(|_| None), NOW).await.unwrap();
                assert!(matches!(begun, AttemptStart::Send(_)));
            }
            "accepted" => {
                let verdict = SubmitVerdict::Accepted { task: self.task.clone(), reserved: None };
                store.apply(self.id, Event::SubmitAnswered(verdict), NOW).await.unwrap();
            }
            "called back" => drop(store.keep_delivery(self.id, b"{}".to_vec(), NOW).await.unwrap()),
            "callback processed" => {
                let delivery = store.unprocessed_deliveries(1).await.unwrap().remove(0);
                let received = Event::CallbackReceived { hint: None, quiet: false };
                store.process_delivery(&delivery, received, None, NOW).await.unwrap();
            }
            "asked" => {
                let (kind, index) = (self.key.kind, self.key.index);
                let link = Secret::new("https://cdn.example/1");
                let outputs = vec![ReportedOutput { kind, index, link, expires_at: None }];
                let facts = TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) };
                let asked = Event::StatusPolled { sent_at: NOW, verdict: StatusVerdict::Answered(facts) };
                store.apply(self.id, asked, NOW).await.unwrap();
            }
            _ => {
                let (path, sha256, host) =
                    (format!("{}.mp4", self.number), "1".to_owned(), "cdn.example".to_owned());
                let published = Published::for_test(&path, 9, &sha256);
                let plan = Plan { path, bytes: 9, sha256, host: host.clone() };
                assert!(store.plan_output(self.id, self.task.clone(), self.key, plan).await.unwrap());
                let stored = Event::Stored(Stored::new(self.key, &published, host, NOW));
                let applied = store.apply(self.id, stored, NOW).await.unwrap();
                assert_eq!(applied.job.state_name(), StateName::Succeeded);
            }
        }
    }
}

impl Life {
    fn begin(store: &Store, number: i64) -> Self {
        let task = TaskId::parse(&format!("task-{number}")).unwrap();
        let key = OutputKey { kind: OutputKind::Video, index: 0 };
        Self { store: store.clone(), number, id: JobId::NONE, task, key }
    }
}

fn open(folder: &Path) -> (Store, tokio::runtime::Runtime) {
    // Under a paused clock all work is done by the thread that asks for it.
    let (path, clock) = (folder.join("dropreel.db"), Clock::paused(NOW));
    let (store, _closing) = Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), clock).unwrap();
    (store, tokio::runtime::Builder::new_current_thread().build().unwrap())
}

#[test]
fn an_answer_without_news_writes_to_no_index_but_those_of_the_next_question_and_of_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, runtime) = open(folder.path());
    let mut life = Life::begin(&store, 1);
    runtime.block_on(async {
        for step in ["taken in", "submitted", "accepted"] {
            life.step(step).await;
        }
        for seconds in [5, 10] {
            let began = NOW.plus(std::time::Duration::from_secs(seconds));
            let verdict = StatusVerdict::Answered(TaskFacts::of(Phase::Processing));
            store.apply(life.id, Event::StatusPolled { sent_at: began, verdict }, began).await.unwrap();
        }
    });
    assert_eq!(
        JOB_UPDATE.take(),
        "UPDATE jobs SET next_action_at = ?2, due_at = ?3, tries = ?4, polled_at = ?5, last_change = ?6 WHERE nr = ?1"
    );
}

#[test]
fn a_step_of_a_job_s_life_takes_so_many_statements_and_no_more_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let (store, runtime) = open(folder.path());
    let mut counted = Vec::new();
    // The first life prepares the statements.
    for number in 1..=2 {
        let mut life = Life::begin(&store, number);
        counted.clear();
        for (step, ..) in STEPS {
            let before = STATEMENTS.get();
            let allocated = allocation_counter::measure(|| runtime.block_on(life.step(step)));
            counted.push((step, STATEMENTS.get() - before, allocated.count_total));
        }
    }
    for ((step, statements, allocations), (_, may_run, may_allocate)) in counted.iter().zip(STEPS) {
        assert_eq!(*statements, may_run, "statements of a job {step}: {counted:?}");
        assert!(*allocations <= may_allocate, "allocations of a job {step}: {counted:?}");
    }
}
