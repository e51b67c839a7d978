//! Moves the whole state from one database to another, a SQLite file or one on a PostgreSQL server: every row of every
//! table, in one transaction, counted and hashed on both sides before it is committed.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::Labels;
use crate::store::db::{self, Connection, Database, Row, Value, params_from_iter};
use crate::store::error::{OpenError, StoreError};
use crate::store::meta::{copied_at, mark_backup, mark_migrated, unmark};
use crate::store::opening::open_writer;
use crate::store::schema::SCHEMA;

/// Rows of `meta` that do not belong to a database but to the state in it.
const MOVED_FACTS: &str = "name NOT IN ('schema_version', 'term', 'backup_made_at', 'migrated_at')";

/// What was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// How many tables.
    pub tables: usize,
    /// How many rows in all of them.
    pub rows: u64,
    /// How many jobs are among them.
    pub jobs: u64,
    /// When the backup was made, if it was moved from one: the copy is one too.
    pub backup_made_at: Option<Timestamp>,
}

/// Why nothing was moved.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// One of both cannot be opened, or is in use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The target is in use.
    #[error("{0} already holds something; an empty database is needed")]
    NotEmpty(Database),
    /// A row was lost or changed on the way: a bug, or a failing disk.
    #[error(
        "{table} differs after it was copied: {copied} rows, not {rows}, or other ones; nothing was moved"
    )]
    Different {
        /// Which table.
        table: String,
        /// How many rows it has.
        rows: u64,
        /// How many are in the copy.
        copied: u64,
    },
    /// It is not known whether the copy is kept.
    #[error(
        "the last commit of {to} failed: {source}; it holds everything or nothing, and {from} is marked as a backup and \
         still holds everything, so that a daemon that is started with it holds its jobs"
    )]
    Unfinished {
        /// Where all is still.
        from: String,
        /// Where all may be.
        to: String,
        /// Why.
        source: StoreError,
    },
    /// A statement failed.
    #[error("{database}: {source}; nothing was moved")]
    Database {
        /// Which of both.
        database: Database,
        /// Why.
        source: StoreError,
    },
}

/// Moves all that is in `from` to `to`, which holds nothing yet, and marks `from` as a backup made at `now`: a daemon that
/// is started with it by mistake holds its jobs. If `from` is a backup, so is `to`: its jobs may have been submitted since.
/// If `to` has the number of a process, the job files in the inbox and the outputs in the spool are for that. Blocks. No daemon may
/// use either.
///
/// # Errors
/// See [`MigrateError`].
pub fn migrate(from: &Database, to: &Database, now: Timestamp) -> Result<Migrated, MigrateError> {
    let source = open_writer(from)?;
    let target = open_writer(to)?;
    let of = |database: &Database| {
        let database = database.clone();
        move |source: StoreError| MigrateError::Database { database: database.clone(), source }
    };
    // Also one whose jobs were pruned: used keys and what was spent must not be lost.
    for table in tables().filter(|table| *table != "meta") {
        if count(&target, table).map_err(of(to))? > 0 {
            return Err(MigrateError::NotEmpty(to.clone()));
        }
    }
    // One side pauses while the other one works.
    source.allow_pauses().map_err(|error| of(from)(error.into()))?;
    target.allow_pauses().map_err(|error| of(to)(error.into()))?;
    run(&source, "BEGIN IMMEDIATE").map_err(of(from))?;
    run(&target, "BEGIN IMMEDIATE").map_err(of(to))?;
    let backup_made_at = copied_at(&source).map_err(of(from))?;
    let mut migrated = Migrated { tables: 0, rows: 0, jobs: 0, backup_made_at };
    let is_clean = matches!(to, Database::Sqlite(_));
    for table in tables() {
        let columns = columns(&target, table).map_err(of(to))?;
        target
            .execute(&format!("DELETE FROM {table} WHERE {}", rows_of(table)), [])
            .map_err(|error| of(to)(error.into()))?;
        let mut insert = Insert::new(&target, table, &columns);
        let mut written = Ok(());
        let found = read_all(&source, table, &columns, |row| {
            if !is_clean {
                columns.iter().zip(&mut *row).for_each(|(column, value)| remove_nul(column, value));
            }
            if written.is_ok() {
                written = insert.row(row);
            }
        });
        let found = found.map_err(of(from))?;
        written.map_err(of(to))?;
        let copied = read_all(&target, table, &columns, |_| {}).map_err(of(to))?;
        if copied != found {
            let (table, rows, copied) = (table.to_owned(), found.rows, copied.rows);
            return Err(MigrateError::Different { table, rows, copied });
        }
        migrated.tables += 1;
        migrated.rows += found.rows;
        if table == "jobs" {
            migrated.jobs = found.rows;
        }
    }
    target.continue_numbers().map_err(|error| of(to)(error.into()))?;
    match (from, to) {
        (Database::Postgres(_), Database::Postgres(_)) => {
            let columns = ["job", "process"].map(str::to_owned);
            let mut insert = Insert::new(&target, "claims", &columns);
            let mut written = Ok(());
            let each = |row: &mut [Value]| {
                if written.is_ok() {
                    written = insert.row(row);
                }
            };
            read_all(&source, "claims", &columns, each).map_err(of(from))?;
            written.map_err(of(to))?;
        }
        _ => {
            if let Some(process) = to.process() {
                leave_to(&target, process).map_err(of(to))?;
            }
        }
    }
    unmark(&target).map_err(of(to))?;
    // The source first, or a crash between both commits would leave two databases that submit the same jobs.
    match backup_made_at {
        Some(at) => mark_backup(&target, at).map_err(of(to))?,
        None => mark_migrated(&source, now).map_err(of(from))?,
    }
    run(&source, "COMMIT").map_err(of(from))?;
    run(&target, "COMMIT").map_err(|source| {
        let (from, to) = (from.to_string(), to.to_string());
        MigrateError::Unfinished { from, to, source }
    })?;
    source.finish();
    target.finish();
    Ok(migrated)
}

