//! The mutants of `tests/mutants`: patches that each add one bug, to show that a harness catches it.
//!
//! `ci/mutants` applies all of them to a copy of the repository. Each stays off until [`VARIABLE`] names it. Those that a test
//! with a server or a bucket must catch are run by `ci/cluster mutants`: the line `Test: ` names it.

use std::path::Path;

/// The variable that turns a mutant on.
pub const VARIABLE: &str = "DROPREEL_FAIL_MUTANT";

/// The patch that adds the switch; it is not a mutant.
const SWITCH: &str = "switch";

#[derive(Debug)]
pub struct Mutant {
    /// The stem of its patch.
    pub name: String,
    caught_by: Vec<String>,
    has_test: bool,
}

impl Mutant {
    /// All mutants, by name. Reads the heads of the patches.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<Self> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
            .filter(|path| path.file_stem().is_some_and(|stem| stem != SWITCH))
            .map(|path| Self::read(&path))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let caught_by = text.lines().find_map(|line| line.strip_prefix("Caught by: "));
        let caught_by = caught_by.unwrap_or_else(|| panic!("{} has no line `Caught by: `", path.display()));
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            caught_by: caught_by.split(", ").map(str::to_owned).collect(),
            has_test: text.lines().any(|line| line.starts_with("Test: ")),
        }
    }

    /// Whether this harness must catch it: `crash`, `power`, `simulation` or, by one test, `servers`.
    pub fn is_caught_by(&self, harness: &str) -> bool {
        let is_runnable = harness != "servers" || self.has_test;
        is_runnable && self.caught_by.iter().any(|name| name == harness)
    }
}
