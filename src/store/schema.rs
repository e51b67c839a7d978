//! Opening the file: `schema.sql`, the steps between its versions, and the settings durability depends on.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failpoints::{self, FailPoint};
use crate::store::db::sqlite::{self, Access};
use crate::store::db::{self, Connection, Database};
use crate::store::error::OpenError;
use crate::store::report_sums::find_wrong_sums;

/// The whole schema of a new database.
pub(super) const SCHEMA: &str = include_str!("../../schema.sql");
/// The version `schema.sql` describes.
pub const VERSION: i64 = 4;
/// The migration from version `n` to `n + 1` is at index `n - 1`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../schema/migrations/2.sql"),
    include_str!("../../schema/migrations/3.sql"),
    include_str!("../../schema/migrations/4.sql"),
];
const _: () = assert!(MIGRATIONS.len() as i64 == VERSION - 1);

/// 'drpl', as `schema.sql` sets it.
const APPLICATION_ID: i64 = 1_685_221_484;
/// Older versions can corrupt a log that two connections write and checkpoint at once (sqlite.org, "WAL-reset bug").
const OLDEST_SQLITE: i32 = 3_051_003;

/// A database up to this size is looked over at each start; a larger one would keep its jobs waiting for seconds.
const CHECKED_BYTES: i64 = 256 << 20;

/// What the writer remembers of the file, at most: of a million jobs, a hundred spread over the file are changed in one
/// commit, with their indexes, without a page being read or written twice. Taken only as it is used.
const WRITER_CACHE_KIB: i64 = 8 << 10;

/// Opens the one connection that writes, makes or updates the schema, and reads every setting back.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let (version, name) = sqlite::version();
    if version < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: name.to_owned() });
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let connection = open(path, Access::Write)?;
    let number = |sql: &str| number(&connection, path, sql);

    let (version, application) = (number("PRAGMA user_version")?, number("PRAGMA application_id")?);
    // Not only a file without bytes: a crash in the very first start leaves one that is marked as WAL and holds nothing.
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let empty = (tables, version, application) == (0, 0, 0);
    if !empty {
        known_version(&connection, path)?;
    }
    expect_pragma(&connection, path, "journal_mode", "WAL", "wal")?;
    expect_pragma(&connection, path, "synchronous", "FULL", "2")?;
    if empty {
        failpoints::hit(FailPoint::WalModeSet);
        in_transaction(&connection, SCHEMA, VERSION).map_err(failed(path))?;
        failpoints::hit(FailPoint::SchemaCreated);
    }
    if !empty && version < VERSION {
        migrate(&connection, path, version)?;
    }
    expect_pragma(&connection, path, "foreign_keys", "ON", "1")?;
    if number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?) <= CHECKED_BYTES {
        find_damage(&connection, path, "quick_check")?;
    }
    connection.set_pragma("journal_size_limit", 64 * 1024 * 1024).map_err(failed(path))?;
    connection.set_pragma("cache_size", -WRITER_CACHE_KIB).map_err(failed(path))?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    open(path, Access::Read)
}

/// Looks a database over without changing it, and says how much is in it.
///
/// # Errors
/// When it is damaged, not ours, of a newer version, or cannot be read.
pub fn inspect(path: &Path) -> Result<String, OpenError> {
    let connection = open_reader(path)?;
    let number = |sql: &str| number(&connection, path, sql);
    known_version(&connection, path)?;
    find_damage(&connection, path, "quick_check")?;
    // An older version has none: the next start migrates it.
    if number("PRAGMA user_version")? == VERSION {
        let finding = match super::counts::wrong_counts(&connection).map_err(failed(path))? {
            0 => find_wrong_sums(&connection).unwrap_or_else(|error| Some(error.to_string())),
            _ => Some("job_counts, need_counts or in_dispute differs from a count of the jobs".to_owned()),
        };
        if let Some(finding) = finding {
            return Err(OpenError::Damaged { path: path.to_owned(), finding });
        }
    }
    let (jobs, pages, size) =
        (number("SELECT count(*) FROM jobs")?, number("PRAGMA page_count")?, number("PRAGMA page_size")?);
    Ok(format!("{jobs} jobs, {} KiB", pages * size / 1024))
}

/// Opens a copy that no other process uses, to mark and check it. It has no log file; the publisher flushes it.
pub(super) fn open_copy(path: &Path) -> Result<Connection, OpenError> {
    let connection = open(path, Access::Write)?;
    connection.set_pragma("journal_mode", "MEMORY").map_err(failed(path))?;
    Ok(connection)
}

/// The version of a database that is ours and that this program knows.
pub(super) fn known_version(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let number = |sql: &str| number(connection, path, sql);
    if number("PRAGMA application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign { database: Database::Sqlite(path.to_owned()) });
    }
    let version = number("PRAGMA user_version")?;
    if version > VERSION {
        return Err(OpenError::Newer {
            database: Database::Sqlite(path.to_owned()),
            found: version,
            known: VERSION,
        });
    }
    Ok(version)
}

/// Looks for damage: `quick_check`, or `integrity_check`, which also compares indexes with their tables.
pub(super) fn find_damage(connection: &Connection, path: &Path, check: &str) -> Result<(), OpenError> {
    let finding: String =
        connection.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0)).map_err(failed(path))?;
    if finding == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), finding }) }
}

fn failed(path: &Path) -> impl Fn(db::Error) -> OpenError {
    |source| OpenError::Database { database: Database::Sqlite(path.to_owned()), source }
}

fn number(connection: &Connection, path: &Path, sql: &str) -> Result<i64, OpenError> {
    connection.query_row(sql, [], |row| row.get(0)).map_err(failed(path))
}

fn open(path: &Path, access: Access) -> Result<Connection, OpenError> {
    sqlite::open(path, access).map_err(failed(path))
}

fn expect_pragma(
    connection: &Connection,
    path: &Path,
    pragma: &'static str,
    value: &str,
    read_back: &str,
) -> Result<(), OpenError> {
    run_to_end(connection, &format!("PRAGMA {pragma} = {value}")).map_err(failed(path))?;
    let found = connection.pragma(pragma).map_err(failed(path))?;
    if found == read_back { Ok(()) } else { Err(OpenError::Pragma { path: path.to_owned(), pragma, found }) }
}

/// Runs a statement to its end. The switch to WAL returns "wal" before it commits: `pragma_update` stops at that row and
/// would not notice a failed commit.
fn run_to_end(connection: &Connection, sql: &str) -> db::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Migrates an older database to [`VERSION`], one transaction per version.
fn migrate(connection: &Connection, path: &Path, version: i64) -> Result<(), OpenError> {
    // A migration may rebuild a table. With foreign keys on, dropping the old table would fail because of references to it.
    expect_pragma(connection, path, "foreign_keys", "OFF", "0")?;
    for (migration, next) in MIGRATIONS.iter().zip(2..).filter(|(_, next)| *next > version) {
        in_transaction(connection, migration, next).map_err(failed(path))?;
    }
    let mut check = connection.prepare_cached("PRAGMA foreign_key_check").map_err(failed(path))?;
    if check.exists([]).map_err(failed(path))? {
        let finding = "a row refers to one that does not exist".to_owned();
        return Err(OpenError::Damaged { path: path.to_owned(), finding });
    }
    Ok(())
}

fn in_transaction(connection: &Connection, sql: &str, version: i64) -> db::Result<()> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;"))
}

#[cfg(test)]
mod tests;
