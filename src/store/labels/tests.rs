//! Labels that a person sets, and what follows them.

use super::*;
use crate::job::budget::{Budgets, Spent};
use crate::job::label::Label;
use crate::jobfile::Draft;
use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::store::start_attempt::AttemptParts;
use crate::store::tests::{self, NOW, Rig, draft};

fn changes(changes: &[(&str, Option<&str>)]) -> LabelChanges {
    changes.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
}

#[tokio::test]
async fn what_an_attempt_counts_for_moves_to_the_new_labels() {
    let rig = Rig::new();
    let labels =
        [("project", "spring"), ("client", "x")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let ids = rig.ingest(vec![Draft { labels: labels.into(), ..draft("a") }]).await;
    let estimate = Estimate::exactly(Quota::new(500), EstimateSource::List);
    let parts = AttemptParts { estimate, ..tests::parts(Box::new(|_| None)) };
    rig.store.start_attempt(ids[0], parts, NOW).await.unwrap();
    let per_label = ["project=spring", "project=autumn", "client=x"]
        .map(|label| (label.parse::<Label>().unwrap(), Quota::new(1000)));
    rig.store.set_budgets(Budgets { per_label: per_label.into(), ..Budgets::default() });
    let reserved = async || {
        let spent = rig.store.spent(NOW).await.unwrap();
        let mut spent: Vec<(String, Spent)> =
            spent.into_iter().map(|(budget, spent)| (budget.scope.name(), spent)).collect();
        spent.sort_by(|one, other| one.0.cmp(&other.0));
        spent.iter().map(|(_, spent)| spent.reserved.get()).collect::<Vec<_>>()
    };
    assert_eq!(reserved().await, [500, 0, 500], "client, autumn, spring");
    let set = changes(&[("project", Some("autumn")), ("client", Some("x")), ("gone", None)]);
    let outcome = rig.store.set_labels(ids[0], set, NOW).await.unwrap();
    assert_eq!(outcome, LabelOutcome::Changed);
    assert_eq!(reserved().await, [500, 500, 0]);
    rig.store.set_labels(ids[0], changes(&[("client", None)]), NOW).await.unwrap();
    assert_eq!(reserved().await, [0, 500, 0]);
    let entry = rig.store.history(ids[0]).await.unwrap().pop().unwrap();
    assert_eq!((entry.event.as_str(), entry.detail.as_str()), ("labelled", "no client"));
}

#[tokio::test]
async fn labels_of_a_job_are_limited_and_repeats_change_nothing() {
    let rig = Rig::new();
    let id = rig.ingest(vec![draft("a")]).await[0];
    let before = rig.store.last_change().await.unwrap();
    let many = (0..=MAX_LABELS).map(|number| (format!("k{number}"), Some("v".to_owned()))).collect();
    assert_eq!(rig.store.set_labels(id, many, NOW).await.unwrap(), LabelOutcome::TooMany);
    assert_eq!(rig.store.set_labels(id, changes(&[("a", None)]), NOW).await.unwrap(), LabelOutcome::Same);
    assert_eq!(rig.store.last_change().await.unwrap(), before);
}
