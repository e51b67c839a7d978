//! The stories in which the daemon dies: each leads past its places, whatever happens on the way.

use std::time::Duration;

use dropreel::clock::Clock;
use dropreel::failpoints::FailPoint;
use rustix::process::Signal;
use serde_json::json;

use super::stage::{Ended, Stage, job_file};
use crate::support::checker::When;
use crate::support::mutants;

const DONE: &[&str] = &["succeeded"];

/// What other jobs of a story are about, and how they end.
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

/// What happens around the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Jobs with these words for the sandbox succeed.
    Jobs(&'static str),
    /// Bad files are rejected.
    BadFiles,
    /// Job files have a second name elsewhere.
    TwoNames,
    /// A person cancels a job that is queued.
    Cancel,
    /// A program hands a job over, and again if it got no answer.
    Api,
    /// A person pauses submits.
    Pause,
    /// A job waits for its time.
    Wait,
    /// Links die soon, by the settings.
    Alert,
    /// The provider hands one job another's task.
    Shared,
    /// The daemon is stopped in order.
    Stop,
    /// The database is put back to an older state.
    Restored,
}

/// One run of one story.
#[derive(Clone, Debug)]
pub struct Play {
    pub story: Story,
    /// Where each life before the last one dies, and at which time.
    pub deaths: Vec<(FailPoint, u64)>,
    pub mutant: Option<&'static str>,
    /// For the number of jobs, their plans and the timing.
    pub seed: u64,
    pub patience: Duration,
}

impl Play {
    /// Plays it. Where it died, or what was wrong.
    pub async fn run(&self) -> Result<Vec<FailPoint>, String> {
        let mut stage = Stage::set_up("", self.seed).await;
        stage.patience = self.patience;
        if let Some(mutant) = self.mutant {
            stage.rig.set_variable(mutants::VARIABLE, mutant);
        }
        let jobs = 1 + stage.rng.below(4);
        let mut died = Vec::new();
        self.prepare(&mut stage).await?;
        for (life, (site, nth)) in self.deaths.iter().enumerate() {
            stage.rig.set_variable("DROPREEL_FAIL_KILL_AT", &format!("{}:{nth}", site.into_str()));
            let ended = match stage.rig.try_start_daemon().await {
                Err(status) if life == 0 => {
                    self.drop_all(&mut stage, jobs);
                    stage.how(status)?
                }
                Err(status) => stage.how(status)?,
                Ok(()) => {
                    if life == 0 {
                        self.drop_all(&mut stage, jobs);
                    }
                    self.act(&mut stage).await;
                    stage.until_ended_or_at_rest().await?
                }
            };
            let at = format!("{}:{nth} in life {life}", site.into_str());
            match ended {
                Ended::Died => {
                    if !stage.was_killed_at(*site).await {
                        return Err(format!("it died, but not at {at}:\n{}", stage.rig.output()));
                    }
                    died.push(*site);
                }
                Ended::AtRest => stage.rig.kill(),
                Ended::Stopped => {}
            }
            stage.check(When::Always, &at)?;
        }
        stage.rig.unset_variable("DROPREEL_FAIL_KILL_AT");
        if self.deaths.is_empty() {
            stage.rig.start_daemon().await;
            self.drop_all(&mut stage, jobs);
        } else {
            stage.rig.start_daemon().await;
        }
        if self.story != Story::Stop {
            self.act(&mut stage).await;
        }
        self.fix(&mut stage).await;
        let in_order = stage.rng.below(3) == 0;
        stage.finish(in_order).await.map(|()| died)
    }

