//! How often the status of tasks is asked for: by what is learned of their times, no more often than without it; and
//! more often only while somebody watches. All runs have the same tasks, which take the same times.

use crate::scenario::Scenario;
use crate::{Disks, run_scenario};

const JOBS: u32 = 24;
/// Odd: these have no budget.
const SEEDS: [u64; 4] = [1, 3, 5, 7];
/// The time that each task of a run takes, in seconds.
type RunSeconds = fn(u32) -> u32;
/// The plan of the provider, and the times of its tasks: some end before they would be polled without a callback and some
/// long after; or all about then. Callbacks end most polling; without them, every task is polled until it ends.
const CASES: [(&str, RunSeconds); 3] = [
    ("generation=new", long_and_short),
    ("generation=new callback=lost", long_and_short),
    ("generation=new", about_the_grace),
];

fn long_and_short(number: u32) -> u32 {
    10 + number * 67 % 290
}

fn about_the_grace(number: u32) -> u32 {
    85 + number * 17 % 45
}

pub fn watchers_alone_cost_more_polls(disks: &Disks) -> bool {
    CASES.iter().all(|(plan, run_seconds)| {
        let mut sums = [0; 3];
        for seed in SEEDS {
            let scenarios = [
                // No three jobs are of one class, so nothing is learned.
                Scenario::one_after_another(JOBS, |number| 2 + number % 14, run_seconds, false),
                Scenario::one_after_another(JOBS, |_| 5, run_seconds, false),
                Scenario::one_after_another(JOBS, |_| 5, run_seconds, true),
            ];
            for (sum, scenario) in sums.iter_mut().zip(scenarios) {
                let outcome = run_scenario(seed, &disks.places[0], scenario, plan);
                let unfinished = outcome.outcomes.values().find(|outcome| !outcome.starts_with("succeeded"));
                if let Some(wrong) = outcome.violations.first().or(unfinished) {
                    println!("seed {seed}, polls: {wrong}");
                    return false;
                }
                let is_poll = |line: &&String| line.contains("GET /v1/tasks/") && line.ends_with("is sent");
                *sum += outcome.trace.iter().filter(is_poll).count();
            }
        }
        let [unlearned, learned, watched] = sums;
        println!(
            "{} tasks with {plan}: {unlearned} polls, {learned} once their times are learned, {watched} while somebody \
             watches",
            JOBS as usize * SEEDS.len()
        );
        learned <= unlearned && watched > learned
    })
}
