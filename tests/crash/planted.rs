//! Proof that the harnesses see: each planted bug turns its harness red, and without it the harness is green.

use std::net::TcpListener;
use std::time::Duration;

use dropreel::failpoints::{Bug, FailPoint};

use crate::kills::Round;
use crate::points::in_parallel;
use crate::points::stage::Stage;
use crate::points::story::{Play, Story};
use crate::support::checker::Limits;

/// Far longer than a story without a bug takes; with one, it may never come to rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to catch a bug.
#[derive(Clone, Copy, Debug)]
enum Harness {
    /// Only a power cut shows it: `tests/crash/power.rs`.
    Power,
    /// A death at this place, with jobs of these words.
    Death(FailPoint, &'static str),
    /// The same, but whether it shows depends on which of two threads is first.
    Race(FailPoint, &'static str),
    /// No death at all: jobs of these words.
    Alive(&'static str),
    /// Kills at any moment.
    Kills,
    /// A callback that comes after the end.
    LateCallback,
    /// A redirect to where nobody may go.
    Listener,
    /// A limit of the provider, with other jobs waiting.
    Limit,
    /// A file that changes between two requests for it.
    ChangedFile,
}

/// Which harness catches which bug.
const CAUGHT: &[(Bug, Harness)] = &[
    (Bug::CommitWithoutFlush, Harness::Power),
    (Bug::NoFileFlush, Harness::Power),
    (Bug::NoFolderFlush, Harness::Power),
    (Bug::MoveBeforeCommit, Harness::Death(FailPoint::IntakeJudged, "")),
    (Bug::AnswerBeforeCommit, Harness::Race(FailPoint::DoorAnswered, "callback=copies:12")),
    (Bug::OutcomeForgotten, Harness::Death(FailPoint::SubmitReceived, "")),
    (Bug::PlanForgotten, Harness::Death(FailPoint::PublishRenamed, "")),
    (Bug::NewKeyOnRetry, Harness::Alive("submit=lost")),
    (Bug::BodyChangedOnRetry, Harness::Alive("submit=503")),
    (Bug::PublishUnchecked, Harness::Alive("media=html200x1")),
    (Bug::ShortBodyAccepted, Harness::Alive("kind=audio media=short")),
    (Bug::SecondOutputIgnored, Harness::Alive("outputs=2")),
    (Bug::UnknownStatusFails, Harness::Alive("processing=pondering run=1s")),
    (Bug::LinkLogged, Harness::Alive("")),
    (Bug::TokenUnchecked, Harness::Alive("callback=forged")),
    (Bug::EndLeft, Harness::LateCallback),
    (Bug::RedirectUnchecked, Harness::Listener),
    (Bug::PauseIgnored, Harness::Limit),
    (Bug::ResumeBlindly, Harness::ChangedFile),
    // Those about money and promises must not escape chance either.
    (Bug::OutcomeForgotten, Harness::Kills),
    (Bug::NewKeyOnRetry, Harness::Kills),
    (Bug::BodyChangedOnRetry, Harness::Kills),
];

impl Harness {
    /// Runs it with a bug or without. What it found wrong.
    async fn run(self, bug: Option<Bug>, seed: u64) -> Result<(), String> {
        match self {
            Self::Power => Ok(()),
            Self::Death(site, words) => play(Story::Jobs(words), vec![(site, 1)], bug, seed).await,
            Self::Race(site, words) => play(Story::Jobs(words), vec![(site, 2 + seed % 10)], bug, seed).await,
            Self::Alive(words) => play(Story::Jobs(words), Vec::new(), bug, seed).await,
            Self::Kills => {
                let round = Round { seed, kills: 10, bug, patience: Duration::from_secs(60) };
                round.run().await.map(|_| ())
            }
            Self::LateCallback => late_callback(bug).await,
            Self::Listener => listener(bug).await,
            Self::Limit => limit(bug).await,
            Self::ChangedFile => changed_file(bug).await,
        }
    }

    /// What depends on chance is tried so often, until it shows.
    fn tries(self) -> u64 {
        match self {
            Self::Race(..) => 60,
            Self::Kills => 15,
            _ => 1,
        }
    }
}

async fn play(
    story: Story,
    deaths: Vec<(FailPoint, u64)>,
    bug: Option<Bug>,
    seed: u64,
) -> Result<(), String> {
    Play { story, deaths, bug, seed, patience: PATIENCE }.run().await.map(|_| ())
}

async fn stage(bug: Option<Bug>) -> Stage {
    let mut stage = Stage::set_up("", 1).await;
    stage.patience = PATIENCE;
    if let Some(bug) = bug {
        stage.rig.set_plain("REELLAB_BUG", bug.as_str());
    }
    stage.rig.start_daemon().await;
    stage
}

async fn late_callback(bug: Option<Bug>) -> Result<(), String> {
    let mut stage = stage(bug).await;
    stage.drop_job("late", "callback=late:2s", &[], &["succeeded"]);
    stage.settle().await?;
    while !stage.rig.sandbox.ledger().callbacks.iter().any(|callback| callback.status == Some(204)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.finish(true).await
}

async fn listener(bug: Option<Bug>) -> Result<(), String> {
    let forbidden = TcpListener::bind("127.0.0.1:0").unwrap();
    forbidden.set_nonblocking(true).unwrap();
    let mut stage = stage(bug).await;
    let words = format!("media=redirect:http://user:word@{}/a.mp4", forbidden.local_addr().unwrap());
    stage.drop_job("led-astray", &words, &[], &["held"]);
    let settled = stage.settle().await;
    if forbidden.accept().is_ok() {
        return Err("I15: a forbidden address was connected to".to_owned());
    }
    settled?;
    stage.finish(true).await
}

async fn limit(bug: Option<Bug>) -> Result<(), String> {
    let mut stage = stage(bug).await;
    let in_flight = Duration::from_millis(500);
    stage.log.limits = Some(Limits { submit_spacing: Duration::ZERO, max_running: 200, in_flight });
    stage.drop_job("limited", "submit=429:4s", &[], &["succeeded"]);
    while stage.rig.sandbox.ledger().faults.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(2 * in_flight).await;
    stage.drop_job("other", "", &[], &["succeeded"]);
    stage.settle().await?;
    stage.finish(true).await
}

async fn changed_file(bug: Option<Bug>) -> Result<(), String> {
    let mut stage = stage(bug).await;
    stage.drop_job("changed", "media=reset:4KiB etag=changes", &[], &["succeeded"]);
    stage.settle().await?;
    // A sandbox whose file has changed sends the rest of another file only to who does not say which one he had.
    let ledger = stage.rig.sandbox.ledger();
    let mut ranges = ledger.requests.iter().filter(|arrival| arrival.range.is_some()).peekable();
    if ranges.peek().is_none() {
        return Err("nothing was gone on with: this shows nothing".to_owned());
    }
    if ranges.any(|arrival| arrival.status == Some(206)) {
        return Err("I9: the end of one file was put behind the beginning of another".to_owned());
    }
    stage.finish(true).await
}

#[test]
fn every_planted_bug_is_given_to_a_harness() {
    for bug in Bug::ALL {
        assert!(CAUGHT.iter().any(|(known, _)| known == bug), "{} is nobody's", bug.as_str());
    }
}

#[test]
fn every_harness_turns_red_with_its_bug_and_is_green_without() {
    let here: Vec<(Bug, Harness)> =
        CAUGHT.iter().filter(|(_, harness)| !matches!(harness, Harness::Power)).copied().collect();
    let cases: Vec<(Bug, Harness, bool)> =
        here.iter().flat_map(|(bug, harness)| [(*bug, *harness, true), (*bug, *harness, false)]).collect();
    let results = in_parallel(&cases, async |(bug, harness, planted)| {
        let mut seen = Ok(());
        let tries = if *planted { harness.tries() } else { harness.tries().min(3) };
        for seed in 0..tries {
            seen = harness.run(planted.then_some(*bug), 7 + seed).await;
            // A bug that only keeps a job moving for ever has not shown which promise it breaks: the next seed may.
            let shown = seen.as_ref().is_err_and(|why| !planted || !why.starts_with("not at rest"));
            if shown {
                break;
            }
        }
        seen
    });
    let mut wrong = Vec::new();
    for ((bug, harness, planted), result) in cases.iter().zip(results) {
        match (planted, result) {
            (true, Err(why)) if why.starts_with("not at rest") => {
                wrong.push(format!("{harness:?} with {} only never comes to rest:\n{why}", bug.as_str()));
            }
            (true, Err(why)) => {
                let first = why.lines().find(|line| line.starts_with('I')).or(why.lines().next());
                eprintln!("{:24}{harness:?}: {}", bug.as_str(), first.unwrap_or_default());
            }
            (false, Ok(())) => {}
            (true, Ok(())) => wrong.push(format!("{harness:?} does not see {}", bug.as_str())),
            (false, Err(why)) => wrong.push(format!("{harness:?} is red without a bug:\n{why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
