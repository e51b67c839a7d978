//! The scenarios in which the daemon is killed. Each reaches the failpoints of its rows in the table.

use std::time::Duration;

use dropreel::clock::Clock;
use dropreel::failpoints::FailPoint;
use rustix::process::Signal;
use serde_json::json;

use super::crash_harness::{CrashHarness, Ended, file_of, job_file};
use crate::support::bucket::{BucketServer, Fault};
use crate::support::checker::When;
use crate::support::mutants;

const DONE: &[&str] = &["succeeded"];

/// The faults of other jobs in a scenario, and how these jobs end.
const OTHERS: &[(&str, &[&str])] = &[
    ("", DONE),
    ("callback=lost", DONE),
    ("callback=copies:3", DONE),
    ("callback=early", DONE),
    ("callback=forged", DONE),
    ("submit=lost", DONE),
    ("outputs=2", DONE),
    ("kind=audio", DONE),
    ("status-shape=wrapped words=any", DONE),
    ("media=reset:4KiB", DONE),
    ("end=task_failed", &["failed"]),
];

/// What happens when the failpoint is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Jobs with these faults succeed.
    Jobs(&'static str),
    /// The same, with a bucket as the library, which fails now and then.
    Bucket(&'static str),
    /// Bad files are rejected.
    BadFiles,
    /// Job files come in more folders than are flushed one by one.
    Folders,
    /// Job files have a second name elsewhere.
    TwoNames,
    /// A person cancels a job that is queued.
    Cancel,
    /// A program posts a job, and posts it again if it got no answer.
    Api,
    /// A person pauses submits.
    Pause,
    /// A person moves waiting jobs to another machine.
    Export,
    /// Jobs name local pictures, one that all share and one of their own.
    Pictures,
    /// A job has a `not_before`.
    Wait,
    /// The alert before a link expires is due at once, by the settings.
    Alert,
    /// The provider gives a job the task of another.
    Shared,
    /// The daemon is stopped with SIGTERM.
    Stop,
    /// The database is put back to an older state.
    Restored,
}

/// One run of one scenario.
#[derive(Clone, Debug)]
pub struct CrashRun {
    pub scenario: Scenario,
    /// For each start but the last: the failpoint that kills the daemon, and at which hit.
    pub deaths: Vec<(FailPoint, u64)>,
    pub mutant: Option<&'static str>,
    /// Decides the number of jobs, their faults and the timing.
    pub seed: u64,
    pub timeout: Duration,
}

impl CrashRun {
    /// Runs it. Returns the failpoints that killed the daemon, or what went wrong.
    pub async fn run(&self) -> Result<Vec<FailPoint>, String> {
        let mut harness = CrashHarness::set_up("", self.seed).await;
        harness.timeout = self.timeout;
        if let Some(mutant) = self.mutant {
            harness.rig.set_variable(mutants::VARIABLE, mutant);
        }
        let jobs = 1 + harness.rng.below(4);
        let mut died = Vec::new();
        self.prepare(&mut harness).await?;
        for (start, (point, nth)) in self.deaths.iter().enumerate() {
            harness.rig.set_variable("DROPREEL_FAIL_KILL_AT", &format!("{}:{nth}", point.into_str()));
            let ended = match harness.rig.try_start_daemon().await {
                Err(status) if start == 0 => {
                    self.drop_all(&mut harness, jobs);
                    harness.classify_exit(status)?
                }
                Err(status) => harness.classify_exit(status)?,
                Ok(()) => {
                    if start == 0 {
                        self.drop_all(&mut harness, jobs);
                    }
                    self.act(&mut harness).await;
                    harness.until_ended_or_settled().await?
                }
            };
            let at = format!("{}:{nth} in start {start}", point.into_str());
            match ended {
                Ended::Died => {
                    if !harness.was_killed_at(*point).await {
                        return Err(format!("the daemon died, but not at {at}:\n{}", harness.rig.output()));
                    }
                    died.push(*point);
                }
                Ended::Settled => harness.rig.kill(),
                Ended::Stopped => {}
            }
            harness.check(When::Always, &at)?;
        }
        harness.rig.unset_variable("DROPREEL_FAIL_KILL_AT");
        if self.deaths.is_empty() {
            harness.rig.start_daemon().await;
            self.drop_all(&mut harness, jobs);
        } else {
            harness.rig.start_daemon().await;
        }
        if self.scenario != Scenario::Stop {
            self.act(&mut harness).await;
        }
        self.resume(&mut harness).await;
        if let Some((name, _)) = harness.moved.iter().find(|(_, lines)| **lines == 0) {
            return Err(format!("{name} was cancelled and never handed out:\n{}", harness.rig.output()));
        }
        let in_order = harness.rng.below(3) == 0;
        harness.finish(in_order).await.map(|()| died)
    }

    /// Prepares the data folder before the first kill.
    async fn prepare(&self, harness: &mut CrashHarness) -> Result<(), String> {
        match self.scenario {
            Scenario::Pictures => harness.rig.set("MEDIA__SERVE", "true"),
            Scenario::Bucket(_) => {
                let server = BucketServer::start();
                server.configure(&mut harness.rig);
                // More than sidecars fail: a failed sidecar has its video looked at once more.
                server.fail(".mp4", &[Fault::Half; 3]);
                server.fail(".json", &[Fault::Status(503), Fault::NoAnswer]);
                harness.bucket = Some(server);
            }
            Scenario::Alert => harness.rig.set("DOWNLOADS__ALERT_BEFORE_EXPIRY", "25h"),
            Scenario::Shared => {
                harness.rig.start_daemon().await;
                harness.drop_job("first", "", &[], DONE);
                harness.settle().await?;
                harness.rig.kill();
            }
            Scenario::Restored => {
                harness.rig.start_daemon().await;
                harness.rig.try_post("/api/v1/pause", json!({"what": "submits"}).to_string()).await;
                harness.drop_job("old", "", &[], &["held"]);
                harness.rig.until("old", &["pending"]).await;
                harness.rig.stop().await;
                let copy = std::fs::read(harness.rig.path("dropreel.db")).unwrap();
                harness.rig.start_daemon().await;
                harness.rig.try_post("/api/v1/resume", "{}".to_owned()).await;
                harness.settle().await?;
                harness.rig.stop().await;
                std::fs::write(harness.rig.path("dropreel.db"), copy).unwrap();
                for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
                    let _ = std::fs::remove_file(harness.rig.path(leftover));
                }
                // The checker would find what the older database lacks.
                harness.rig.database_rolled_back = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Drops the files of the scenario. Called once.
    fn drop_all(&self, harness: &mut CrashHarness, jobs: u64) {
        if self.scenario == Scenario::Folders {
            harness.drop_folders(12);
        }
        for number in 0..jobs {
            let name = format!("job-{number}");
            match self.scenario {
                Scenario::Jobs(faults) | Scenario::Bucket(faults) => {
                    let labels = json!({"project": "spring"});
                    harness.drop_job(&name, faults, &[("labels", labels)], DONE);
                }
                Scenario::Pause | Scenario::Alert | Scenario::Stop => harness.drop_job(&name, "", &[], DONE),
                Scenario::BadFiles => {
                    let text = format!(r#"{{"model": 5, "number": {number}}}"#);
                    harness.drop_file(&file_of(&name), text.as_bytes(), None);
                }
                Scenario::TwoNames => {
                    let file = format!("{name}.json");
                    let other = harness.rig.beside(&file);
                    std::fs::write(&other, job_file(&name, "", &[])).unwrap();
                    std::fs::create_dir_all(harness.rig.path("inbox")).unwrap();
                    std::fs::hard_link(&other, harness.rig.path("inbox").join(&file)).unwrap();
                    harness.log.record_drop(&file, &std::fs::read(&other).unwrap(), Some(1));
                    harness.expected.insert(name, DONE);
                }
                // The provider fails a task whose picture it cannot fetch because the daemon is dead just then.
                Scenario::Pictures => harness.drop_job_with_pictures(&name, &["succeeded", "failed"]),
                Scenario::Cancel => harness.drop_job(&name, "queue=30s", &[], &["cancelled"]),
                Scenario::Wait => {
                    let time = Clock::machine().now().plus(Duration::from_millis(1500)).to_string();
                    harness.drop_job(&name, "", &[("not_before", json!(time))], DONE);
                }
                Scenario::Shared => harness.drop_job(&name, "submit=same-id", &[], &["held"]),
                Scenario::Export => {
                    let more =
                        [("labels", json!({"move": "yes"})), ("not_before", json!("2099-01-01T00:00:00Z"))];
                    harness.drop_job(&name, "", &more, &["cancelled"]);
                    harness.moved.insert(name, 0);
                }
                Scenario::Api | Scenario::Folders | Scenario::Restored => {}
            }
        }
        for number in 0..harness.rng.below(3) {
            let (faults, ends) = OTHERS[usize::try_from(harness.rng.below(OTHERS.len() as u64)).unwrap()];
            if !matches!(self.scenario, Scenario::Restored | Scenario::Shared) {
                harness.drop_job(&format!("other-{number}"), faults, &[], ends);
            }
        }
    }

    /// What people and programs do after each start. Without an answer they repeat it after the next one.
    async fn act(&self, harness: &mut CrashHarness) {
        match self.scenario {
            Scenario::Cancel => {
                for number in 0.. {
                    let name = format!("job-{number}");
                    if !harness.expected.contains_key(&name) {
                        break;
                    }
                    // A cancel before the task is known would test something else.
                    let path = format!("/api/v1/jobs/{name}");
                    while harness.rig.is_running() {
                        let job = harness.rig.try_get(&path).await.map(|answer| answer.1).unwrap_or_default();
                        match job["state"].as_str() {
                            Some("queued") => {
                                harness.rig.try_post(&format!("{path}/cancel"), "{}".to_owned()).await;
                                break;
                            }
                            Some("succeeded" | "failed" | "cancelled" | "held") => break,
                            _ => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                }
            }
            Scenario::Api => {
                harness.expected.insert("posted".to_owned(), DONE);
                let body = job_file("posted", "", &[("key", json!("posted-once"))]);
                harness.rig.try_post("/api/v1/jobs", body).await;
            }
            Scenario::Export => harness.move_jobs().await,
            Scenario::Pause => {
                harness.rig.try_post("/api/v1/pause", json!({"what": "submits"}).to_string()).await;
            }
            Scenario::Stop => {
                let wait = harness.rng.below(700);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                if harness.rig.is_running() {
                    harness.rig.signal(Signal::TERM);
                }
            }
            _ => {}
        }
    }

    /// Lifts what keeps jobs from settling.
    async fn resume(&self, harness: &mut CrashHarness) {
        if matches!(self.scenario, Scenario::Pause | Scenario::Restored) {
            harness.rig.try_post("/api/v1/resume", "{}".to_owned()).await;
        }
    }
}
