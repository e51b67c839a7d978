//! The suspensions in force.

use crate::job::suspension::{Suspension, SuspensionCause};
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::error::StoreError;
use crate::store::notify::Topic;
use crate::store::writer::Writing;

/// The suspensions in force, oldest first.
pub(super) fn suspensions_in(connection: &Connection) -> Result<Vec<Suspension>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT cause, until, message, since FROM suspensions ORDER BY since")?;
    let suspensions = statement.query_map([], |row| {
        Ok(Suspension { cause: row.get(0)?, until: row.get(1)?, message: row.get(2)?, since: row.get(3)? })
    })?;
    Ok(suspensions.collect::<Result<_, _>>()?)
}

/// Whether only an operator lets submits continue: they are paused, or the database is superseded.
pub(super) fn waits_for_operator(connection: &Connection) -> Result<bool, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM suspensions WHERE cause = 'paused_submits' OR cause = 'superseded'")?;
    Ok(statement.exists([])?)
}

/// Lifts the suspension for `cause`. Returns whether it was in force.
pub(super) fn lift_in(writing: &mut Writing<'_>, cause: SuspensionCause) -> Result<bool, StoreError> {
    let mut delete = writing.connection.prepare_cached("DELETE FROM suspensions WHERE cause = ?1")?;
    let is_lifted = delete.execute([cause])? > 0;
    if is_lifted {
        for topic in [Topic::Changes, Topic::Submit, Topic::Poll, Topic::Download] {
            writing.notify(topic);
        }
    }
    Ok(is_lifted)
}

impl Store {
    /// Writes a suspension, so that it outlives a restart. If there already is one for that cause, `since` keeps its
    /// first value.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn suspend(&self, suspension: Suspension) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                writing
                    .connection
                    .prepare_cached(
                        "INSERT INTO suspensions (cause, until, message, since) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (cause) DO UPDATE SET until = ?2, message = ?3",
                    )?
                    .execute((suspension.cause, suspension.until, &suspension.message, suspension.since))?;
                writing.notify(Topic::Changes);
                Ok(())
            })
            .await
    }

    /// Lifts the suspensions for these causes. Returns whether any was in force.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn lift_suspensions(&self, causes: Vec<SuspensionCause>) -> Result<bool, StoreError> {
        self.writer
            .write(move |writing| {
                let mut any_lifted = false;
                for &cause in &causes {
                    any_lifted |= lift_in(writing, cause)?;
                }
                Ok(any_lifted)
            })
            .await
    }

    /// The suspensions in force, oldest first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.read(suspensions_in).await
    }
}
