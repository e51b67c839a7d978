use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::job::scheduling::{TaskCounts, TaskLimits, Turns, WaitingJob, next_to_submit};
use crate::jobfile::Draft;
use crate::store::start_attempt::AttemptStart;
use crate::store::tests::{NOW, Rig, draft, parts, property_config};

/// A job of this model, priority and value of the label; 0: without the label.
fn job((model, priority, value): (u8, i8, u8)) -> Draft {
    let labels = (value > 0).then(|| ("project".to_owned(), value.to_string())).into_iter().collect();
    Draft { model: format!("model-{model}"), priority, labels, ..draft(&format!("{model}{priority}{value}")) }
}

/// The jobs in the order in which they are submitted.
async fn submit_all(rig: &Rig) -> Vec<WaitingJob> {
    let limits = TaskLimits { max_running: 1000, max_running_per_model: BTreeMap::new() };
    let (mut turns, mut order) = (Turns::default(), Vec::new());
    loop {
        let (heads, _) = rig.store.submit_queue(NOW, turns.clone()).await.unwrap();
        let Some(next) = next_to_submit(&heads, &TaskCounts::default(), &limits, &turns) else {
            return order;
        };
        let started = rig.store.start_attempt(next.id, parts(Box::new(|_| None)), NOW).await.unwrap();
        assert!(matches!(started, AttemptStart::Send(_)), "{started:?}");
        turns.take(next);
        order.push(next.clone());
    }
}

proptest! {
    #![proptest_config(property_config(16))]
    /// Whatever waits, and in whichever models: between two jobs of one value, every other value of that priority that
    /// waits has its turn, and the jobs of a value keep their order.
    #[test]
    fn every_value_that_waits_has_its_turn(jobs in prop::collection::vec((0_u8..3, 0_i8..2, 0_u8..5), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            rig.store.set_fair_by(Some("project".into())).await.unwrap();
            rig.ingest(jobs.iter().copied().map(job).collect()).await;
            let order = submit_all(&rig).await;
            assert_eq!(order.len(), jobs.len());
            assert!(order.is_sorted_by_key(|job| std::cmp::Reverse(job.priority)));
            for (at, first) in order.iter().enumerate() {
                let mut served = BTreeSet::new();
                for (later, second) in order.iter().enumerate().skip(at + 1) {
                    if (second.priority, &second.turn) != (first.priority, &first.turn) {
                        served.insert(&second.turn);
                        continue;
                    }
                    assert!(first.id < second.id, "the oldest of a value first");
                    let waits: BTreeSet<_> = order[later + 1..]
                        .iter()
                        .filter(|job| job.priority == first.priority && job.turn != first.turn)
                        .map(|job| &job.turn)
                        .collect();
                    assert!(waits.is_subset(&served), "{waits:?} had no turn: {order:#?}");
                    break;
                }
            }
        });
    }
}

#[tokio::test]
async fn changed_setting_renews_the_turns_of_all_jobs() {
    let rig = Rig::new();
    rig.ingest([1, 1, 1, 2, 0].into_iter().map(|value| job((0, 0, value))).collect()).await;
    let turns = || async {
        let mut turns = Vec::new();
        let mut taken = Turns::default();
        for _ in 0..3 {
            let (heads, _) = rig.store.submit_queue(NOW, taken.clone()).await.unwrap();
            taken.take(&heads[0]);
            turns.push(heads[0].turn.clone());
        }
        turns
    };
    assert_eq!(turns().await, ["", "", ""]);
    rig.store.set_fair_by(Some("project".into())).await.unwrap();
    assert_eq!(turns().await, ["", "1", "2"]);
    rig.store.set_fair_by(Some("folder".into())).await.unwrap();
    assert_eq!(turns().await, ["", "", ""]);
    rig.store.set_fair_by(Some("project".into())).await.unwrap();
    rig.store.set_fair_by(None).await.unwrap();
    assert_eq!(turns().await, ["", "", ""]);
}
