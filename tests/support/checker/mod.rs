//! The checker: compares the database, the folders and the daemon's output with the sandbox's ledger and the harness's
//! own log, and returns each violated invariant by its number. It does not use the daemon's own code to read them: it
//! reads a copy of the database with SQL of its own, hashes the files, and takes charges from the ledger.

#![allow(clippy::disallowed_methods, reason = "the checker reads the database by SQL of its own")]

mod answers;
mod budgets;
mod callbacks;
mod database;
mod history;
mod intake;
mod library;
mod limits;
mod money;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use dropreel::sandbox::ledger::Ledger;

/// Where media hosts listen that a test runs beside the sandbox.
pub const OTHER_HOST: &str = "127.0.0.9";

#[allow(unused_imports, reason = "each harness uses its own part")]
pub use database::{Row, Snapshot};

/// Begins the keys of submits that a test makes beside the daemon.
pub const ELSEWHERE: &str = "elsewhere-";

/// What the checker compares.
pub struct Evidence<'a> {
    /// The daemon's data folder with everything in it, or a copy of it.
    pub data_dir: &'a Path,
    /// The sandbox's ledger.
    pub ledger: &'a Ledger,
    /// What the harness did and received.
    pub log: &'a HarnessLog,
    /// The daemon's log.
    pub output: &'a str,
    /// Which invariants must hold.
    pub when: When,
}

/// Which invariants must hold by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At any moment, in the middle of work or after a crash.
    Always,
    /// After all faults have ended and every job has had time to settle.
    Finally,
}

/// What a harness did and received, recorded by itself.
#[derive(Clone, Debug, Default)]
pub struct HarnessLog {
    /// Every file that the harness dropped into the inbox.
    pub drops: Vec<Dropped>,
    /// Every callback that the harness sent; the sandbox's own are in its ledger.
    pub sent_callbacks: Vec<SentCallback>,
    /// Charges beyond the first that an operator's actions allow, by job id.
    pub extra_charges: BTreeMap<String, u32>,
    /// Secrets by name: none may appear where people can see it.
    pub canaries: Vec<(String, String)>,
    /// Hashes of library files found earlier, by path below the library. They must never change. Filled by
    /// [`HarnessLog::record_library`].
    pub published: BTreeMap<String, String>,
    /// The limits set for the daemon, if the harness wants them checked.
    pub limits: Option<Limits>,
    /// The paths of the requests that got no answer because of the network.
    pub lost_requests: BTreeSet<String>,
    /// The budget of each day set for the daemon.
    pub daily_budget: Option<DailyBudget>,
}

/// A budget of each day.
#[derive(Clone, Copy, Debug)]
pub struct DailyBudget {
    /// In quota.
    pub limit: i64,
    /// Whose midnights end a day.
    pub zone: &'static str,
}

/// Limits on calls to the provider.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The least time between two submits.
    pub submit_spacing: Duration,
    /// The least time between two polls of a task.
    pub poll_spacing: Duration,
    /// The most tasks at the provider at one time.
    pub max_running: usize,
    /// How long after an answer that suspends calls another call, sent before it, may still arrive.
    pub in_flight: Duration,
}

impl HarnessLog {
    /// Records a complete file that was dropped.
    pub fn record_drop(&mut self, name: &str, bytes: &[u8], jobs: Option<u32>) {
        let sha256 = dropreel::sha256::sha256_hex(bytes);
        self.drops.push(Dropped { name: name.to_owned(), sha256, jobs });
    }

    /// Records the library's current files.
    pub fn record_library(&mut self, data_dir: &Path) {
        self.published.extend(library::files(data_dir));
    }
}

/// A complete file dropped into the inbox.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// The number of its jobs; `None`: it is invalid and must be rejected.
    pub jobs: Option<u32>,
}

/// A callback that the harness sent.
#[derive(Clone, Debug)]
pub struct SentCallback {
    /// Its job.
    pub job: String,
    /// SHA-256 of its body.
    pub sha256: String,
    /// Whether its token was right and its body complete and within the limit.
    pub valid: bool,
    /// The status of the answer; `None`: there was no answer.
    pub status: Option<u16>,
}

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Its number, as in docs/reliability.md.
    pub invariant: u8,
    /// What was found, with the job, file or key.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}: {}", self.invariant, self.what)
    }
}

/// Returns every violated invariant. The daemon must not be writing: it must be dead or paused, or the folder a copy.
pub fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut found = Findings::default();
    let snapshot = match Snapshot::take(evidence.data_dir) {
        Ok(snapshot) => snapshot,
        Err(why) => {
            found.add(8, format!("the database cannot be read: {why}"));
            return found.0;
        }
    };
    history::check(&snapshot, &mut found);
    intake::check(evidence, &snapshot, &mut found);
    money::check(evidence, &snapshot, &mut found);
    budgets::check(evidence, &snapshot, &mut found);
    answers::check(evidence, &snapshot, &mut found);
    callbacks::check(evidence, &snapshot, &mut found);
    library::check(evidence, &snapshot, &mut found);
    limits::check(evidence, &snapshot, &mut found);
    secrets::check(evidence, &snapshot, &mut found);
    found.0.sort();
    found.0
}

/// The violations found so far.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, invariant: u8, what: impl Into<String>) {
        self.0.push(Violation { invariant, what: what.into() });
    }

    /// Adds a violation unless `condition` holds.
    fn unless(&mut self, condition: bool, invariant: u8, what: impl FnOnce() -> String) {
        if !condition {
            self.add(invariant, what());
        }
    }
}

/// The job id of an idempotency key: `JOB_ID` or `JOB_ID.N`.
fn job_of_key(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}
