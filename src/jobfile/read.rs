//! Reads a document: one object, or an array of objects.

use crate::jobfile::expand::Expander;
use crate::jobfile::findings::{Findings, unlisted_problems};
use crate::jobfile::json::{self, JsonValue, Node};
use crate::jobfile::reader::JobFileReader;
use crate::jobfile::{Cause, Draft, Form, JobFileLimits, MAX_PROBLEMS, Problem, Refusal, encoding, names};
use crate::rng::Rng;

impl JobFileReader {
    /// Reads a document whose name without ending is `stem`: the jobs of its objects, in order, at least one.
    ///
    /// # Errors
    /// Every problem of the document; none of its jobs may be accepted then.
    pub fn read_document(&self, bytes: &[u8], stem: &str) -> Result<Vec<Draft>, Refusal> {
        read(self, bytes, stem)
    }
}

/// [`JobFileReader::read_document`] without defaults.
///
/// # Errors
/// As there.
pub fn read_document(
    bytes: &[u8],
    stem: &str,
    limits: &JobFileLimits,
    rng: &Rng,
) -> Result<Vec<Draft>, Refusal> {
    JobFileReader::new(limits.clone(), rng.clone()).read_document(bytes, stem)
}

fn read(reader: &JobFileReader, bytes: &[u8], stem: &str) -> Result<Vec<Draft>, Refusal> {
    let limits = &reader.limits;
    if bytes.len() as u64 > limits.max_bytes {
        let message = format!(
            "the file has {} bytes, {} are allowed (inbox.max_bytes): split it, or write one object per line into a `.jsonl` file",
            bytes.len(),
            limits.max_bytes
        );
        return Err(at_start(Cause::Unparsable, message));
    }
    let read = encoding::read(bytes, 1).map_err(|problem| Refusal::new(Cause::Unparsable, problem))?;
    if read.text.trim().is_empty() {
        return Err(at_start(Cause::Empty, "the file is empty".to_owned()));
    }
    let mut findings = Findings::new(read.text, 1);
    if let Some(mark) = read.mark {
        findings.add_problem(mark);
    }
    let (drafts, cause) = match json::read(read.text, Form::Document, &mut findings) {
        Ok(node) => (jobs(&node, stem, reader, &mut findings), Cause::Wrong),
        Err(json::ParseError) => (Vec::new(), Cause::Unparsable),
    };
    let warnings = findings.take_warnings(MAX_PROBLEMS);
    let (mut problems, more) = findings.finish();
    if problems.is_empty() {
        return Ok(drafts);
    }
    if more > 0 {
        problems.push(unlisted_problems(more, problems.last()));
    }
    let warnings = drafts.into_iter().flat_map(|draft| draft.warnings).chain(warnings).collect();
    Err(Refusal { cause, problems, warnings })
}

fn jobs(node: &Node<'_>, stem: &str, reader: &JobFileReader, findings: &mut Findings<'_>) -> Vec<Draft> {
    let limits = &reader.limits;
    let mut expander = Expander::new(reader);
    let mut drafts = Vec::new();
    match &node.value {
        JsonValue::Object(_) => {
            drafts = expander.jobs(node, "", names::default_name(stem, 1), findings);
        }
        JsonValue::Array(items) if items.len() as u64 > limits.max_jobs => {
            findings.add("", node.at, too_many_jobs(limits.max_jobs));
        }
        JsonValue::Array(items) => {
            if items.is_empty() {
                findings.add("", node.at, "the array is empty: there is no job in it");
            }
            for (item, index) in items.iter().zip(0_u64..) {
                let name = names::default_name(stem, index + 1);
                drafts.extend(expander.jobs(item, &format!("/{index}"), name, findings));
                if drafts.len() as u64 > limits.max_jobs {
                    findings.add("", node.at, too_many_jobs(limits.max_jobs));
                    break;
                }
            }
        }
        other => {
            let what = other.what();
            findings.add("", node.at, format!("a job file is an object or an array of objects, not {what}"));
        }
    }
    drafts
}

/// The message for a file with more jobs than allowed.
pub(super) fn too_many_jobs(max_jobs: u64) -> String {
    format!("the file has more than the {max_jobs} jobs allowed (inbox.max_jobs): split it")
}

fn at_start(cause: Cause, message: String) -> Refusal {
    Refusal::new(cause, Problem { pointer: String::new(), message, line: 1, column: 1 })
}
