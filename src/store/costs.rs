//! What a job's life costs the database, counted: a guard that does not depend on how fast a machine is.

use std::cell::{Cell, RefCell};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

#[cfg(test)]
mod tests;

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
    static JOB_UPDATE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on, what this connection runs is counted for the thread that has it run, and the last update of a job's row
/// is kept.
pub(super) fn count_statements(connection: &mut Connection) -> rusqlite::Result<()> {
    let counts = |event: TraceEvent<'_>| {
        STATEMENTS.set(STATEMENTS.get() + 1);
        if let TraceEvent::Stmt(_, sql) = event
            && sql.starts_with("UPDATE jobs")
        {
            JOB_UPDATE.with_borrow_mut(|last| sql.clone_into(last));
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(counts))
}
