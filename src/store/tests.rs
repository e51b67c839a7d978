//! The store on a real file.

use std::time::Duration;

use super::deliveries::KEPT_PER_JOB;
use super::details::Found;
use super::job_files::{FileToIngest, IngestError, REPEAT_WINDOW, Source};
use super::start_attempt::{AttemptParts, AttemptStart, CallbackUrl};
use super::*;
use crate::api::list::JobFilter;
use crate::clock::Timestamp;
use crate::job::event::{
    Event, OperatorAction, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts,
};
use crate::job::next_action::NextAction;
use crate::job::output::OutputKind;
use crate::job::scheduling::ModelTasks;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::job::{JobId, TaskId};
use crate::jobfile::{Draft, ObjectPlace, Problem};
use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::secret::Secret;
use crate::store::attempt::Attempt;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

pub(super) struct Rig {
    folder: tempfile::TempDir,
    pub(super) store: Store,
}

impl Rig {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("dropreel.db")).unwrap();
        Self { folder, store }
    }

    /// A rig on a database in `folder` that was opened before.
    pub(super) fn over(folder: tempfile::TempDir, store: Store) -> Self {
        Self { folder, store }
    }

    /// Closes the database.
    pub(super) fn into_folder(self) -> tempfile::TempDir {
        self.folder
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("dropreel.db")
    }

    pub(super) async fn ingest(&self, drafts: Vec<Draft>) -> Vec<JobId> {
        let sha256 = format!("{drafts:?}");
        self.ingest_file("a.json", &sha256, drafts, NOW).await.unwrap()
    }

    pub(super) async fn ingest_file(
        &self,
        name: &str,
        sha256: &str,
        drafts: Vec<Draft>,
        now: Timestamp,
    ) -> Result<Vec<JobId>, IngestError> {
        let file = FileToIngest {
            source: Source::Inbox,
            file_name: Some(name.into()),
            sha256: sha256.into(),
            bytes: 10,
            idempotency_key: None,
        };
        let drafts = Box::new(drafts.into_iter().map(Ok));
        self.store.ingest(file, drafts, now).await.map(|ingested| ingested.jobs)
    }

    async fn ingest_one(&self) -> JobId {
        self.ingest(vec![draft("sakura")]).await[0]
    }

    pub(super) async fn start_attempt(&self, id: JobId, callback_url: CallbackUrl) -> Attempt {
        match self.store.start_attempt(id, parts(callback_url), NOW).await.unwrap() {
            AttemptStart::Send(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn state(&self, id: JobId) -> StateName {
        self.store.details(id).await.unwrap().job.state_name()
    }
}

pub(super) fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).map(|(store, _)| store)
}

pub(super) fn draft(name: &str) -> Draft {
    Draft {
        name: name.into(),
        priority: 0,
        max_cost: None,
        warnings: Vec::new(),
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        key: None,
        object_key: None,
        again: false,
        not_before: None,
        model: "wan2.5-t2v".into(),
        prompt: Some("春天的樱花树下".into()),
        body: r#"{"model":"wan2.5-t2v","seed":1.10}"#.into(),
        variation: None,
        place: ObjectPlace { pointer: format!("/{name}"), line: 1 },
    }
}

/// An attempt that probably costs $0.15.
pub(super) fn parts(callback_url: CallbackUrl) -> AttemptParts {
    let estimate = Estimate::exactly(Quota::new(75_000), EstimateSource::List);
    let base_url = "https://qingbo.dev".into();
    AttemptParts { base_url, callback_url, estimate, price_class: None }
}

pub(super) fn url(text: &'static str) -> CallbackUrl {
    Box::new(move |_| Some(Secret::new(text)))
}

pub(super) fn accepted(task: &str) -> Event {
    let task = TaskId::parse(task).unwrap();
    Event::SubmitAnswered { attempt: 1, verdict: SubmitVerdict::Accepted { task, reserved: None } }
}

