use super::*;
use crate::job::JobId;
use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, TaskFacts};
use crate::jobfile::Draft;
use crate::store::details::Found;
use crate::store::job_files::IngestError;
use crate::store::tests::{NOW, Rig, accepted, draft, raw, url};
use rusqlite::StatementStatus;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn day_later() -> Timestamp {
    NOW.plus(DAY)
}

impl Rig {
    /// Ingests a file of one job and moves it out of the inbox.
    async fn ingest_and_move(&self, name: &str) -> JobId {
        self.ingest_and_move_all(name, vec![draft(name)]).await[0]
    }

    async fn ingest_and_move_all(&self, name: &str, drafts: Vec<Draft>) -> Vec<JobId> {
        let jobs = self.ingest_file(&format!("{name}.json"), name, drafts, NOW).await.unwrap();
        self.move_files().await;
        jobs
    }

    async fn move_files(&self) {
        let moved = self.store.unmoved().await.unwrap().into_iter();
        let moved = moved.map(|file| {
            let to = format!("/data/accepted/{}/{}", file.ingested_at.date(), file.file_name);
            (file.nr, Some(to))
        });
        self.store.mark_moved(moved.collect(), NOW).await.unwrap();
    }

    async fn cancel(&self, job: JobId, at: Timestamp) {
        self.store.apply(job, Event::Operator(OperatorAction::Cancel), at).await.unwrap();
    }

    async fn prune_all(&self) -> u64 {
        let mut sum = 0;
        loop {
            match self.store.prune_some(day_later()).await.unwrap() {
                0 => return sum,
                some => sum += some,
            }
        }
    }

