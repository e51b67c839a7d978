//! Counts the statements that a job costs. Unlike a time, the count does not depend on the machine.

use std::cell::{Cell, RefCell};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

#[cfg(test)]
mod tests;

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
    static JOB_UPDATE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Counts the statements of this connection, per thread, and keeps the text of the last update of a job's row.
pub(super) fn count_statements(connection: &mut Connection) -> rusqlite::Result<()> {
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