#[tokio::test]
async fn file_is_ingested_whole_or_not_at_all() {
    let rig = Rig::new();
    let keyed = |name: &str, key: &str| Draft { key: Some(key.into()), ..draft(name) };
    let first = rig.ingest_file("a.json", "1", vec![keyed("one", "k")], NOW).await.unwrap();
    let refused = rig.ingest_file("b.json", "2", vec![draft("two"), keyed("three", "k")], NOW).await;
    assert!(
        matches!(&refused, Err(IngestError::KeyUsed { object, first: by, .. }) if object.pointer == "/three" && *by == first[0]),
        "{refused:?}"
    );
    let broken = Box::new([Ok(draft("four")), Err("the file changed".to_owned())].into_iter());
    let file = FileToIngest {
        source: Source::Api,
        file_name: None,
        sha256: "3".into(),
        bytes: 1,
        idempotency_key: None,
    };
    assert!(matches!(rig.store.ingest(file, broken, NOW).await, Err(IngestError::Unreadable(_))));
    assert_eq!(rig.store.list(JobFilter::default(), None, 10).await.unwrap().jobs.len(), 1);
    assert_eq!(rig.store.unmoved().await.unwrap().len(), 1);
}

#[tokio::test]
async fn rejected_file_of_a_batch_leaves_nothing_and_the_others_stay() {
    let rig = Rig::new();
    let file = |name: &str, drafts: Vec<Draft>| {
        let (file_name, sha256) = (Some(format!("{name}.json")), name.to_owned());
        (FileToIngest { source: Source::Inbox, file_name, sha256, bytes: 1, idempotency_key: None }, drafts)
    };
    let keyed = |name: &str, key: &str| Draft { key: Some(key.into()), ..draft(name) };
    rig.store.ingest_batch(vec![file("before", vec![draft("before")])], NOW).await.unwrap();
    let files = vec![
        file("a", vec![draft("a"), keyed("a-2", "k")]),
        file("b", vec![draft("b"), keyed("b-2", "k")]),
        file("before", vec![draft("again")]),
        file("c", vec![keyed("c", "own"), keyed("c-2", "own")]),
        file("d", vec![keyed("d", "own"), draft("d-2")]),
    ];
    let outcomes = rig.store.ingest_batch(files, NOW).await.unwrap();
    let Ok(first) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(matches!(&outcomes[1], Err(IngestError::KeyUsed { first: by, .. }) if *by == first.jobs[1]));
    assert!(matches!(&outcomes[2], Err(IngestError::Duplicate { .. })));
    assert!(matches!(&outcomes[3], Err(IngestError::KeyUsed { .. })));
    assert!(outcomes[4].is_ok());
    let page = rig.store.list(JobFilter::default(), None, 10).await.unwrap();
    let names: Vec<_> = page.jobs.iter().rev().map(|details| details.job.identity().name.as_str()).collect();
    assert_eq!(names, ["before", "a", "a-2", "d", "d-2"]);
    assert_eq!(rig.store.unmoved().await.unwrap().len(), 3);
    assert_eq!(rig.store.metrics().accepted_jobs.get(), 5);
}

#[tokio::test]
async fn same_file_within_a_day_is_a_repeated_copy() {
    let rig = Rig::new();
    let first = rig.ingest_file("a.json", "1", vec![draft("one")], NOW).await.unwrap();
    let soon = NOW.plus(REPEAT_WINDOW - Duration::from_secs(1));
    let repeated = rig.ingest_file("a.json", "1", vec![draft("one")], soon).await;
    assert!(
        matches!(repeated, Err(IngestError::Duplicate { first: by, .. }) if by == first[0]),
        "{repeated:?}"
    );
    assert!(rig.ingest_file("b.json", "1", vec![draft("one")], soon).await.is_ok());
    assert!(rig.ingest_file("a.json", "2", vec![draft("one")], soon).await.is_ok());
    let again = Draft { again: true, ..draft("one") };
    assert!(rig.ingest_file("a.json", "1", vec![again], soon).await.is_ok());
    let late = soon.plus(REPEAT_WINDOW);
    assert!(rig.ingest_file("a.json", "1", vec![draft("one")], late).await.is_ok());
}

#[tokio::test]
async fn attempt_is_created_once_and_resent_byte_for_byte() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    let first = rig.start_attempt(id, url("https://a.example/1")).await;
    assert_eq!(first.key(), id.to_string());
    assert!(first.body().contains("1.10") && first.body().contains("https://a.example/1"));
    // A public URL that changed meanwhile does not change the attempt.
    let again = rig.start_attempt(id, url("https://b.example/2")).await;
    assert_eq!(again, first);
    rig.store.apply(id, accepted("task-1"), NOW).await.unwrap();
    let nothing = rig.store.start_attempt(id, parts(url("https://b.example/2")), NOW).await.unwrap();
    assert!(
        matches!(&nothing, AttemptStart::Nothing(applied) if applied.job.state_name() == StateName::Queued),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn acknowledged_pause_stops_even_jobs_already_chosen() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
    rig.start_attempt(ids[0], url("https://a.example")).await;
    let pause =
        Suspension { cause: SuspensionCause::PausedSubmits, until: None, message: String::new(), since: NOW };
    rig.store.suspend(pause).await.unwrap();
    for id in &ids {
        let start = rig.store.start_attempt(*id, parts(url("https://a.example")), NOW).await.unwrap();
        assert_eq!(start, AttemptStart::Paused);
    }
    assert_eq!(rig.state(ids[1]).await, StateName::Pending);
    rig.store.lift_suspensions(vec![SuspensionCause::PausedSubmits]).await.unwrap();
    rig.start_attempt(ids[1], url("https://a.example")).await;
}