    fn job_names(&self) -> Vec<String> {
        let connection = raw(&self.path());
        let mut statement = connection.prepare_cached("SELECT name FROM jobs ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn count(&self, table: &str) -> i64 {
        raw(&self.path()).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    fn assert_sound(&self) {
        let connection = raw(&self.path());
        if let Ok(sqlite) = connection.sqlite() {
            let find = |sql: &str| sqlite.query_row(sql, [], |row| row.get::<_, String>(0));
            assert!(find("SELECT \"table\" FROM pragma_foreign_key_check").is_err());
            assert_eq!(find("PRAGMA integrity_check").unwrap(), "ok");
        }
        let strays: i64 = connection
            .query_row("SELECT count(*) FROM labels WHERE job NOT IN (SELECT nr FROM jobs)", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(strays, 0);
    }
}

/// A job that failed at `NOW` and has a row in each table.
async fn failed_job_with_all_rows(rig: &Rig, name: &str) -> JobId {
    let id = rig.ingest_and_move(name).await;
    rig.start_attempt(id, url("https://a.example/1")).await;
    rig.store.apply(id, accepted(&format!("task-{name}")), NOW).await.unwrap();
    rig.store.keep_delivery(id, b"{}".to_vec(), NOW).await.unwrap();
    for delivery in rig.store.unprocessed_deliveries(0, 10).await.unwrap() {
        rig.store
            .process_delivery(&delivery, Event::CallbackReceived { hint: None, quiet: false }, None, NOW)
            .await
            .unwrap();
    }
    let failed = StatusVerdict::Answered(TaskFacts::of(Phase::Failed));
    let task = crate::job::TaskId::parse(&format!("task-{name}")).unwrap();
    rig.store.apply(id, Event::StatusPolled { task, sent_at: NOW, verdict: failed }, NOW).await.unwrap();
    raw(&rig.path())
        .execute_batch(&format!(
            "INSERT INTO outputs (job, task_id, kind, idx, position, state, tries, link_refusals, refusal_confirmed,
                                  invalid_downloads, expires_at)
             SELECT nr, 'task-{name}', 'video', 0, 0, 'lost', 0, 0, 0, 0, 1 FROM jobs WHERE id = '{id}';
             INSERT INTO hook_calls (hook, event, job, at, tries)
             SELECT 'h', 'failed', nr, 1, 1 FROM jobs WHERE id = '{id}';"
        ))
        .unwrap();
    id
}

const TABLES: [&str; 9] =
    ["batches", "jobs", "requests", "labels", "attempts", "outputs", "history", "deliveries", "hook_calls"];

#[tokio::test]
async fn old_finished_job_is_pruned_with_all_its_rows() {
    let rig = Rig::new();
    let id = failed_job_with_all_rows(&rig, "old").await;
    assert!(TABLES.iter().all(|table| rig.count(table) >= 1));
    rig.ingest_and_move("newest").await;
    assert_eq!(
        rig.store.count_prunable(NOW).await.unwrap(),
        0,
        "a job that ended at the limit is not older than it"
    );
    assert_eq!(rig.store.count_prunable(day_later()).await.unwrap(), 1);
    assert_eq!(rig.prune_all().await, 1);
    // The rows that are left belong to the newest job.
    let left = TABLES.map(|table| rig.count(table));
    assert_eq!(left, [1, 1, 1, 1, 0, 0, 1, 0, 0]);
    rig.assert_sound();
    assert!(matches!(rig.store.details(id).await, Err(StoreError::NoSuchJob(_))));
    assert_eq!(rig.store.find("old".into()).await.unwrap(), Found::None);
    assert!(matches!(rig.store.keep_delivery(id, vec![], NOW).await, Err(StoreError::NoSuchJob(_))));
    let retried = rig.store.apply(id, Event::Operator(OperatorAction::Retry), NOW).await;
    assert!(matches!(retried, Err(StoreError::NoSuchJob(_))));
}

#[tokio::test]
async fn number_of_a_batch_is_never_used_again() {
    let rig = Rig::new();
    let old = rig.ingest_and_move("old").await;
    let newest = rig.ingest_and_move("newest").await;
    rig.cancel(newest, NOW).await;
    // The last job that changed stays.
    rig.cancel(old, NOW).await;
    assert_eq!(rig.prune_all().await, 1);
    assert_eq!(rig.store.batches(None, 9, NOW).await.unwrap().0.len(), 1, "no batch without jobs");
    rig.ingest_and_move("next").await;
    assert_eq!(rig.store.batches(None, 1, NOW).await.unwrap().0[0].id, "b3");
}

#[tokio::test]
async fn needed_job_is_never_pruned() {
    let rig = Rig::new();
    rig.skip_counts();
    // Each of these has one reason to stay.
    rig.ingest_and_move("pending").await;
    let recent = rig.ingest_and_move("recent").await;
    rig.cancel(recent, day_later()).await;
    let again = rig.ingest_and_move("again").await;
    rig.cancel(again, NOW).await;
    rig.store.apply(again, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    let held = rig.ingest_and_move("held").await;
    rig.cancel(held, NOW).await;
    let called_back = rig.ingest_and_move("called back").await;
    rig.cancel(called_back, NOW).await;
    rig.store.keep_delivery(called_back, vec![1], NOW).await.unwrap();
    let unnotified = rig.ingest_and_move("unnotified").await;
    rig.cancel(unnotified, NOW).await;
    let sql = format!(
        "UPDATE jobs SET state = 'held', reason = 'timed_out', held_from = 'pending' WHERE id = '{held}';
         INSERT INTO hook_calls (hook, event, job, at, tries, due_at)
         SELECT 'h', 'cancelled', nr, 1, 1, 5 FROM jobs WHERE id = '{unnotified}';"
    );
    raw(&rig.path()).execute_batch(&sql).unwrap();
    let in_the_inbox = rig.ingest_file("x.json", "x", vec![draft("in the inbox")], NOW).await.unwrap()[0];
    rig.cancel(in_the_inbox, NOW).await;
    let newest = rig.ingest_and_move_all("newest", vec![draft("newest")]).await[0];
    raw(&rig.path()).execute("UPDATE batches SET moved_at = NULL WHERE sha256 = 'x'", []).unwrap();
    rig.cancel(newest, NOW).await;

    let all = ["again", "called back", "held", "in the inbox", "newest", "pending", "recent", "unnotified"];
    let all = all.map(str::to_owned).to_vec();
    assert_eq!(rig.store.count_prunable(day_later()).await.unwrap(), 0);
    assert_eq!((rig.prune_all().await, rig.job_names()), (0, all));
}

#[tokio::test]
async fn key_stays_used_after_its_job_is_pruned() {
    let rig = Rig::new();
    let keyed = |name: &str| Draft { key: Some("order-1".into()), ..draft(name) };
    let first = rig.ingest_and_move_all("first", vec![keyed("first")]).await[0];
    rig.cancel(first, NOW).await;
    rig.ingest_and_move("newest").await;
    assert_eq!(rig.prune_all().await, 1);
    let again = rig.ingest_file("again.json", "2", vec![keyed("again")], NOW.plus(DAY * 400)).await;
    assert!(matches!(&again, Err(IngestError::KeyUsed { first: by, .. }) if *by == first), "{again:?}");
}

#[tokio::test]
async fn pruning_takes_several_commits_each_of_which_is_consistent() {
    let rig = Rig::new();
    let names: Vec<String> = (0..120).map(|number| format!("job {number}")).collect();
    let jobs = rig.ingest_and_move_all("many", names.iter().map(|name| draft(name)).collect()).await;
    for job in &jobs {
        rig.cancel(*job, NOW).await;
    }
    rig.ingest_and_move("newest").await;
    let mut left = 121;
    for pruned in [50, 50, 20, 0] {
        assert_eq!(rig.store.prune_some(day_later()).await.unwrap(), pruned);
        left -= i64::try_from(pruned).unwrap();
        assert_eq!(rig.count("jobs"), left);
        // A file's row stays until the last of its jobs is pruned.
        assert_eq!(rig.count("batches"), if left > 1 { 2 } else { 1 });
        rig.assert_sound();
    }
    assert_eq!(rig.job_names(), ["newest"]);
}

#[tokio::test]
async fn last_change_number_is_never_reused() {
    let rig = Rig::new();
    rig.ingest_and_move("older").await;
    let last = rig.ingest_and_move("last").await;
    rig.cancel(last, NOW).await;
    let change = rig.store.last_change().await.unwrap();
    assert_eq!(rig.prune_all().await, 0);
    let reopened = crate::store::tests::open(&rig.path()).unwrap();
    assert_eq!(reopened.last_change().await.unwrap(), change);
}

#[tokio::test]
async fn file_is_needed_while_one_of_its_jobs_cannot_be_pruned() {
    let rig = Rig::new();
    let old = rig.ingest_and_move("old").await;
    rig.cancel(old, NOW).await;
    let both = rig.ingest_and_move_all("both", vec![draft("one"), draft("two")]).await;
    rig.cancel(both[0], NOW).await;
    rig.ingest_and_move("newest").await;
    let day = NOW.date();
    let needed = rig.store.needed_files(day_later()).await.unwrap();
    let files = ["old.json", "both.json", "newest.json"].map(|name| needed.contains(&day, name));
    assert_eq!(files, [false, true, true]);
    assert!(needed.contains_day(&day) && !needed.contains_day("2020-01-01"));
    assert!(!needed.contains("2020-01-01", "both.json"));
    let earlier = rig.store.needed_files(NOW).await.unwrap();
    assert_eq!(earlier, NeededFiles::default(), "younger files are not listed");

    // A file that has not left the inbox may get any name in the day's folder.
    rig.ingest_file("lost.json", "3", vec![draft("lost")], NOW).await.unwrap();
    let needed = rig.store.needed_files(NOW).await.unwrap();
    assert!(needed.contains(&day, "old.json") && needed.contains(&day, "lost-1.json"));
}

#[tokio::test]
async fn pruning_a_job_scans_no_table() {
    let rig = Rig::new();
    rig.skip_counts();
    for number in 0..40 {
        failed_job_with_all_rows(&rig, &format!("job-{number}")).await;
    }
    let connection = raw(&rig.path());
    connection.set_pragma("foreign_keys", "ON").unwrap();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        let mut statement = connection.sqlite().unwrap().prepare(sql).unwrap();
        statement.execute(values).unwrap();
        assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0, "{sql}");
    };
    run(DELETE_LABEL, &[&"project", &"spring", &1]);
    for sql in DELETE_ROWS {
        run(sql, &[&1]);
    }
    run(DELETE_JOB, &[&1]);
    run(DELETE_BATCH, &[&1]);
}
