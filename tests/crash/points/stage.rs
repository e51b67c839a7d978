//! What a play needs: a rig, what was dropped, how each job must end, and chance from a seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use dropreel::clock::Clock;
use dropreel::failpoints::FailPoint;
use dropreel::rng::Rng;
use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::checker::{HarnessLog, When};

/// States in which a job waits for nobody but a person.
const RESTS: &[&str] = &["succeeded", "failed", "cancelled", "expired", "held"];

/// What the sandbox refuses `submit=400` with. If a try of unknown outcome went before, that is asked again for a quarter
/// of an hour before a person is to look.
const REFUSED: &str = "invalid_request";

/// How an armed life came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the signal of the lab.
    Died,
    /// By itself, in order.
    Stopped,
    /// Not at all: all jobs are at rest.
    AtRest,
}

pub struct Stage {
    pub rig: Rig,
    pub log: HarnessLog,
    pub rng: Rng,
    /// The states a job may end in, by its name.
    pub wanted: BTreeMap<String, &'static [&'static str]>,
    /// For everything to come to rest.
    pub patience: Duration,
}

/// A job file with one job.
pub fn job_file(name: &str, words: &str, more: &[(&str, Value)]) -> String {
    let mut ours = json!({"name": name});
    for (key, value) in more {
        ours[*key] = value.clone();
    }
    let prompt = format!("{} [sandbox: queue=20ms run=60ms {words}]", crate::support::SAKURA);
    json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5, "dropreel": ours}).to_string()
}

impl Stage {
    pub async fn set_up(plan: &str, seed: u64) -> Self {
        let mut rig = Rig::set_up(plan).await;
        rig.keep_public_port();
        rig.set("INBOX__SETTLE", "50ms");
        rig.set("INBOX__RESCAN", "300ms");
        rig.set("POLLING__CALLBACK_GRACE", "400ms");
        Self {
            rig,
            log: HarnessLog::default(),
            rng: Rng::seeded(seed),
            wanted: BTreeMap::new(),
            patience: Duration::from_secs(60),
        }
    }

