//! Lists, pages and the change feed.

use super::*;
use crate::job::event::{Event, OperatorAction};
use crate::jobfile::Draft;
use crate::store::tests::{NOW, Rig, accepted, draft, raw, url};

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
async fn file_is_named_with_or_without_its_folder() {
    let rig = Rig::new();
    rig.ingest_file("ads/may/shots.csv", "1", vec![draft("a")], NOW).await.unwrap();
    rig.ingest_file("shots.csv", "2", vec![draft("b")], NOW).await.unwrap();
    for (file, count) in
        [("shots.csv", 2), ("may/shots.csv", 1), ("ads/may/shots.csv", 1), ("ots.csv", 0), ("", 0)]
    {
        let filter = JobFilter { file: Some(file.into()), ..JobFilter::default() };
        assert_eq!(rig.store.list(filter, None, 9).await.unwrap().jobs.len(), count, "{file}");
    }
}

#[tokio::test]
async fn sorted_list_is_the_same_in_one_page_and_in_many() {
    let rig = Rig::new();
    let ids = rig.ingest(["c", "a", "d", "b", "a"].map(draft).into()).await;
    let connection = raw(&rig.path());
    for (id, cost, rating) in [(0, "900", "5"), (1, "NULL", "0"), (2, "100", "NULL"), (3, "900", "4")] {
        let sql = format!("UPDATE jobs SET cost_quota = {cost}, rating = {rating} WHERE id = ?1");
        connection.execute(&sql, [ids[id]]).unwrap();
    }
    let names = |page: &Page| -> Vec<String> {
        page.jobs.iter().map(|details| details.job.identity().name.clone()).collect()
    };
    for (order, expected) in [
        (JobOrder::Created, ["a", "b", "d", "a", "c"]),
        (JobOrder::Cost, ["b", "c", "d", "a", "a"]),
        (JobOrder::Rating, ["c", "b", "a", "d", "a"]),
        (JobOrder::Name, ["a", "a", "b", "c", "d"]),
    ] {
        let whole = rig.store.list_sorted(JobFilter::default(), order, None, 9).await.unwrap();
        assert_eq!((names(&whole), whole.next), (expected.map(str::to_owned).to_vec(), None), "{order:?}");
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = rig.store.list_sorted(JobFilter::default(), order, cursor, 2).await.unwrap();
            found.extend(names(&page));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{order:?} in pages");
    }
}

#[tokio::test]
#[ignore = "a measurement: run it alone, in a release build"]
async fn search_is_quick_among_twenty_thousand_jobs() {
    let rig = Rig::new();
    let prompt = "A lighthouse on a cliff in the evening, waves below, slow pan to the left, 春天的樱花树下 "
        .repeat(3);
    let draft = |number: usize| Draft {
        prompt: Some(format!("{prompt}{number}")),
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        ..draft(&format!("shot-{number}"))
    };
    for chunk in 0..40 {
        rig.ingest((chunk * 500..(chunk + 1) * 500).map(draft).collect()).await;
    }
    for text in ["none-such", "LIGHTHOUSE 13333", "花 -lighthouse", "évening", "lighthouse"] {
        for order in [JobOrder::Created, JobOrder::Cost, JobOrder::Name] {
            let filter = JobFilter { text: Some(text.into()), ..JobFilter::default() };
            let started = std::time::Instant::now();
            let page = rig.store.list_sorted(filter, order, None, 50).await.unwrap();
            println!("{text}, {order:?}: {} jobs in {:?}", page.jobs.len(), started.elapsed());
        }
    }
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
