//! The store on a real file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::deliveries::KEPT_PER_JOB;
use super::details::Found;
use super::job_files::{FileToIngest, IngestError, Source};
use super::meta::LastUse;
use super::start_attempt::{AttemptParts, AttemptStart, CallbackUrl};
use super::*;
use crate::api::list::JobFilter;
use crate::clock::Timestamp;
use crate::job::event::{Event, Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::next_action::NextAction;
use crate::job::output::OutputKind;
use crate::job::scheduling::ModelTasks;
use crate::job::scheduling::Turns;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::job::{JobId, TaskId};
use crate::jobfile::dropreel_member::MAX_LABEL_BYTES;
use crate::jobfile::{Draft, MAX_MODEL_CHARS, ObjectPlace, Problem};
use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::secret::Secret;
use crate::store::attempt::Attempt;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

pub(super) struct Rig {
    folder: tempfile::TempDir,
    pub(super) store: Store,
    skips_counts: AtomicBool,
}

/// Whatever a test did through the store, the counts of jobs are right afterwards.
impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.skips_counts.load(Ordering::Relaxed) {
            assert_eq!(
                super::counts::wrong_counts(&raw(&self.path())).ok().unwrap_or(0),
                0,
                "counts of jobs"
            );
            assert_eq!(
                super::report_sums::wrong_sums(&raw(&self.path())).ok().unwrap_or(0),
                0,
                "sums of reports"
            );
        }
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("dropreel.db")).unwrap();
        Self::over(folder, store)
    }

    /// A rig on a database in `folder` that was opened before.
    pub(super) fn over(folder: tempfile::TempDir, store: Store) -> Self {
        Self { folder, store, skips_counts: AtomicBool::new(false) }
    }

    /// For a test that changes jobs without the store, so that nothing counts the change.
    pub(super) fn skip_counts(&self) {
        self.skips_counts.store(true, Ordering::Relaxed);
    }

    /// Closes the database.
    pub(super) fn into_folder(mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("dropreel.db")
    }

    pub(super) async fn ingest(&self, drafts: Vec<Draft>) -> Vec<JobId> {
        let sha256 = crate::sha256::sha256_hex(format!("{drafts:?}").as_bytes());
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
            inputs_sha256: None,
        };
        let drafts = Box::new(drafts.into_iter().map(Ok));
        self.store.ingest(file, drafts, now).await.map(|ingested| ingested.jobs)
    }

    pub(super) async fn ingest_one(&self) -> JobId {
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
        pictures: Vec::new(),
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
        defaults: Vec::new(),
        place: ObjectPlace { pointer: format!("/{name}"), line: 1 },
    }
}

/// An attempt that probably costs $0.15.
pub(super) fn parts(callback_url: CallbackUrl) -> AttemptParts {
    let estimate = Estimate::exactly(Quota::new(75_000), EstimateSource::List);
    let base_url = "https://qingbo.dev".into();
    AttemptParts {
        base_url,
        callback_url,
        picture_url: Box::new(|_, _| None),
        estimate,
        price_class: None,
        estimated_change: None,
    }
}

pub(super) fn url(text: &'static str) -> CallbackUrl {
    Box::new(move |_| Some(Secret::new(text)))
}

pub(super) fn accepted(task: &str) -> Event {
    let task = TaskId::parse(task).unwrap();
    Event::SubmitAnswered { attempt: 1, verdict: SubmitVerdict::Accepted { task, reserved: None } }
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
    let over = rig.store.unprocessed_deliveries(0, 100).await.unwrap();
    assert_eq!(over.len(), 1, "a callback over the limit still wakes the job");
    rig.store.skip_delivery(&over[0]).await.unwrap();
    assert!(rig.store.unprocessed_deliveries(0, 100).await.unwrap().is_empty());
    assert_eq!(rig.store.count_deliveries(id).await, 26);
}

#[tokio::test]
async fn callback_counted_while_its_delivery_is_processed_stays_unprocessed() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    for n in 0..20 {
        rig.store.keep_delivery(id, vec![n], NOW).await.unwrap();
    }
    let read = rig.store.unprocessed_deliveries(0, 100).await.unwrap();
    rig.store.keep_delivery(id, vec![20], NOW).await.unwrap();
    for delivery in &read {
        rig.store.skip_delivery(delivery).await.unwrap();
    }
    let left = rig.store.unprocessed_deliveries(0, 100).await.unwrap();
    assert_eq!((left.len(), left[0].more, &left[0].body), (1, 1, &vec![19]));
    // The count of the bodies is the same after a restart.
    let reopened = open(&rig.path()).unwrap();
    reopened.keep_delivery(id, vec![21], NOW).await.unwrap();
    assert_eq!(
        (reopened.unprocessed_deliveries(0, 9).await.unwrap().len(), reopened.count_deliveries(id).await),
        (1, 22)
    );
}

