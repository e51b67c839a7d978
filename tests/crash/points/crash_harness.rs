//! The crash tests' harness: a rig, a log of what was dropped, the expected end of each job, and seeded random numbers.

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

use crate::support::bucket::BucketServer;
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, files_below, png};

/// States that only a person changes.
const SETTLED: &[&str] = &["succeeded", "failed", "cancelled", "expired", "held"];

/// The error code of `submit=400`. After a submit of unknown outcome the refused submit is repeated for 15 minutes
/// before the job is held.
const REFUSED: &str = "invalid_request";

/// How a run of the daemon with a failpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Killed at the failpoint.
    Died,
    /// An orderly stop.
    Stopped,
    /// Still running, and all jobs are settled.
    Settled,
}

pub struct CrashHarness {
    pub rig: Rig,
    pub log: HarnessLog,
    pub rng: Rng,
    /// The states in which each job may end, by name.
    pub expected: BTreeMap<String, &'static [&'static str]>,
    /// How often the line of each job that is to be moved elsewhere was handed out, by name.
    pub moved: BTreeMap<String, u32>,
    /// How long every job may take to settle.
    pub timeout: Duration,
    pub bucket: Option<BucketServer>,
}

/// A job file with one job.
pub fn job_file(name: &str, faults: &str, more: &[(&str, Value)]) -> String {
    let mut member = json!({"name": name});
    for (key, value) in more {
        member[*key] = value.clone();
    }
    let prompt = format!("{} [sandbox: queue=20ms run=60ms {faults}]", crate::support::SAKURA);
    json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5, "dropreel": member}).to_string()
}

/// What the jobs in a folder have in common.
const DEFAULTS: &str = r#"{"watermark": false, "dropreel": {"labels": {"by": "defaults"}}}"#;

/// Every other job is in a folder of the inbox.
pub fn file_of(name: &str) -> String {
    let is_odd = name.bytes().last().is_some_and(|byte| byte % 2 == 1);
    if is_odd { format!("night/shots/{name}.json") } else { format!("{name}.json") }
}

