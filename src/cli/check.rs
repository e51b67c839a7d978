//! `check`: the inbox's checks, offline.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{print_json, print_line};
use crate::daemon::pipeline::file_limits;
use crate::jobfile::{self, Draft, Form, JobFileLimits, LineError, MAX_PROBLEMS, ObjectPlace, Problem};
use crate::rng::Rng;
use crate::settings::Purpose;

#[derive(Serialize)]
struct CheckDocument {
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    ok: bool,
    jobs: usize,
    /// Fewer than the jobs where `repeat` or `matrix` is used.
    objects: usize,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// What the checks of a file found.
#[derive(Default)]
struct Findings {
    jobs: usize,
    objects: usize,
    last_object: Option<ObjectPlace>,
    errors: Vec<Problem>,
    warnings: BTreeSet<Problem>,
    /// Warnings beyond [`MAX_PROBLEMS`].
    more_warnings: u64,
}

/// `check`
pub(crate) fn check(context: &Context, files: &[PathBuf]) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Offline)?;
    let limits = file_limits(&settings);
    let rng = Rng::from_system();
    let mut document = CheckDocument { files: Vec::new() };
    for file in files {
        let found = check_file(file, &limits, &rng)
            .unwrap_or_else(|errors| Findings { errors, ..Findings::default() });
        let report = FileReport::new(file, found);
        if !context.json {
            report.print()?;
        }
        document.files.push(report);
    }
    if context.json {
        print_json(&document)?;
    }
    let all_ok = document.files.iter().all(|report| report.ok);
    Ok(if all_ok { Exit::Done } else { Exit::Failed })
}

impl FileReport {
    fn new(file: &Path, found: Findings) -> Self {
        let ok = found.errors.is_empty();
        Self {
            file: file.display().to_string(),
            ok,
            jobs: if ok { found.jobs } else { 0 },
            objects: if ok { found.objects } else { 0 },
            errors: found.errors,
            warnings: jobfile::limit_warnings(
                found.warnings.into_iter().collect(),
                found.more_warnings,
                MAX_PROBLEMS,
            ),
        }
    }

    fn print(&self) -> Result<(), CliError> {
        let print = |problem: &Problem, kind: &str| {
            let pointer =
                if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
            let place = format!("{}:{}:{}", self.file, problem.line, problem.column);
            print_line(&printable(&format!("{place}: {kind}{pointer}{}", problem.message)))
        };
        self.errors.iter().try_for_each(|error| print(error, ""))?;
        self.warnings.iter().try_for_each(|warning| print(warning, "warning: "))?;
        if self.ok {
            let jobs = count(self.jobs as u64, "job");
            let objects = match self.objects {
                objects if objects == self.jobs => String::new(),
                objects => format!(" from {}", count(objects as u64, "object")),
            };
            print_line(&format!("{}: {jobs}{objects}", printable(&self.file)))?;
        }
        Ok(())
    }
}

impl Findings {
    fn add_job(&mut self, draft: Draft) {
        self.jobs += 1;
        // The jobs of an object follow each other.
        if self.last_object.as_ref() != Some(&draft.place) {
            self.objects += 1;
            self.last_object = Some(draft.place);
        }
        self.add_warnings(draft.warnings);
    }

    /// Adds each warning once: the jobs of an object have many in common.
    fn add_warnings(&mut self, warnings: Vec<Problem>) {
        for warning in warnings {
            if self.warnings.len() < MAX_PROBLEMS {
                self.warnings.insert(warning);
            } else if !self.warnings.contains(&warning) {
                self.more_warnings += 1;
            }
        }
    }
}

/// What the inbox would find in a file; the error has what is wrong with the file as a whole.
fn check_file(path: &Path, limits: &JobFileLimits, rng: &Rng) -> Result<Findings, Vec<Problem>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(form) = Form::of_name(&name) else {
        return Err(whole_file("the inbox accepts only files named .json, .jsonl or .ndjson"));
    };
    if jobfile::is_unfinished(&name) {
        return Err(whole_file("the inbox ignores files with this name, as unfinished writing"));
    }
    if jobfile::is_conflict_copy(&name) {
        return Err(whole_file(
            "a sync tool made this copy in a conflict, so the inbox rejects it; rename it to submit it",
        ));
    }
    // Opening a pipe would wait for a writer; the inbox opens none either.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(whole_file("the inbox accepts only regular files"));
    }
    let file = File::open(path).map_err(unreadable)?;
    match form {
        Form::Document => check_document(file, jobfile::stem(&name), limits, rng),
        Form::Lines => check_lines(file, jobfile::stem(&name), limits, rng),
    }
}

fn check_document(
    file: File,
    stem: &str,
    limits: &JobFileLimits,
    rng: &Rng,
) -> Result<Findings, Vec<Problem>> {
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to reject the file.
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    let mut found = Findings::default();
    match jobfile::read_document(&bytes, stem, limits, rng) {
        Ok(drafts) => drafts.into_iter().for_each(|draft| found.add_job(draft)),
        Err(refusal) => {
            found.errors = refusal.problems;
            found.add_warnings(refusal.warnings);
        }
    }
    Ok(found)
}

fn check_lines(file: File, stem: &str, limits: &JobFileLimits, rng: &Rng) -> Result<Findings, Vec<Problem>> {
    let mut found = Findings::default();
    for line in jobfile::read_lines(BufReader::new(file), stem, limits, rng) {
        match line {
            Ok(draft) => found.add_job(draft),
            Err(LineError::Refused(refusal)) => {
                found.errors.extend(refusal.problems);
                found.add_warnings(refusal.warnings);
            }
            Err(LineError::Unreadable(error)) => return Err(unreadable(error)),
        }
    }
    if found.jobs == 0 && found.errors.is_empty() {
        return Err(whole_file("the file contains no job"));
    }
    Ok(found)
}

fn unreadable(error: std::io::Error) -> Vec<Problem> {
    whole_file(&format!("cannot read the file: {error}"))
}

/// A problem with the file as a whole.
fn whole_file(message: &str) -> Vec<Problem> {
    vec![Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 }]
}
