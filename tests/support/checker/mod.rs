//! The checker: database, folders, the simulated provider's ledger, the harness's own log and the daemon's output in;
//! every violated invariant out, by its number. It believes nothing that only the daemon says: the database is read
//! by SQL of its own from a copy, files are read and hashed, and the money is the ledger's.

#![allow(clippy::disallowed_methods, reason = "the checker reads the database by SQL of its own")]

mod callbacks;
mod database;
mod history;
mod intake;
mod library;
mod money;
mod restraint;
mod silence;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use dropreel::sandbox::ledger::Ledger;

#[allow(unused_imports, reason = "each harness uses its own part")]
pub use database::{Row, Snapshot};

/// What there is to look at.
pub struct Evidence<'a> {
    /// The daemon's data folder with everything in it, or a copy of it.
    pub data_dir: &'a Path,
    /// The provider's book.
    pub ledger: &'a Ledger,
    /// What the harness did and saw.
    pub log: &'a HarnessLog,
    /// All that the daemon has said.
    pub said: &'a str,
    /// When it is looked at.
    pub when: When,
}

/// Which invariants must hold by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At any moment, in the middle of work or after a crash.
    Always,
    /// All faults are over and everything had time to come to rest.
    Finally,
}

/// What a harness did and saw, by its own account.
#[derive(Clone, Debug, Default)]
pub struct HarnessLog {
    /// Every file dropped into the inbox.
    pub drops: Vec<Dropped>,
    /// Every callback the harness itself sent; those of the sandbox are in its ledger.
    pub sent_callbacks: Vec<SentCallback>,
    /// Further charges that actions of a person allow, by job id.
    pub orders: BTreeMap<String, u32>,
    /// Canary secrets by name: none may appear where people look.
    pub canaries: Vec<(String, String)>,
    /// Library files seen earlier, by path below the library: their hashes must stay for ever. Filled by
    /// [`HarnessLog::note_library`].
    pub published: BTreeMap<String, String>,
    /// What the daemon was set to keep to, where a harness wants it checked.
    pub limits: Option<Limits>,
}

/// What the daemon was set to keep to towards the provider.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The least time between two submits.
    pub submit_spacing: Duration,
    /// The most tasks at the provider at one time.
    pub max_running: usize,
    /// How long a call that was sent before a stop was heard of may still arrive.
    pub in_flight: Duration,
}

impl HarnessLog {
    /// A file was dropped, whole.
    pub fn dropped(&mut self, name: &str, bytes: &[u8], jobs: Option<u32>) {
        let sha256 = dropreel::sha256::sha256_hex(bytes);
        self.drops.push(Dropped { name: name.to_owned(), sha256, jobs });
    }

    /// Remembers what the library holds now.
    pub fn note_library(&mut self, data_dir: &Path) {
        self.published.extend(library::files(data_dir));
    }
}

/// A file dropped into the inbox, whole.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// Its name.
    pub name: String,
    /// Of its bytes.
    pub sha256: String,
    /// How many jobs it asks for; `None`: it is bad and must be rejected.
    pub jobs: Option<u32>,
}

/// A callback that the harness sent.
#[derive(Clone, Debug)]
pub struct SentCallback {
    /// Its job.
    pub job: String,
    /// Of its body.
    pub sha256: String,
    /// Whether its token was the right one and its body whole and small enough.
    pub lawful: bool,
    /// The HTTP status it got; `None`: no answer came.
    pub status: Option<u16>,
}

/// An invariant broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Its number: 1 to 15.
    pub invariant: u8,
    /// What was found, with the job, file or key.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}: {}", self.invariant, self.what)
    }
}

/// Every invariant that does not hold. The daemon must not be writing meanwhile: dead, stopped, or somebody's copy.
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
    callbacks::check(evidence, &snapshot, &mut found);
    library::check(evidence, &snapshot, &mut found);
    restraint::check(evidence, &snapshot, &mut found);
    silence::check(evidence, &snapshot, &mut found);
    found.0.sort();
    found.0
}

/// Panics with every invariant that does not hold.
pub fn demand(evidence: &Evidence<'_>, at: &str) {
    let violations: Vec<String> = check(evidence).iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "{at}:\n{}\n{}", violations.join("\n"), evidence.said);
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, invariant: u8, what: impl Into<String>) {
        self.0.push(Violation { invariant, what: what.into() });
    }

    fn unless(&mut self, holds: bool, invariant: u8, what: impl FnOnce() -> String) {
        if !holds {
            self.add(invariant, what());
        }
    }
}

/// The job a key belongs to: `<job id>` or `<job id>.N`.
fn job_of_key(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}
