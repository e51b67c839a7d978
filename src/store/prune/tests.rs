use rusqlite::StatementStatus;

use super::*;
use crate::job::JobId;
use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, TaskFacts};
use crate::jobfile::Draft;
use crate::store::intake::IngestError;
use crate::store::query::Found;
use crate::store::tests::{NOW, Rig, accepted, draft, raw, url};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn before() -> Timestamp {
    NOW.plus(DAY)
}

impl Rig {
    /// A job of a file of its own, which has left the inbox.
    async fn moved(&self, name: &str) -> JobId {
        self.file(name, vec![draft(name)]).await[0]
    }

    async fn file(&self, name: &str, drafts: Vec<Draft>) -> Vec<JobId> {
        let jobs = self.take_file(&format!("{name}.json"), name, drafts, NOW).await.unwrap();
        self.move_all().await;
        jobs
    }

    async fn move_all(&self) {
        let moved = self.store.unmoved().await.unwrap().into_iter();
        let moved = moved.map(|file| {
            let to = format!("/data/accepted/{}/{}", file.ingested_at.date(), file.file_name);
            (file.nr, Some(to))
        });
        self.store.mark_moved(moved.collect(), NOW).await.unwrap();
    }

    async fn end(&self, job: JobId, at: Timestamp) {
        self.store.apply(job, Event::Operator(OperatorAction::Cancel), at).await.unwrap();
    }

