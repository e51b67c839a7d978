//! The change feed and active jobs.

use super::*;
use crate::store::tests::{NOW, Rig, accepted, draft, url};

#[tokio::test]
async fn change_feed_lists_each_changed_job_once_in_its_current_state() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
    let start = rig.store.last_change().await.unwrap();
    rig.start_attempt(ids[0], url("https://a.example")).await;
    rig.store.apply(ids[0], accepted("task-1"), NOW).await.unwrap();
    let changes = rig.store.changes_since(start, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].job.state_name(), StateName::Queued);
    assert!(rig.store.changes_since(changes[0].changed, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn active_jobs_are_the_oldest_of_all_active_states() {
    let rig = Rig::new();
    let ids = rig.ingest(["a", "b", "c", "d"].map(draft).into()).await;
    for (job, at) in [(ids[3], "https://d.example"), (ids[1], "https://b.example")] {
        rig.start_attempt(job, url(at)).await;
    }
    rig.store.apply(ids[3], accepted("task-1"), NOW).await.unwrap();
    let active = async |limit| {
        let jobs = rig.store.active_jobs(limit).await.unwrap();
        jobs.iter().map(|details| details.job.id()).collect::<Vec<_>>()
    };
    assert_eq!(active(50).await, [ids[1], ids[3]]);
    assert_eq!(active(1).await, [ids[1]]);
}
