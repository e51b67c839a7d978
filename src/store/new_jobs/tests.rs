use super::*;
use crate::job::Labels;
use crate::job::label::Label;
use crate::pricing::price_book::{OperatorPrice, Price};
use crate::store::job_files::Source;
use crate::store::tests::{NOW, Rig, draft};

fn usd(cents: i64) -> Quota {
    Quota::new(cents * 5000)
}

/// A job that costs this number of cents.
fn job(name: &str, cents: i64) -> Draft {
    let body = format!(r#"{{"model":"m{cents}","prompt":"p"}}"#);
    Draft { body, labels: Labels::new(), ..draft(name) }
}

fn spring(draft: Draft) -> Draft {
    Draft { labels: [("project".to_owned(), "spring".to_owned())].into(), ..draft }
}

fn rig() -> Rig {
    let rig = Rig::new();
    let price = |cents| OperatorPrice {
        model: format!("m{cents}"),
        resolution: None,
        price: Price::PerJob(usd(cents)),
    };
    rig.store.set_operator_prices([10, 40, 70, 200].map(price).into());
    let label = Label { key: "project".into(), value: "spring".into() };
    rig.store.set_budgets(Budgets {
        per_day: Some(usd(100)),
        per_label: [(label, usd(30))].into(),
        ..Budgets::default()
    });
    rig
}

fn file(name: Option<&str>) -> FileToIngest {
    FileToIngest {
        source: Source::Api,
        file_name: name.map(str::to_owned),
        sha256: "a".to_owned(),
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    }
}

async fn review(rig: &Rig, drafts: Vec<Draft>) -> NewJobs {
    rig.store.review(file(Some("a.json")), Box::new(drafts.into_iter()), NOW).await.unwrap()
}

#[tokio::test]
async fn jobs_fit_into_a_budget_until_it_is_used_up() {
    // The costs of jobs in cents, which of them have the label, and of the day and of the label: what they need, how many
    // wait, and how many never fit.
    type Case = (&'static [(i64, bool)], (i64, u64, u64), (i64, u64, u64));
    let cases: [Case; 5] = [
        (&[(40, false), (40, false)], (80, 0, 0), (0, 0, 0)),
        // The small one after it still fits.
        (&[(40, false), (40, false), (40, false), (10, false)], (130, 1, 0), (0, 0, 0)),
        (&[(200, false), (70, false)], (270, 0, 1), (0, 0, 0)),
        (&[(10, true), (10, true), (10, true), (10, true)], (40, 0, 0), (40, 1, 0)),
        (&[(40, true), (70, false)], (110, 0, 0), (40, 0, 1)),
    ];
    for (jobs, day, label) in cases {
        let rig = rig();
        let drafts = jobs.iter().map(|(cents, has_label)| {
            let draft = job("a", *cents);
            if *has_label { spring(draft) } else { draft }
        });
        let found = review(&rig, drafts.collect()).await;
        let of = |need: &BudgetNeed| (need.need.get() / 5000, need.waiting, need.too_expensive);
        assert_eq!((of(&found.budgets[0]), of(&found.budgets[1])), (day, label), "{jobs:?}");
        assert_eq!(found.budgets[0].left, usd(100));
    }
}

#[tokio::test]
async fn job_above_its_own_limit_needs_no_budget() {
    let rig = rig();
    let limited = Draft { max_cost: Some(usd(39)), ..job("a", 40) };
    let found = review(&rig, vec![limited, job("b", 70)]).await;
    assert_eq!((found.over_max_cost, found.cost.jobs), (1, 2));
    assert_eq!((found.budgets[0].need, found.budgets[0].waiting), (usd(70), 0));
}

#[tokio::test]
async fn repeated_file_and_used_keys_are_found_before_the_submit() {
    let rig = rig();
    let with_key = |key: &str| Draft { key: Some(key.to_owned()), ..job("a", 10) };
    assert_eq!(review(&rig, vec![job("a", 10), with_key("k")]).await.repeated, None);
    let drafts: Vec<_> = [job("a", 10), with_key("k")].map(Ok).into();
    let first = rig.store.ingest(file(Some("a.json")), Box::new(drafts.into_iter()), NOW).await.unwrap().jobs;
    let found = review(&rig, vec![job("a", 10), with_key("k"), with_key("new")]).await;
    assert_eq!(found.repeated, Some(RepeatedFile { first: first[0], at: NOW }));
    let used: Vec<_> = found.used_keys.iter().map(|used| (used.key.as_str(), used.first)).collect();
    assert_eq!(used, [("k", first[1])]);
    // As the ingestion decides: a key tells copies apart, and `again` allows them.
    let again = Draft { again: true, ..job("a", 10) };
    for drafts in [vec![with_key("new")], vec![again]] {
        assert_eq!(review(&rig, drafts).await.repeated, None);
    }
}

#[tokio::test]
async fn jobs_that_wait_already_use_a_budget_first() {
    let rig = rig();
    rig.ingest(vec![job("ahead", 70)]).await;
    let found = review(&rig, vec![job("a", 40)]).await;
    assert_eq!((found.waiting, found.budgets[0].left, found.budgets[0].waiting), (usd(70), usd(30), 1));
}
