//! The suspensions in force, and facts about the database itself: its epoch, the API key and the clock it has seen.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

/// The name of the fact that this database is a backup.
const COPIED: &str = "backup_made_at";
/// The name of the fact by which the API key is recognized.
const API_KEY: &str = "api_key_fingerprint";

/// The suspensions in force, oldest first.
pub(super) fn suspensions_in(connection: &Connection) -> Result<Vec<Suspension>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT cause, until, message, since FROM suspensions ORDER BY since")?;
    let mut rows = statement.query([])?;
    let mut suspensions = Vec::new();
    while let Some(row) = rows.next()? {
        let cause: String = row.get(0)?;
        let unknown = |value| StoreError::UnknownWord { what: "cause of a suspension", value };
        suspensions.push(Suspension {
            cause: SuspensionCause::parse(&cause).ok_or_else(|| unknown(cause))?,
            until: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            message: row.get(2)?,
            since: Timestamp::from_millis(row.get(3)?),
        });
    }
    Ok(suspensions)
}

/// Whether work is suspended for `cause`.
pub(super) fn is_suspended(connection: &Connection, cause: SuspensionCause) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM suspensions WHERE cause = ?1")?;
    Ok(statement.exists([cause.as_str()])?)
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
                    .execute((
                        suspension.cause.as_str(),
                        suspension.until.map(Timestamp::millis),
                        &suspension.message,
                        suspension.since.millis(),
                    ))?;
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
                        .execute([cause.as_str()])?;
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

    /// Counts this start and returns the new count, the *epoch*. The daemon keeps a copy outside the database: one
    /// that is ahead of it tells that the database was restored from an older state. From then on a backup is none any
    /// more.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn begin_epoch(&self, at_least: i64) -> Result<i64, StoreError> {
        self.writer
            .write(move |writing| {
                let known = meta(writing.connection, "epoch")?.unwrap_or(0);
                let epoch = known.max(at_least) + 1;
                set_meta(writing.connection, "epoch", epoch)?;
                writing.connection.execute("DELETE FROM meta WHERE name = ?1", [COPIED])?;
                Ok(epoch)
            })
            .await
    }

    /// The epoch of the last start, 0 before the first.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn epoch(&self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(meta(connection, "epoch")?.unwrap_or(0))).await
    }

    /// When this database was copied from the one in use, if it is a backup that no daemon has begun with. Its epoch
    /// tells nothing then: the one it was copied from may have gone on without another start.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn copied_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| Ok(meta(connection, COPIED)?.map(Timestamp::from_millis))).await
    }

    /// By what the API key of the last process is known again ([`crate::secret::Secret::print`]).
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn known_key(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| meta(connection, API_KEY)).await
    }

    /// Writes down by what the API key in use is known again.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn note_key(&self, print: i64) -> Result<(), StoreError> {
        self.writer.write(move |writing| set_meta(writing.connection, API_KEY, print)).await
    }

    /// The latest wall clock ever written down; a clock well behind it went back.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn high_water(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| Ok(meta(connection, "clock_high_water")?.map(Timestamp::from_millis))).await
    }

    /// Raises the high water of the clock to `now`; never lowers it.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn raise_high_water(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let known = meta(writing.connection, "clock_high_water")?.unwrap_or(i64::MIN);
                set_meta(writing.connection, "clock_high_water", known.max(now.millis()))
            })
            .await
    }

    /// Forgets a high water that was wrong: the provider's clock or a person says so.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn reset_high_water(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |writing| set_high_water(writing.connection, now)).await
    }
}

/// Sets the high water of the clock, up or down.
pub(super) fn set_high_water(connection: &rusqlite::Connection, now: Timestamp) -> Result<(), StoreError> {
    set_meta(connection, "clock_high_water", now.millis())
}

/// Marks a copy as one, made at `now`.
pub(super) fn mark_copied(connection: &rusqlite::Connection, now: Timestamp) -> Result<(), StoreError> {
    set_meta(connection, COPIED, now.millis())
}

fn meta(connection: &rusqlite::Connection, name: &str) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

fn set_meta(connection: &rusqlite::Connection, name: &str, value: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        )?
        .execute((name, value))?;
    Ok(())
}
