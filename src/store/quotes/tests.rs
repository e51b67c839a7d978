use super::*;
use crate::money::estimate::EstimateSource;
use crate::store::tests::{NOW, Rig, draft, raw};

const BODY: &str = r#"{"model":"wan2.5-t2v","prompt":"p"}"#;

#[tokio::test]
async fn quote_counts_for_its_very_request_and_provider() {
    let rig = Rig::new();
    let total = async |body: &str| {
        let bodies = Box::new(vec![body.to_owned()].into_iter());
        rig.store.estimate_all(bodies).await.unwrap()
    };
    rig.store.set_quoting(Some("https://a.example".into()));
    assert!(!rig.store.is_quoted(BODY.into()).await.unwrap());
    rig.store.keep_quote(BODY.into(), Quota::new(7), NOW).await.unwrap();
    assert!(rig.store.is_quoted(BODY.into()).await.unwrap());
    let quoted = total(BODY).await;
    assert_eq!((quoted.quota.get(), quoted.sources), (7, [(EstimateSource::Quote, 1)].into()));
    assert_ne!(total(&BODY.replace('p', "q")).await.quota.get(), 7);
    rig.store.set_quoting(Some("https://b.example".into()));
    assert_ne!(total(BODY).await.quota.get(), 7);
    rig.store.set_quoting(None);
    assert!(rig.store.is_quoted(BODY.into()).await.unwrap(), "none is needed");
    assert_ne!(total(BODY).await.quota.get(), 7);
}

#[tokio::test]
async fn quotes_are_replaced_and_removed_by_number_and_age() {
    let rig = Rig::new();
    rig.store.set_quoting(Some("https://a.example".into()));
    let later = NOW.plus(Duration::from_secs(60));
    raw(&rig.path())
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO quotes (request_sha256, quota, quoted_at) SELECT i, 1, i FROM n;",
        )
        .unwrap();
    rig.store.keep_quote(BODY.into(), Quota::new(7), NOW).await.unwrap();
    rig.store.keep_quote(BODY.into(), Quota::new(8), later).await.unwrap();
    let count = || -> i64 {
        raw(&rig.path()).query_row("SELECT count(*) FROM quotes", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 10_000);
    rig.store.remove_old_quotes(later).await.unwrap();
    assert_eq!(count(), 1);
    let quote: i64 = raw(&rig.path()).query_row("SELECT quota FROM quotes", [], |row| row.get(0)).unwrap();
    assert_eq!(quote, 8);
}

#[tokio::test]
async fn requests_to_quote_are_those_not_submitted_yet() {
    let rig = Rig::new();
    let jobs = rig.ingest(vec![draft("a"), draft("b")]).await;
    let first = rig.store.unsubmitted_requests(0, 1).await.unwrap();
    assert_eq!(first.len(), 1);
    let rest = rig.store.unsubmitted_requests(first[0].0, 5).await.unwrap();
    assert_eq!(rest.len(), 1);
    let parts = crate::store::tests::parts(Box::new(|_| None));
    rig.store.start_attempt(jobs[0], parts, NOW).await.unwrap();
    assert_eq!(rig.store.unsubmitted_requests(0, 5).await.unwrap(), rest);
}
