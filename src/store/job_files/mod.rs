//! Job files in the database: their rows (`batches`), written with the rows of their jobs, and where they were moved.
//!
//! `jobfile` reads a file's text, and `stages/intake` finds files in the inbox. Here each becomes rows, whole or not at
//! all:
//! - `again`: new jobs from the request of an old one
//! - `batch`: many files in one commit; `staging`: a long file in many commits
//! - `insert`: the statements of both
//! - `idempotency`: the keys of requests that may be repeated
//! - `unfinished`: what an interrupted ingestion left

mod again;
mod batch;
pub mod idempotency;
pub(super) mod insert;
pub mod staging;
pub(super) mod unfinished;

use std::time::Duration;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::jobfile::{Draft, ObjectPlace};
use crate::store::Store;
use crate::store::db::OptionalExtension;
use crate::store::error::StoreError;
use idempotency::IdempotencyKey;

/// The same bytes and pictures under the same name, or that of a copy, within this time count as a repeated copy
/// (docs/reference.md#job-files).
pub const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Where a job file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Dropped into the inbox; it must still be moved out.
    Inbox,
    /// Posted by the command line, the page or a program.
    Api,
}

impl Source {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Api => "api",
        }
    }
}

/// A job file to ingest.
#[derive(Clone, Debug)]
pub struct FileToIngest {
    /// Where it came from.
    pub source: Source,
    /// Its name, if it has one.
    pub file_name: Option<String>,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// The digest of its defaults and local pictures ([`inputs_sha256`](crate::jobfile::inputs_sha256)).
    pub inputs_sha256: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// The key of its request, if the client may repeat the request.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An ingested job file: its jobs are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The number of its row.
    pub nr: i64,
    /// Its jobs, in order.
    pub jobs: Vec<JobId>,
}

/// Why a job file was not ingested. Nothing of it was committed.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The same file was accepted within the last 24 hours.
    #[error(
        "the same file was accepted at {ingested_at} as job {first}; to run it again, set \"again\": true in its `dropreel` object"
    )]
    Duplicate {
        /// Its first job.
        first: JobId,
        /// When.
        ingested_at: Timestamp,
    },
    /// The `key` of one of its jobs was used before.
    #[error("the key `{key}` was already used by job {first}; a key is run once only")]
    KeyUsed {
        key: String,
        /// Its object.
        object: ObjectPlace,
        /// The job that used it.
        first: JobId,
    },
    /// The `key` of one of its jobs is in a file that is staged. It is free again if that file is refused.
    #[error(
        "the key `{key}` is in another job file that is being accepted just now; try again once that is done"
    )]
    KeyStaged { key: String },
    /// The `Idempotency-Key` of a request belongs to another request.
    #[error("the Idempotency-Key was used for another request; use a new key for each request")]
    IdempotencyKeyReused,
    /// The file could not be read to its end, or changed meanwhile.
    #[error("{0}")]
    Unreadable(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A job file whose jobs are committed and that is not moved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmovedFile {
    /// The number of its row.
    pub nr: i64,
    /// Its name in the inbox.
    pub file_name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// When it was ingested. Its date is the name of the folder that it moves to.
    pub ingested_at: Timestamp,
}

/// A job file from the inbox whose jobs are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedFile {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Where it is; `None`: not moved yet, or it had vanished.
    pub moved_to: Option<String>,
}

/// The jobs of a file, read while they are written, so that a long file is never in memory as a whole.
pub type Drafts = Box<dyn Iterator<Item = Result<Draft, String>> + Send>;

/// The outcome of ingesting a job file. After an error nothing of it was committed.
pub type IngestResult = Result<Ingested, IngestError>;

impl Store {
    /// The number of the inbox here, where daemons with other ones share the database.
    fn inbox_number(&self) -> Option<i32> {
        self.readers.file.database().process()
    }

    /// Records which job files have left the inbox, by the numbers of their rows, and where each is now (`None`: nowhere).
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn mark_moved(
        &self,
        moved: Vec<(i64, Option<String>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |writing| {
                let mut mark = writing
                    .connection
                    .prepare_cached("UPDATE batches SET moved_at = ?2, moved_to = ?3 WHERE nr = ?1")?;
                for (nr, to) in &moved {
                    mark.execute((nr, now, to))?;
                }
                Ok(())
            })
            .await
    }

    /// Whether a job file with this content was accepted from the inbox. Reads all rows: only for what a crash left.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn was_dropped(&self, sha256: String) -> Result<bool, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT 1 FROM batches WHERE sha256 = ?1 AND source = 'inbox' AND staged <> 1",
            )?;
            Ok(statement.exists([sha256])?)
        })
        .await
    }

    /// When the newest job file was accepted, or call.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn newest_file_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT ingested_at FROM batches ORDER BY nr DESC LIMIT 1")?;
            Ok(statement.query_row([], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// The job files that were accepted from the inbox since this time. Reads all rows: only for a restored database.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn accepted_since(&self, since: Timestamp) -> Result<Vec<AcceptedFile>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT sha256, moved_to FROM batches WHERE source = 'inbox' AND staged <> 1 AND ingested_at >= ?1",
            )?;
            let rows = statement
                .query_map([since], |row| Ok(AcceptedFile { sha256: row.get(0)?, moved_to: row.get(1)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Job files whose jobs are committed and that may still be in the inbox, after a crash.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unmoved(&self) -> Result<Vec<UnmovedFile>, StoreError> {
        let leads = !self.follows();
        self.read(move |connection| {
            let own = connection.own_batches(leads).map_or_else(String::new, |own| format!("AND {own}"));
            let mut statement = connection.prepare_cached(&format!(
                "SELECT nr, file_name, sha256, ingested_at FROM batches
                 WHERE moved_at IS NULL AND staged <> 1 {own} ORDER BY nr"
            ))?;
            let rows = statement.query_map([], |row| {
                Ok(UnmovedFile {
                    nr: row.get(0)?,
                    file_name: row.get(1)?,
                    sha256: row.get(2)?,
                    ingested_at: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The statements that look for earlier files, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let fixed = [
        ("repeated copy", insert::REPEATED),
        ("key", idempotency::FIND_KEY),
        ("old keys", idempotency::DELETE_OLD_KEYS),
        ("its jobs", idempotency::JOBS_OF_FILE),
    ];
    fixed.map(|(name, sql)| (name, sql.to_owned())).into_iter().chain(again::hot_statements()).collect()
}

#[cfg(test)]
mod tests;