#[tokio::test]
async fn task_of_another_job_is_refused() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
    for id in &ids {
        rig.start_attempt(*id, url("https://a.example")).await;
    }
    rig.store.apply(ids[0], accepted("task-1"), NOW).await.unwrap();
    let refused = rig.store.apply(ids[1], accepted("task-1"), NOW).await;
    assert!(matches!(refused, Err(StoreError::DuplicateTask(_))), "{refused:?}");
    assert_eq!(rig.state(ids[1]).await, StateName::Submitting);
}

#[tokio::test]
async fn failing_write_does_not_undo_the_writes_beside_it() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    let writes = (0..200_u8).map(|n| {
        let store = rig.store.clone();
        async move {
            if n % 3 == 0 {
                let nobody = JobId::new(NOW, 0, &Rng::seeded(u64::from(n) + 99));
                store.keep_delivery(nobody, vec![n], NOW).await.is_err()
            } else {
                store.keep_delivery(id, vec![n], NOW).await.is_ok()
            }
        }
    });
    assert!(futures_util::future::join_all(writes).await.into_iter().all(|as_expected| as_expected));
    assert_eq!(rig.store.count_deliveries(id).await, 133);
}

#[tokio::test]
async fn panicking_write_fails_alone() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    let panicking: CallbackUrl = Box::new(|_| panic!("a bug in one job"));
    let (broken, kept) = tokio::join!(
        rig.store.start_attempt(id, parts(panicking), NOW),
        rig.store.keep_delivery(id, vec![1], NOW)
    );
    assert!(matches!(broken, Err(StoreError::Aborted(_))));
    assert!(kept.is_ok());
    assert_eq!(rig.state(id).await, StateName::Pending);
}

#[tokio::test]
async fn first_twenty_callback_bodies_are_kept_and_the_rest_counted() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    for n in 0..25 {
        rig.store.keep_delivery(id, vec![n], NOW).await.unwrap();
    }
    let kept = rig.store.unprocessed_deliveries(0, 100).await.unwrap();
    assert_eq!(i64::try_from(kept.len()).unwrap(), KEPT_PER_JOB);
    assert_eq!(rig.store.count_deliveries(id).await, 25);
    for delivery in &kept {
        rig.store
            .process_delivery(delivery, Event::CallbackReceived { hint: None, quiet: false }, None, NOW)
            .await
            .unwrap();
    }
    assert!(rig.store.unprocessed_deliveries(0, 100).await.unwrap().is_empty());
    rig.store.keep_delivery(id, vec![99], NOW).await.unwrap();
    assert_eq!(
        rig.store.unprocessed_deliveries(0, 100).await.unwrap().len(),
        1,
        "a callback over the limit still wakes the job"
    );
}

#[tokio::test]
async fn due_jobs_are_found_by_time_and_priority() {
    let rig = Rig::new();
    let later = Draft { not_before: Some(NOW.plus(Duration::from_secs(60))), ..draft("later") };
    let urgent = Draft { priority: 10, ..draft("urgent") };
    let other = Draft { model: "wan2.2-i2v-flash".into(), ..draft("other") };
    let ids = rig.ingest(vec![draft("plain"), later, urgent, other]).await;
    let (heads, running) = rig.store.submit_queue(NOW).await.unwrap();
    let mut firsts: Vec<_> = heads.iter().map(|head| head.id).collect();
    firsts.sort();
    let mut expected = vec![ids[2], ids[3]];
    expected.sort();
    assert_eq!((firsts, running.total()), (expected, ModelTasks::default()));
    let waiting = rig.store.due_jobs(NextAction::Wait, NOW, 10).await.unwrap();
    assert_eq!((waiting.jobs.len(), waiting.next), (0, Some(NOW.plus(Duration::from_secs(60)))));
    let due = rig.store.due_jobs(NextAction::Wait, NOW.plus(Duration::from_secs(60)), 10).await.unwrap();
    assert_eq!(due.jobs, [ids[1]]);

    rig.start_attempt(ids[2], url("https://a.example")).await;
    let (heads, running) = rig.store.submit_queue(NOW).await.unwrap();
    assert!(heads.iter().any(|head| head.id == ids[0]));
    assert_eq!(running.of("wan2.5-t2v").working, 1);
}

