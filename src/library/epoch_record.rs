//! The epoch outside of the database: in the bucket if there is one, else in the hidden folder of the library, which two
//! machines may share. It tells an older copy of a database from the one that was used last.

use object_store::UpdateVersion;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::{Clock, Timestamp};
use crate::fs::{FsError, write_durably};
use crate::library::Library;
use crate::library::bucket::BucketError;

/// Who used a database last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch that was reached.
    pub epoch: i64,
    /// The node: a data folder.
    pub node: i64,
    /// The process.
    pub run: i64,
    /// The name of its machine, for people.
    pub host: String,
    /// When it wrote this.
    pub at: Timestamp,
}

/// A record as it was found, which a write replaces.
#[derive(Clone, Debug, Default)]
pub struct FoundRecord {
    /// `None`: there is no record, or its text is not one.
    pub record: Option<EpochRecord>,
    content: Option<Vec<u8>>,
    version: Option<UpdateVersion>,
}

/// Why the record could not be read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Another process has written it meanwhile.
    #[error("another daemon has changed it meanwhile")]
    Changed,
    /// It takes too long.
    #[error("the bucket does not answer in time")]
    Late,
    /// The disk of the library is missing.
    #[error("the library is missing")]
    NoLibrary,
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
}

impl Library {
    /// The record of the database with this number.
    ///
    /// # Errors
    /// When it is not known whether there is one.
    pub async fn epoch_record(&self, database: i64, clock: &Clock) -> Result<FoundRecord, RecordError> {
        let (content, version) = match &self.bucket {
            Some(bucket) => match bucket.versioned(&key(database)).await? {
                Some((content, version)) => (Some(content.to_vec()), Some(version)),
                None => (None, None),
            },
            None => (self.read_record(database, clock).await?, None),
        };
        let record = content.as_deref().and_then(|content| serde_json::from_slice(content).ok());
        Ok(FoundRecord { record, content, version })
    }

    /// Replaces a record. In a folder, another daemon may write at the same moment: the next look finds its record then.
    ///
    /// # Errors
    /// [`RecordError::Changed`] if `found` is not there any more, or when it cannot be written.
    pub async fn write_epoch_record(
        &self,
        database: i64,
        record: &EpochRecord,
        found: FoundRecord,
        clock: &Clock,
    ) -> Result<(), RecordError> {
        // Numbers and strings always have a JSON form.
        let content = serde_json::to_vec(record).unwrap_or_default();
        if let Some(bucket) = &self.bucket {
            let is_written = bucket.replace(&key(database), content, found.version).await?;
            return if is_written { Ok(()) } else { Err(RecordError::Changed) };
        }
        if self.read_record(database, clock).await? != found.content {
            return Err(RecordError::Changed);
        }
        let path = self.incoming().join(file_name(database));
        on_disk(clock, move || write_durably(&path, &content)).await.map_err(RecordError::File)
    }

    async fn read_record(&self, database: i64, clock: &Clock) -> Result<Option<Vec<u8>>, RecordError> {
        let (library, path) = (self.clone(), self.incoming().join(file_name(database)));
        let read = move || {
            if !library.is_present() {
                return Err(RecordError::NoLibrary);
            }
            match std::fs::read(&path) {
                Ok(content) => Ok(Some(content)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(FsError::new(&path, error).into()),
            }
        };
        on_disk(clock, read).await
    }
}

/// Runs file work off the async threads: the library may be on a slow network file system.
async fn on_disk<T: Send + 'static>(clock: &Clock, work: impl FnOnce() -> T + Send + 'static) -> T {
    clock.run_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn file_name(database: i64) -> String {
    format!("epoch-{database:016x}")
}

fn key(database: i64) -> String {
    format!(".dropreel/{}", file_name(database))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::settings::LibraryMode;

    #[tokio::test]
    async fn record_is_replaced_only_as_it_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, rng) = (Clock::machine(), Rng::seeded(1));
        let root = folder.path().join("videos");
        let library = Library::open(&root, LibraryMode::Private, folder.path(), &rng).unwrap();
        let at = Timestamp::from_millis(0);
        let record = |epoch| EpochRecord { epoch, node: -1, run: 2, host: "a".into(), at };
        let nothing = library.epoch_record(7, &clock).await.unwrap();
        assert_eq!(nothing.record, None);
        library.write_epoch_record(7, &record(1), nothing.clone(), &clock).await.unwrap();
        let again = library.write_epoch_record(7, &record(2), nothing, &clock).await;
        assert!(matches!(again, Err(RecordError::Changed)), "{again:?}");
        let found = library.epoch_record(7, &clock).await.unwrap();
        assert_eq!(found.record, Some(record(1)));
        library.write_epoch_record(7, &record(2), found, &clock).await.unwrap();
        assert_eq!(library.epoch_record(7, &clock).await.unwrap().record, Some(record(2)));
        assert_eq!(library.epoch_record(8, &clock).await.unwrap().record, None, "another database");

        std::fs::rename(&root, folder.path().join("away")).unwrap();
        let missing = library.epoch_record(7, &clock).await;
        assert!(matches!(missing, Err(RecordError::NoLibrary)), "{missing:?}");
    }
}
