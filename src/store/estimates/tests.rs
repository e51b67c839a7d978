use super::*;
use crate::job::TaskId;
use crate::job::event::{Event, Phase, StatusVerdict, TaskFacts};
use crate::jobfile::Draft;
use crate::money::Quota;
use crate::money::estimate::EstimateSource;
use crate::pricing::price_book::Price;
use crate::store::start_attempt::AttemptParts;
use crate::store::tests::{self, NOW, Rig, accepted, draft};

fn draft_of(name: &str, body: &str) -> Draft {
    Draft { body: body.into(), again: true, ..draft(name) }
}

async fn estimate_of(rig: &Rig, body: &str) -> Estimate {
    let job = rig.ingest(vec![draft_of("next", body)]).await[0];
    rig.store.estimate_job(job).await.unwrap().estimate
}

/// Submits a job that ends in `phase` at this charge, as the submit stage does.
async fn run(rig: &Rig, name: &str, body: &str, phase: Phase, charge: i64) {
    let job = rig.ingest(vec![draft_of(name, body)]).await[0];
    let JobEstimate { estimate, price_class, .. } = rig.store.estimate_job(job).await.unwrap();
    let parts = AttemptParts { estimate, price_class, ..tests::parts(Box::new(|_| None)) };
    rig.store.start_attempt(job, parts, NOW).await.unwrap();
    rig.store.apply(job, accepted(name), NOW).await.unwrap();
    let facts = TaskFacts { cost: Some(Quota::new(charge)), ..TaskFacts::of(phase) };
    let task = TaskId::parse(name).unwrap();
    let ended = Event::StatusPolled { task, sent_at: NOW, verdict: StatusVerdict::Answered(facts) };
    rig.store.apply(job, ended, NOW).await.unwrap();
}

#[tokio::test]
async fn own_jobs_of_the_same_kind_set_the_estimate() {
    let rig = Rig::new();
    let body = r#"{"model":"wan2.5-t2v","prompt":"p","resolution":"720p","duration":5}"#;
    assert_eq!(estimate_of(&rig, body).await.source, EstimateSource::Guess);
    for (number, charge) in [70_000, 75_000, 300_000].into_iter().enumerate() {
        run(&rig, &format!("paid-{number}"), body, Phase::Completed, charge).await;
    }
    run(&rig, "refunded", body, Phase::Cancelled, 0).await;
    run(&rig, "failed", body, Phase::Failed, 1_000_000).await;
    run(&rig, "longer", &body.replace(":5", ":10"), Phase::Completed, 150_000).await;
    let (low, high) = (Quota::new(70_000), Quota::new(300_000));
    let own = Estimate { quota: Quota::new(75_000), low, high, source: EstimateSource::Own, jobs: 3 };
    assert_eq!(estimate_of(&rig, body).await, own);
    let longer = estimate_of(&rig, &body.replace(":5", ":10")).await;
    assert_eq!((longer.quota.get(), longer.jobs), (150_000, 1));
    let sharper = estimate_of(&rig, &body.replace("720p", "1080p")).await;
    assert_eq!(sharper.source, EstimateSource::Guess);
}

#[tokio::test]
async fn charge_above_its_estimate_is_counted_once() {
    let rig = Rig::new();
    let body = r#"{"model":"wan2.5-t2v","prompt":"p"}"#;
    let counted = || rig.store.metrics().charges_above_estimate.get();
    // The guess for five seconds.
    run(&rig, "as-estimated", body, Phase::Completed, 450_000).await;
    assert_eq!(counted(), 0);
    run(&rig, "dearer", body, Phase::Completed, 450_001).await;
    assert_eq!(counted(), 1);
    let facts = TaskFacts { cost: Some(Quota::new(450_001)), ..TaskFacts::of(Phase::Completed) };
    let verdict = StatusVerdict::Answered(facts);
    let again = Event::StatusPolled { task: TaskId::parse("dearer").unwrap(), sent_at: NOW, verdict };
    let crate::store::details::Found::One(job) = rig.store.find("dearer".into()).await.unwrap() else {
        panic!()
    };
    rig.store.apply(job, again, NOW).await.unwrap();
    assert_eq!(counted(), 1);
}

#[tokio::test]
async fn operator_prices_come_before_own_jobs() {
    let rig = Rig::new();
    let body = r#"{"model":"wan2.5-t2v","prompt":"p"}"#;
    run(&rig, "paid", body, Phase::Completed, 75_000).await;
    let price = Price::PerSecond(Quota::new(10));
    rig.store.set_operator_prices(vec![OperatorPrice {
        model: "wan2.5-t2v".into(),
        resolution: None,
        price,
    }]);
    assert_eq!(estimate_of(&rig, body).await, Estimate::exactly(Quota::new(50), EstimateSource::Prices));
    rig.store.set_operator_prices(Vec::new());
    assert_eq!(estimate_of(&rig, body).await.source, EstimateSource::Own);
}

#[tokio::test]
async fn estimate_of_a_missing_job_is_refused() {
    let rig = Rig::new();
    assert!(matches!(rig.store.estimate_job(JobId::NONE).await, Err(StoreError::NoSuchJob(_))));
}
