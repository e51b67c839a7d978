//! The corpora of plans: `NAME | PLAN | STATE | COUNT...`, a line each, in sections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dropreel::sandbox::fault_plan::FaultPlan;
use serde_json::Value;

use crate::evidence::note;
use crate::support::checker::HarnessLog;
use crate::support::{Rig, quick};

/// One plan with its one right outcome.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub plan: String,
    pub state: String,
    /// The columns after the state. The head of each corpus says what they count.
    pub counts: Vec<usize>,
}

/// The cases under `[section]`; `#` begins a remark.
pub fn section(corpus: &str, section: &str) -> Vec<Case> {
    let mut inside = false;
    let mut cases = Vec::new();
    for line in corpus.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = head == section;
        } else if inside {
            let mut parts = line.split('|').map(str::trim);
            let mut next = || parts.next().unwrap_or_else(|| panic!("too few columns: {line}")).to_owned();
            let (name, plan, state) = (next(), next(), next());
            let counts = parts.map(|count| count.parse().unwrap_or_else(|_| panic!("no number: {line}")));
            cases.push(Case { name, plan, state, counts: counts.collect() });
        }
    }
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert!(!cases.is_empty(), "no section [{section}]");
    assert_eq!(names.len(), cases.len(), "a name is given twice in [{section}]");
    cases
}

/// How many plans a corpus has in all its sections.
pub fn size(corpus: &str) -> usize {
    corpus.lines().filter(|line| !line.starts_with('#') && line.contains('|')).count()
}

/// The words of the grammar under these names that no plan of the corpus uses.
pub fn unused(corpus: &str, names: &[&str]) -> Vec<String> {
    let used: Vec<&str> = corpus.split([' ', '\n', '|']).collect();
    let mut unused = Vec::new();
    for entry in FaultPlan::names().into_iter().filter(|entry| names.contains(&entry.name)) {
        for choice in entry.choices {
            let word = format!("{}={}", entry.name, choice.text.split(':').next().unwrap());
            let argument = choice.text.contains(':') || choice.text.chars().all(|c| c.is_ascii_uppercase());
            let stem = if choice.text.contains(':') { format!("{word}:") } else { word.clone() };
            let is_used = |used: &&str| match used.strip_prefix(stem.as_str()) {
                Some("") => true,
                // Behind it only how often, whether it is done all the same, or its argument.
                Some(rest) => argument || rest.starts_with('x') || rest.starts_with("-done"),
                None => {
                    argument && !choice.text.contains(':') && used.starts_with(&format!("{}=", entry.name))
                }
            };
            if !used.iter().any(is_used) {
                unused.push(word);
            }
        }
    }
    unused
}

pub fn drop_all(rig: &Rig, log: &mut HarnessLog, cases: &[Case]) {
    for case in cases {
        let (file, content) = (format!("{}.json", case.name), quick(&case.name, &case.plan));
        note(log, &file, &content, Some(1));
        rig.drop(&file, content);
    }
}

/// Waits until every job is where it belongs, and then for `calm` that it stays there.
pub async fn until_there(rig: &Rig, cases: &[Case], patience: Duration, calm: Duration) {
    let start = Instant::now();
    let mut there_since: Option<Instant> = None;
    loop {
        let mut elsewhere = Vec::new();
        for case in cases {
            let job = rig.job(&case.name).await;
            if job["state"] != case.state.as_str() {
                elsewhere.push(described(case, &job));
            }
        }
        match (elsewhere.is_empty(), there_since) {
            (true, None) => there_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= calm => return,
            (true, Some(_)) => {}
            (false, Some(_)) => panic!("it did not stay where it belongs:\n{}", elsewhere.join("\n")),
            (false, None) => {}
        }
        assert!(
            start.elapsed() < patience,
            "not where they belong:\n{}\n{}",
            elsewhere.join("\n"),
            rig.output()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// A case and what became of it, for people.
pub fn described(case: &Case, job: &Value) -> String {
    format!("{} ({}) should be {} but is\n{job:#}", case.name, case.plan, case.state)
}

/// The job's net charges: tasks that were paid for and not given back.
pub fn charges(rig: &Rig, job: &Value) -> usize {
    let id = job["id"].as_str().unwrap_or_default();
    let ledger = rig.sandbox.ledger();
    let of_job = |key: &Option<String>| key.as_deref().is_some_and(|key| key.starts_with(id));
    ledger.tasks.iter().filter(|task| of_job(&task.key) && task.cost.get() > 0).count()
}

/// A fault that never fired proves nothing. Returns the faults of these calls that did not.
pub fn never_fired(rig: &Rig, cases: &[Case], calls: &[&str]) -> Vec<String> {
    let fired = rig.sandbox.ledger().faults;
    let mut missing = Vec::new();
    for word in cases.iter().flat_map(|case| case.plan.split_whitespace()) {
        let canonical = FaultPlan::parse(word).unwrap().to_string();
        let Some((call, fault)) = canonical.split_once('=') else { continue };
        let bare = match fault.rsplit_once('x') {
            Some((bare, often)) if often == "all" || often.parse::<u32>().is_ok() => bare,
            _ => fault,
        };
        if calls.contains(&call) && !fired.contains_key(&format!("{call}={bare}")) {
            missing.push(word.to_owned());
        }
    }
    missing
}
