//! Facts about the database itself: its epoch, whether it is a backup, the API key, and the latest time it was used.

use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::db::{Connection, FromSql, OptionalExtension, ToSql};
use crate::store::error::StoreError;

const EPOCH: &str = "epoch";
const BACKUP_MADE_AT: &str = "backup_made_at";
const API_KEY_FINGERPRINT: &str = "api_key_fingerprint";
const CLOCK_HIGH_WATER: &str = "clock_high_water";

impl Store {
    /// Counts this start and returns the new count, the *epoch*. The daemon keeps a copy outside the database; a copy
    /// that is ahead shows that the database was restored from an older state. The database stops being a backup.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn start_epoch(&self, at_least: i64) -> Result<i64, StoreError> {
        self.writer
            .write(move |writing| {
                let known = get(writing.connection, EPOCH)?.unwrap_or(0);
                let epoch = known.max(at_least) + 1;
                set(writing.connection, EPOCH, epoch)?;
                writing.connection.execute("DELETE FROM meta WHERE name = ?1", [BACKUP_MADE_AT])?;
                Ok(epoch)
            })
            .await
    }

    /// The epoch of the last start, 0 before the first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn epoch(&self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(get(connection, EPOCH)?.unwrap_or(0))).await
    }

    /// When this database was backed up, if it is a backup that no daemon has started with. Its epoch proves nothing
    /// then: the original may have been in use since without another start.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn backup_made_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| get(connection, BACKUP_MADE_AT)).await
    }

    /// The fingerprint of the API key that the last process used.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn api_key_fingerprint(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| get(connection, API_KEY_FINGERPRINT)).await
    }

    /// Stores the fingerprint of the API key in use.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn set_api_key_fingerprint(&self, fingerprint: i64) -> Result<(), StoreError> {
        self.writer.write(move |writing| set(writing.connection, API_KEY_FINGERPRINT, fingerprint)).await
    }

    /// The latest wall clock ever stored. A clock well behind it was set back.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn clock_high_water(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| get(connection, CLOCK_HIGH_WATER)).await
    }

    /// Raises the high water mark of the clock to `now`; never lowers it.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn raise_clock_high_water(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let known = get(writing.connection, CLOCK_HIGH_WATER)?.unwrap_or(now);
                set(writing.connection, CLOCK_HIGH_WATER, known.max(now))
            })
            .await
    }

    /// Replaces a high water mark that the provider's clock or the operator has shown to be wrong.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn reset_clock_high_water(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |writing| set_clock_high_water(writing.connection, now)).await
    }
}

/// Sets the high water mark of the clock, up or down.
pub(super) fn set_clock_high_water(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    set(connection, CLOCK_HIGH_WATER, now)
}

/// Marks a database as a backup made at `now`.
pub(super) fn mark_backup(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    set(connection, BACKUP_MADE_AT, now)
}

pub(super) fn get<T: FromSql>(connection: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn set(connection: &Connection, name: &str, value: impl ToSql) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        )?
        .execute((name, value))?;
    Ok(())
}
