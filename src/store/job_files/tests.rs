//! Ingesting job files.

use super::*;
use crate::api::list::JobFilter;
use crate::store::tests::{NOW, Rig, draft};

#[tokio::test]
async fn file_is_ingested_whole_or_not_at_all() {
    let rig = Rig::new();
    let keyed = |name: &str, key: &str| Draft { key: Some(key.into()), ..draft(name) };
    let first = rig.ingest_file("a.json", "1", vec![keyed("one", "k")], NOW).await.unwrap();
    let refused = rig.ingest_file("b.json", "2", vec![draft("two"), keyed("three", "k")], NOW).await;
    assert!(
        matches!(&refused, Err(IngestError::KeyUsed { object, first: by, .. }) if object.pointer == "/three" && *by == first[0]),
        "{refused:?}"
    );
    let broken = Box::new([Ok(draft("four")), Err("the file changed".to_owned())].into_iter());
    let file = FileToIngest {
        source: Source::Api,
        file_name: None,
        sha256: "3".into(),
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    };
    assert!(matches!(rig.store.ingest(file, broken, NOW).await, Err(IngestError::Unreadable(_))));
    assert_eq!(rig.store.list(JobFilter::default(), None, 10).await.unwrap().jobs.len(), 1);
    assert_eq!(rig.store.unmoved().await.unwrap().len(), 1);
    // Moved here from a server, where it was of a numbered inbox.
    rig.store
        .writer
        .write(|writing| Ok(writing.connection.execute("UPDATE batches SET inbox = 7", [])?))
        .await
        .unwrap();
    assert_eq!(rig.store.unmoved().await.unwrap().len(), 1);
}

#[tokio::test]
async fn rejected_file_of_a_batch_leaves_nothing_and_the_others_stay() {
    let rig = Rig::new();
    let file = |name: &str, drafts: Vec<Draft>| {
        let (file_name, sha256) = (Some(format!("{name}.json")), name.to_owned());
        (
            FileToIngest {
                source: Source::Inbox,
                file_name,
                sha256,
                bytes: 1,
                idempotency_key: None,
                inputs_sha256: None,
            },
            drafts,
        )
    };
    let keyed = |name: &str, key: &str| Draft { key: Some(key.into()), ..draft(name) };
    rig.store.ingest_batch(vec![file("before", vec![draft("before")])], NOW).await.unwrap();
    let files = vec![
        file("a", vec![draft("a"), keyed("a-2", "k")]),
        file("b", vec![draft("b"), keyed("b-2", "k")]),
        file("before", vec![draft("again")]),
        file("c", vec![keyed("c", "own"), keyed("c-2", "own")]),
        file("d", vec![keyed("d", "own"), draft("d-2")]),
    ];
    let outcomes = rig.store.ingest_batch(files, NOW).await.unwrap();
    let Ok(first) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(matches!(&outcomes[1], Err(IngestError::KeyUsed { first: by, .. }) if *by == first.jobs[1]));
    assert!(matches!(&outcomes[2], Err(IngestError::Duplicate { .. })));
    assert!(matches!(&outcomes[3], Err(IngestError::KeyUsed { .. })));
    assert!(outcomes[4].is_ok());
    let page = rig.store.list(JobFilter::default(), None, 10).await.unwrap();
    let names: Vec<_> = page.jobs.iter().rev().map(|details| details.job.identity().name.as_str()).collect();
    assert_eq!(names, ["before", "a", "a-2", "d", "d-2"]);
    assert_eq!(rig.store.unmoved().await.unwrap().len(), 3);
    assert_eq!(rig.store.metrics().accepted_jobs.get(), 5);
}

#[tokio::test]
async fn same_file_within_a_day_is_a_repeated_copy() {
    let rig = Rig::new();
    let first = rig.ingest_file("a.json", "1", vec![draft("one")], NOW).await.unwrap();
    let soon = NOW.plus(REPEAT_WINDOW - Duration::from_secs(1));
    let repeated = rig.ingest_file("a.json", "1", vec![draft("one")], soon).await;
    assert!(
        matches!(repeated, Err(IngestError::Duplicate { first: by, .. }) if by == first[0]),
        "{repeated:?}"
    );
    assert!(rig.ingest_file("b.json", "1", vec![draft("one")], soon).await.is_ok());
    assert!(rig.ingest_file("a.json", "2", vec![draft("one")], soon).await.is_ok());
    let again = Draft { again: true, ..draft("one") };
    assert!(rig.ingest_file("a.json", "1", vec![again], soon).await.is_ok());
    let late = soon.plus(REPEAT_WINDOW);
    assert!(rig.ingest_file("a.json", "1", vec![draft("one")], late).await.is_ok());
}