/// Leaves to a process the job files that have not left its inbox, and what waits in its spool: others would take them for gone.
fn leave_to(target: &Connection, process: i32) -> Result<(), StoreError> {
    let files = "UPDATE batches SET inbox = ?1 WHERE inbox IS NULL AND (moved_at IS NULL OR staged <> 0)";
    target.execute(files, [process])?;
    let spool = "INSERT INTO claims (job, process)
                 SELECT nr, ?1 FROM jobs WHERE upload_at IS NOT NULL AND finished_at IS NULL";
    target.execute(spool, [process])?;
    Ok(())
}

/// All tables of both engines, each after those that it refers to.
fn tables() -> impl Iterator<Item = &'static str> {
    SCHEMA.lines().filter_map(|line| line.strip_prefix("CREATE TABLE ")?.strip_suffix(" ("))
}

/// Which rows of a table are moved.
fn rows_of(table: &str) -> &'static str {
    if table == "meta" { MOVED_FACTS } else { "1 = 1" }
}

/// The columns that are written; not those that are computed.
fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(connection.columns_query())?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<db::Result<_>>()?)
}

fn count(connection: &Connection, table: &str) -> Result<i64, StoreError> {
    Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
}

fn run(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    connection.execute(statement, [])?;
    Ok(())
}

/// Rows regardless of their order: how many, and the sums of the parts of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rows {
    rows: u64,
    hashes: [u64; 4],
}

impl Rows {
    fn add(&mut self, values: &[Value]) {
        let mut hash = Sha256::new();
        for value in values {
            match value {
                Value::Null => hash.update([0]),
                Value::Integer(number) => {
                    hash.update([1]);
                    hash.update(number.to_be_bytes());
                }
                Value::Real(number) => {
                    hash.update([2]);
                    hash.update(number.to_be_bytes());
                }
                Value::Text(text) => {
                    hash.update([3]);
                    hash.update(text.len().to_be_bytes());
                    hash.update(text);
                }
                Value::Blob(bytes) => {
                    hash.update([4]);
                    hash.update(bytes.len().to_be_bytes());
                    hash.update(bytes);
                }
            }
        }
        self.rows += 1;
        for (sum, part) in self.hashes.iter_mut().zip(hash.finalize().as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*part));
        }
    }
}

fn read_all(
    connection: &Connection,
    table: &str,
    columns: &[String],
    mut each: impl FnMut(&mut [Value]),
) -> Result<Rows, StoreError> {
    let sql = format!("SELECT {} FROM {table} WHERE {}", columns.join(", "), rows_of(table));
    let mut found = Rows::default();
    connection.read_long(&sql, |row: &Row<'_>| {
        let mut values =
            (0..columns.len()).map(|column| row.get(column)).collect::<db::Result<Vec<Value>>>()?;
        each(&mut values);
        found.add(&values);
        Ok(())
    })?;
    Ok(found)
}

/// PostgreSQL has no texts with NUL characters (`store::db`), and fails to search labels whose JSON has an escaped one, as
/// earlier versions accepted them. In their place stands U+FFFD.
fn remove_nul(column: &str, value: &mut Value) {
    let replaced = |text: &str| text.replace('\0', "\u{fffd}");
    let Value::Text(text) = value else { return };
    if text.contains('\0') {
        *text = replaced(text);
    }
    if column == "labels"
        && text.contains("\\u0000")
        && let Ok(labels) = serde_json::from_str::<Labels>(text)
    {
        let labels = labels.iter().map(|(key, value)| (replaced(key), replaced(value)));
        *text = serde_json::json!(labels.collect::<Labels>()).to_string();
    }
}

struct Insert<'c> {
    connection: &'c Connection,
    sql: String,
}