#[tokio::test]
async fn job_is_the_same_after_the_database_is_reopened() {
    let rig = Rig::new();
    let max_cost = Some(Quota::new(125_000));
    let warning = Problem { pointer: "/seed".into(), message: "odd \"seed\"".into(), line: 1, column: 2 };
    let warnings = vec![warning];
    let id = rig.ingest(vec![Draft { max_cost, warnings, ..draft("one") }]).await[0];
    rig.start_attempt(id, url("https://a.example")).await;
    rig.store.apply(id, accepted("task-1"), NOW).await.unwrap();
    let outputs = (0..2)
        .map(|index| ReportedOutput {
            kind: OutputKind::Video,
            index,
            link: Secret::new(format!("https://cdn.example/{index}")),
            expires_at: None,
        })
        .collect();
    let facts = TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) };
    let (task, verdict) = (TaskId::parse("task-1").unwrap(), StatusVerdict::Answered(facts));
    let polled = Event::StatusPolled { task, sent_at: NOW, verdict };
    let applied = rig.store.apply(id, polled, NOW).await.unwrap();
    let reopened = open(&rig.path()).unwrap();
    let details = reopened.details(id).await.unwrap();
    assert_eq!(details.job, applied.job);
    assert_eq!(details.job.identity().max_cost, max_cost);
    assert_eq!(details.job.outputs().len(), 2);
    assert_eq!(details.labels["project"], "spring");
    assert_eq!(details.warnings, ["odd \"seed\""]);
    let events: Vec<_> = reopened.history(id).await.unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, ["accepted", "submitting", "submitted", "completed"]);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let rig = Rig::new();
    let labelled = |name: &str, value: &str| Draft {
        labels: [("project".to_owned(), value.to_owned())].into(),
        ..draft(name)
    };
    let ids = rig.ingest(vec![labelled("a", "x"), labelled("b", "y"), labelled("c", "x")]).await;
    rig.store.apply(ids[2], Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    let names = async |filter: JobFilter, cursor, limit| {
        let page = rig.store.list(filter, cursor, limit).await.unwrap();
        (page.jobs.iter().map(|details| details.job.identity().name.clone()).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = names(JobFilter::default(), None, 2).await;
    assert_eq!(first, ["c", "b"]);
    assert_eq!(names(JobFilter::default(), next, 2).await, (vec!["a".to_owned()], None));
    let by_label = JobFilter { labels: vec!["project=x".parse().unwrap()], ..JobFilter::default() };
    assert_eq!(names(by_label, None, 9).await.0, ["c", "a"]);
    let by_state = JobFilter { state: Some(StateName::Cancelled), ..JobFilter::default() };
    assert_eq!(names(by_state, None, 9).await.0, ["c"]);
    let by_text = JobFilter { text: Some("樱花".into()), ..JobFilter::default() };
    assert_eq!(names(by_text, None, 9).await.0.len(), 3);
    assert_eq!(rig.store.counts().await.unwrap()[&StateName::Pending], 2);
}

#[tokio::test]
async fn batches_are_paged_newest_first_and_finished_with_their_last_job() {
    let rig = Rig::new();
    let first = rig.ingest_file("a.json", "1", vec![draft("a"), draft("b")], NOW).await.unwrap();
    rig.ingest_file("b.json", "2", vec![draft("c")], NOW).await.unwrap();
    let (sha256, file_name) = ("3".to_owned(), None);
    let api = FileToIngest { source: Source::Api, file_name, sha256, bytes: 1, idempotency_key: None };
    rig.store.ingest_batch(vec![(api, vec![draft("d")])], NOW).await.unwrap();
    let (newest, next) = rig.store.batches(None, 2).await.unwrap();
    let files: Vec<_> = newest.iter().map(|batch| (batch.id.as_str(), batch.file.as_deref())).collect();
    assert_eq!(files, [("b3", None), ("b2", Some("b.json"))]);
    let (oldest, end) = rig.store.batches(next, 2).await.unwrap();
    let [batch] = &oldest[..] else { panic!("one batch is left: {oldest:?}") };
    assert_eq!((end, batch.jobs, batch.created_at), (None, 2, NOW));
    assert_eq!(batch.states, [(StateName::Pending, 2)].into());
    let job = rig.store.details(first[1]).await.unwrap().view(Path::new("/videos"), &[], NOW);
    assert_eq!(job.batch, batch.id);

    let later = NOW.plus(Duration::from_secs(60));
    let mut finished = Vec::new();
    for (id, at) in [(first[1], later), (first[0], NOW)] {
        rig.store.apply(id, Event::Operator(OperatorAction::Cancel), at).await.unwrap();
        finished.push(rig.store.batches(next, 1).await.unwrap().0.remove(0).finished_at);
    }
    assert_eq!(finished, [None, Some(later)]);
    raw(&rig.path()).execute("UPDATE jobs SET cost_quota = 75000 WHERE batch = 1", []).unwrap();
    let batch = rig.store.batches(next, 1).await.unwrap().0.remove(0);
    assert_eq!((batch.states, batch.cost_usd), ([(StateName::Cancelled, 2)].into(), 0.3));
}

#[tokio::test]
async fn job_is_found_by_id_id_prefix_and_name() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("sakura"), draft("rain"), draft("rain")]).await;
    let found = async |text: &str| rig.store.find(text.into()).await.unwrap();
    assert_eq!(found(&ids[0].to_string()).await, Found::One(ids[0]));
    assert_eq!(found(&ids[0].to_string()[..35]).await, Found::One(ids[0]));
    assert_eq!(found("sakura").await, Found::One(ids[0]));
    assert_eq!(found("rain").await, Found::Many(vec![ids[2], ids[1]]));
    assert_eq!(found("nothing").await, Found::None);
    assert!(matches!(found(&ids[0].to_string()[..8]).await, Found::Many(_)));
}

