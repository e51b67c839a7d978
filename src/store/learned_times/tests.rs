use super::*;
use crate::job::JobId;
use crate::job::event::{ReportedOutput, TaskFacts};
use crate::job::output::OutputKind;
use crate::job::state::State;
use crate::secret::Secret;
use crate::store::tests::{NOW, Rig, draft, open, parts};

const CLASS: &str = "720p|5|0|wan2.5-t2v";

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Submits a new job at [`NOW`]; returns it with its task.
async fn submit(rig: &Rig, name: &str, class: Option<&str>) -> (JobId, TaskId) {
    let job = rig.ingest(vec![draft(name)]).await[0];
    let attempt = crate::store::start_attempt::AttemptParts {
        price_class: class.map(str::to_owned),
        ..parts(Box::new(|_| None))
    };
    rig.store.start_attempt(job, attempt, NOW).await.unwrap();
    let task = TaskId::parse(&format!("task-{name}")).unwrap();
    let verdict = SubmitVerdict::Accepted { task: task.clone(), reserved: None };
    rig.store.apply(job, Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
    (job, task)
}

async fn poll(rig: &Rig, (job, task): &(JobId, TaskId), facts: TaskFacts, now: Timestamp) {
    let verdict = StatusVerdict::Answered(facts);
    let polled = Event::StatusPolled { task: task.clone(), sent_at: now, verdict };
    rig.store.apply(*job, polled, now).await.unwrap();
}

fn completed(at: Option<u64>) -> TaskFacts {
    let link = Secret::new("https://cdn.example/1");
    let output = ReportedOutput { kind: OutputKind::Video, index: 0, link, expires_at: None };
    TaskFacts { completed_at: at.map(after), outputs: vec![output], ..TaskFacts::of(Phase::Completed) }
}

async fn usual(rig: &Rig, class: &'static str) -> Option<[u64; 3]> {
    let usual = rig.store.read(move |connection| usual_time_of_class(connection, class)).await.unwrap();
    usual.map(UsualTime::seconds)
}

#[tokio::test]
async fn completed_tasks_teach_how_long_their_class_takes() {
    let rig = Rig::new();
    for (name, seconds) in [("a", 40), ("b", 50), ("c", 70)] {
        assert_eq!(usual(&rig, CLASS).await, None, "too few before {name}");
        let task = submit(&rig, name, Some(CLASS)).await;
        poll(&rig, &task, completed(Some(seconds)), after(300)).await;
        // Polled again for a fresh link: the same completion.
        poll(&rig, &task, completed(Some(seconds)), after(400)).await;
    }
    assert_eq!(usual(&rig, CLASS).await, Some([50, 70, 105]));
    assert_eq!(usual(&rig, "1080p|5|0|wan2.5-t2v").await, None, "another class");

    let path = rig.path();
    let rig = Rig::over(rig.into_folder(), open(&path).unwrap());
    assert_eq!(usual(&rig, CLASS).await, Some([50, 70, 105]), "after a restart");
}

#[tokio::test]
async fn tasks_whose_end_is_unknown_teach_nothing() {
    let rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        let task = submit(&rig, name, Some(CLASS)).await;
        let facts = match name {
            "a" => TaskFacts::of(Phase::Failed),
            "b" => TaskFacts::of(Phase::Cancelled),
            // Before its submit, by a clock that is wrong.
            "c" => TaskFacts { completed_at: Some(NOW.minus(Duration::from_secs(9))), ..completed(None) },
            _ => completed(None),
        };
        poll(&rig, &task, facts, after(300)).await;
    }
    let unclassified = submit(&rig, "e", None).await;
    poll(&rig, &unclassified, completed(Some(30)), after(300)).await;
    let taught = rig.store.read(|connection| {
        Ok(connection.query_row("SELECT count(*) FROM learned_times", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(taught.await.unwrap(), 0);

    for name in ["f", "g", "h"] {
        let task = submit(&rig, name, Some(CLASS)).await;
        rig.store
            .apply(task.0, Event::CallbackReceived { hint: None, quiet: false }, after(33))
            .await
            .unwrap();
        poll(&rig, &task, completed(None), after(33)).await;
    }
    assert_eq!(usual(&rig, CLASS).await, Some([33, 33, 50]), "a callback says when");
}

#[tokio::test]
async fn new_task_of_a_known_class_is_first_polled_by_its_usual_time() {
    let rig = Rig::new();
    let first_poll = async |job: JobId| match rig.store.details(job).await.unwrap().job.state() {
        State::Queued(running) => running.schedule.due.since(NOW).as_secs(),
        state => panic!("{state:?}"),
    };
    for name in ["a", "b", "c"] {
        let task = submit(&rig, name, Some(CLASS)).await;
        assert!((96..=144).contains(&first_poll(task.0).await), "the grace");
        poll(&rig, &task, completed(Some(200)), after(300)).await;
    }
    let (job, _) = submit(&rig, "d", Some(CLASS)).await;
    assert_eq!(first_poll(job).await, 200);
    let details = rig.store.details(job).await.unwrap();
    assert_eq!(details.usual.map(UsualTime::seconds), Some([200, 200, 300]));
    let (other, _) = submit(&rig, "e", Some("480p|5|0|wan2.5-t2v")).await;
    assert!(first_poll(other).await < 200);
    assert_eq!(rig.store.details(other).await.unwrap().usual, None);
}

#[tokio::test]
async fn number_of_times_and_classes_is_limited() {
    let rig = Rig::new();
    rig.store
        .writer
        .write(|writing| {
            for class in 0..i64::from(MAX_CLASSES) {
                let times = serde_json::to_string(&vec![1_000; MAX_TIMES]).unwrap();
                let row = (format!("class {class}"), times, 1, 1, 1, class);
                writing.connection.prepare_cached(LEARN)?.execute(row)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    for (name, class) in [("a", "class 999"), ("b", "new")] {
        let task = submit(&rig, name, Some(class)).await;
        poll(&rig, &task, completed(Some(60)), after(300)).await;
    }
    let (classes, oldest, times) = rig
        .store
        .read(|connection| {
            let counted = "SELECT count(*), count(*) FILTER (WHERE price_class = 'class 0'),
                (SELECT times FROM learned_times WHERE price_class = 'class 999') FROM learned_times";
            Ok(connection
                .query_row(counted, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?)
        })
        .await
        .unwrap();
    let times: Vec<u64> = serde_json::from_str(&times).unwrap();
    assert_eq!((classes, oldest, times.len()), (i64::from(MAX_CLASSES), 0_i64, MAX_TIMES));
}

#[tokio::test]
async fn polls_before_their_time_leave_the_schedule_as_it_was() {
    let rig = Rig::new();
    let schedule = async |job: JobId| match rig.store.details(job).await.unwrap().job.state() {
        State::Queued(running) | State::Processing(running) => running.schedule,
        state => panic!("{state:?}"),
    };
    let task = submit(&rig, "a", Some(CLASS)).await;
    let before = schedule(task.0).await;
    for seconds in [15, 30, 45] {
        let facts = TaskFacts { progress: Some(7), ..TaskFacts::of(Phase::Processing) };
        poll(&rig, &task, facts, after(seconds)).await;
        assert_eq!(schedule(task.0).await, before, "after {seconds} s");
    }
    assert_eq!(rig.store.details(task.0).await.unwrap().job.facts().progress, 7);
    let just_before = before.due.minus(Duration::from_millis(150));
    poll(&rig, &task, TaskFacts::of(Phase::Processing), just_before).await;
    let spaced = schedule(task.0).await.due;
    assert_eq!(spaced, just_before.plus(Duration::from_secs(1)), "not twice within a second");
    poll(&rig, &task, TaskFacts::of(Phase::Processing), spaced).await;
    assert_eq!(schedule(task.0).await.tries, before.tries + 1, "polled in time");
}