impl<'c> Insert<'c> {
    fn new(connection: &'c Connection, table: &str, columns: &[String]) -> Self {
        let values: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
        // Without a blank: with it, rows of `jobs` would get other numbers on a server (`store::db`).
        let sql = format!("INSERT INTO {table}({}) VALUES ({})", columns.join(", "), values.join(", "));
        Self { connection, sql }
    }

    fn row(&mut self, values: &[Value]) -> Result<(), StoreError> {
        self.connection.prepare_cached(&self.sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::list::JobFilter;
    use crate::job::JobId;
    use crate::store::Store;
    use crate::store::tests::{NOW, Rig, accepted, draft, open, raw, url};

    async fn jobs(store: &Store) -> Vec<(JobId, String)> {
        let page = store.list(JobFilter::default(), None, 100).await.unwrap();
        page.jobs.iter().map(|details| (details.job.id(), format!("{details:?}"))).collect()
    }

    #[tokio::test]
    async fn state_is_whole_in_another_database_and_the_first_is_a_backup() {
        let rig = Rig::new();
        let ids = rig.ingest(vec![draft("one"), draft("two\0")]).await;
        rig.start_attempt(ids[0], url("https://a.example")).await;
        rig.store.apply(ids[0], accepted("task-1"), NOW).await.unwrap();
        rig.store.begin_use(7, 3, 9).await.unwrap();
        let (from, to) = (rig.path(), rig.path().with_file_name("other.db"));
        let before = jobs(&rig.store).await;

        let migrated = migrate(&from.as_path().into(), &to.as_path().into(), NOW).unwrap();
        assert_eq!((migrated.jobs, migrated.tables), (2, tables().count()));
        assert_eq!(rig.store.last_use().await.unwrap().backup_made_at, Some(NOW));
        let other = open(&to).unwrap();
        assert_eq!(jobs(&other).await, before);
        let found = other.last_use().await.unwrap();
        assert_eq!((found.epoch, found.backup_made_at), (7, None));
        assert_eq!(super::super::counts::wrong_counts(&raw(&to)).unwrap(), 0);
        // New rows get numbers of their own.
        Rig::over(tempfile::tempdir().unwrap(), other.clone()).ingest(vec![draft("three")]).await;
        assert_eq!(jobs(&other).await.len(), 3);

        let again = migrate(&from.as_path().into(), &to.as_path().into(), NOW);
        assert!(matches!(again, Err(MigrateError::NotEmpty(_))), "{again:?}");
        assert_eq!(jobs(&other).await.len(), 3);
    }

    #[tokio::test]
    async fn moved_state_is_a_backup_only_if_it_came_from_one() {
        let rig = Rig::new();
        rig.ingest_one().await;
        let path = |name: &str| rig.path().with_file_name(name);
        let marks = "SELECT count(*) FROM meta WHERE name = 'backup_made_at'";
        let moved = |from: &str, to: &str| {
            let migrated = migrate(&(&path(from)).into(), &(&path(to)).into(), NOW).unwrap();
            let is_backup = raw(&path(to)).query_row(marks, [], |row| row.get::<_, i64>(0)).unwrap() > 0;
            assert_eq!(migrated.backup_made_at.is_some(), is_backup);
            is_backup
        };
        assert!(!moved("dropreel.db", "a.db"));
        assert!(!moved("dropreel.db", "b.db"), "moved before");
        assert!(!moved("a.db", "c.db"));
        mark_backup(&raw(&path("dropreel.db")), NOW).unwrap();
        assert!(moved("dropreel.db", "d.db"), "a backup");
        assert!(moved("dropreel.db", "e.db"), "a backup, moved before");
        assert!(moved("d.db", "f.db"), "made of a backup");
        rig.store.begin_use(7, 3, 9).await.unwrap();
        assert!(!moved("dropreel.db", "g.db"), "in use again");
    }

    #[test]
    fn nul_characters_of_texts_and_labels_are_replaced() {
        for (column, text, expected) in [
            ("prompt", "snow\0fall \\u0000", "snow\u{fffd}fall \\u0000"),
            ("labels", r#"{"a":"x\u0000y","b\u0000":""}"#, "{\"a\":\"x\u{fffd}y\",\"b\u{fffd}\":\"\"}"),
            ("labels", r#"{"a":"a\\u0000"}"#, r#"{"a":"a\\u0000"}"#),
            ("labels", "[0", "[0"),
        ] {
            let mut value = Value::Text(text.to_owned());
            remove_nul(column, &mut value);
            assert_eq!(value, Value::Text(expected.to_owned()));
        }
    }

    #[test]
    fn every_table_of_the_schema_is_moved() {
        let database = tempfile::tempdir().unwrap();
        let connection = open_writer(&Database::Sqlite(database.path().join("a.db"))).unwrap();
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let all: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(tables().count(), usize::try_from(all).unwrap());
    }
}
