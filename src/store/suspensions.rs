//! Why nothing is submitted or downloaded just now, and the two facts that tell an old database or clock.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::Topic;

/// The name of the fact that this database is a backup.
const COPIED: &str = "backup_made_at";
/// The name of the fact by which the API key is recognized.
const API_KEY: &str = "api_key_fingerprint";

/// Why something stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopCause {
    /// A person paused submits.
    PausedSubmits,
    /// A person paused downloads.
    PausedDownloads,
    /// The provider wants us to wait.
    RateLimited,
    /// The provider refuses the key.
    KeyRefused,
    /// The balance is empty.
    BalanceEmpty,
    /// `provider.base_url` does not lead to the provider.
    Misconfigured,
}

impl StopCause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::PausedSubmits,
        Self::PausedDownloads,
        Self::RateLimited,
        Self::KeyRefused,
        Self::BalanceEmpty,
        Self::Misconfigured,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PausedSubmits => "paused_submits",
            Self::PausedDownloads => "paused_downloads",
            Self::RateLimited => "rate_limited",
            Self::KeyRefused => "key_refused",
            Self::BalanceEmpty => "balance_empty",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The cause of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// A stop in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Why.
    pub cause: StopCause,
    /// Until when; `None`: until a person's word.
    pub until: Option<Timestamp>,
    /// What to tell people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The stops in force.
pub(super) fn stops_in(connection: &Connection) -> Result<Vec<Stop>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT cause, until, message, since FROM suspensions ORDER BY since")?;
    let mut rows = statement.query([])?;
    let mut stops = Vec::new();
    while let Some(row) = rows.next()? {
        let cause: String = row.get(0)?;
        stops.push(Stop {
            cause: StopCause::parse(&cause).ok_or(StoreError::UnknownWord { what: "stop", value: cause })?,
            until: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            message: row.get(2)?,
            since: Timestamp::from_millis(row.get(3)?),
        });
    }
    Ok(stops)
}

impl Store {
    /// Writes a stop down, so that it outlives a restart. One that stands already keeps its beginning.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn put_stop(&self, stop: Stop) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                writing
                    .connection
                    .prepare_cached(
                        "INSERT INTO suspensions (cause, until, message, since) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (cause) DO UPDATE SET until = ?2, message = ?3",
                    )?
                    .execute((
                        stop.cause.as_str(),
                        stop.until.map(Timestamp::millis),
                        &stop.message,
                        stop.since.millis(),
                    ))?;
                writing.ring(Topic::Changes);
                Ok(())
            })
            .await
    }

    /// Lifts stops. True if any of them stood.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn lift_stops(&self, causes: Vec<StopCause>) -> Result<bool, StoreError> {
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
                    for bell in [Topic::Changes, Topic::Submit, Topic::Poll, Topic::Fetch] {
                        writing.ring(bell);
                    }
                }
                Ok(lifted > 0)
            })
            .await
    }

    /// The stops in force.
    ///
    /// # Errors
    /// What can befall the database.
    pub async fn stops(&self) -> Result<Vec<Stop>, StoreError> {
        self.read(stops_in).await
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

/// Whether this stop is in force.
pub(super) fn stands(connection: &rusqlite::Connection, cause: StopCause) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM suspensions WHERE cause = ?1")?;
    Ok(statement.exists([cause.as_str()])?)
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
