//! Reads and runs the corpora of fault plans: `NAME | PLAN | STATE | COUNT...`, one per line, in sections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dropreel::sandbox::fault_plan::FaultPlan;
use serde_json::Value;

use crate::evidence::record_drop;
use crate::support::checker::HarnessLog;
use crate::support::{Rig, quick};

/// A plan with its expected outcome.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub plan: String,
    pub state: String,
    /// The columns after the state. The head of each corpus says what they count.
    pub counts: Vec<usize>,
}

/// The cases under `[section]`. Lines that begin with `#` are comments.
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

/// The number of plans in a corpus.
pub fn size(corpus: &str) -> usize {
    corpus.lines().filter(|line| !line.starts_with('#') && line.contains('|')).count()
}

/// The faults with these names that no plan of the corpus uses.
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
                // After the word: its argument, how often it happens, or `-done`.
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
        record_drop(log, &file, &content, Some(1));
        rig.drop(&file, content);
    }
}

/// Waits until every job is in its expected state, and checks that it stays there for `stable`.
pub async fn until_stable(rig: &Rig, cases: &[Case], timeout: Duration, stable: Duration) {
    let start = Instant::now();
    let mut stable_since: Option<Instant> = None;
    loop {
        let mut others = Vec::new();
        for case in cases {
            let job = rig.job(&case.name).await;
            if job["state"] != case.state.as_str() {
                others.push(describe(case, &job));
            }
        }
        match (others.is_empty(), stable_since) {
            (true, None) => stable_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= stable => return,
            (true, Some(_)) => {}
            (false, Some(_)) => panic!("a job left its expected state:\n{}", others.join("\n")),
            (false, None) => {}
        }
        assert!(
            start.elapsed() < timeout,
            "not in their expected states:\n{}\n{}",
            others.join("\n"),
            rig.output()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// A case and the job that it became, for messages.
pub fn describe(case: &Case, job: &Value) -> String {
    format!("{} ({}) should be {} but is\n{job:#}", case.name, case.plan, case.state)
}

/// The job's tasks that were charged and not refunded.
pub fn charges(rig: &Rig, job: &Value) -> usize {
    let id = job["id"].as_str().unwrap_or_default();
    let ledger = rig.sandbox.ledger();
    let of_job = |key: &Option<String>| key.as_deref().is_some_and(|key| key.starts_with(id));
    ledger.tasks.iter().filter(|task| of_job(&task.key) && task.cost.get() > 0).count()
}

/// The faults of these calls that never happened: their cases prove nothing.
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
