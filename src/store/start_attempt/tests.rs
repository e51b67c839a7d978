//! Starting attempts.

use super::*;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::store::tests::{NOW, Rig, accepted, draft, parts, url};

#[tokio::test]
async fn attempt_is_created_once_and_resent_byte_for_byte() {
    let rig = Rig::new();
    let id = rig.ingest_one().await;
    let first = rig.start_attempt(id, url("https://a.example/1")).await;
    assert_eq!(first.key(), id.to_string());
    assert!(first.body().contains("1.10") && first.body().contains("https://a.example/1"));
    // A public URL that changed meanwhile does not change the attempt.
    let again = rig.start_attempt(id, url("https://b.example/2")).await;
    assert_eq!(again, first);
    rig.store.apply(id, accepted("task-1"), NOW).await.unwrap();
    let nothing = rig.store.start_attempt(id, parts(url("https://b.example/2")), NOW).await.unwrap();
    assert!(
        matches!(&nothing, AttemptStart::Nothing(applied) if applied.job.state_name() == StateName::Queued),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn pause_and_newer_database_stop_even_jobs_already_chosen() {
    for cause in [SuspensionCause::PausedSubmits, SuspensionCause::Superseded] {
        let rig = Rig::new();
        let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
        rig.start_attempt(ids[0], url("https://a.example")).await;
        rig.store
            .suspend(Suspension { cause, until: None, message: String::new(), since: NOW })
            .await
            .unwrap();
        for id in &ids {
            let start = rig.store.start_attempt(*id, parts(url("https://a.example")), NOW).await.unwrap();
            assert_eq!(start, AttemptStart::Paused, "{cause:?}");
        }
        assert_eq!(rig.state(ids[1]).await, StateName::Pending);
        rig.store.lift_suspensions(vec![cause]).await.unwrap();
        rig.start_attempt(ids[1], url("https://a.example")).await;
    }
}

#[tokio::test]
async fn task_of_another_job_is_refused() {
    let rig = Rig::new();
    let ids = rig.ingest(vec![draft("one"), draft("two")]).await;
    for id in &ids {
        rig.start_attempt(*id, url("https://a.example")).await;
    }
    rig.store.apply(ids[0], accepted("task-1"), NOW).await.unwrap();
    let refused = rig.store.apply(ids[1], accepted("task-1"), NOW).await;
    assert!(matches!(refused, Err(StoreError::DuplicateTask(_))), "{refused:?}");
    assert_eq!(rig.state(ids[1]).await, StateName::Submitting);
}
