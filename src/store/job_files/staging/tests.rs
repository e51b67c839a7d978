use std::collections::BTreeMap;
use std::time::Duration;

use super::MAX_JOBS_PER_COMMIT;
use crate::api::list::JobFilter;
use crate::clock::Clock;
use crate::job::next_action::NextAction;
use crate::job::scheduling::Turns;
use crate::jobfile::Draft;
use crate::store::details::Found;
use crate::store::job_files::{FileToIngest, IngestError, IngestResult, Source};
use crate::store::tests::{NOW, Rig, draft, open, raw};

/// Measures the longest wait of a callback, one each 4 ms, beside a file of 100,000 jobs:
/// `cargo test --release --lib -- --ignored --nocapture callback_beside`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and prints a measurement"]
async fn callback_beside_a_file_of_100_000_jobs_waits_less_than_100_ms() {
    let rig = Rig::new();
    let job = rig.ingest(vec![draft("sakura")]).await[0];
    let file = FileToIngest {
        source: Source::Inbox,
        file_name: Some("long.jsonl".into()),
        sha256: "long".into(),
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    };
    let clock = Clock::machine();
    let drafts = Box::new((0..100_000).map(|number| Ok(draft(&format!("job-{number}")))));
    let began = clock.tick();
    let store = rig.store.clone();
    let ingest = tokio::spawn(async move { store.ingest(file, drafts, NOW).await });
    let (mut longest, mut answers) = (Duration::ZERO, 0);
    while !ingest.is_finished() {
        let asked = clock.tick();
        rig.store.keep_delivery(job, b"{}".to_vec(), NOW).await.unwrap();
        longest = longest.max(clock.tick().since(asked));
        answers += 1;
        clock.sleep(Duration::from_millis(4)).await;
    }
    let took = clock.tick().since(began);
    assert_eq!(ingest.await.unwrap().unwrap().jobs.len(), 100_000);
    println!("ingested in {took:?}; {answers} callbacks, the longest wait {longest:?}");
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}

fn long_file(jobs: usize, key: impl Fn(usize) -> Option<String>) -> Vec<Draft> {
    (0..jobs).map(|number| Draft { key: key(number), ..draft(&format!("job-{number}")) }).collect()
}

fn file_named(name: &str) -> FileToIngest {
    FileToIngest {
        source: Source::Inbox,
        file_name: Some(format!("{name}.jsonl")),
        sha256: name.into(),
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    }
}

impl Rig {
    async fn ingest_long(&self, name: &str, drafts: Vec<Draft>) -> IngestResult {
        let drafts = Box::new(drafts.into_iter().map(Ok));
        self.store.ingest(file_named(name), drafts, NOW).await
    }

    /// Rows of jobs, whether visible or not, and of what belongs to them.
    fn rows(&self) -> [i64; 6] {
        ["batches", "jobs", "requests", "labels", "keys", "history"]
            .map(|table| self.number(&format!("SELECT count(*) FROM {table}")))
    }

