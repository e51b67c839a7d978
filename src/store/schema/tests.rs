use std::path::Path;

use super::*;
use crate::job::next::Move;
use crate::job::state::StateName;
use crate::store::error::OpenError;
use crate::store::tests::{open, raw};

#[tokio::test]
async fn a_database_that_a_crash_left_without_tables_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun.db");
    raw(&begun).pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(begun.metadata().unwrap().len() > 0, "the mark is on the disk");
    let store = open(&begun).unwrap();
    assert_eq!(store.epoch().await.unwrap(), 0);
}

#[tokio::test]
async fn databases_that_are_not_ours_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.db");
    drop(open(&newer).unwrap());
    raw(&newer).pragma_update(None, "user_version", VERSION + 1).unwrap();
    assert!(matches!(open(&newer), Err(OpenError::Newer { .. })));

    let foreign = folder.path().join("foreign.db");
    raw(&foreign).execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(open(&foreign), Err(OpenError::Foreign { .. })));

    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database at all, but a text of some length").unwrap();
    assert!(open(&text).is_err());
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is no database"));
}

#[test]
fn schema_and_code_know_the_same_states() {
    let schema = include_str!("../../../schema.sql");
    let in_schema = |column: &str| -> Vec<&str> {
        let chain = schema.split(&format!("CHECK ({column} = ")).nth(1).unwrap().split(')').next().unwrap();
        chain.split('\'').skip(1).step_by(2).collect()
    };
    assert_eq!(in_schema("state"), StateName::ALL.map(StateName::as_str));
    assert_eq!(in_schema("move"), Move::ALL.map(Move::as_str));
}

#[test]
fn no_list_in_the_schema_is_built_anew_for_each_row_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    drop(open(&path).unwrap());
    let connection = raw(&path);
    for sql in [
        "INSERT INTO jobs (id, intake, name, model, priority, created_at, state, attempts, refresh, cancel_wanted, \
         alerted, progress, changed) VALUES ('', 1, '', '', 0, 0, 'pending', 0, 0, 0, 0, 0, 1)",
        "UPDATE jobs SET state = 'held', move = NULL WHERE nr = 1",
    ] {
        let mut program = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let opcodes: Vec<String> =
            program.query_map([], |row| row.get(1)).unwrap().map(Result::unwrap).collect();
        assert!(!opcodes.iter().any(|opcode| opcode == "OpenEphemeral"), "{sql}: {opcodes:?}");
    }
}

#[tokio::test]
async fn a_database_of_version_1_is_brought_to_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let past = raw(&path);
    past.execute_batch(include_str!("../../../tests/fixtures/version-1.sql")).unwrap();
    past.pragma_update(None, "user_version", 1).unwrap();
    drop(past);
    let store = open(&path).unwrap();
    let (heads, _) = store.line().await.unwrap();
    assert!(heads.is_empty());
    let version: i64 = raw(&path).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, VERSION);
}

#[tokio::test]
async fn labels_and_keys_of_version_2_are_there_in_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let past = raw(&path);
    past.execute_batch(include_str!("../../../tests/fixtures/version-2.sql")).unwrap();
    past.pragma_update(None, "user_version", 2).unwrap();
    past.execute_batch(
        "INSERT INTO intakes (nr, source, sha256, bytes, jobs, taken_at) VALUES (7, 'api', '', 1, 1, 1);
         INSERT INTO jobs (nr, id, intake, name, model, priority, created_at, state, attempts, refresh, cancel_wanted,
                           alerted, progress, changed)
         VALUES (3, '019d560a-9ec0-7000-8000-000000000000', 7, 'a', 'm', 0, 1, 'pending', 0, 0, 0, 0, 0, 1);
         INSERT INTO requests (job, body, labels) VALUES (3, '{}', '{\"project\":\"spring\"}');
         INSERT INTO labels (key, value, job) VALUES ('project', 'spring', 3);
         INSERT INTO keys (key, job) VALUES ('order-1', 3);",
    )
    .unwrap();
    drop(past);
    drop(open(&path).unwrap());
    let now = raw(&path);
    let text = |sql: &str| now.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("SELECT job FROM keys WHERE key = 'order-1'"), "019d560a-9ec0-7000-8000-000000000000");
    assert_eq!(text("SELECT key || value || job FROM labels"), "projectspring3");
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    // Whatever way it came, it is the same database.
    let fresh = raw(Path::new(":memory:"));
    fresh.execute_batch(SCHEMA).unwrap();
    let columns = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT m.name || ' ' || i.name || ' ' || i.type || i.pk FROM sqlite_schema AS m
                   JOIN pragma_table_info(m.name) AS i WHERE m.type = 'table'
                   UNION SELECT name || tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY 1";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(columns(&now), columns(&fresh));
}

#[test]
fn sqlite_is_built_without_what_no_statement_here_uses() {
    let connection = raw(Path::new(":memory:"));
    let mut options = connection.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = options.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
    assert!(!options.iter().any(|option| option == "ENABLE_LOAD_EXTENSION"), "{options:?}");
}
