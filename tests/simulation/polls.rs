//! How often the status of tasks is asked for: by what is learned of their times, no more often than without it; and
//! more often only while somebody watches.

use crate::scenario::Scenario;
use crate::{Disks, run_scenario};

const JOBS: u32 = 16;
/// Odd: these have no budget.
const SEEDS: [u64; 2] = [1, 3];

pub fn watchers_alone_cost_more_polls(disks: &Disks) -> bool {
    let mut sums = [0; 3];
    for seed in SEEDS {
        let scenarios = [
            // No three jobs are of one class, so nothing is learned.
            Scenario::one_after_another(JOBS, |number| 2 + number % 14, false),
            Scenario::one_after_another(JOBS, |_| 5, false),
            Scenario::one_after_another(JOBS, |_| 5, true),
        ];
        for (sum, scenario) in sums.iter_mut().zip(scenarios) {
            let outcome = run_scenario(seed, &disks.places[0], scenario, "generation=new");
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
        "{} tasks: {unlearned} polls, {learned} once their times are learned, {watched} while somebody watches",
        JOBS as usize * SEEDS.len()
    );
    // Other requests get tasks of other lengths: a twentieth is chance.
    learned * 20 <= unlearned * 21 && watched > learned
}
