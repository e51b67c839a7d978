use std::path::{Path, PathBuf};

use super::*;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::event::{Event, OperatorAction};
use crate::job::next_action::NextAction;
use crate::job::scheduling::Turns;
use crate::job::state::StateName;
use crate::store::error::OpenError;
use crate::store::tests::{NOW, open, raw};
use strum::VariantArray;

#[tokio::test]
async fn database_left_without_tables_by_a_crash_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun.db");
    raw(&begun).set_pragma("journal_mode", "WAL").unwrap();
    assert!(begun.metadata().unwrap().len() > 0, "the header is on the disk");
    let store = open(&begun).unwrap();
    assert_eq!(store.last_use().await.unwrap().epoch, 0);
}

#[tokio::test]
async fn foreign_or_newer_database_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.db");
    drop(open(&newer).unwrap());
    raw(&newer).set_pragma("user_version", VERSION + 1).unwrap();
    assert!(matches!(open(&newer), Err(OpenError::Newer { .. })));

    let foreign = folder.path().join("foreign.db");
    raw(&foreign).execute_batch("CREATE TABLE foreign_table (x)").unwrap();
    assert!(matches!(open(&foreign), Err(OpenError::Foreign { .. })));

    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database at all, but a text of some length").unwrap();
    assert!(open(&text).is_err());
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is no database"));
}

#[tokio::test]
async fn inspection_finds_counts_that_differ_from_the_jobs() {
    let rig = crate::store::tests::Rig::new();
    let job = rig.ingest_one().await;
    rig.store.apply(job, Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    rig.store.count_days().await.unwrap();
    assert!(inspect(&rig.path()).unwrap().starts_with("1 jobs"));
    let wrong = [
        "UPDATE job_counts SET jobs = 2",
        "DELETE FROM job_counts",
        "INSERT INTO job_counts VALUES ('held', 'x', 1, 0)",
        "UPDATE report_sums SET cost_quota = 1 WHERE kind = 'label'",
        "DELETE FROM report_sums WHERE kind = 'model'",
        "INSERT INTO report_sums SELECT kind, day, 'x', 1, 0, 0, 0, 0, '[]' FROM report_sums WHERE kind = 'file'",
        "INSERT INTO need_counts VALUES ('held', 'too_expensive', 'x', 1)",
    ];
    for sql in wrong {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        raw(&rig.path()).execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
        raw(&copy).execute_batch(sql).unwrap();
        assert!(matches!(inspect(&copy), Err(OpenError::Damaged { .. })), "{sql}");
    }
}

#[test]
fn schema_and_code_know_the_same_states() {
    let schema = include_str!("../../../schema.sql");
    let in_schema = |column: &str| -> Vec<&str> {
        let chain = schema.split(&format!("CHECK ({column} = ")).nth(1).unwrap().split(')').next().unwrap();
        chain.split('\'').skip(1).step_by(2).collect()
    };
    assert_eq!(in_schema("state"), StateName::VARIANTS.iter().map(StateName::into_str).collect::<Vec<_>>());
    assert_eq!(
        in_schema("next_action"),
        NextAction::VARIANTS.iter().map(NextAction::into_str).collect::<Vec<_>>()
    );
}

#[test]
fn schema_checks_build_no_list_for_each_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    drop(open(&path).unwrap());
    let connection = raw(&path);
    for sql in [
        "INSERT INTO jobs (id, batch, name, model, priority, created_at, state, attempts, unattended_entries, \
         cancel_requested, expiry_alerted, progress, last_change) VALUES ('', 1, '', '', 0, 0, 'pending', 0, 0, 0, 0, 0, 1)",
        "UPDATE jobs SET state = 'held', next_action = NULL WHERE nr = 1",
    ] {
        let mut program = connection.prepare_cached(&format!("EXPLAIN {sql}")).unwrap();
        let opcodes: Vec<String> =
            program.query_map([], |row| row.get(1)).unwrap().map(Result::unwrap).collect();
        assert!(!opcodes.iter().any(|opcode| opcode == "OpenEphemeral"), "{sql}: {opcodes:?}");
    }
}

#[tokio::test]
async fn version_1_migrates_to_the_current_version() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = old_database(&folder, 1, include_str!("../../../tests/fixtures/version-1.sql"));
    drop(old);
    let store = open(&path).unwrap();
    let (heads, _) =
        store.submit_queue(Timestamp::from_millis(1_775_285_160_000), Turns::default()).await.unwrap();
    assert!(heads.is_empty());
    let version = raw(&path).pragma("user_version").unwrap();
    assert_eq!(version, VERSION.to_string());
}

#[tokio::test]
async fn version_2_migrates_with_its_labels_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = old_database(&folder, 2, include_str!("../../../tests/fixtures/version-2.sql"));
    old.execute_batch(
        "INSERT INTO intakes (nr, source, sha256, bytes, jobs, taken_at) VALUES (7, 'api', '', 1, 1, 1);
         INSERT INTO jobs (nr, id, intake, name, model, priority, created_at, state, attempts, refresh, cancel_wanted,
                           alerted, progress, changed)
         VALUES (3, '019d560a-9ec0-7000-8000-000000000000', 7, 'a', 'm', 0, 1, 'pending', 0, 0, 0, 0, 0, 1);
         INSERT INTO requests (job, body, labels) VALUES (3, '{}', '{\"project\":\"spring\"}');
         INSERT INTO labels (key, value, job) VALUES ('project', 'spring', 3);
         INSERT INTO keys (key, job) VALUES ('order-1', 3);",
    )
    .unwrap();
    drop(old);
    drop(open(&path).unwrap());
    let migrated = raw(&path);
    let text = |sql: &str| migrated.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("SELECT job FROM keys WHERE key = 'order-1'"), "019d560a-9ec0-7000-8000-000000000000");
    assert_eq!(text("SELECT key || value || job FROM labels"), "projectspring3");
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    assert_eq!(structure(&migrated), structure(&new_database()));
}