    fn number(&self, sql: &str) -> i64 {
        raw(&self.path()).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn visible(&self) -> (u64, usize, usize) {
        let counted = self.store.counts().await.unwrap().values().sum();
        let listed = self.store.list(JobFilter::default(), None, 500).await.unwrap().jobs.len();
        (counted, listed, self.store.submit_queue(NOW, Turns::default()).await.unwrap().0.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_file_becomes_visible_at_once_and_due_in_order() {
    let rig = Rig::new();
    let jobs = 2 * MAX_JOBS_PER_COMMIT + 10;
    let (store, drafts) = (rig.store.clone(), long_file(jobs, |number| Some(format!("key-{number}"))));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    // Stops before the last jobs.
    let mut wait = Some(wait);
    let drafts = drafts.into_iter().enumerate().map(move |(number, draft)| {
        if number == jobs - 5 {
            let _ = wait.take().map(|wait| wait.recv());
        }
        Ok(draft)
    });
    let ingest =
        tokio::spawn(async move { store.ingest(file_named("long"), Box::new(drafts), NOW).await.unwrap() });
    while rig.number("SELECT count(*) FROM jobs") < 2 * MAX_JOBS_PER_COMMIT as i64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.visible().await, (0, 0, 0), "staged");
    assert_eq!(rig.store.find("job-1".into()).await.unwrap(), Found::None);
    assert!(rig.store.unfinished_jobs().await.unwrap().unfinished.is_empty());
    assert!(rig.store.unmoved().await.unwrap().is_empty());
    go.send(()).unwrap();
    let ingested = ingest.await.unwrap();
    assert_eq!(ingested.jobs.len(), jobs);
    assert_eq!(rig.visible().await, (jobs as u64, 500, 1));
    assert_eq!(
        rig.store.submit_queue(NOW, Turns::default()).await.unwrap().0[0].id,
        ingested.jobs[0],
        "the first goes first"
    );
    // Those that are due at the same time are in whatever order the database finds them.
    let mut due = rig.store.due_jobs(NextAction::Submit, NOW, 5000).await.unwrap().jobs;
    due.sort_unstable();
    assert!(due == ingested.jobs, "{} are due", due.len());
    assert_eq!(rig.store.changes_since(0, 5000).await.unwrap().len(), jobs);
    assert_eq!(rig.store.metrics().accepted_jobs.get(), jobs as u64);
}

#[tokio::test]
async fn refused_long_file_leaves_nothing() {
    let rig = Rig::new();
    let jobs = 3 * MAX_JOBS_PER_COMMIT;
    rig.ingest_long("first", long_file(jobs, |_| None)).await.unwrap();
    rig.ingest_long("keyed", vec![Draft { key: Some("used".into()), ..draft("keyed") }]).await.unwrap();
    let before = rig.rows();
    let repeated = rig.ingest_long("first", long_file(jobs, |_| None)).await;
    assert!(matches!(repeated, Err(IngestError::Duplicate { .. })), "{repeated:?}");
    assert_eq!(rig.rows(), before);
    let used = |number| Some(if number == jobs - 2 { "used".into() } else { format!("key-{number}") });
    let refused = rig.ingest_long("second", long_file(jobs, used)).await;
    assert!(matches!(refused, Err(IngestError::KeyUsed { ref key, .. }) if key == "used"), "{refused:?}");
    assert_eq!(rig.rows(), before);
    let twice = |number| Some(if number == jobs - 1 { "key-0".into() } else { format!("key-{number}") });
    let refused = rig.ingest_long("third", long_file(jobs, twice)).await;
    assert!(matches!(refused, Err(IngestError::KeyUsed { .. })), "{refused:?}");
    assert_eq!(rig.rows(), before);
    let unreadable = long_file(jobs, |number| Some(format!("key-{number}"))).into_iter().map(Ok);
    let unreadable = unreadable.chain([Err("the file changed".to_owned())]);
    let refused = rig.store.ingest(file_named("fourth"), Box::new(unreadable), NOW).await;
    assert!(matches!(refused, Err(IngestError::Unreadable(_))), "{refused:?}");
    assert_eq!(rig.rows(), before);
    // Its keys are free.
    rig.ingest_long("fifth", long_file(jobs, |number| Some(format!("key-{number}")))).await.unwrap();
    let again = |_| None;
    let mut drafts = long_file(jobs, again);
    drafts[jobs - 1].again = true;
    rig.ingest_long("first", drafts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_staged_file_is_postponed_and_free_once_the_file_is_refused() {
    let rig = Rig::new();
    let keyed = |name: &str| vec![Draft { key: Some("key-7".into()), ..draft(name) }];
    let jobs = 2 * MAX_JOBS_PER_COMMIT + 10;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    // Refused at its end, but only once it may.
    let drafts = long_file(jobs, |number| Some(format!("key-{number}"))).into_iter().map(Ok);
    let end = std::iter::once_with(move || {
        let _ = wait.recv();
        Err("the file changed".to_owned())
    });
    let store = rig.store.clone();
    let drafts = Box::new(drafts.chain(end));
    let ingest = tokio::spawn(async move { store.ingest(file_named("long"), drafts, NOW).await });
    while rig.number("SELECT count(*) FROM keys") < 8 {
        tokio::task::yield_now().await;
    }
    for jobs in [1, jobs] {
        let key = |number| (number == jobs - 1).then(|| "key-7".to_owned());
        let staged = rig.ingest_long("other", long_file(jobs, key)).await;
        assert!(matches!(staged, Err(IngestError::KeyStaged { .. })), "{staged:?}");
    }
    go.send(()).unwrap();
    let refused = ingest.await.unwrap();
    assert!(matches!(refused, Err(IngestError::Unreadable(_))), "{refused:?}");
    let first = rig.ingest_long("short", keyed("short")).await.unwrap().jobs[0];
    let used = rig.ingest_long("again", keyed("again")).await;
    assert!(matches!(used, Err(IngestError::KeyUsed { first: by, .. }) if by == first), "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_cancelled_long_file_is_free_for_a_short_one() {
    let rig = Rig::new();
    let store = rig.store.clone();
    let drafts =
        long_file(MAX_JOBS_PER_COMMIT + 1, |number| Some(format!("key-{number}"))).into_iter().map(Ok);
    let (began, wait) = tokio::sync::oneshot::channel();
    let mut began = Some(began);
    // Its last job never comes.
    let end = std::iter::once_with(move || {
        let _ = began.take().map(|began| began.send(()));
        std::thread::sleep(std::time::Duration::from_secs(1));
        Err("cancelled".to_owned())
    });
    let drafts = Box::new(drafts.chain(end));
    let ingest = tokio::spawn(async move { store.ingest(file_named("long"), drafts, NOW).await });
    wait.await.unwrap();
    while rig.number("SELECT count(*) FROM keys") == 0 {
        tokio::task::yield_now().await;
    }
    ingest.abort();
    let _ = ingest.await;
    let short = vec![Draft { key: Some("key-7".into()), ..draft("short") }];
    rig.ingest_long("short", short).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_ingestion_of_a_long_file_is_undone_by_the_next_call() {
    let rig = Rig::new();
    let keyed = || long_file(4 * MAX_JOBS_PER_COMMIT, |number| Some(format!("key-{number}")));
    let store = rig.store.clone();
    let drafts = Box::new(keyed().into_iter().map(Ok));
    let ingest = tokio::spawn(async move { store.ingest(file_named("long"), drafts, NOW).await });
    while rig.number("SELECT count(*) FROM jobs") == 0 {
        tokio::task::yield_now().await;
    }
    ingest.abort();
    let _ = ingest.await;
    // In the smallest steps.
    let mut steps = 0;
    while rig.store.finish_unfinished_within(Duration::ZERO).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "each gets further");
    }
    let left = rig.rows();
    assert!(left == [0; 6] || left[1] == 4 * MAX_JOBS_PER_COMMIT as i64, "nothing or all: {left:?}");
    if left[1] == 0 {
        assert_eq!(rig.ingest_long("long", keyed()).await.unwrap().jobs.len(), 4 * MAX_JOBS_PER_COMMIT);
    }
}

#[tokio::test]
async fn crash_leaves_nothing_of_a_staged_file_and_all_of_a_published_one() {
    let rig = Rig::new();
    rig.ingest_long("kept", vec![draft("kept")]).await.unwrap();
    let before = rig.rows();
    let jobs = 2 * MAX_JOBS_PER_COMMIT;
    let ingested =
        rig.ingest_long("long", long_file(jobs, |number| Some(format!("key-{number}")))).await.unwrap();
    // As a crash leaves it before the file is published, and right after.
    let stage = format!(
        "UPDATE batches SET staged = 1 WHERE nr = {0};
         UPDATE jobs SET next_action = NULL, next_action_at = NULL, last_change = 0 WHERE batch = {0};",
        ingested.nr
    );
    let path = rig.path();
    let folder = rig.into_folder();
    raw(&path).execute_batch(&stage).unwrap();
    let copy = folder.path().join("copy.db");
    raw(&path).execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    raw(&copy).execute_batch("UPDATE batches SET staged = 2").unwrap();

    let crashed = Rig::over(folder, open(&path).unwrap());
    assert_eq!(crashed.rows(), before, "staged");
    let published = open(&copy).unwrap();
    assert!(published.counts().await.unwrap().values().sum::<u64>() == 1 + jobs as u64);
    let label = BTreeMap::from([("client".to_owned(), Some("acme".to_owned()))]);
    published.set_labels(ingested.jobs[7], label, NOW).await.unwrap();
    published.finish_unfinished().await.unwrap();
    assert_eq!(published.due_jobs(NextAction::Submit, NOW, 5000).await.unwrap().jobs.len(), 1 + jobs);
}

#[tokio::test]
async fn jobs_of_a_long_file_are_due_each_at_its_own_time() {
    let rig = Rig::new();
    let later = NOW.plus(Duration::from_secs(60));
    let mut drafts = long_file(2 * MAX_JOBS_PER_COMMIT, |_| None);
    for draft in drafts.iter_mut().skip(100).step_by(3) {
        draft.not_before = Some(later);
    }
    let waiting = drafts.iter().filter(|draft| draft.not_before.is_some()).count();
    let ingested = rig.ingest_long("long", drafts).await.unwrap();
    let due = async |what, at| rig.store.due_jobs(what, at, 5000).await.unwrap().jobs.len();
    assert_eq!(due(NextAction::Submit, NOW).await, ingested.jobs.len() - waiting);
    assert_eq!((due(NextAction::Wait, NOW).await, due(NextAction::Wait, later).await), (0, waiting));
    assert_eq!(rig.number("SELECT count(DISTINCT last_change) FROM jobs"), ingested.jobs.len() as i64);
}
