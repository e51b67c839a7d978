//! Checks that the open files are still those under their names. A database that was removed or replaced while open can
//! still be written, but the next start would not find the changes.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::db::Database;
use crate::store::error::StoreError;

/// The database and its WAL, as they were opened.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    database: Database,
    /// None for a server.
    files: Vec<(PathBuf, FileIdentity)>,
}

/// Device and inode.
type FileIdentity = (u64, u64);

impl DatabaseFile {
    /// The files under these names, which have just been opened. One that cannot be examined is not watched.
    pub fn opened(database: Database) -> Self {
        let files = database.path().map(|path| {
            let mut wal = path.as_os_str().to_owned();
            wal.push("-wal");
            [path.to_owned(), PathBuf::from(wal)]
        });
        let identified = files.into_iter().flatten().filter_map(|path| {
            let identity = identity(&path).ok()?;
            Some((path, identity))
        });
        let files = identified.collect();
        Self { database, files }
    }

    /// What was opened.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// # Errors
    /// [`StoreError::FileReplaced`] if another file, or none, is under a name now.
    pub fn check(&self) -> Result<(), StoreError> {
        let is_replaced = |(path, opened): &(PathBuf, FileIdentity)| match identity(path) {
            Ok(found) => found != *opened,
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        if self.files.iter().any(is_replaced) { Err(StoreError::FileReplaced) } else { Ok(()) }
    }
}

fn identity(path: &Path) -> std::io::Result<FileIdentity> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::clock::Clock;
    use crate::job::policy::PollingPolicy;
    use crate::rng::Rng;
    use crate::store::Store;
    use crate::store::error::StoreError;

    async fn is_refused(store: &Store) -> bool {
        let written = store.writer.write(|writing| {
            writing.connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('x', 1)", [])?;
            Ok(())
        });
        let refused = matches!(written.await, Err(StoreError::FileReplaced));
        assert_eq!(store.check_file().is_err(), refused);
        refused
    }

    #[tokio::test]
    async fn removed_database_is_not_written_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dropreel.db");
        let open = || Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
        let (store, closing) = open();
        assert!(!is_refused(&store).await);
        let away = folder.path().join("away");
        for name in ["dropreel.db", "dropreel.db-wal"] {
            let path = folder.path().join(name);
            fs::rename(&path, &away).unwrap();
            assert!(is_refused(&store).await, "{name} removed");
            fs::write(&path, "another").unwrap();
            assert!(is_refused(&store).await, "{name} replaced");
            fs::rename(&away, &path).unwrap();
            assert!(!is_refused(&store).await, "{name} back");
        }
        fs::rename(&path, &away).unwrap();
        fs::copy(&away, &path).unwrap();
        fs::write(folder.path().join("dropreel.db-wal"), "another").unwrap();
        drop(store);
        closing.wait();
        let wal = fs::read(folder.path().join("dropreel.db-wal")).unwrap();
        assert_eq!(wal, b"another", "closing removes no file of another database");
    }
}