#[tokio::test]
async fn version_3_migrates_with_every_state_and_word() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = old_database(&folder, 3, include_str!("../../../tests/fixtures/version-3.sql"));
    drop(old);
    let store = open(&path).unwrap();
    let migrated = raw(&path);
    assert_eq!(structure(&migrated), structure(&new_database()));
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = migrated.prepare_cached(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rows("PRAGMA integrity_check"), ["ok"]);

    let ids = rows("SELECT id FROM jobs ORDER BY nr");
    let mut states = std::collections::BTreeSet::new();
    for (number, id) in ids.iter().enumerate() {
        let details = store.details(JobId::parse(id).unwrap()).await.unwrap();
        states.insert(details.job.state_name());
        // The fixture has a different value in each column of this row, so a swap of two columns shows.
        if number == 2 {
            let record = details.job.record();
            assert_eq!(record.callback_at, Some(Timestamp::from_millis(130)));
            assert_eq!(record.pending_attempt_created_at, Some(Timestamp::from_millis(120)));
            assert!(record.pending_attempt_outcome_unknown.unwrap() && record.cancel_requested);
            assert_eq!(record.facts.status_message.as_deref(), Some("HTTP 500"));
        }
    }
    assert_eq!(states, StateName::VARIANTS.iter().copied().collect());
    let actions =
        "SELECT nr || ' ' || next_action || ' ' || next_action_at FROM jobs WHERE next_action IS NOT NULL";
    assert_eq!(
        rows(&format!("{actions} ORDER BY nr")),
        [
            "1 submit 100",
            "2 wait 900",
            "3 resend 200",
            "4 poll 300",
            "5 cancel 300",
            "6 poll 400",
            "7 poll 400",
            "12 poll 900"
        ]
    );
    let reasons =
        "SELECT nr || ' ' || reason || ' ' || held_from FROM jobs WHERE reason IS NOT NULL ORDER BY nr";
    assert_eq!(
        rows(reasons),
        [
            "12 timed_out processing",
            "13 outcome_unknown submitting",
            "14 invalid_output downloading",
            "15 duplicate_task submitting",
            "16 address_forbidden downloading"
        ]
    );
    assert_eq!(
        rows("SELECT event || ' ' || detail FROM history WHERE nr > 100 ORDER BY nr"),
        [
            "submitting key 3",
            "submit_outcome_unknown HTTP 500",
            "cancel_requested ",
            "callback_received for task task-4",
            "callback_received ",
            "cancel_accepted ",
            "cancel_refused running",
            "cancel_abandoned ",
            "link_expired cdn refused the link",
            "ignored a file of no known output: x",
            "task_found the provider knows the task again",
            "task_finished the task has ended after all",
            "held timed_out: task task-12",
            "held outcome_unknown: key 13",
            "held invalid_output: video-0: a page",
            "held duplicate_task: task task-8",
            "held address_forbidden: 10.0.0.1",
            "released timed_out",
            "failed slow: not a reason"
        ]
    );
    assert_eq!(store.suspensions().await.unwrap().len(), 2);
    let used = store.last_use().await.unwrap();
    assert_eq!((used.epoch, store.api_key_fingerprint().await.unwrap()), (7, Some(11)));
    assert_eq!(store.clock_high_water().await.unwrap(), Some(Timestamp::from_millis(1_775_285_160_000)));
    assert_eq!(used.backup_made_at, Some(Timestamp::from_millis(1_775_285_100_000)));
    let unprocessed = store.unprocessed_deliveries(0, 9).await.unwrap();
    assert_eq!((unprocessed.len(), unprocessed[0].more), (1, 3));
}

fn old_database(folder: &tempfile::TempDir, version: i64, schema: &str) -> (PathBuf, Connection) {
    let path = folder.path().join("dropreel.db");
    let old = raw(&path);
    old.execute_batch(schema).unwrap();
    old.set_pragma("user_version", version).unwrap();
    (path, old)
}

fn new_database() -> Connection {
    let connection = raw(Path::new(":memory:"));
    connection.execute_batch(SCHEMA).unwrap();
    connection
}

/// The tables with their columns, and the indexes with their text.
fn structure(connection: &Connection) -> Vec<String> {
    let sql = "SELECT m.name || ' ' || i.cid || ' ' || i.name || ' ' || i.type || i.\"notnull\" || i.pk
               FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS i WHERE m.type = 'table'
               UNION SELECT coalesce(sql, name) FROM sqlite_schema WHERE type = 'index' ORDER BY 1";
    let mut statement = connection.prepare_cached(sql).unwrap();
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn sqlite_is_built_without_unused_features() {
    let connection = raw(Path::new(":memory:"));
    let mut options = connection.prepare_cached("PRAGMA compile_options").unwrap();
    let options: Vec<String> = options.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
    assert!(!options.iter().any(|option| option == "ENABLE_LOAD_EXTENSION"), "{options:?}");
}
