//! SIGKILL at any moment, from the first millisecond of a start on, under load and with everybody misbehaving.

use std::time::{Duration, Instant};

use dropreel::secret::{CallbackSecrets, Secret};
use dropreel::sha256::sha256_hex;

use crate::points::in_parallel;
use crate::points::stage::Stage;
use crate::support::checker::{SentCallback, When};
use crate::support::mutants;

const DONE: &[&str] = &["succeeded"];
/// A cancel may come too late.
const CANCELLED: &[&str] = &["cancelled", "succeeded", "failed"];

/// What the provider does with the jobs, and how they end unless they are cancelled.
const LOAD: &[(&str, &[&str])] = &[
    ("", DONE),
    ("submit=lost", DONE),
    ("submit=lostx2", DONE),
    ("submit=slow:150ms", DONE),
    ("submit=503", DONE),
    ("submit=cut", DONE),
    ("callback=lost", DONE),
    ("callback=copies:2", DONE),
    ("callback=copies:25", DONE),
    ("callback=late:700ms", DONE),
    ("callback=early callback=stale", DONE),
    ("callback=progress run=300ms", DONE),
    ("callback=forged", DONE),
    ("media=reset:4KiB", DONE),
    ("media=short", DONE),
    ("media=chunk-cut", DONE),
    ("media=html200x1", DONE),
    ("media=drip:200KiB size=64KiB", DONE),
    ("media=reset:4KiB etag=changes", DONE),
    ("outputs=2", DONE),
    ("outputs=3 size=256KiB", DONE),
    ("kind=audio media=cut", DONE),
    ("queue=400ms", DONE),
    ("status=503", DONE),
    ("end=task_failed", &["failed"]),
    // The second: if a kill made the outcome of an earlier try unknown.
    ("submit=400", &["failed", "submitting"]),
];

/// Lives on one folder, each ended by a kill.
#[derive(Clone, Debug)]
pub struct Round {
    pub seed: u64,
    pub kills: u64,
    pub mutant: Option<&'static str>,
    pub patience: Duration,
}

/// How much happened in a round: without it, that nothing went wrong means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    kills: u64,
    /// Of them, before the daemon was ready.
    in_starts: u64,
    jobs: u64,
    /// Keys that were sent more than once.
    repeats: u64,
    /// Downloads that were resumed.
    resumes: u64,
    /// The harness's own callbacks that were acknowledged.
    sent_callbacks: u64,
    cancels: u64,
    checks: u64,
}

impl Round {
    /// Plays it. How much happened, or what was wrong.
    pub async fn run(&self) -> Result<Hits, String> {
        let mut stage = Stage::set_up("", self.seed).await;
        stage.patience = self.patience;
        if let Some(mutant) = self.mutant {
            stage.rig.set_variable(mutants::VARIABLE, mutant);
        }
        let mut hits = Hits::default();
        for life in 0..self.kills {
            let time = Duration::from_millis(stage.rng.below(500));
            let started = if life % 4 == 0 {
                stage.rig.start_and_kill_after(time).await
            } else {
                stage.rig.try_start_daemon().await.inspect(|()| stage.rig.kill_after(time))
            };
            match started {
                Ok(()) => self.live(&mut stage, life, &mut hits).await?,
                Err(status) => {
                    stage.how(status)?;
                    hits.in_starts += 1;
                }
            }
            hits.kills += 1;
            if life % 5 == 4 {
                stage.check(When::Always, &format!("after kill {life}"))?;
                hits.checks += 1;
            }
        }
        stage.rig.start_daemon().await;
        stage.settle().await?;
        let ledger = stage.rig.sandbox.ledger();
        hits.jobs = stage.wanted.len() as u64;
        hits.repeats = ledger.keys.values().filter(|used| used.submits > 1).count() as u64;
        hits.resumes = ledger.requests.iter().filter(|arrival| arrival.range.is_some()).count() as u64;
        stage.finish(true).await.map(|()| hits)
    }

