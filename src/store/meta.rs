//! Facts about the database itself: who used it last, whether it is a backup, the API key, and the latest time it was used.

use crate::clock::Timestamp;
use crate::job::suspension::SuspensionCause;
use crate::store::Store;
use crate::store::db::{Connection, FromSql, OptionalExtension, ToSql};
use crate::store::error::StoreError;
use crate::store::leadership::RESUMED_AT;
use crate::store::notify::Topic;
use crate::store::suspensions::lift_in;

const EPOCH: &str = "epoch";
const NODE: &str = "node";
const DATABASE: &str = "database";
const BACKUP_MADE_AT: &str = "backup_made_at";
const MIGRATED_AT: &str = "migrated_at";
const API_KEY_FINGERPRINT: &str = "api_key_fingerprint";
const TAKEOVER_ASKED: &str = "takeover_asked";
const CALLBACK_SECRET_FINGERPRINT: &str = "callback_secret_fingerprint";
const CLOCK_HIGH_WATER: &str = "clock_high_water";

/// Who used this database last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastUse {
    /// The epoch: a number that rises with each start and while a daemon runs; 0 before the first start. A copy of it
    /// outside that is ahead shows that the database is an older one.
    pub epoch: i64,
    /// The random number of the node, which is a data folder; `None`: a version before there were nodes.
    pub node: Option<i64>,
    /// The random number that the database has in common with its copies.
    pub database: Option<i64>,
    /// When it was backed up, if it is a backup that no daemon has started with. Its epoch proves nothing then: the
    /// original may have been in use since without rising.
    pub backup_made_at: Option<Timestamp>,
}

fn last_use(connection: &Connection) -> Result<LastUse, StoreError> {
    Ok(LastUse {
        epoch: get(connection, EPOCH)?.unwrap_or(0),
        node: get(connection, NODE)?,
        database: get(connection, DATABASE)?,
        backup_made_at: get(connection, BACKUP_MADE_AT)?,
    })
}

impl Store {
    /// Who used this database last.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn last_use(&self) -> Result<LastUse, StoreError> {
        self.read(last_use).await
    }

    /// From this commit on `node` uses the database, which is no backup any more, and superseded by none.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn begin_use(&self, epoch: i64, node: i64, database: i64) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let connection = writing.connection;
                set(connection, EPOCH, epoch)?;
                set(connection, NODE, node)?;
                set(connection, DATABASE, database)?;
                unmark(connection)?;
                connection.execute("DELETE FROM meta WHERE name = ?1", [TAKEOVER_ASKED])?;
                lift_in(writing, SuspensionCause::Superseded)?;
                Ok(())
            })
            .await
    }

    /// Raises the epoch.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn set_epoch(&self, epoch: i64) -> Result<(), StoreError> {
        self.writer.write(move |writing| set(writing.connection, EPOCH, epoch)).await
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

    /// Lets suspended calls be tried at once, by whoever leads.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn resume_calls(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.has_others() {
            self.wake(Topic::Resume);
            return Ok(());
        }
        self.writer
            .write(move |writing| {
                writing.notify(Topic::Resume);
                set(writing.connection, RESUMED_AT, now)
            })
            .await
    }

    /// Asks the process that leads to take over a database that was set back, by a person who says that no other one is used.
    /// Asks nothing if it is not superseded: the next time, the person has not been asked.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn ask_to_take_over(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let is_superseded = writing
                    .connection
                    .prepare_cached("SELECT 1 FROM suspensions WHERE cause = ?1")?
                    .exists([SuspensionCause::Superseded])?;
                if is_superseded { set(writing.connection, TAKEOVER_ASKED, now) } else { Ok(()) }
            })
            .await
    }

    /// Forgets that a person has asked for it, of a state before this one.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn forget_takeover(&self) -> Result<(), StoreError> {
        self.writer
            .write(|writing| {
                writing.connection.execute("DELETE FROM meta WHERE name = ?1", [TAKEOVER_ASKED])?;
                Ok(())
            })
            .await
    }

    /// Whether a person has asked for it.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn is_takeover_asked(&self) -> Result<bool, StoreError> {
        self.read(|connection| Ok(get::<Timestamp>(connection, TAKEOVER_ASKED)?.is_some())).await
    }

    /// The fingerprint of the secret with which the leader makes callback tokens, where others follow.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn callback_secret_fingerprint(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| get(connection, CALLBACK_SECRET_FINGERPRINT)).await
    }

    /// Stores the fingerprint of the secret with which this process makes callback tokens, for those that follow.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn set_callback_secret_fingerprint(&self, fingerprint: i64) -> Result<(), StoreError> {
        if !self.has_others() || self.follows() {
            return Ok(());
        }
        self.writer
            .write(move |writing| set(writing.connection, CALLBACK_SECRET_FINGERPRINT, fingerprint))
            .await
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
    unmark(connection)?;
    set(connection, BACKUP_MADE_AT, now)
}

/// Marks a database as a backup because its state was moved elsewhere at `now`.
pub(super) fn mark_migrated(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    mark_backup(connection, now)?;
    set(connection, MIGRATED_AT, now)
}

/// When a database was made a backup. One whose state was moved elsewhere counts as none: whoever uses the other one raises
/// its epoch, which shows that this one is older.
pub(super) fn copied_at(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let migrated_at: Option<Timestamp> = get(connection, MIGRATED_AT)?;
    Ok(get(connection, BACKUP_MADE_AT)?.filter(|_| migrated_at.is_none()))
}

/// Removes the marks of a backup.
pub(super) fn unmark(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("DELETE FROM meta WHERE name = ?1 OR name = ?2", [BACKUP_MADE_AT, MIGRATED_AT])?;
    Ok(())
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
