//! Batches as users see them.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::job::event::{Event, OperatorAction};
use crate::store::job_files::{FileToIngest, Source};
use crate::store::tests::{NOW, Rig, draft, raw};

#[tokio::test]
async fn batches_are_paged_newest_first_and_finished_with_their_last_job() {
    let rig = Rig::new();
    let first = rig.ingest_file("a.json", "1", vec![draft("a"), draft("b")], NOW).await.unwrap();
    rig.ingest_file("b.json", "2", vec![draft("c")], NOW).await.unwrap();
    let (sha256, file_name) = ("3".to_owned(), None);
    let api = FileToIngest { source: Source::Api, file_name, sha256, bytes: 1, idempotency_key: None };
    rig.store.ingest_batch(vec![(api, vec![draft("d")])], NOW).await.unwrap();
    let (newest, next) = rig.store.batches(None, 2).await.unwrap();
    let files: Vec<_> = newest.iter().map(|batch| (batch.id.as_str(), batch.file.as_deref())).collect();
    assert_eq!(files, [("b3", None), ("b2", Some("b.json"))]);
    let (oldest, end) = rig.store.batches(next, 2).await.unwrap();
    let [batch] = &oldest[..] else { panic!("one batch is left: {oldest:?}") };
    assert_eq!((end, batch.jobs, batch.created_at), (None, 2, NOW));
    assert_eq!(batch.states, [(StateName::Pending, 2)].into());
    let job = rig.store.details(first[1]).await.unwrap().view(Path::new("/videos"), &[], NOW);
    assert_eq!(job.batch, batch.id);

    let later = NOW.plus(Duration::from_secs(60));
    let mut finished = Vec::new();
    for (id, at) in [(first[1], later), (first[0], NOW)] {
        rig.store.apply(id, Event::Operator(OperatorAction::Cancel), at).await.unwrap();
        finished.push(rig.store.batches(next, 1).await.unwrap().0.remove(0).finished_at);
    }
    assert_eq!(finished, [None, Some(later)]);
    raw(&rig.path()).execute("UPDATE jobs SET cost_quota = 75000 WHERE batch = 1", []).unwrap();
    let batch = rig.store.batches(next, 1).await.unwrap().0.remove(0);
    assert_eq!((batch.states, batch.cost_usd), ([(StateName::Cancelled, 2)].into(), 0.3));
}