#[tokio::test]
async fn change_feed_lists_each_changed_job_once_in_its_current_state() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
    let start = rig.store.last_change().await.unwrap();
    rig.start_attempt(ids[0], url("https://a.example")).await;
    rig.store.apply(ids[0], accepted("task-1"), NOW).await.unwrap();
    let changes = rig.store.changes_since(start, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].job.state_name(), StateName::Queued);
    assert!(rig.store.changes_since(changes[0].changed, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn restored_database_is_recognized_by_its_epoch() {
    let rig = Rig::new();
    assert_eq!(rig.store.epoch().await.unwrap(), 0);
    assert_eq!(rig.store.start_epoch(0).await.unwrap(), 1);
    assert_eq!(rig.store.start_epoch(41).await.unwrap(), 42);
    rig.store.raise_clock_high_water(NOW).await.unwrap();
    rig.store.raise_clock_high_water(NOW.minus(Duration::from_secs(5))).await.unwrap();
    assert_eq!(rig.store.clock_high_water().await.unwrap(), Some(NOW));
}

#[tokio::test]
async fn database_file_is_private_and_uses_the_wal() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    rig.ingest_one().await;
    for suffix in ["", "-wal"] {
        let path = format!("{}{suffix}", rig.path().display());
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mode: String = raw(&rig.path()).query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn frequent_statements_scan_no_table() {
    let rig = Rig::new();
    rig.ingest_one().await;
    let connection = raw(&rig.path());
    let mut tables = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for (name, sql) in super::due::hot_statements()
        .into_iter()
        .chain(super::downloads::hot_statements())
        .chain(super::lists::hot_statements())
        .chain(super::batches::hot_statements())
        .chain(super::report::hot_statements())
        .chain(super::hooks::hot_statements())
        .chain(super::spending::hot_statements())
        .chain(super::estimates::hot_statements())
        .chain(super::quotes::hot_statements())
        .chain(super::prune::hot_statements())
        .chain(super::job_files::hot_statements())
        .chain(super::adopt::hot_statements())
        .chain(super::library_outputs::hot_statements())
    {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for line in &plan {
            let scanned = line.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let whole_table = scanned.is_some_and(|name| tables.iter().any(|table| table == name))
                && !line.contains("USING")
                || line.contains("TEMP B-TREE");
            assert!(!whole_table, "{name}: {plan:#?}");
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test reads what the store wrote")]
pub(super) fn raw(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}
