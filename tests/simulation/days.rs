//! The turn of the day: what does not fit into a budget continues on the next days, by priority, in every time zone.

use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::clock::calendar::Zone;

use crate::run::{DAILY_BUDGET, daily_budget};
use crate::scenario::Scenario;
use crate::{Disks, run_scenario};

/// Jobs of a sixth of the budget each: they take three days.
const JOBS: u32 = 16;
/// Their budgets stay, and each has another zone.
const SEEDS: [u64; 5] = [0, 4, 8, 12, 16];
/// How soon after midnight the first job of the day is submitted.
const PROMPT: Duration = Duration::from_secs(60);

/// An attempt: when it was submitted, the name of its job, and what it counts for.
pub type Submitted = (Timestamp, String, i64);

pub fn rest_continues_on_the_next_days(disks: &Disks) -> bool {
    SEEDS.into_iter().all(|seed| {
        let outcome = run_scenario(seed, &disks.places[0], Scenario::over_days(JOBS), "generation=new");
        let mut wrong = outcome.violations.clone();
        wrong.extend(check(seed, &outcome.submitted));
        let unfinished = outcome.outcomes.iter().filter(|(_, outcome)| !outcome.starts_with("succeeded"));
        wrong.extend(unfinished.map(|(name, outcome)| format!("{name} is {outcome}")));
        for what in &wrong {
            println!("seed {seed}, the turn of the day: {what}");
        }
        wrong.is_empty()
    })
}

fn check(seed: u64, submitted: &[Submitted]) -> Vec<String> {
    let (budget, begin) = daily_budget(seed);
    let zone = budget.and_then(|budget| Zone::named(budget.zone)).expect("a budget with a zone");
    let mut wrong = Vec::new();
    let names: Vec<&str> = submitted.iter().map(|(_, name, _)| name.as_str()).collect();
    if names.len() != JOBS as usize || !names.is_sorted() {
        wrong.push(format!("{zone}: submitted in the order {names:?}"));
    }
    let (mut day, mut rest) = (zone.day_of(begin), submitted);
    while !rest.is_empty() {
        let of_day = rest.partition_point(|(at, ..)| *at < day.end);
        let (today, later) = rest.split_at(of_day);
        let spent: i64 = today.iter().map(|(.., quota)| quota).sum();
        let next = later.first().map_or(0, |(.., quota)| *quota);
        let date = zone.date_of(day.start);
        if spent > DAILY_BUDGET.get() || next > 0 && spent + next <= DAILY_BUDGET.get() {
            wrong.push(format!("{zone}, {date}: {spent} were spent, and {next} waited"));
        }
        let is_prompt = |(at, ..): &Submitted| at.since(day.start) < PROMPT;
        if day.start > begin && !today.first().is_some_and(is_prompt) {
            wrong.push(format!("{zone}, {date}: nothing continued at midnight: {today:?}"));
            break;
        }
        (day, rest) = (zone.day_of(day.end), later);
    }
    let days = zone.day_of(begin).end;
    if submitted.last().is_none_or(|(at, ..)| *at < days) {
        wrong.push(format!("{zone}: no job had to wait for the next day"));
    }
    wrong
}
