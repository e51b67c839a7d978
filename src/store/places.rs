//! Where the columns of `jobs` stand in a row that begins with all of them: looking them up by name costs as much as
//! reading them.

/// The columns of `jobs`, in the order of the schema.
const JOBS: [&str; 38] = [
    "nr",
    "id",
    "intake",
    "name",
    "model",
    "priority",
    "created_at",
    "state",
    "reason",
    "reason_detail",
    "held_from",
    "status_message",
    "next_action",
    "next_action_at",
    "due_at",
    "tries",
    "state_since",
    "attempts",
    "pending_attempt_number",
    "pending_attempt_created_at",
    "pending_attempt_outcome_unknown",
    "task_id",
    "task_missing_since",
    "polled_at",
    "callback_at",
    "refresh_links",
    "cancel_requested",
    "expiry_alerted",
    "progress",
    "reserved_quota",
    "cost_quota",
    "submitted_at",
    "completed_at",
    "finished_at",
    "expires_at",
    "error_code",
    "error_message",
    "last_change",
];

/// The place of a column of `jobs` in what `SELECT jobs.*` gives. For use in `const`: a name that is none does not compile.
#[expect(clippy::panic, reason = "only while it is compiled")]
pub(super) const fn place(column: &str) -> usize {
    let mut at = 0;
    while at < JOBS.len() {
        if same(JOBS[at].as_bytes(), column.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no such column of jobs")
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::JOBS;

    #[test]
    fn the_columns_stand_where_the_schema_has_them() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../schema.sql")).unwrap();
        let statement = connection.prepare("SELECT * FROM jobs").unwrap();
        assert_eq!(statement.column_names().collect::<Vec<_>>(), JOBS);
    }
}