#[tokio::test]
async fn callback_that_was_rolled_back_takes_no_place_among_the_twenty() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    for n in 0..20 {
        let fails = move |writing: &mut super::writer::Writing<'_>| {
            super::deliveries::keep(writing, id, b"undone", NOW)?;
            Err::<(), _>(StoreError::Closed)
        };
        let (undone, kept) =
            tokio::join!(rig.store.writer.write(fails), rig.store.keep_delivery(id, vec![n], NOW));
        assert!(undone.is_err() && kept.is_ok());
    }
    let kept = rig.store.unprocessed_deliveries(0, 100).await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.body[0]).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn due_jobs_are_found_by_time_and_priority() {
    let rig = Rig::new();
    let later = Draft { not_before: Some(NOW.plus(Duration::from_secs(60))), ..draft("later") };
    let urgent = Draft { priority: 10, ..draft("urgent") };
    let other = Draft { model: "wan2.2-i2v-flash".into(), ..draft("other") };
    let ids = rig.ingest(vec![draft("plain"), later, urgent, other]).await;
    let (heads, running) = rig.store.submit_queue(NOW, Turns::default()).await.unwrap();
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
    let (heads, running) = rig.store.submit_queue(NOW, Turns::default()).await.unwrap();
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
async fn job_is_found_by_id_name_and_part_of_its_id() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("sakura"), draft("rain"), draft("rain")]).await;
    let found = async |text: &str| rig.store.find(text.into()).await.unwrap();
    assert_eq!(found(&ids[0].to_string()).await, Found::One(ids[0]));
    let id = ids[0].to_string();
    for part in [&id[..35], &id[28..], &id[9..], &id[10..36].to_uppercase()] {
        assert_eq!(found(part).await, Found::One(ids[0]), "{part}");
    }
    assert_eq!(found(&id[31..]).await, Found::None, "too short a part");
    assert_eq!(found("%_%_%_").await, Found::None);
    assert_eq!(found("sakura").await, Found::One(ids[0]));
    assert_eq!(found("rain").await, Found::Many(vec![ids[2], ids[1]]));
    assert_eq!(found("nothing").await, Found::None);
    assert!(matches!(found(&id[..8]).await, Found::Many(_)));
    let named = rig.ingest(vec![draft(&id[28..])]).await;
    assert_eq!(found(&id[28..]).await, Found::One(named[0]), "a name comes before a part of an id");
}

#[tokio::test]
async fn facts_about_the_database_are_kept() {
    let rig = Rig::new();
    assert_eq!(rig.store.last_use().await.unwrap(), LastUse::default());
    let superseded =
        Suspension { cause: SuspensionCause::Superseded, until: None, message: "x".into(), since: NOW };
    rig.store.suspend(superseded).await.unwrap();
    rig.store.begin_use(41, 1, 2).await.unwrap();
    assert_eq!(rig.store.suspensions().await.unwrap(), []);
    rig.store.set_epoch(42).await.unwrap();
    let used = LastUse { epoch: 42, node: Some(1), database: Some(2), backup_made_at: None };
    assert_eq!(rig.store.last_use().await.unwrap(), used);
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
    let mut tables =
        connection.prepare_cached("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for (name, sql) in super::due::hot_statements()
        .into_iter()
        .chain(super::downloads::hot_statements())
        .chain(super::earlier_tasks::hot_statements())
        .chain(super::sidecars::hot_statements())
        .chain(super::lists::hot_statements())
        .chain(super::job_pages::hot_statements())
        .chain(super::pictures::hot_statements())
        .chain(super::batches::hot_statements())
        .chain(super::counts::hot_statements())
        .chain(super::needs::hot_statements())
        .chain(super::hooks::hot_statements())
        .chain(super::spending::hot_statements())
        .chain(super::estimates::hot_statements())
        .chain(super::prices::hot_statements())
        .chain(super::waiting::hot_statements())
        .chain(super::quotes::hot_statements())
        .chain(super::prune::hot_statements())
        .chain(super::job_files::hot_statements())
        .chain(super::adopt::hot_statements())
        .chain(super::library_outputs::hot_statements())
        .chain(super::learned_times::hot_statements())
        .chain(super::slots::hot_statements())
        .chain(super::report::hot_statements())
        .chain(super::disputes::hot_statements())
        .chain(super::report_sums::hot_statements())
        .chain(super::activity::hot_statements())
    {
        let plan = connection.query_plan(&sql).unwrap();
        for line in &plan {
            let scanned = line.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let whole_table = scanned.is_some_and(|name| tables.iter().any(|table| table == name))
                && !line.contains("USING")
                || line.contains("TEMP B-TREE");
            assert!(!whole_table, "{name}: {plan:#?}");
        }
    }
}

/// The database as another program sees it.
pub(super) fn raw(path: &Path) -> Connection {
    match Database::from(path) {
        Database::Sqlite(path) => db::sqlite::open_plain(&path),
        server @ Database::Postgres(_) => opening::open_writer(&server).unwrap(),
    }
}

#[tokio::test]
async fn prompt_with_a_nul_character_is_kept_and_found() {
    let rig = Rig::new();
    let nul = Draft { prompt: Some("snow\0fall".into()), ..draft("a") };
    let ids = rig.ingest(vec![nul, draft("b")]).await;
    let filter = JobFilter { text: Some("snow fall".into()), ..JobFilter::default() };
    let found = rig.store.list(filter, None, 10).await.unwrap().jobs;
    assert_eq!(found.iter().map(|found| found.job.id()).collect::<Vec<_>>(), ids[..1]);
}

#[tokio::test]
async fn longest_label_and_model_are_indexed() {
    let rig = Rig::new();
    // Without a pattern, so that nothing is compressed.
    let mut seed = 1_u32;
    let mut random = |length: usize| -> String {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x20000 + (seed >> 16) % 0xa000).unwrap()
        };
        (0..length).map(|_| next()).collect()
    };
    let (model, value) = (random(MAX_MODEL_CHARS), random(MAX_LABEL_BYTES / 4));
    rig.store.set_fair_by(Some("long".into())).await.unwrap();
    let labels = [("long".to_owned(), value)].into();
    rig.ingest(vec![Draft { model, labels, ..draft("a") }]).await;
    assert_eq!(rig.store.list(JobFilter::default(), None, 10).await.unwrap().jobs.len(), 1);
}

/// The configuration of a property test, with fewer cases on a server, where each makes the tables of a database.
pub(super) fn property_config(cases: u32) -> proptest::test_runner::Config {
    let is_on_server = Database::from(Path::new("any")).path().is_none();
    proptest::test_runner::Config { cases: if is_on_server { 3 } else { cases }, ..Default::default() }
}
