//! Rounds in which every fault happens once, in an order that the seed decides.

use std::time::{Duration, Instant};

use dropreel::rng::Rng;

use crate::checks::MAX_RUNNING;
use crate::cluster::Cluster;
use crate::faults::{Fault, Lengths, Report};
use crate::load::Load;
use crate::number;

/// Between two jobs, on average.
const EVERY: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the network that ci/cluster makes"]
async fn jobs_survive_every_fault_once_paid_and_stored_whole() {
    let (rounds, seed) = (number("DROPREEL_ROUNDS"), number("DROPREEL_SEED"));
    let is_long = std::env::var("DROPREEL_LONG").is_ok_and(|text| !text.is_empty());
    let lengths = if is_long { Lengths::LONG } else { Lengths::SHORT };
    let (mut report, began, mut jobs, mut tasks) = (Report::default(), Instant::now(), 0, 0);
    for round in 0..rounds {
        let rng = Rng::seeded(seed + round);
        println!("round {} of {rounds}, seed {}", round + 1, seed + round);
        let most = MAX_RUNNING.to_string();
        let cluster = Cluster::start(&format!("round_{round}"), &[("PROVIDER__MAX_RUNNING", &most)]).await;
        let load = Load::start(&cluster, "job", seed + round, EVERY);
        for fault in shuffled(&rng) {
            let (start, count) = (Instant::now(), load.count());
            // A fault that meets no work proves nothing.
            load.continue_for(3, Duration::from_secs(30)).await;
            fault.run(&cluster, &lengths, &rng, &mut report).await;
            println!("{fault:?}: {} jobs, {:.1?}", load.count() - count, start.elapsed());
        }
        let accepted = load.end().await;
        let settled = cluster.until_settled(&accepted.names).await;
        for job in &settled {
            assert_eq!(job["state"], "succeeded", "{job:#}\n{}", cluster.logs());
        }
        assert_eq!(settled.len(), accepted.names.len());
        cluster.stop().await;
        cluster.check().await;
        jobs += accepted.names.len();
        tasks += cluster.sandbox.ledger().tasks.len();
    }
    let counts: Vec<String> = report.counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    println!(
        "jobs: {jobs}, tasks: {tasks}, {}, in {:.0?}; lost: 0, paid twice: 0; until a node led, at most {:.1?}",
        counts.join(", "),
        began.elapsed(),
        report.takeovers
    );
    report.check();
}

fn shuffled(rng: &Rng) -> Vec<Fault> {
    let mut faults = Fault::ALL.to_vec();
    for place in (1..faults.len()).rev() {
        faults.swap(place, usize::try_from(rng.below(place as u64 + 1)).unwrap());
    }
    faults
}