    pub fn drop_job(
        &mut self,
        name: &str,
        words: &str,
        more: &[(&str, Value)],
        ends: &'static [&'static str],
    ) {
        self.drop_file(&format!("{name}.json"), job_file(name, words, more).as_bytes(), Some(1));
        self.wanted.insert(name.to_owned(), ends);
    }

    pub fn drop_file(&mut self, name: &str, bytes: &[u8], jobs: Option<u32>) {
        // The daemon may have died before it made the folder.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.rig.path("inbox")).unwrap();
        self.rig.drop(name, bytes);
        self.log.record_drop(name, bytes, jobs);
    }

    /// Waits until the daemon has ended, or all is at rest.
    pub async fn until_ended_or_at_rest(&mut self) -> Result<Ended, String> {
        let start = Instant::now();
        let mut looks = 0;
        loop {
            if let Some(status) = self.rig.exit_status() {
                return self.how(status);
            }
            // Not too often: requests to the admin listener hit failpoints too.
            looks += 1;
            if looks % 8 == 0 && self.is_at_rest().await {
                return Ok(Ended::AtRest);
            }
            if start.elapsed() > self.patience {
                return Err(format!("neither dead nor at rest:\n{}", self.moving().await));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn how(&self, status: ExitStatus) -> Result<Ended, String> {
        match (status.signal(), status.code()) {
            (Some(9), _) => Ok(Ended::Died),
            (_, Some(0)) => Ok(Ended::Stopped),
            _ => Err(format!("the daemon ended with {status}:\n{}", self.rig.output())),
        }
    }

    /// Whether the last thing output was that the lab kills here. It may be read a little after the death is seen.
    pub async fn was_killed_at(&self, site: FailPoint) -> bool {
        let line = format!("at {}", site.into_str());
        for _ in 0..100 {
            let output = self.rig.output();
            if output.lines().any(|output| output.starts_with("failpoint:") && output.ends_with(&line)) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        false
    }

    /// Waits until all is at rest and every callback has had its answer.
    pub async fn settle(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while !(self.is_at_rest().await && self.is_quiet()) {
            if let Some(status) = self.rig.exit_status() {
                return Err(format!("the daemon ended with {status}:\n{}", self.rig.output()));
            }
            if start.elapsed() > self.patience {
                return Err(format!("not at rest:\n{}", self.moving().await));
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        Ok(())
    }

    /// The jobs, as the daemon tells of them; `None` if it does not.
    pub async fn jobs(&self) -> Option<Vec<Value>> {
        let (mut jobs, mut cursor) = (Vec::new(), String::new());
        loop {
            let (_, page) = self.rig.try_get(&format!("/api/v1/jobs?limit=500{cursor}")).await?;
            jobs.extend(page["jobs"].as_array()?.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Some(jobs),
            }
        }
    }

    async fn is_at_rest(&self) -> bool {
        let inbox = std::fs::read_dir(self.rig.path("inbox"));
        let lying = inbox.into_iter().flatten().flatten().any(|entry| entry.path().is_file());
        let Some(jobs) = self.jobs().await else { return false };
        !lying && jobs.len() >= self.wanted.len() && jobs.iter().all(rests)
    }

    /// No callback is in flight, waits for a retry, or is unprocessed.
    fn is_quiet(&self) -> bool {
        let mut last = BTreeMap::new();
        for callback in self.rig.sandbox.ledger().callbacks {
            last.insert(callback.number, callback);
        }
        let over = last.values().all(|callback| {
            let good = callback.status.is_some_and(|status| (200..300).contains(&status));
            // The sandbox comes again after 1 and 2 seconds, if at all.
            let given_up = |at| Clock::machine().now().since(at) > Duration::from_secs(3);
            callback.answered_at.is_some_and(|at| good || callback.forged || given_up(at))
        });
        over && unprocessed(&self.rig.path("dropreel.db")) == 0
    }

    async fn moving(&self) -> String {
        let mut text = String::new();
        for job in self.jobs().await.unwrap_or_default() {
            if !rests(&job) {
                let _ = writeln!(text, "{job:#}");
            }
        }
        let ledger = self.rig.sandbox.ledger();
        let _ = writeln!(text, "faults {:?}, calls {:?}\n{}", ledger.faults, ledger.calls, self.rig.output());
        text
    }

    /// What the checker has to say; nothing before there is a database.
    pub fn check(&mut self, when: When, at: &str) -> Result<(), String> {
        if !self.rig.path("dropreel.db").exists() || self.rig.database_rolled_back {
            return Ok(());
        }
        let mut found = self.rig.violations(&self.log, when);
        // A reason on its way: hidden, and replaced when its file is rejected again.
        let hidden = |what: &str| {
            let below = |place: &str| what.split(place).nth(1).unwrap_or_default().to_owned();
            below("/rejected/").starts_with('.') || below("/accepted/").contains("/.")
        };
        let repeated = |what: &str| what.contains("is still submitting") && what.contains(REFUSED);
        found.retain(|violation| {
            !repeated(&violation.what) && (when == When::Finally || !hidden(&violation.what))
        });
        self.log.record_library(&self.rig.path(""));
        if found.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        Err(format!("{at}:\n{}\n{}", lines.join("\n"), self.rig.output()))
    }

    /// The last look: every job ended as it had to, and everything holds that must hold in the end.
    pub async fn finish(mut self, in_order: bool) -> Result<(), String> {
        if let Err(why) = self.settle().await {
            if self.rig.is_running() {
                self.rig.kill();
            }
            self.check(When::Always, "before it could come to rest")?;
            return Err(why);
        }
        let jobs = self.jobs().await.unwrap_or_default();
        let mut ended = BTreeMap::new();
        for job in &jobs {
            let name = job["name"].as_str().unwrap_or_default().to_owned();
            let state = job["state"].as_str().unwrap_or_default().to_owned();
            if ended.insert(name.clone(), state).is_some() {
                return Err(format!("{name} is there twice:\n{}", self.rig.output()));
            }
        }
        for (name, ends) in &self.wanted {
            let state = ended.get(name).map_or("nowhere", String::as_str);
            if !ends.contains(&state) {
                return Err(format!("{name} is {state}, not {ends:?}:\n{}", self.rig.output()));
            }
        }
        if in_order {
            let code = self.rig.stop().await;
            if code != Some(0) {
                return Err(format!("stopped with {code:?}:\n{}", self.rig.output()));
            }
        } else {
            self.rig.kill();
        }
        self.check(When::Finally, "in the end")?;
        let output = self.rig.output();
        for word in ["sig=", "/callbacks/", "a bug:"] {
            if output.contains(word) {
                return Err(format!("`{word}` is in the log:\n{output}"));
            }
        }
        Ok(())
    }
}

/// Whether this job moves no more by itself, or not for longer than a test takes.
fn rests(job: &Value) -> bool {
    let word = |key: &str| job[key].as_str().unwrap_or_default();
    RESTS.contains(&word("state")) || word("state") == "submitting" && word("reason").contains(REFUSED)
}

/// Callbacks that are kept and of which their jobs have not heard.
fn unprocessed(database: &std::path::Path) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let count = "SELECT count(*) FROM deliveries WHERE processed = 0";
    connection.query_row(count, [], |row| row.get(0)).unwrap()
}
