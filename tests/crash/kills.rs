//! SIGKILL at random times, also during starts, under load and with faults of the provider and the media host.

use std::time::{Duration, Instant};

use dropreel::sha256::sha256_hex;

use crate::points::crash_harness::CrashHarness;
use crate::points::in_parallel;
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
    // `submitting` if a kill made the outcome of an earlier submit unknown.
    ("submit=400", &["failed", "submitting"]),
];

/// Daemons on one data folder, one after the other, each ended by a kill.
#[derive(Clone, Debug)]
pub struct Round {
    pub seed: u64,
    pub kills: u64,
    pub mutant: Option<&'static str>,
    pub timeout: Duration,
}

/// Counts of what happened: a run in which little happened proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    kills: u64,
    /// Kills before the daemon was ready.
    in_starts: u64,
    jobs: u64,
    /// Idempotency keys that were sent more than once.
    repeats: u64,
    /// Downloads that were resumed.
    resumes: u64,
    /// Callbacks of the harness that were acknowledged.
    sent_callbacks: u64,
    cancels: u64,
    checks: u64,
}

impl Round {
    /// Runs the round. Returns the counts, or what went wrong.
    pub async fn run(&self) -> Result<Hits, String> {
        let mut harness = CrashHarness::set_up("", self.seed).await;
        harness.timeout = self.timeout;
        if let Some(mutant) = self.mutant {
            harness.rig.set_variable(mutants::VARIABLE, mutant);
        }
        let mut hits = Hits::default();
        for start in 0..self.kills {
            let time = Duration::from_millis(harness.rng.below(500));
            let started = if start % 4 == 0 {
                harness.rig.start_and_kill_after(time).await
            } else {
                harness.rig.try_start_daemon().await.inspect(|()| harness.rig.kill_after(time))
            };
            match started {
                Ok(()) => self.use_daemon(&mut harness, start, &mut hits).await?,
                Err(status) => {
                    harness.classify_exit(status)?;
                    hits.in_starts += 1;
                }
            }
            hits.kills += 1;
            if start % 5 == 4 {
                harness.check(When::Always, &format!("after kill {start}"))?;
                hits.checks += 1;
            }
        }
        harness.rig.start_daemon().await;
        harness.settle().await?;
        let ledger = harness.rig.sandbox.ledger();
        hits.jobs = harness.expected.len() as u64;
        hits.repeats = ledger.keys.values().filter(|used| used.submits > 1).count() as u64;
        hits.resumes = ledger.requests.iter().filter(|arrival| arrival.range.is_some()).count() as u64;
        harness.finish(true).await.map(|()| hits)
    }

    /// Drops jobs, cancels jobs and sends valid and forged callbacks until the daemon is dead.
    async fn use_daemon(
        &self,
        harness: &mut CrashHarness,
        start: u64,
        hits: &mut Hits,
    ) -> Result<(), String> {
        let mut dropped = 0;
        let status = loop {
            if let Some(status) = harness.rig.exit_status() {
                break status;
            }
            match harness.rng.below(8) {
                0..3 if dropped < 4 => {
                    let (faults, ends) = LOAD[usize::try_from(harness.rng.below(LOAD.len() as u64)).unwrap()];
                    harness.drop_job(&format!("job-{start:03}-{dropped}"), faults, &[], ends);
                    dropped += 1;
                }
                3 if dropped < 4 => {
                    let text = format!(r#"{{"model": {start}{dropped}}}"#);
                    harness.drop_file(&format!("bad-{start:03}-{dropped}.json"), text.as_bytes(), None);
                    dropped += 1;
                }
                4 => self.send_callback(harness, hits).await,
                5 => self.cancel(harness, hits).await,
                _ => tokio::time::sleep(Duration::from_millis(harness.rng.below(60))).await,
            }
        };
        harness.classify_exit(status).map(|_| ())
    }

    /// Sends a callback for one of the newest jobs, with its token or a wrong one.
    async fn send_callback(&self, harness: &mut CrashHarness, hits: &mut Hits) {
        let Some(job) = random_job(harness, "").await else { return };
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        let secrets = harness.rig.callback_secrets().unwrap();
        let valid = harness.rng.below(4) > 0;
        let token = secrets.token(if valid { &id } else { "another" });
        // It names no task: one that names a task which a refused job does not have holds that job.
        let body = format!(r#"{{"callback":{}}}"#, harness.log.sent_callbacks.len());
        let status = harness.rig.try_send_callback(&id, token.expose(), body.clone()).await;
        hits.sent_callbacks += u64::from(status == Some(204));
        harness.log.sent_callbacks.push(SentCallback {
            job: id,
            sha256: sha256_hex(body.as_bytes()),
            valid,
            status,
        });
    }

    /// Cancels one of the queued jobs.
    async fn cancel(&self, harness: &mut CrashHarness, hits: &mut Hits) {
        let Some(job) = random_job(harness, "&state=queued").await else { return };
        let name = job["name"].as_str().unwrap_or_default().to_owned();
        harness.expected.insert(name.clone(), CANCELLED);
        let path = format!("/api/v1/jobs/{name}/cancel");
        let answer = harness.rig.try_post(&path, "{}".to_owned()).await;
        hits.cancels += u64::from(answer.is_some_and(|(status, _)| status == 200));
    }
}

async fn random_job(harness: &CrashHarness, filter: &str) -> Option<serde_json::Value> {
    let (_, page) = harness.rig.try_get(&format!("/api/v1/jobs?limit=10{filter}")).await?;
    let jobs = page["jobs"].as_array()?;
    let place = usize::try_from(harness.rng.below(jobs.len().max(1) as u64)).unwrap();
    jobs.get(place).cloned()
}

/// `DROPREEL_KILLS=20000` for the long run.
#[test]
fn kills_at_random_times_lose_nothing_and_bill_once() {
    let kills: u64 = std::env::var("DROPREEL_KILLS").map_or(300, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("DROPREEL_SEED").map_or(1, |text| text.parse().unwrap());
    let timeout = Duration::from_secs(120);
    let rounds: Vec<Round> = (0..kills.div_ceil(25))
        .map(|round| Round {
            seed: seed << 32 | round,
            kills: 25.min(kills - round * 25),
            mutant: None,
            timeout,
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
        ("callbacks of the harness", sent_callbacks, kills / 50),
        ("cancels", cancels, kills / 100),
        ("checks", checks, kills / 6),
    ] {
        assert!(count >= least, "only {count} {what}: the run proves little");
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
