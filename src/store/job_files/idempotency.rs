//! Keys with which a client may repeat a request that makes jobs, if the answer was lost. A key is committed with the jobs,
//! so that a repeated request finds them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::job_files::{FileToIngest, IngestError, Ingested};

/// How long a key is kept. Less than the age from which jobs can be pruned.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The key of a request, and a digest of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key as the client sent it.
    pub key: String,
    /// SHA-256 of everything that decides which jobs are made.
    pub request_sha256: String,
}

pub(super) const FIND_KEY: &str = "SELECT batch, request_sha256 FROM idempotency_keys WHERE key = ?1";
pub(super) const DELETE_OLD_KEYS: &str = "DELETE FROM idempotency_keys WHERE used_at < ?1";
pub(super) const JOBS_OF_FILE: &str = "SELECT id FROM jobs WHERE batch = ?1 ORDER BY nr";

/// The jobs that the same request with the same key made earlier, if it did.
pub(super) fn ingested_before(
    connection: &Connection,
    file: &FileToIngest,
) -> Result<Option<Ingested>, IngestError> {
    let Some(key) = &file.idempotency_key else { return Ok(None) };
    match find_key(connection, &key.key)? {
        None => Ok(None),
        Some((_, request)) if request != key.request_sha256 => Err(IngestError::IdempotencyKeyReused),
        Some((nr, _)) => Ok(Some(Ingested { nr, jobs: jobs_of_file(connection, nr)? })),
    }
}

impl Store {
    /// Whether the request with this idempotency key has already made its jobs, or another request has used the key.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn was_ingested(&self, file: FileToIngest) -> Result<bool, StoreError> {
        let Some(key) = file.idempotency_key else { return Ok(false) };
        self.read(move |connection| Ok(find_key(connection, &key.key)?.is_some())).await
    }
}

/// The row of the file that came with the key, and the digest of its request.
fn find_key(connection: &Connection, key: &str) -> Result<Option<(i64, String)>, StoreError> {
    let mut statement = connection.prepare_cached(FIND_KEY)?;
    Ok(statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn jobs_of_file(connection: &Connection, nr: i64) -> Result<Vec<JobId>, StoreError> {
    let mut statement = connection.prepare_cached(JOBS_OF_FILE)?;
    let jobs = statement.query_map([nr], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// Records the key of the request that made the jobs of this file, and deletes old keys. Must be in the commit that makes
/// the jobs visible.
pub(super) fn record_key(
    connection: &Connection,
    file: &FileToIngest,
    nr: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(key) = &file.idempotency_key else { return Ok(()) };
    connection.prepare_cached(DELETE_OLD_KEYS)?.execute([now.minus(KEPT)])?;
    connection
        .prepare_cached(
            "INSERT INTO idempotency_keys (key, request_sha256, batch, used_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((&key.key, &key.request_sha256, nr, now))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::job::policy::PollingPolicy;
    use crate::rng::Rng;
    use crate::store::Store;
    use crate::store::job_files::staging::MAX_JOBS_PER_COMMIT;
    use crate::store::job_files::{IngestResult, Source};
    use crate::store::tests::{NOW, draft};

    fn key(key: &str, request: &str) -> IdempotencyKey {
        IdempotencyKey { key: key.to_owned(), request_sha256: request.to_owned() }
    }

    struct Rig {
        _folder: tempfile::TempDir,
        store: Store,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dropreel.db");
            let (store, _) =
                Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
            Self { _folder: folder, store }
        }

        async fn ingest(&self, key: IdempotencyKey, jobs: usize, now: Timestamp) -> IngestResult {
            let file_name = Some(format!("{jobs}.json"));
            let (sha256, idempotency_key) = ("a".to_owned(), Some(key));
            let file = FileToIngest {
                source: Source::Api,
                file_name,
                sha256,
                bytes: 1,
                idempotency_key,
                inputs_sha256: None,
            };
            let drafts = (0..jobs).map(|number| Ok(draft(&number.to_string())));
            self.store.ingest(file, Box::new(drafts), now).await
        }
    }

    #[tokio::test]
    async fn repeated_request_makes_no_second_job_within_a_week() {
        for jobs in [2, MAX_JOBS_PER_COMMIT + 2] {
            let rig = Rig::new();
            let first = rig.ingest(key("k", "one"), jobs, NOW).await.unwrap();
            assert_eq!(first.jobs.len(), jobs);
            let day = Duration::from_secs(24 * 3600);
            for later in [NOW, NOW.plus(day), NOW.plus(7 * day)] {
                assert_eq!(rig.ingest(key("k", "one"), jobs, later).await.unwrap(), first);
                let other = rig.ingest(key("k", "two"), jobs, later).await;
                assert!(matches!(other, Err(IngestError::IdempotencyKeyReused)), "{other:?}");
            }
            // A rejected request has not used its key.
            let copy = rig.ingest(key("l", "one"), jobs, NOW).await;
            assert!(matches!(copy, Err(IngestError::Duplicate { .. })), "{copy:?}");
            let late = NOW.plus(8 * day);
            let fresh = rig.ingest(key("l", "other"), jobs, late).await.unwrap();
            assert_ne!(fresh, first);
            let later = late.plus(2 * day);
            assert_ne!(rig.ingest(key("k", "two"), jobs, later).await.unwrap(), first, "an old key is kept");
            assert_eq!(rig.ingest(key("l", "other"), jobs, later).await.unwrap(), fresh);
        }
    }

    #[tokio::test]
    async fn requests_at_once_with_one_key_make_their_jobs_once() {
        for jobs in [1, MAX_JOBS_PER_COMMIT + 2] {
            let rig = Rig::new();
            let ingest = || rig.ingest(key("k", "one"), jobs, NOW);
            let (one, other) = futures_util::future::join(ingest(), ingest()).await;
            assert_eq!(one.unwrap(), other.unwrap());
            assert_eq!(rig.store.counts().await.unwrap().values().sum::<u64>(), jobs as u64);
        }
    }
}