    /// Until the daemon is dead: jobs, orders, callbacks true and false.
    async fn live(&self, stage: &mut Stage, life: u64, hits: &mut Hits) -> Result<(), String> {
        let mut dropped = 0;
        let status = loop {
            if let Some(status) = stage.rig.exit_status() {
                break status;
            }
            match stage.rng.below(8) {
                0..3 if dropped < 4 => {
                    let (words, ends) = LOAD[usize::try_from(stage.rng.below(LOAD.len() as u64)).unwrap()];
                    stage.drop_job(&format!("job-{life:03}-{dropped}"), words, &[], ends);
                    dropped += 1;
                }
                3 if dropped < 4 => {
                    let text = format!(r#"{{"model": {life}{dropped}}}"#);
                    stage.drop_file(&format!("bad-{life:03}-{dropped}.json"), text.as_bytes(), None);
                    dropped += 1;
                }
                4 => self.send_callback(stage, hits).await,
                5 => self.cancel(stage, hits).await,
                _ => tokio::time::sleep(Duration::from_millis(stage.rng.below(60))).await,
            }
        };
        stage.how(status).map(|_| ())
    }

    /// A callback for one of the newest jobs, under its token or another's.
    async fn send_callback(&self, stage: &mut Stage, hits: &mut Hits) {
        let Some(job) = some_job(stage, "").await else { return };
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        let secret = std::fs::read_to_string(stage.rig.path("callback.secret")).unwrap();
        let secrets = CallbackSecrets::new(Secret::new(secret.trim()), Vec::new());
        let valid = stage.rng.below(4) > 0;
        let token = secrets.token(if valid { &id } else { "another" });
        let body = format!(r#"{{"task_id":"task-wave1","callback":{}}}"#, stage.log.sent_callbacks.len());
        let status = stage.rig.try_send_callback(&id, token.expose(), body.clone()).await;
        hits.sent_callbacks += u64::from(status == Some(204));
        stage.log.sent_callbacks.push(SentCallback {
            job: id,
            sha256: sha256_hex(body.as_bytes()),
            valid,
            status,
        });
    }

    /// A person's cancel of one of the jobs that are not done yet.
    async fn cancel(&self, stage: &mut Stage, hits: &mut Hits) {
        let Some(job) = some_job(stage, "&state=queued").await else { return };
        let name = job["name"].as_str().unwrap_or_default().to_owned();
        stage.wanted.insert(name.clone(), CANCELLED);
        let path = format!("/api/v1/jobs/{name}/cancel");
        let answer = stage.rig.try_post(&path, "{}".to_owned()).await;
        hits.cancels += u64::from(answer.is_some_and(|(status, _)| status == 200));
    }
}

async fn some_job(stage: &Stage, filter: &str) -> Option<serde_json::Value> {
    let (_, page) = stage.rig.try_get(&format!("/api/v1/jobs?limit=10{filter}")).await?;
    let jobs = page["jobs"].as_array()?;
    let place = usize::try_from(stage.rng.below(jobs.len().max(1) as u64)).unwrap();
    jobs.get(place).cloned()
}

/// `DROPREEL_KILLS=20000` for the long run.
#[test]
fn killed_at_any_moment_nothing_is_lost_or_paid_twice() {
    let kills: u64 = std::env::var("DROPREEL_KILLS").map_or(300, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("DROPREEL_SEED").map_or(1, |text| text.parse().unwrap());
    let patience = Duration::from_secs(120);
    let rounds: Vec<Round> = (0..kills.div_ceil(25))
        .map(|round| Round {
            seed: seed << 32 | round,
            kills: 25.min(kills - round * 25),
            mutant: None,
            patience,
        })
        .collect();
    let start = Instant::now();
    let mut all = Hits::default();
    let mut wrong = Vec::new();
    for (round, result) in rounds.iter().zip(in_parallel(&rounds, async |round| round.run().await)) {
        match result {
            Ok(hits) => all.add(hits),
            Err(why) => wrong.push(format!("{round:?}\n{why}")),
        }
    }
    eprintln!("{all:?} in {:?}", start.elapsed());
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), rounds.len(), wrong.join("\n\n"));
    let Hits { jobs, in_starts, repeats, resumes, sent_callbacks, cancels, checks, .. } = all;
    for (what, count, least) in [
        ("jobs", jobs, kills / 2),
        ("kills in starts", in_starts, kills / 100),
        ("repeated submits", repeats, kills / 20),
        ("resumed downloads", resumes, kills / 50),
        ("callbacks of our own", sent_callbacks, kills / 50),
        ("cancels", cancels, kills / 100),
        ("checks", checks, kills / 6),
    ] {
        assert!(count >= least, "only {count} {what}: this shows little");
    }
}

impl Hits {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.in_starts += other.in_starts;
        self.jobs += other.jobs;
        self.repeats += other.repeats;
        self.resumes += other.resumes;
        self.sent_callbacks += other.sent_callbacks;
        self.cancels += other.cancels;
        self.checks += other.checks;
    }
}