impl CrashHarness {
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
            expected: BTreeMap::new(),
            moved: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            bucket: None,
        }
    }

    pub fn drop_job(
        &mut self,
        name: &str,
        faults: &str,
        more: &[(&str, Value)],
        ends: &'static [&'static str],
    ) {
        self.drop_file(&file_of(name), job_file(name, faults, more).as_bytes(), Some(1));
        self.expected.insert(name.to_owned(), ends);
    }

    /// A job that names a picture of its own, dropped after the job file, and one that all such jobs share.
    pub fn drop_job_with_pictures(&mut self, name: &str, ends: &'static [&'static str]) {
        let own = format!("{name}.png");
        let mut job: Value = serde_json::from_str(&job_file(name, "", &[])).unwrap();
        job["model"] = json!("wan2.5-i2v");
        job["image_urls"] = json!([own, "shared.png"]);
        self.drop_file(&format!("{name}.json"), job.to_string().as_bytes(), Some(1));
        self.rig.drop(&own, png(name.as_bytes()));
        self.rig.drop("shared.png", png(b"shared"));
        self.expected.insert(name.to_owned(), ends);
    }

    /// Moves a folder into the inbox with this many folders in it, and a job file in each. What they hold is on the disk.
    pub fn drop_folders(&mut self, folders: usize) {
        let inbox = self.rig.path("inbox");
        let beside = inbox.join(".trip");
        for number in 0..folders {
            let (name, path) = (format!("scene-{number}"), format!("scene {number}/shot.json"));
            let (file, text) = (beside.join(&path), job_file(&name, "", &[]));
            let folder = file.parent().unwrap();
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
            std::fs::write(&file, &text).unwrap();
            self.log.record_drop(&format!("trip/{path}"), text.as_bytes(), Some(1));
            self.expected.insert(name, &["succeeded"]);
        }
        rustix::fs::syncfs(std::fs::File::open(&beside).unwrap()).unwrap();
        std::fs::rename(beside, inbox.join("trip")).unwrap();
        std::fs::File::open(inbox).unwrap().sync_all().unwrap();
    }

    pub fn drop_file(&mut self, name: &str, bytes: &[u8], jobs: Option<u32>) {
        // The daemon may have died before it created the folder.
        let folder = self.rig.path("inbox").join(name).parent().unwrap().to_owned();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        if name.contains('/') {
            std::fs::write(folder.join("defaults.json"), DEFAULTS).unwrap();
        }
        self.rig.drop(name, bytes);
        self.log.record_drop(name, bytes, jobs);
    }

    /// Waits until the daemon has ended or every job is settled.
    pub async fn until_ended_or_settled(&mut self) -> Result<Ended, String> {
        let start = Instant::now();
        let mut rounds = 0;
        loop {
            if let Some(status) = self.rig.exit_status() {
                return self.classify_exit(status);
            }
            // Not in each round: requests to the admin listener hit failpoints, too.
            rounds += 1;
            if rounds % 8 == 0 && self.is_settled().await {
                return Ok(Ended::Settled);
            }
            if start.elapsed() > self.timeout {
                return Err(format!("neither dead nor settled:\n{}", self.describe_unsettled().await));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn classify_exit(&self, status: ExitStatus) -> Result<Ended, String> {
        match (status.signal(), status.code()) {
            (Some(9), _) => Ok(Ended::Died),
            (_, Some(0)) => Ok(Ended::Stopped),
            _ => Err(format!("the daemon ended with {status}:\n{}", self.rig.output())),
        }
    }

    /// Whether the log says that the daemon was killed at `point`. The line may arrive a little after the death.
    pub async fn was_killed_at(&self, point: FailPoint) -> bool {
        let line = format!("at {}", point.into_str());
        for _ in 0..100 {
            let output = self.rig.output();
            if output.lines().any(|found| found.starts_with("failpoint:") && found.ends_with(&line)) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        false
    }

    /// Moves the jobs elsewhere as `export --move` does: takes lines, keeps them, acknowledges them, until there are no more.
    pub async fn move_jobs(&mut self) {
        let mut arrived = 0;
        while self.rig.is_running() {
            let jobs = self.jobs().await.unwrap_or_default();
            arrived =
                jobs.iter().filter(|job| self.moved.contains_key(job["name"].as_str().unwrap())).count();
            if arrived >= self.moved.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if arrived < self.moved.len() {
            return;
        }
        loop {
            let request = json!({"label": ["move=yes"]}).to_string();
            let Some((_, page)) = self.rig.try_post("/api/v1/export/move", request).await else { return };
            let Some(lines) = page["jobs"].as_array().filter(|lines| !lines.is_empty()) else { return };
            for line in lines {
                let job: Value = serde_json::from_str(line["line"].as_str().unwrap()).unwrap();
                *self.moved.get_mut(job["dropreel"]["name"].as_str().unwrap()).unwrap() += 1;
            }
            let ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
            let acknowledged = json!({"jobs": ids}).to_string();
            if self.rig.try_post("/api/v1/export/acknowledge", acknowledged).await.is_none() {
                return;
            }
        }
    }

    /// Waits until every job is settled and every callback answered and processed.
    pub async fn settle(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while !(self.is_settled().await && self.is_quiet()) {
            if let Some(status) = self.rig.exit_status() {
                return Err(format!("the daemon ended with {status}:\n{}", self.rig.output()));
            }
            if start.elapsed() > self.timeout {
                return Err(format!("not settled:\n{}", self.describe_unsettled().await));
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        Ok(())
    }

    /// The jobs, as the daemon lists them; `None` without an answer.
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

    /// Every job is settled, every cost final, and every sidecar says it.
    async fn is_settled(&self) -> bool {
        let inbox = files_below(&self.rig.path("inbox"));
        // Pictures and defaults stay in the inbox.
        let stays = |path: &std::path::Path| {
            path.ends_with("defaults.json") || path.extension().is_some_and(|ending| ending == "png")
        };
        let has_files = inbox.iter().any(|path| !stays(path));
        let Some(jobs) = self.jobs().await else { return false };
        let all_settled = jobs.len() >= self.expected.len() && jobs.iter().all(is_job_settled);
        !has_files && all_settled && count(&self.rig.path("dropreel.db"), UNSETTLED) == 0
    }

    /// No callback is in flight, waits for a retry, or is unprocessed, and no copy of a picture is left.
    fn is_quiet(&self) -> bool {
        if std::fs::read_dir(self.rig.path("pictures")).is_ok_and(|mut copies| copies.next().is_some()) {
            return false;
        }
        let mut last = BTreeMap::new();
        for callback in self.rig.sandbox.ledger().callbacks {
            last.insert(callback.number, callback);
        }
        let all_answered = last.values().all(|callback| {
            let is_accepted = callback.status.is_some_and(|status| (200..300).contains(&status));
            // The sandbox repeats a callback after 1 and 2 seconds, if at all.
            let is_given_up = |at| Clock::machine().now().since(at) > Duration::from_secs(3);
            callback.answered_at.is_some_and(|at| is_accepted || callback.forged || is_given_up(at))
        });
        all_answered && count(&self.rig.path("dropreel.db"), UNPROCESSED) == 0
    }

    async fn describe_unsettled(&self) -> String {
        let mut text = String::new();
        for job in self.jobs().await.unwrap_or_default() {
            if !is_job_settled(&job) {
                let _ = writeln!(text, "{job:#}");
            }
        }
        let database = self.rig.path("dropreel.db");
        let (unsettled, unprocessed) = (count(&database, UNSETTLED), count(&database, UNPROCESSED));
        let files = [files_below(&self.rig.path("inbox")), files_below(&self.rig.path("pictures"))];
        let _ = writeln!(text, "{unsettled} costs, {unprocessed} callbacks; in inbox and pictures {files:?}");
        let ledger = self.rig.sandbox.ledger();
        let _ = writeln!(text, "faults {:?}, calls {:?}\n{}", ledger.faults, ledger.calls, self.rig.output());
        text
    }

    /// Runs the checker, unless there is no database yet.
    pub fn check(&mut self, when: When, at: &str) -> Result<(), String> {
        if !self.rig.path("dropreel.db").exists() || self.rig.database_rolled_back {
            return Ok(());
        }
        let mut found = self.rig.violations(&self.log, when);
        // A hidden file is a reason that is being written. It is replaced when its file is rejected again.
        let hidden = |what: &str| {
            let below = |place: &str| what.split(place).nth(1).unwrap_or_default().to_owned();
            below("/rejected/").starts_with('.') || below("/accepted/").contains("/.")
        };
        let repeated = |what: &str| what.contains("is still submitting") && what.contains(REFUSED);
        found.retain(|violation| {
            !repeated(&violation.what) && (when == When::Finally || !hidden(&violation.what))
        });
        self.log.record_library(&self.rig.path(""));
        if let Some(bucket) = &self.bucket {
            bucket.check(&self.rig.path("dropreel.db")).map_err(|why| format!("{at}: {why}"))?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        Err(format!("{at}:\n{}\n{}", lines.join("\n"), self.rig.output()))
    }

    /// Waits until every job has settled, compares their states, ends the daemon and runs the checker.
    pub async fn finish(mut self, in_order: bool) -> Result<(), String> {
        if let Err(why) = self.settle().await {
            if self.rig.is_running() {
                self.rig.kill();
            }
            self.check(When::Always, "before it was settled")?;
            return Err(why);
        }
        let jobs = self.jobs().await.unwrap_or_default();
        let mut states = BTreeMap::new();
        for job in &jobs {
            let name = job["name"].as_str().unwrap_or_default().to_owned();
            let state = job["state"].as_str().unwrap_or_default().to_owned();
            if states.insert(name.clone(), state).is_some() {
                return Err(format!("{name} exists twice:\n{}", self.rig.output()));
            }
        }
        for (name, ends) in &self.expected {
            let state = states.get(name).map_or("missing", String::as_str);
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
        self.check(When::Finally, "at the end")?;
        let output = self.rig.output();
        for word in ["sig=", "/callbacks/", "a bug:"] {
            if output.contains(word) {
                return Err(format!("`{word}` is in the log:\n{output}"));
            }
        }
        Ok(())
    }
}

/// Whether only a person changes this job, or nothing happens to it for longer than a test takes.
fn is_job_settled(job: &Value) -> bool {
    let word = |key: &str| job[key].as_str().unwrap_or_default();
    SETTLED.contains(&word("state")) || word("state") == "submitting" && word("reason").contains(REFUSED)
}

/// Deliveries that are not processed.
const UNPROCESSED: &str = "SELECT count(*) FROM deliveries WHERE processed = 0";
/// Costs that are not final, and sidecars that do not say them.
const UNSETTLED: &str = "SELECT (SELECT count(*) FROM jobs WHERE settlement_at IS NOT NULL)
    + (SELECT count(*) FROM attempts WHERE settlement_at IS NOT NULL)
    + (SELECT count(*) FROM outdated_sidecars)";

/// What the database answers; it exists, as jobs were listed.
fn count(database: &std::path::Path, sql: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}