    async fn forget_all(&self) -> u64 {
        let mut sum = 0;
        loop {
            match self.store.prune_some(before()).await.unwrap() {
                0 => return sum,
                some => sum += some,
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let connection = raw(&self.path());
        let mut statement = connection.prepare("SELECT name FROM jobs ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn count(&self, table: &str) -> i64 {
        raw(&self.path()).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    fn is_sound(&self) {
        let connection = raw(&self.path());
        let broken: i64 = connection
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
            .unwrap();
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((broken, sound.as_str()), (0, "ok"));
        let strays: i64 = connection
            .query_row("SELECT count(*) FROM labels WHERE job NOT IN (SELECT nr FROM jobs)", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(strays, 0);
    }
}

/// A job that ended at `NOW` with a row in each table.
async fn full_life(rig: &Rig, name: &str) -> JobId {
    let id = rig.moved(name).await;
    rig.begin(id, url("https://a.example/1")).await;
    rig.store.apply(id, accepted(&format!("task-{name}")), NOW).await.unwrap();
    rig.store.keep_delivery(id, b"{}".to_vec(), NOW).await.unwrap();
    for delivery in rig.store.unprocessed_deliveries(10).await.unwrap() {
        rig.store
            .process_delivery(&delivery, Event::CallbackReceived { hint: None, quiet: false }, None, NOW)
            .await
            .unwrap();
    }
    let failed = StatusVerdict::Answered(TaskFacts::of(Phase::Failed));
    rig.store.apply(id, Event::StatusPolled { sent_at: NOW, verdict: failed }, NOW).await.unwrap();
    raw(&rig.path())
        .execute_batch(&format!(
            "INSERT INTO outputs (job, task_id, kind, idx, position, state, link_refusals, link_gone, refusal_confirmed,
                                  invalid_downloads, expires_at)
             SELECT nr, 'task-{name}', 'video', 0, 0, 'lost', 0, 0, 0, 0, 1 FROM jobs WHERE id = '{id}';
             INSERT INTO hook_calls (hook, event, job, at, tries)
             SELECT 'h', 'failed', nr, 1, 1 FROM jobs WHERE id = '{id}';"
        ))
        .unwrap();
    id
}

const TABLES: [&str; 9] =
    ["intakes", "jobs", "requests", "labels", "attempts", "outputs", "history", "deliveries", "hook_calls"];

#[tokio::test]
async fn a_job_that_is_long_over_goes_with_all_that_was_written_of_it() {
    let rig = Rig::new();
    let id = full_life(&rig, "old").await;
    assert!(TABLES.iter().all(|table| rig.count(table) >= 1));
    rig.moved("newest").await;
    assert_eq!(rig.store.count_prunable(NOW).await.unwrap(), 0, "not older than that very moment");
    assert_eq!(rig.store.count_prunable(before()).await.unwrap(), 1);
    assert_eq!(rig.forget_all().await, 1);
    // What is left is the other one's.
    let left = TABLES.map(|table| rig.count(table));
    assert_eq!(left, [1, 1, 1, 1, 0, 0, 1, 0, 0]);
    rig.is_sound();
    assert!(matches!(rig.store.details(id).await, Err(StoreError::NoSuchJob(_))));
    assert_eq!(rig.store.find("old".into()).await.unwrap(), Found::None);
    assert!(matches!(rig.store.keep_delivery(id, vec![], NOW).await, Err(StoreError::NoSuchJob(_))));
    let retried = rig.store.apply(id, Event::Operator(OperatorAction::Retry), NOW).await;
    assert!(matches!(retried, Err(StoreError::NoSuchJob(_))));
}

#[tokio::test]
async fn nothing_goes_that_is_not_over() {
    let rig = Rig::new();
    // None of these is old and over.
    rig.moved("pending").await;
    let recent = rig.moved("recent").await;
    rig.end(recent, before()).await;
    let again = rig.moved("again").await;
    rig.end(again, NOW).await;
    rig.store.apply(again, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
    let held = rig.moved("held").await;
    rig.end(held, NOW).await;
    let called_back = rig.moved("called back").await;
    rig.end(called_back, NOW).await;
    rig.store.keep_delivery(called_back, vec![1], NOW).await.unwrap();
    let to_tell = rig.moved("to tell").await;
    rig.end(to_tell, NOW).await;
    let sql = format!(
        "UPDATE jobs SET state = 'held', reason = 'timed_out', held_from = 'pending' WHERE id = '{held}';
         INSERT INTO hook_calls (hook, event, job, at, tries, due_at)
         SELECT 'h', 'cancelled', nr, 1, 1, 5 FROM jobs WHERE id = '{to_tell}';"
    );
    raw(&rig.path()).execute_batch(&sql).unwrap();
    let in_the_inbox = rig.take_file("x.json", "x", vec![draft("in the inbox")], NOW).await.unwrap()[0];
    rig.end(in_the_inbox, NOW).await;
    let newest = rig.file("newest", vec![draft("newest")]).await[0];
    raw(&rig.path()).execute("UPDATE intakes SET moved_at = NULL WHERE sha256 = 'x'", []).unwrap();
    rig.end(newest, NOW).await;

    let all = ["again", "called back", "held", "in the inbox", "newest", "pending", "recent", "to tell"];
    let all = all.map(str::to_owned).to_vec();
    assert_eq!(rig.store.count_prunable(before()).await.unwrap(), 0);
    assert_eq!((rig.forget_all().await, rig.names()), (0, all));
}

#[tokio::test]
async fn a_key_outlives_its_job() {
    let rig = Rig::new();
    let keyed = |name: &str| Draft { key: Some("order-1".into()), ..draft(name) };
    let first = rig.file("first", vec![keyed("first")]).await[0];
    rig.end(first, NOW).await;
    rig.moved("newest").await;
    assert_eq!(rig.forget_all().await, 1);
    let again = rig.take_file("again.json", "2", vec![keyed("again")], NOW.plus(DAY * 400)).await;
    assert!(matches!(&again, Err(IngestError::KeyUsed { first: by, .. }) if *by == first), "{again:?}");
}

#[tokio::test]
async fn it_goes_in_pieces_and_each_of_them_leaves_a_whole_database() {
    let rig = Rig::new();
    let names: Vec<String> = (0..120).map(|number| format!("job {number}")).collect();
    let jobs = rig.file("many", names.iter().map(|name| draft(name)).collect()).await;
    for job in &jobs {
        rig.end(*job, NOW).await;
    }
    rig.moved("newest").await;
    let mut left = 121;
    for piece in [50, 50, 20, 0] {
        assert_eq!(rig.store.prune_some(before()).await.unwrap(), piece);
        left -= i64::try_from(piece).unwrap();
        assert_eq!(rig.count("jobs"), left);
        // As long as one of its jobs is there, a file's row is.
        assert_eq!(rig.count("intakes"), if left > 1 { 2 } else { 1 });
        rig.is_sound();
    }
    assert_eq!(rig.names(), ["newest"]);
}

#[tokio::test]
async fn numbers_of_changes_are_never_given_out_twice() {
    let rig = Rig::new();
    rig.moved("older").await;
    let last = rig.moved("last").await;
    rig.end(last, NOW).await;
    let change = rig.store.last_change().await.unwrap();
    assert_eq!(rig.forget_all().await, 0);
    let reopened = crate::store::tests::open(&rig.path()).unwrap();
    assert_eq!(reopened.last_change().await.unwrap(), change);
}

#[tokio::test]
async fn files_are_needed_as_long_as_one_of_their_jobs_is_not_to_go() {
    let rig = Rig::new();
    let over = rig.moved("over").await;
    rig.end(over, NOW).await;
    let both = rig.file("both", vec![draft("one"), draft("two")]).await;
    rig.end(both[0], NOW).await;
    rig.moved("newest").await;
    let day = NOW.date();
    let needed = rig.store.needed_files(before()).await.unwrap();
    let files = ["over.json", "both.json", "newest.json"].map(|name| needed.file(&day, name));
    assert_eq!(files, [false, true, true]);
    assert!(needed.in_day(&day) && !needed.in_day("2020-01-01"));
    assert!(!needed.file("2020-01-01", "both.json"));
    let earlier = rig.store.needed_files(NOW).await.unwrap();
    assert_eq!(earlier, Needed::default(), "what is younger is not asked about");

    // It is not known how it is called there.
    rig.take_file("lost.json", "3", vec![draft("lost")], NOW).await.unwrap();
    let needed = rig.store.needed_files(NOW).await.unwrap();
    assert!(needed.file(&day, "over.json") && needed.file(&day, "lost-1.json"));
}

#[tokio::test]
async fn no_table_is_looked_through_for_a_job_that_goes() {
    let rig = Rig::new();
    for number in 0..40 {
        full_life(&rig, &format!("job-{number}")).await;
    }
    let connection = raw(&rig.path());
    connection.pragma_update(None, "foreign_keys", "ON").unwrap();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        let mut statement = connection.prepare(sql).unwrap();
        statement.execute(values).unwrap();
        assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0, "{sql}");
    };
    run(LABEL, &[&"project", &"spring", &1]);
    for sql in ROWS {
        run(sql, &[&1]);
    }
    run(JOB, &[&1]);
    run(INTAKE, &[&1]);
}