    /// Before the first life that may die.
    async fn prepare(&self, stage: &mut Stage) -> Result<(), String> {
        match self.story {
            Story::Alert => stage.rig.set("DOWNLOADS__ALERT_BEFORE_EXPIRY", "25h"),
            Story::Shared => {
                stage.rig.start_daemon().await;
                stage.drop_job("first", "", &[], DONE);
                stage.settle().await?;
                stage.rig.kill();
            }
            Story::Restored => {
                stage.rig.start_daemon().await;
                stage.rig.try_post("/api/v1/pause", json!({"what": "submits"}).to_string()).await;
                stage.drop_job("old", "", &[], &["held"]);
                stage.rig.until("old", &["pending"]).await;
                stage.rig.stop().await;
                let copy = std::fs::read(stage.rig.path("dropreel.db")).unwrap();
                stage.rig.start_daemon().await;
                stage.rig.try_post("/api/v1/resume", "{}".to_owned()).await;
                stage.settle().await?;
                stage.rig.stop().await;
                std::fs::write(stage.rig.path("dropreel.db"), copy).unwrap();
                for leftover in ["dropreel.db-wal", "dropreel.db-shm"] {
                    let _ = std::fs::remove_file(stage.rig.path(leftover));
                }
                // What it forgot cannot be held against the daemon.
                stage.rig.database_rolled_back = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Drops the files of the story, once.
    fn drop_all(&self, stage: &mut Stage, jobs: u64) {
        for number in 0..jobs {
            let name = format!("job-{number}");
            match self.story {
                Story::Jobs(words) => stage.drop_job(&name, words, &[], DONE),
                Story::Pause | Story::Alert | Story::Stop => stage.drop_job(&name, "", &[], DONE),
                Story::BadFiles => {
                    let text = format!(r#"{{"model": 5, "number": {number}}}"#);
                    stage.drop_file(&format!("{name}.json"), text.as_bytes(), None);
                }
                Story::TwoNames => {
                    let file = format!("{name}.json");
                    let other = stage.rig.beside(&file);
                    std::fs::write(&other, job_file(&name, "", &[])).unwrap();
                    std::fs::create_dir_all(stage.rig.path("inbox")).unwrap();
                    std::fs::hard_link(&other, stage.rig.path("inbox").join(&file)).unwrap();
                    stage.log.record_drop(&file, &std::fs::read(&other).unwrap(), Some(1));
                    stage.wanted.insert(name, DONE);
                }
                Story::Cancel => stage.drop_job(&name, "queue=30s", &[], &["cancelled"]),
                Story::Wait => {
                    let time = Clock::machine().now().plus(Duration::from_millis(1500)).to_string();
                    stage.drop_job(&name, "", &[("not_before", json!(time))], DONE);
                }
                Story::Shared => stage.drop_job(&name, "submit=same-id", &[], &["held"]),
                Story::Api | Story::Restored => {}
            }
        }
        for number in 0..stage.rng.below(3) {
            let (words, ends) = OTHERS[usize::try_from(stage.rng.below(OTHERS.len() as u64)).unwrap()];
            if !matches!(self.story, Story::Restored | Story::Shared) {
                stage.drop_job(&format!("other-{number}"), words, &[], ends);
            }
        }
    }

    /// What people and programs do in each life. Whoever got no answer asks again in the next one.
    async fn act(&self, stage: &mut Stage) {
        match self.story {
            Story::Cancel => {
                for number in 0.. {
                    let name = format!("job-{number}");
                    if !stage.wanted.contains_key(&name) {
                        break;
                    }
                    // Until the task is known, a cancel would be another story.
                    let path = format!("/api/v1/jobs/{name}");
                    while stage.rig.is_running() {
                        let job = stage.rig.try_get(&path).await.map(|answer| answer.1).unwrap_or_default();
                        match job["state"].as_str() {
                            Some("queued") => {
                                stage.rig.try_post(&format!("{path}/cancel"), "{}".to_owned()).await;
                                break;
                            }
                            Some("succeeded" | "failed" | "cancelled" | "held") => break,
                            _ => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                }
            }
            Story::Api => {
                stage.wanted.insert("handed".to_owned(), DONE);
                let body = job_file("handed", "", &[("key", json!("handed-once"))]);
                stage.rig.try_post("/api/v1/jobs", body).await;
            }
            Story::Pause => {
                stage.rig.try_post("/api/v1/pause", json!({"what": "submits"}).to_string()).await;
            }
            Story::Stop => {
                let wait = stage.rng.below(700);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                if stage.rig.is_running() {
                    stage.rig.signal(Signal::TERM);
                }
            }
            _ => {}
        }
    }

    /// What must be set right before all can come to rest.
    async fn fix(&self, stage: &mut Stage) {
        if matches!(self.story, Story::Pause | Story::Restored) {
            stage.rig.try_post("/api/v1/resume", "{}".to_owned()).await;
        }
    }
}
