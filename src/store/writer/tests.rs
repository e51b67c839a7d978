use std::io::ErrorKind;

use crate::clock::Clock;
use crate::job::policy::PollingPolicy;
use crate::rng::Rng;
use crate::store::Store;
use crate::store::db::{self, Database};
use crate::store::error::{OpenError, StoreError};
use crate::store::tests::raw;
use crate::store::writer::WriteKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_write_is_undone_alone_and_in_a_shared_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let (store, _closing) =
        Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
    let write = |kind: WriteKind, name: String, end: fn() -> Result<(), StoreError>| {
        store.writer.write_as(kind, move |writing| {
            writing.connection.execute("INSERT INTO meta (name, value) VALUES (?1, 1)", [&name])?;
            end()
        })
    };
    let fails: fn() -> _ = || Err(StoreError::Aborted("on purpose".into()));
    let panics: fn() -> _ = || panic!("on purpose");
    for (kind, end) in [(WriteKind::Normal, fails), (WriteKind::Normal, panics)] {
        assert!(write(kind, "alone".into(), end).await.is_err());
    }
    let mut kept = Vec::new();
    for kind in [WriteKind::Normal, WriteKind::Background] {
        for (how, end) in [("fails", fails), ("panics", panics)] {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let busy = store.writer.write(move |_| {
                let _ = wait.recv();
                Ok(())
            });
            let name = |place: &str| format!("{place} {kind:?} that {how}");
            let together = async {
                let writes = futures_util::future::join3(
                    write(WriteKind::Normal, name("before"), || Ok(())),
                    write(kind, name("failing"), end),
                    write(WriteKind::Normal, name("after"), || Ok(())),
                );
                // The writer receives all three while it is busy, so they share a commit.
                let go = async { drop(go) };
                futures_util::future::join(writes, go).await.0
            };
            let (_, outcomes) = futures_util::future::join(busy, together).await;
            assert!(matches!(outcomes, (Ok(()), Err(StoreError::Aborted(_)), Ok(()))), "{outcomes:?}");
            kept.extend([name("after"), name("before")]);
        }
    }
    let connection = raw(&path);
    let mut names =
        connection.prepare_cached("SELECT name FROM meta WHERE name LIKE '% that %' ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    kept.sort();
    assert_eq!(names, kept);
}

#[tokio::test]
async fn full_disk_is_reported_with_what_is_free_and_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let (store, _closing) =
        Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
    let written = store.writer.write(|writing| {
        // SQLite reports a database of this size like a full disk.
        writing.connection.execute_batch("PRAGMA max_page_count = 1")?;
        let name = "x".repeat(1 << 20);
        writing.connection.execute("INSERT INTO meta (name, value) VALUES (?1, 1)", [name])?;
        Ok(())
    });
    let message = written.await.unwrap_err().to_string();
    let opened = OpenError::Database { database: Database::Sqlite(path.clone()), source: full() }.to_string();
    let created = OpenError::File { path: path.clone(), source: ErrorKind::StorageFull.into() }.to_string();
    for message in [message, opened, created] {
        let (before, after) = message.split_once(" is full: ").unwrap_or_else(|| panic!("{message}"));
        assert!(before.ends_with(path.to_str().unwrap()), "{message}");
        assert!(after.contains("iB free, 16.0 MiB needed"), "{message}");
    }
}

fn full() -> db::Error {
    db::Error::disk_full()
}
