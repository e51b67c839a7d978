//! Counts the statements that a job costs, and the steps of SQLite's machine that reads cost. Unlike a time, a count does not
//! depend on the machine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};

use crate::clock::Timestamp;
use crate::clock::calendar::Zone;
use crate::store::report_sums::count_again;

#[cfg(test)]
mod tests;

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
    static JOB_UPDATE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The databases whose steps are counted.
static COUNTED: Mutex<BTreeMap<PathBuf, Arc<Steps>>> = Mutex::new(BTreeMap::new());

/// The steps of all statements that have ended, on all connections to a database.
#[derive(Debug, Default)]
pub(crate) struct Steps(Mutex<BTreeMap<String, i64>>);

impl Steps {
    /// Counts those of the database at `path`, which nobody has opened yet.
    pub(crate) fn of(path: &Path) -> Arc<Self> {
        COUNTED.lock().entry(path.to_owned()).or_default().clone()
    }

    /// The steps of each statement since the last call.
    pub(crate) fn take(&self) -> BTreeMap<String, i64> {
        std::mem::take(&mut *self.0.lock())
    }

    fn add(&self, sql: &str, steps: i64) {
        *self.0.lock().entry(sql.to_owned()).or_default() += steps;
    }
}

/// Fills an empty database with this many jobs.
#[allow(clippy::disallowed_methods, reason = "a test writes what the store is to read")]
pub(crate) fn fill_history(path: &Path, jobs: u64, now: Timestamp) {
    let sql = include_str!("../../tests/support/history.sql")
        .replace(":jobs", &jobs.to_string())
        .replace(":now", &now.millis().to_string());
    let fill = format!("PRAGMA synchronous = OFF; BEGIN; {sql}; COMMIT");
    Connection::open(path).unwrap().execute_batch(&fill).unwrap();
    let filled = super::tests::raw(path);
    filled.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
    count_again(&filled, &Zone::UTC).unwrap();
    filled.execute_batch("COMMIT").unwrap();
}

/// Counts the statements of this connection, per thread, and keeps the text of the last update of a job's row.
pub(super) fn count_statements(connection: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    if let Some(steps) = COUNTED.lock().get(path).cloned() {
        // A statement in the cache continues to count.
        let mut known: BTreeMap<String, i64> = BTreeMap::new();
        let count = move |event: TraceEvent<'_>| {
            let TraceEvent::Profile(statement, _) = event else { return };
            let (sql, now) = (statement.sql(), i64::from(statement.get_status(StatementStatus::VmStep)));
            let before = known.insert(sql.to_string(), now).unwrap_or(0);
            steps.add(&sql, if now < before { now } else { now - before });
        };
        return connection.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(count));
    }
    let count = |event: TraceEvent<'_>| {
        STATEMENTS.set(STATEMENTS.get() + 1);
        if let TraceEvent::Stmt(_, sql) = event
            && sql.starts_with("UPDATE jobs")
        {
            JOB_UPDATE.with_borrow_mut(|last| sql.clone_into(last));
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count))
}
