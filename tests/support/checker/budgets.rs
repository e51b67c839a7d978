//! I20: the sums of budgets are those of the attempts, every final cost that the provider has named is recorded with its
//! attempt, and what is submitted on a day was estimated within the limit.

use std::collections::BTreeMap;

use dropreel::job::retry::MAX_SETTLEMENT_TRIES;
use dropreel::money::Quota;
use dropreel::sandbox::ledger::TaskEntry;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::database::{Row, Snapshot, is_end};
use super::{DailyBudget, ELSEWHERE, Evidence, Findings, When};

/// The unit of `spending.quarter`, in milliseconds.
const QUARTER_MS: i64 = 900_000;

/// What is reserved and settled, by period or label.
type Sums<K> = BTreeMap<K, [i64; 2]>;

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    check_sums(snapshot, found);
    check_label_sums(snapshot, found);
    for attempt in &snapshot.attempts {
        let made = |entry: &&TaskEntry| entry.task_id == attempt.text("task_id");
        if let Some(task) = evidence.ledger.tasks.iter().find(made) {
            check_charge(attempt, task, found);
            check_settlement(evidence, snapshot, attempt, task, found);
        }
    }
    if evidence.when == When::Finally {
        check_total(evidence, snapshot, found);
    }
    if let Some(budget) = &evidence.log.daily_budget {
        check_limit(snapshot, budget, found);
    }
}

fn check_sums(snapshot: &Snapshot, found: &mut Findings) {
    let mut of_attempts = Sums::new();
    for row in &snapshot.attempts {
        add(&mut of_attempts, row.count("counted_at").div_euclid(QUARTER_MS), row);
    }
    let sums = |row: &Row| (row.count("quarter"), [row.count("reserved"), row.count("settled")]);
    let stored = snapshot.spending.iter().map(sums).collect();
    compare("quarter", of_attempts, stored, found);
}

fn check_label_sums(snapshot: &Snapshot, found: &mut Findings) {
    let rows = |table: &'static str| {
        snapshot.others.iter().filter(move |(name, _)| name == table).map(|(_, row)| row)
    };
    let label = |row: &Row| format!("{}={}", row.text("key"), row.text("value"));
    let mut of_attempts = Sums::new();
    for labelled in rows("labels") {
        for row in snapshot.attempts.iter().filter(|row| row.number("job") == labelled.number("job")) {
            add(&mut of_attempts, label(labelled), row);
        }
    }
    let sums = |row: &Row| (label(row), [row.count("reserved"), row.count("settled")]);
    compare("label", of_attempts, rows("label_spending").map(sums).collect(), found);
}

fn add<K: Ord>(sums: &mut Sums<K>, key: K, attempt: &Row) {
    let settled = usize::from(attempt.count("counted_settled") == 1);
    sums.entry(key).or_default()[settled] += attempt.count("counted_quota");
}

fn compare<K: Ord + std::fmt::Display>(
    what: &str,
    mut of_attempts: Sums<K>,
    mut stored: Sums<K>,
    found: &mut Findings,
) {
    for sums in [&mut of_attempts, &mut stored] {
        sums.retain(|_, sums| *sums != [0, 0]);
    }
    for (key, sums) in of_attempts {
        let known = stored.remove(&key).unwrap_or_default();
        found.unless(known == sums, 20, || {
            format!("of {what} {key}, {known:?} are reserved and settled, but {sums:?} by the attempts")
        });
    }
    for (key, sums) in stored {
        found.add(20, format!("of {what} {key}, {sums:?} are reserved and settled, but no attempt is"));
    }
}

/// No attempt was charged more or less than its task, unless the provider has changed its mind since it was asked.
fn check_charge(attempt: &Row, task: &TaskEntry, found: &mut Findings) {
    let Some(charged) = attempt.number("charged_quota") else { return };
    // While it is not settled, an answer may say what was frozen.
    let known = [task.cost, task.frozen].iter().any(|quota| quota.get() == charged);
    found.unless(known, 20, || {
        format!("task {} was charged {charged}, which the provider never said", task.task_id)
    });
}

