//! Orders, filters and pages of the outputs in the library.

use std::collections::BTreeSet;

use super::*;
use crate::jobfile::Draft;
use crate::store::tests::{NOW, Rig, draft, raw};

struct Row {
    job: JobId,
    at: i64,
    index: u16,
    path: &'static str,
    rating: Option<u8>,
}

impl Rig {
    fn add_outputs(&self, rows: &[Row]) {
        let connection = raw(&self.path());
        connection.execute_batch("BEGIN").unwrap();
        for row in rows {
            let path = format!("{}{}-{}.mp4", row.path, row.job, row.index);
            connection
                .execute(
                    "INSERT INTO outputs (job, task_id, kind, idx, position, state, tries, link_refusals,
                        refusal_confirmed, invalid_downloads, expires_at, path, bytes, sha256, host, stored_at, rating)
                     SELECT nr, 'task-' || nr, 'video', ?2, ?2, 'stored', 0, 0, 0, 0, 0, ?3, 1, '', 'h', ?4, ?5
                     FROM jobs WHERE id = ?1",
                    (row.job, row.index, path, NOW.millis() + row.at, row.rating),
                )
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }

    async fn page(
        &self,
        filter: &OutputFilter,
        order: OutputOrder,
        cursor: Option<OutputCursor>,
    ) -> OutputPage {
        self.store.library_outputs(filter.clone(), order, cursor, 7).await.unwrap()
    }

    /// Name and key of every output that passes, in the order of the pages, and the number of pages.
    async fn all(&self, filter: &OutputFilter, order: OutputOrder) -> (Vec<(String, String)>, u32) {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = self.page(filter, order, cursor).await;
            found.extend(page.outputs.into_iter().map(|output| (output.name, output.key.to_string())));
            pages += 1;
            let Some(next) = page.next else { return (found, pages) };
            cursor = Some(OutputCursor::parse(&next.to_string(), order).unwrap());
        }
    }
}

fn row(job: JobId, at: i64) -> Row {
    Row { job, at, index: 0, path: "2026-04-04/", rating: None }
}

#[tokio::test]
async fn pages_follow_each_order_without_gaps_or_repetitions() {
    let rig = Rig::new();
    let names: Vec<String> = (0..20).map(|n| format!("clip-{n:02}")).collect();
    let jobs = rig.ingest(names.iter().map(|name| draft(name)).collect()).await;
    let mut rows = Vec::new();
    for (n, job) in (0_i64..).zip(&jobs) {
        // Many share a time, a rating and a cost.
        let rating = [None, Some(5), Some(0), Some(3)][n as usize % 4];
        rows.push(Row { rating, ..row(*job, n / 5) });
        rows.push(Row { rating, index: 1, ..row(*job, n / 5) });
    }
    rig.add_outputs(&rows);
    raw(&rig.path()).execute("UPDATE jobs SET cost_quota = nr % 3 WHERE nr > 2", []).unwrap();
    let everything = OutputFilter::default();
    for (order, count) in
        [(OutputOrder::Newest, 40), (OutputOrder::BestRated, 40), (OutputOrder::MostExpensive, 36)]
    {
        let (found, pages) = rig.all(&everything, order).await;
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!((found.len(), distinct.len()), (count, count), "{order:?}");
        assert_eq!(pages as usize, count.div_ceil(7), "{order:?}");
    }
    let (newest, _) = rig.all(&everything, OutputOrder::Newest).await;
    assert_eq!(newest[0], ("clip-19".to_owned(), "video-1".to_owned()));
    let best =
        rig.store.library_outputs(everything.clone(), OutputOrder::BestRated, None, 100).await.unwrap();
    let ratings: Vec<_> = best.outputs.iter().map(|output| output.rating).collect();
    let expected = [(Some(5), 10), (Some(3), 10), (None, 10), (Some(0), 10)];
    let expected: Vec<_> =
        expected.into_iter().flat_map(|(rating, count)| std::iter::repeat_n(rating, count)).collect();
    assert_eq!(ratings, expected);
    let dear = rig.store.library_outputs(everything, OutputOrder::MostExpensive, None, 100).await.unwrap();
    assert!(dear.outputs.is_sorted_by_key(|output| std::cmp::Reverse(output.cost)));
    assert_eq!(dear.outputs.iter().filter(|output| output.number == 2).count(), 18);
}

