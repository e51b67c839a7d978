//! Shows that the crash tests catch bugs: each case fails with its mutant on, and passes with it off.
//!
//! `ci/mutants` runs the ignored test, against a copy of the repository with the patches of `tests/mutants` applied.

use std::net::TcpListener;
use std::time::Duration;

use dropreel::failpoints::FailPoint;

use crate::kills::Round;
use crate::points::crash_harness::CrashHarness;
use crate::points::in_parallel;
use crate::points::scenario::{CrashRun, Scenario};
use crate::support::checker::Limits;
use crate::support::mutants::{self, Mutant};

/// Far longer than a run takes without a mutant. With one, the jobs may never settle.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A run in which a bug shows.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// A kill at this point, with jobs under these faults.
    Kill(FailPoint, &'static str),
    /// The same, but whether the bug shows depends on which of two threads is first.
    Race(FailPoint, &'static str),
    /// No kill: jobs under these faults.
    NoKill(&'static str),
    /// The same, with a bucket that stores half of a file.
    Bucket(&'static str),
    /// Kills at any moment.
    RandomKills,
    /// A callback that arrives after the end of its job.
    LateCallback,
    /// A redirect to an address that is not allowed.
    Redirect,
    /// A rate limit of the provider, with other jobs waiting.
    RateLimit,
    /// A file that changes between two requests for it.
    ChangedFile,
    /// The database is put back to a copy from before a job file.
    Copy,
}

/// Which case catches which mutant.
const CASES: &[(&str, Case)] = &[
    ("move-before-commit", Case::Kill(FailPoint::IntakeValidated, "")),
    ("answer-before-commit", Case::Race(FailPoint::ResponseWritten, "callback=copies:12")),
    ("outcome-forgotten", Case::Kill(FailPoint::SubmitReceived, "")),
    ("plan-forgotten", Case::Kill(FailPoint::PublishRenamed, "")),
    ("new-key-on-retry", Case::NoKill("submit=lost")),
    ("body-changed-on-retry", Case::NoKill("submit=503")),
    ("publish-unchecked", Case::NoKill("media=html200x1")),
    ("upload-unchecked", Case::Bucket("")),
    ("short-body-accepted", Case::NoKill("kind=audio media=short")),
    ("second-output-ignored", Case::NoKill("outputs=2")),
    ("unknown-status-fails", Case::NoKill("processing=pondering run=1s")),
    ("link-logged", Case::NoKill("")),
    ("token-unchecked", Case::NoKill("callback=forged")),
    ("final-state-left", Case::LateCallback),
    ("settlement-ignored", Case::NoKill("generation=new unlisted=yes settle=after:1s")),
    ("redirect-unchecked", Case::Redirect),
    ("pause-ignored", Case::RateLimit),
    ("resume-blindly", Case::ChangedFile),
    ("copy-unrecognized", Case::Copy),
    ("superseded-submits", Case::Copy),
    // Those that cost money or break a promise must not escape random kills either.
    ("outcome-forgotten", Case::RandomKills),
    ("new-key-on-retry", Case::RandomKills),
    ("body-changed-on-retry", Case::RandomKills),
];

impl Case {
    /// Runs it with a mutant or without. The error is what went wrong.
    async fn run(self, mutant: Option<&'static str>, seed: u64) -> Result<(), String> {
        match self {
            Self::Kill(point, faults) => play(Scenario::Jobs(faults), vec![(point, 1)], mutant, seed).await,
            Self::Race(point, faults) => {
                play(Scenario::Jobs(faults), vec![(point, 2 + seed % 10)], mutant, seed).await
            }
            Self::NoKill(faults) => play(Scenario::Jobs(faults), Vec::new(), mutant, seed).await,
            Self::Bucket(faults) => play(Scenario::Bucket(faults), Vec::new(), mutant, seed).await,
            Self::RandomKills => {
                let round = Round { seed, kills: 10, mutant, timeout: Duration::from_secs(60) };
                round.run().await.map(|_| ())
            }
            Self::LateCallback => late_callback(mutant).await,
            Self::Redirect => redirect(mutant).await,
            Self::RateLimit => rate_limit(mutant).await,
            Self::ChangedFile => changed_file(mutant).await,
            Self::Copy => copied_database(mutant).await,
        }
    }

    /// The number of seeds within which a mutant must show.
    fn max_seeds(self) -> u64 {
        match self {
            Self::Race(..) => 60,
            Self::RandomKills => 15,
            _ => 1,
        }
    }
}

async fn play(
    scenario: Scenario,
    deaths: Vec<(FailPoint, u64)>,
    mutant: Option<&'static str>,
    seed: u64,
) -> Result<(), String> {
    CrashRun { scenario, deaths, mutant, seed, timeout: TIMEOUT }.run().await.map(|_| ())
}

async fn start(mutant: Option<&str>) -> CrashHarness {
    let mut harness = CrashHarness::set_up("", 1).await;
    harness.timeout = TIMEOUT;
    if let Some(mutant) = mutant {
        harness.rig.set_variable(mutants::VARIABLE, mutant);
    }
    harness.rig.start_daemon().await;
    harness
}

async fn late_callback(mutant: Option<&str>) -> Result<(), String> {
    let mut harness = start(mutant).await;
    harness.drop_job("late", "callback=late:2s", &[], &["succeeded"]);
    harness.settle().await?;
    while !harness.rig.sandbox.ledger().callbacks.iter().any(|callback| callback.status == Some(204)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    harness.finish(true).await
}

async fn redirect(mutant: Option<&str>) -> Result<(), String> {
    let forbidden = TcpListener::bind("127.0.0.1:0").unwrap();
    forbidden.set_nonblocking(true).unwrap();
    let mut harness = start(mutant).await;
    let fault = format!("media=redirect:http://user:word@{}/a.mp4", forbidden.local_addr().unwrap());
    harness.drop_job("redirected", &fault, &[], &["held"]);
    let settled = harness.settle().await;
    if forbidden.accept().is_ok() {
        return Err("I15: a forbidden address was connected to".to_owned());
    }
    settled?;
    harness.finish(true).await
}

async fn rate_limit(mutant: Option<&str>) -> Result<(), String> {
    let mut harness = start(mutant).await;
    let in_flight = Duration::from_millis(500);
    let (submit_spacing, poll_spacing) = (Duration::ZERO, Duration::from_secs(1));
    harness.log.limits = Some(Limits { submit_spacing, poll_spacing, max_running: 200, in_flight });
    harness.drop_job("limited", "submit=429:4s", &[], &["succeeded"]);
    while harness.rig.sandbox.ledger().faults.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(2 * in_flight).await;
    harness.drop_job("other", "", &[], &["succeeded"]);
    harness.settle().await?;
    harness.finish(true).await
}

async fn changed_file(mutant: Option<&str>) -> Result<(), String> {
    let mut harness = start(mutant).await;
    harness.drop_job("changed", "media=reset:4KiB etag=changes", &[], &["succeeded"]);
    harness.settle().await?;
    // The sandbox sends the rest of a changed file only if the request does not say which file it continues.
    let ledger = harness.rig.sandbox.ledger();
    let mut ranges = ledger.requests.iter().filter(|arrival| arrival.range.is_some()).peekable();
    if ranges.peek().is_none() {
        return Err("no download was resumed: the case proves nothing".to_owned());
    }
    if ranges.any(|arrival| arrival.status == Some(206)) {
        return Err("I9: the end of one file was appended to the beginning of another".to_owned());
    }
    harness.finish(true).await
}

async fn copied_database(mutant: Option<&str>) -> Result<(), String> {
    let mut harness = start(mutant).await;
    harness.drop_job("early", "", &[], &["succeeded"]);
    harness.settle().await?;
    let (database, copy) = (harness.rig.path("dropreel.db"), harness.rig.beside("copy.db"));
    let vacuum = rusqlite::Connection::open(&database).unwrap();
    vacuum.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(vacuum);
    harness.drop_job("late", "", &[], &["succeeded"]);
    harness.settle().await?;
    harness.rig.stop().await;
    for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
        let _ = std::fs::remove_file(harness.rig.path(leftover));
    }
    std::fs::rename(copy, database).unwrap();
    harness.rig.start_daemon().await;
    let start = std::time::Instant::now();
    let outcome = loop {
        let late = harness.rig.job("late").await["state"].clone();
        if harness.rig.sandbox.ledger().tasks.len() > 2 {
            break Err("I4: a job is paid for twice".to_owned());
        }
        if late == "held" {
            break Ok(());
        }
        if start.elapsed() > TIMEOUT {
            break Err(format!("I5: a job that was paid for is {late}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    harness.rig.kill();
    outcome
}

#[test]
fn every_mutant_has_a_case() {
    let mutants = Mutant::all();
    assert_eq!(mutants.len(), 42);
    for mutant in &mutants {
        let has_case = CASES.iter().any(|(name, _)| *name == mutant.name);
        assert_eq!(has_case, mutant.is_caught_by("crash"), "{}", mutant.name);
        let has_power_case = crate::power::MUTANTS.iter().any(|(name, _)| *name == mutant.name);
        assert_eq!(has_power_case, mutant.is_caught_by("power"), "{}", mutant.name);
        let by_others = ["simulation", "servers"].iter().any(|harness| mutant.is_caught_by(harness));
        let is_caught = has_case || has_power_case || by_others;
        assert!(is_caught, "no harness catches {}", mutant.name);
    }
    for (name, _) in CASES {
        assert!(mutants.iter().any(|mutant| mutant.name == *name), "there is no mutant {name}");
    }
}

#[test]
#[ignore = "ci/mutants runs this, on a copy of the repository that has the mutants"]
fn mutants_fail_their_cases() {
    let runs: Vec<(&'static str, Case, bool)> =
        CASES.iter().flat_map(|(name, case)| [(*name, *case, true), (*name, *case, false)]).collect();
    let results = in_parallel(&runs, async |(mutant, case, on)| {
        let mut outcome = Ok(());
        let seeds = if *on { case.max_seeds() } else { case.max_seeds().min(3) };
        for seed in 0..seeds {
            outcome = case.run(on.then_some(*mutant), 7 + seed).await;
            // If the jobs only fail to settle, no violated promise is known yet: another seed may show one.
            let is_shown = outcome.as_ref().is_err_and(|why| !on || !why.starts_with("not settled"));
            if is_shown {
                break;
            }
        }
        outcome
    });
    let mut wrong = Vec::new();
    for ((mutant, case, on), result) in runs.iter().zip(results) {
        match (on, result) {
            (true, Err(why)) if why.starts_with("not settled") => {
                wrong.push(format!("{case:?} with {mutant} only never settles:\n{why}"));
            }
            (true, Err(why)) => {
                let first = why.lines().find(|line| line.starts_with('I')).or(why.lines().next());
                eprintln!("{mutant:24}{case:?}: {}", first.unwrap_or_default());
            }
            (false, Ok(())) => {}
            (true, Ok(())) => wrong.push(format!("{case:?} does not catch {mutant}")),
            (false, Err(why)) => wrong.push(format!("{case:?} fails without a mutant:\n{why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