/// A final cost that the provider has named is recorded with its attempt, and one that it has announced is asked for.
fn check_settlement(
    evidence: &Evidence<'_>,
    snapshot: &Snapshot,
    attempt: &Row,
    task: &TaskEntry,
    found: &mut Findings,
) {
    let Some(charged) = task.charged else { return };
    let recorded = attempt.number("charged_quota");
    // The older service settles without a word: what it says at the end looks final.
    let announced = task.pending_answers > 0 || task.settled_at == task.ended_at;
    if recorded == Some(charged.get()) || !announced || will_be_polled(snapshot, attempt) {
        return;
    }
    // Answers may be lost until the daemon gives up.
    let polls = evidence.ledger.requests.iter().filter(|request| {
        let since_end = task.ended_at.is_some_and(|ended| request.at >= ended);
        request.call == "status" && since_end && request.task_id.as_deref() == Some(&*task.task_id)
    });
    let gave_up = polls.count() >= MAX_SETTLEMENT_TRIES as usize || evidence.ledger.requests_not_kept > 0;
    let (id, pending) = (&task.task_id, task.pending_answers);
    found.unless(gave_up || !task.reported_final, 20, || {
        format!("task {id} was settled at {charged} and reported, but {recorded:?} is recorded")
    });
    found.unless(gave_up || task.reported_final || pending == 0, 20, || {
        format!(
            "task {id} was settled at {charged} after {pending} answers without its cost; nobody asks for it"
        )
    });
}

/// Whether the daemon polls the task of an attempt some time, for whatever reason.
fn will_be_polled(snapshot: &Snapshot, attempt: &Row) -> bool {
    let is_its_task = |job: &&Row| job.text("task_id") == attempt.text("task_id");
    let job = snapshot.job(attempt.count("job"));
    let next = job.filter(is_its_task).map_or("", |job| job.text("next_action"));
    let is_running = job.filter(is_its_task).is_some_and(|job| !is_end(job.text("state")));
    ["poll", "poll_failing", "cancel"].contains(&next)
        || is_running
        || attempt.number("settlement_at").is_some()
}

/// Once everything is settled, the sums are those of the ledger.
fn check_total(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let is_settled = |row: &Row| row.count("counted_settled") == 1 || row.count("counted_quota") == 0;
    let is_ours = |task: &&TaskEntry| task.key.as_ref().is_some_and(|key| !key.starts_with(ELSEWHERE));
    let tasks: Vec<&TaskEntry> = evidence.ledger.tasks.iter().filter(is_ours).collect();
    // What the older service settles later, and without a word, is not known.
    let is_reported = |task: &&TaskEntry| {
        task.charged.is_some() && (task.reported_final || task.settled_at == task.ended_at)
    };
    if snapshot.attempts.iter().all(is_settled) && tasks.iter().all(is_reported) {
        let charged: i64 = tasks.iter().filter_map(|task| task.charged).map(Quota::get).sum();
        let settled: i64 = snapshot.spending.iter().map(|row| row.count("settled")).sum();
        found.unless(settled == charged, 20, || format!("{settled} are settled, but {charged} were charged"));
    }
}

/// A charge may exceed the estimate that it was submitted with, so the smaller of both counts. A refused submit that was
/// executed all the same counts again, whatever was submitted meanwhile.
fn check_limit(snapshot: &Snapshot, budget: &DailyBudget, found: &mut Findings) {
    let zone = TimeZone::get(budget.zone).expect("a known zone");
    let mut days: BTreeMap<_, i64> = BTreeMap::new();
    for row in &snapshot.attempts {
        let revived = snapshot.history.iter().any(|entry| {
            entry.number("job") == row.number("job") && entry.text("detail").starts_with("task_after_refusal")
        });
        if !revived {
            let counted = row.count("counted_quota").min(row.number("estimate_quota").unwrap_or(0));
            let at = Timestamp::from_millisecond(row.count("counted_at")).expect("a time");
            *days.entry(at.to_zoned(zone.clone()).date()).or_default() += counted;
        }
    }
    let limit = budget.limit;
    for (day, spent) in days {
        found.unless(spent <= limit, 20, || format!("on day {day}, {spent} were submitted within {limit}"));
    }
}
