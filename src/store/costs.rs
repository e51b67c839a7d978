//! What a job's life costs the database, counted: a guard that does not depend on how fast a machine is.

use std::cell::Cell;

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

#[cfg(test)]
mod tests;

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
}

/// From now on, what this connection runs is counted for the thread that has it run.
pub(super) fn count_statements(connection: &mut Connection) -> rusqlite::Result<()> {
    let counts = |_: TraceEvent<'_>| STATEMENTS.set(STATEMENTS.get() + 1);
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(counts))
}
