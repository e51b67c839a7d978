//! Pages of the list.

use super::*;
use crate::job::event::{Event, OperatorAction};
use crate::job::state::StateName;
use crate::jobfile::Draft;
use crate::store::tests::{NOW, Rig, draft, raw};

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
async fn page_that_examined_enough_leaves_the_rest_to_the_next() {
    let rig = Rig::new();
    let many = MAX_EXAMINED + 10;
    let names = std::iter::once("needle".to_owned()).chain((1..many).map(|number| format!("job-{number}")));
    rig.ingest(names.map(|name| draft(&name)).collect()).await;
    for order in [JobOrder::Created, JobOrder::Cost, JobOrder::Rating] {
        let oldest = JobFilter { text: Some("needle".into()), ..JobFilter::default() };
        let only = |page: &Page| page.jobs.iter().filter(|it| it.job.identity().name == "needle").count();
        let first = rig.store.list_sorted(oldest.clone(), order, None, 9).await.unwrap();
        assert!(first.next.is_some() && only(&first) == 0, "{order:?}");
        let second = rig.store.list_sorted(oldest, order, first.next, 9).await.unwrap();
        assert_eq!((only(&second), second.next), (1, None), "{order:?}");
    }
}

#[tokio::test]
async fn job_without_a_cost_is_found_after_all_that_have_one() {
    let rig = Rig::new();
    let names = (0..MAX_EXAMINED + 10).map(|number| format!("job-{number}"));
    rig.ingest(names.map(|name| draft(&name)).collect()).await;
    raw(&rig.path()).execute("UPDATE jobs SET cost_quota = 5, rating = 3 WHERE name <> 'job-0'", []).unwrap();
    let filter = JobFilter { text: Some("job-0".into()), ..JobFilter::default() };
    for order in [JobOrder::Cost, JobOrder::Rating] {
        let (mut found, mut cursor, mut pages) = (0, None, 0);
        loop {
            let page = rig.store.list_sorted(filter.clone(), order, cursor, 9).await.unwrap();
            (found, cursor, pages) = (found + page.jobs.len(), page.next, pages + 1);
            if cursor.is_none() || pages == 9 {
                break;
            }
        }
        // All with a cost, then all once more.
        assert_eq!((found, pages), (1, 3), "{order:?}");
    }
}

#[tokio::test]
async fn filters_find_the_same_jobs_in_each_order() {
    let rig = Rig::new();
    let one = |number: usize| Draft {
        labels: [("folder".to_owned(), ["ads", "ads/may", "adsl"][number % 3].to_owned())].into(),
        model: format!("model-{}", number % 2),
        ..draft(&format!("job-{number}"))
    };
    let ids = rig.ingest((0..12).map(one).collect()).await;
    let connection = raw(&rig.path());
    for (number, id) in ids.iter().enumerate() {
        let rating = i64::try_from(number % 4).ok().filter(|stars| *stars > 0);
        connection.execute("UPDATE jobs SET rating = ?1 WHERE id = ?2", (rating, id)).unwrap();
    }
    rig.store.apply(ids[5], Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    let any = JobFilter::default;
    let cases: [(JobFilter, &[usize]); 9] = [
        (JobFilter { folder: Some("ads".into()), ..any() }, &[0, 1, 3, 4, 6, 7, 9, 10]),
        (JobFilter { folder: Some("/ads/may/".into()), ..any() }, &[1, 4, 7, 10]),
        (JobFilter { rating: Some(RatingFilter::AtLeast(2)), ..any() }, &[2, 3, 6, 7, 10, 11]),
        (JobFilter { rating: Some(RatingFilter::Exactly(3)), ..any() }, &[3, 7, 11]),
        (JobFilter { rating: Some(RatingFilter::Unrated), ..any() }, &[0, 4, 8]),
        (JobFilter { state: Some(StateName::Cancelled), ..any() }, &[5]),
        (
            JobFilter { model: Some("model-1".into()), state: Some(StateName::Pending), ..any() },
            &[1, 3, 7, 9, 11],
        ),
        (JobFilter { labels: vec!["folder=adsl".parse().unwrap()], ..any() }, &[2, 5, 8, 11]),
        (
            JobFilter {
                labels: vec!["folder=adsl".parse().unwrap()],
                rating: Some(RatingFilter::Exactly(1)),
                ..any()
            },
            &[5],
        ),
    ];
    for (filter, expected) in cases {
        for order in [JobOrder::Created, JobOrder::Cost, JobOrder::Rating, JobOrder::Name] {
            let (mut found, mut cursor) = (Vec::new(), None);
            loop {
                let page = rig.store.list_sorted(filter.clone(), order, cursor, 2).await.unwrap();
                found
                    .extend(page.jobs.iter().map(|it| ids.iter().position(|id| *id == it.job.id()).unwrap()));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            found.sort_unstable();
            assert_eq!(found, expected, "{filter:?} {order:?}");
        }
    }
}

#[tokio::test]
async fn page_enters_each_index_by_key_and_number() {
    let rig = Rig::new();
    let connection = raw(&rig.path());
    let statements = hot_statements().into_iter().chain(crate::store::library_outputs::hot_statements());
    let mut plans = Vec::new();
    for (_, sql) in statements.filter(|(_, sql)| sql.contains("jobs INDEXED BY")) {
        let nulls = vec![Value::Null; sql.matches('?').count()];
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        plans.push(
            connection.query_row(&sql, params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap(),
        );
    }
    for key in ["(cost_quota=? AND rowid<?)", "(rating=? AND nr<?)", "(name=? AND rowid>?)"] {
        assert!(plans.iter().any(|plan| plan.ends_with(key)), "{key}: {plans:#?}");
    }
    assert_eq!(plans.iter().filter(|plan| plan.contains("cost_quota=?")).count(), 2, "{plans:#?}");
}
