//! What one job meets stays with that job, and what one output meets with that output: checked while the daemon runs.
//!
//! I17: calls are suspended for all only when a call that is about no job went wrong, or a limit named its end. I18: an
//! output whose link works is stored soon, whatever its siblings do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::sandbox::fault_plan::FaultPlan;
use dropreel::sandbox::faults::{Fault, LinkPolicy, MediaFault};
use dropreel::sandbox::http_types::{Request, Response};
use dropreel::sandbox::scheduled_fault::{Repeat, ScheduledFault};
use rusqlite::{Connection, OpenFlags};

use crate::scenario::PERMANENT_NAME;

/// How long an output may wait whose link works.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(3600);
/// A neutral call that takes this long may have timed out.
const SLOW: Duration = Duration::from_secs(10);

/// What is known of the calls that concern all jobs, and of the outputs that wait.
#[derive(Default)]
pub struct Isolation {
    neutral_call_failed: bool,
    limit_named_its_end: bool,
    /// Outputs whose links work, and since when they wait.
    waiting: BTreeMap<(String, i64), Timestamp>,
}

/// Whether a call is about no job.
pub fn is_neutral(request: &Request) -> bool {
    request.path == "/v1/models" || request.path.starts_with("/v1/dashboard/")
}

impl Isolation {
    /// A call, or its answer, takes this long on its way.
    pub fn delayed(&mut self, request: &Request, wait: Duration) {
        self.neutral_call_failed |= is_neutral(request) && wait >= SLOW;
    }

    /// A call is answered after `wait`, or never.
    pub fn answered(&mut self, request: &Request, answer: Option<&Response>, wait: Duration) {
        let ended_well = answer.filter(|answer| answer.is_complete() && (200..300).contains(&answer.status));
        self.neutral_call_failed |= is_neutral(request) && ended_well.is_none();
        self.delayed(request, wait);
        let names_end = |answer: &Response| {
            answer.header("Retry-After").is_some() || !answer.value()["error"]["reset_at"].is_null()
        };
        let is_limit = |answer: &&Response| answer.status == 429 && !request.path.starts_with("/output/");
        self.limit_named_its_end |= answer.filter(is_limit).is_some_and(names_end);
    }

    /// Whether an output waits whose link works.
    pub fn awaits_output(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Compares the suspensions and the waiting outputs with that. `healed`: all faults have ended but those that never
    /// do.
    pub fn check(&mut self, data_dir: &Path, now: Timestamp, healed: bool) -> Vec<String> {
        let connection = open(data_dir);
        let mut violations = Vec::new();
        for cause in suspensions(&connection) {
            let allowed = match cause.as_str() {
                "key_refused" | "balance_empty" | "misconfigured" | "unreachable" => self.neutral_call_failed,
                "rate_limited" => self.neutral_call_failed || self.limit_named_its_end,
                _ => true,
            };
            if !allowed {
                violations
                    .push(format!("I17: {cause} suspends all calls, but only calls about jobs were refused"));
            }
        }
        let missing = if healed { outputs_with_working_links(&connection, "waiting") } else { Vec::new() };
        self.waiting.retain(|output, _| missing.contains(output));
        for output in missing {
            let since = *self.waiting.entry(output.clone()).or_insert(now);
            if now.since(since) >= OUTPUT_TIMEOUT {
                let (job, index) = output;
                violations
                    .push(format!("I18: output {index} of job {job} is not stored, although its link works"));
            }
        }
        violations
    }
}

/// How many outputs are stored whose siblings have a fault that never ends.
pub fn stored_beside_a_fault(data_dir: &Path) -> u64 {
    outputs_with_working_links(&open(data_dir), "stored").len() as u64
}

fn open(data_dir: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    Connection::open_with_flags(data_dir.join("dropreel.db"), flags).unwrap()
}

fn suspensions(connection: &Connection) -> Vec<String> {
    let mut statement = connection.prepare("SELECT cause FROM suspensions").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The outputs in `state` of present tasks with a fault that never ends, but not for these outputs.
fn outputs_with_working_links(connection: &Connection, state: &str) -> Vec<(String, i64)> {
    let mut statement = connection
        .prepare(
            "SELECT jobs.id, outputs.idx, requests.prompt FROM outputs
             JOIN jobs ON jobs.nr = outputs.job AND jobs.task_id = outputs.task_id
             JOIN requests ON requests.job = jobs.nr
             WHERE outputs.state = ?1 AND jobs.name LIKE ?2 AND jobs.state != 'cancelled'",
        )
        .unwrap();
    let rows = statement.query_map((state, format!("{PERMANENT_NAME}%")), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
    });
    rows.unwrap()
        .map(Result::unwrap)
        .filter(|(_, index, prompt)| has_working_link(&FaultPlan::from_prompt(prompt).unwrap(), *index))
        .map(|(job, index, _)| (job, index))
        .collect()
}

fn has_working_link(plan: &FaultPlan, index: i64) -> bool {
    let is_concerned = plan.media_output.is_none_or(|only| i64::from(only) == index);
    let heals = |fault: &ScheduledFault<MediaFault>| matches!(fault.repeat, Some(Repeat::Times(_)));
    let host_works = plan.media_host.is_none() && plan.media.iter().all(heals);
    // Answered with the task of another job, whose plan decides about its outputs.
    let has_own_task = plan.submit.iter().all(|fault| fault.fault.fault != Fault::SameId);
    has_own_task && plan.links != Some(LinkPolicy::Same) && (host_works || !is_concerned)
}