#[tokio::test]
async fn filter_selects_what_matches_all_of_it() {
    let rig = Rig::new();
    let boat = Draft {
        model: "veo3.1".into(),
        prompt: Some("A red boat".into()),
        labels: [("shot".to_owned(), "7".to_owned())].into(),
        ..draft("boat")
    };
    let sakura = rig.ingest(vec![draft("sakura")]).await[0];
    let boat = rig.ingest_file("b.json", "b", vec![boat], NOW).await.unwrap()[0];
    let tea = rig.ingest_file("c.json", "c", vec![draft("tea")], NOW).await.unwrap()[0];
    let hour = 3_600_000;
    rig.add_outputs(&[
        Row { rating: Some(4), ..row(sakura, 0) },
        Row { path: "b/", rating: Some(0), ..row(boat, hour) },
        Row { path: "b2/", ..row(tea, 2 * hour) },
    ]);
    let at = |hours: i64| Some(Timestamp::from_millis(NOW.millis() + hours * hour));
    let any = OutputFilter::default;
    let label = |text: &str| vec![text.parse().unwrap()];
    let cases: [(OutputFilter, &[&str]); 17] = [
        (any(), &["tea", "boat", "sakura"]),
        (OutputFilter { kind: Some(OutputKind::Video), ..any() }, &["tea", "boat", "sakura"]),
        (OutputFilter { kind: Some(OutputKind::Audio), ..any() }, &[]),
        (OutputFilter { model: Some("veo3.1".into()), ..any() }, &["boat"]),
        (OutputFilter { labels: label("project=spring"), ..any() }, &["tea", "sakura"]),
        (OutputFilter { labels: label("project=winter"), ..any() }, &[]),
        (OutputFilter { folder: Some("b".into()), ..any() }, &["boat"]),
        (OutputFilter { folder: Some("2026-04-04".into()), ..any() }, &["sakura"]),
        (OutputFilter { batch: Some(2), ..any() }, &["boat"]),
        (OutputFilter { since: at(1), ..any() }, &["tea", "boat"]),
        (OutputFilter { until: at(1), ..any() }, &["sakura"]),
        (OutputFilter { rating: Some(RatingFilter::AtLeast(1)), ..any() }, &["sakura"]),
        (OutputFilter { rating: Some(RatingFilter::Exactly(0)), ..any() }, &["boat"]),
        (OutputFilter { rating: Some(RatingFilter::Unrated), ..any() }, &["tea"]),
        (OutputFilter { text: Some("RED".into()), ..any() }, &["boat"]),
        (OutputFilter { text: Some("樱花".into()), since: at(1), ..any() }, &["tea"]),
        (OutputFilter { text: Some("樱花".into()), batch: Some(2), ..any() }, &[]),
    ];
    for (filter, expected) in cases {
        let (found, _) = rig.all(&filter, OutputOrder::Newest).await;
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn rare_match_is_found_by_pages_that_examine_a_bounded_number() {
    let rig = Rig::new();
    let oldest = rig.ingest(vec![draft("needle")]).await[0];
    let names: Vec<Draft> = (0..100).map(|n| draft(&format!("hay-{n}"))).collect();
    let jobs = rig.ingest_file("b.json", "b", names, NOW).await.unwrap();
    let many = |job: &JobId| (0..100).map(|index| Row { index, ..row(*job, 1) }).collect::<Vec<_>>();
    let mut rows: Vec<Row> = jobs.iter().flat_map(many).collect();
    rows.push(row(oldest, 0));
    rig.add_outputs(&rows);
    let needle = OutputFilter { text: Some("needle".into()), ..OutputFilter::default() };
    let first = rig.page(&needle, OutputOrder::Newest, None).await;
    assert!(first.outputs.is_empty() && first.next.is_some(), "{first:?}");
    let (found, pages) = rig.all(&needle, OutputOrder::Newest).await;
    assert_eq!((found.len(), pages), (1, 11));
}

#[test]
fn cursor_of_another_order_is_refused() {
    let newest = r#"[1775285160000,12,"task-1","video",0]"#;
    let cursor = OutputCursor::parse(newest, OutputOrder::Newest).unwrap();
    assert_eq!(cursor.to_string(), newest);
    for text in
        [r#"[5,1775285160000,12,"task-1","video",0]"#, "12", "[]", "[null,1,2,3,4]", "[1.5,1,2,3,4]", ""]
    {
        assert_eq!(OutputCursor::parse(text, OutputOrder::Newest), None, "{text}");
    }
}

#[tokio::test]
async fn page_enters_its_index_at_the_cursor() {
    let rig = Rig::new();
    let connection = raw(&rig.path());
    for (name, sql) in hot_statements() {
        let plan = connection.query_plan(&sql).unwrap();
        assert!(plan.iter().all(|line| !line.starts_with("SCAN")), "{name}: {plan:#?}");
    }
}
