//! Lists, pages and the change feed.

use super::*;
use crate::job::event::{Event, OperatorAction};
use crate::jobfile::Draft;
use crate::store::tests::{NOW, Rig, accepted, draft, url};

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let rig = Rig::new();
    let labelled = |name: &str, value: &str| Draft {
        labels: [("project".to_owned(), value.to_owned())].into(),
        ..draft(name)
    };
    let ids = rig.ingest(vec![labelled("a", "x"), labelled("b", "y"), labelled("c", "x")]).await;
    rig.store.apply(ids[2], Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    let names = async |filter: JobFilter, cursor, limit| {
        let page = rig.store.list(filter, cursor, limit).await.unwrap();
        (page.jobs.iter().map(|details| details.job.identity().name.clone()).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = names(JobFilter::default(), None, 2).await;
    assert_eq!(first, ["c", "b"]);
    assert_eq!(names(JobFilter::default(), next, 2).await, (vec!["a".to_owned()], None));
    let by_label = JobFilter { labels: vec!["project=x".parse().unwrap()], ..JobFilter::default() };
    assert_eq!(names(by_label, None, 9).await.0, ["c", "a"]);
    let by_state = JobFilter { state: Some(StateName::Cancelled), ..JobFilter::default() };
    assert_eq!(names(by_state, None, 9).await.0, ["c"]);
    let by_text = JobFilter { text: Some("樱花".into()), ..JobFilter::default() };
    assert_eq!(names(by_text, None, 9).await.0.len(), 3);
    assert_eq!(rig.store.counts().await.unwrap()[&StateName::Pending], 2);
}

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
