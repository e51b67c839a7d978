use crate::clock::Clock;
use crate::job::policy::PollingPolicy;
use crate::rng::Rng;
use crate::store::Store;
use crate::store::error::StoreError;
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
    let mut names = connection.prepare("SELECT name FROM meta ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    kept.sort();
    assert_eq!(names, kept);
}
