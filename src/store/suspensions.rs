//! The suspensions in force.

use crate::job::suspension::{Suspension, SuspensionCause};
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

/// The suspensions in force, oldest first.
pub(super) fn suspensions_in(connection: &Connection) -> Result<Vec<Suspension>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT cause, until, message, since FROM suspensions ORDER BY since")?;
    let suspensions = statement.query_map([], |row| {
        Ok(Suspension { cause: row.get(0)?, until: row.get(1)?, message: row.get(2)?, since: row.get(3)? })
    })?;
    Ok(suspensions.collect::<Result<_, _>>()?)
}

/// Whether work is suspended for `cause`.
pub(super) fn is_suspended(connection: &Connection, cause: SuspensionCause) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM suspensions WHERE cause = ?1")?;
    Ok(statement.exists([cause])?)
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
                let mut lifted = 0;
                for &cause in &causes {
                    lifted += writing
                        .connection
                        .prepare_cached("DELETE FROM suspensions WHERE cause = ?1")?
                        .execute([cause])?;
                }
                if lifted > 0 {
                    for topic in [Topic::Changes, Topic::Submit, Topic::Poll, Topic::Download] {
                        writing.notify(topic);
                    }
                }
                Ok(lifted > 0)
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
