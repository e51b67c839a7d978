//! I20: the sums of budgets are those of the attempts, what an attempt was charged is what the ledger says, and what is
//! submitted on a day was estimated within the limit.

use std::collections::BTreeMap;

use super::database::{Row, Snapshot};
use super::{Evidence, Findings};

/// The unit of `spending.quarter`, in milliseconds.
const QUARTER_MS: i64 = 900_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    check_sums(snapshot, found);
    check_charges(evidence, snapshot, found);
    if let Some(limit) = evidence.log.daily_budget {
        check_limit(snapshot, limit, found);
    }
}

fn check_sums(snapshot: &Snapshot, found: &mut Findings) {
    let mut of_attempts: BTreeMap<i64, [i64; 2]> = BTreeMap::new();
    for row in &snapshot.attempts {
        let sums = of_attempts.entry(row.count("counted_at").div_euclid(QUARTER_MS)).or_default();
        sums[usize::from(row.count("counted_settled") == 1)] += row.count("counted_quota");
    }
    let sums = |row: &Row| (row.count("quarter"), [row.count("reserved"), row.count("settled")]);
    let mut stored: BTreeMap<i64, [i64; 2]> = snapshot.spending.iter().map(sums).collect();
    for sums in [&mut of_attempts, &mut stored] {
        sums.retain(|_, sums| *sums != [0, 0]);
    }
    // Pruned attempts stay in the sums.
    for (quarter, sums) in of_attempts {
        let known = stored.get(&quarter).copied().unwrap_or_default();
        found.unless(known == sums, 20, || {
            format!("in quarter {quarter}, {known:?} are reserved and settled, but {sums:?} by the attempts")
        });
    }
}

/// No attempt was charged more or less than its task, unless the provider has changed its mind since it was asked.
fn check_charges(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    for row in &snapshot.attempts {
        let (Some(charged), task) = (row.number("charged_quota"), row.text("task_id")) else { continue };
        let in_ledger = evidence.ledger.tasks.iter().find(|entry| entry.task_id == task);
        // While it is not settled, an answer may say what was frozen.
        let known = in_ledger
            .is_some_and(|entry| [entry.cost, entry.frozen].iter().any(|quota| quota.get() == charged));
        found.unless(known, 20, || {
            format!("task {task} was charged {charged}, which the provider never said")
        });
    }
}

/// A charge may exceed the estimate that it was submitted with, so the smaller of both counts.
fn check_limit(snapshot: &Snapshot, limit: i64, found: &mut Findings) {
    let mut days: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &snapshot.attempts {
        let counted = row.count("counted_quota").min(row.number("estimate_quota").unwrap_or(0));
        *days.entry(row.count("counted_at").div_euclid(DAY_MS)).or_default() += counted;
    }
    for (day, spent) in days {
        found.unless(spent <= limit, 20, || format!("on day {day}, {spent} were submitted within {limit}"));
    }
}
