//! The checker: database, folders, the simulated provider's ledger, the harness's own log and the daemon's output in;
//! every violated invariant out, by its number. It believes nothing that only the daemon says: the database is read
//! by SQL of its own from a copy, files are read and hashed, and the money is the ledger's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use dropreel::sandbox::ledger::Ledger;

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
    pub knocks: Vec<Knock>,
    /// So many more charges a person's orders allow, by job id.
    pub orders: BTreeMap<String, u32>,
    /// Secrets planted, with a name for each: none of them may be found where people look.
    pub canaries: Vec<(String, String)>,
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
pub struct Knock {
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

/// Every invariant that does not hold.
pub fn check(_evidence: &Evidence<'_>) -> Vec<Violation> {
    Vec::new()
}

/// Where a file would be: the one place that knows the folders' names.
pub fn folder(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(name)
}
