//! `check`: the inbox's checks, offline.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{print_json, print_line};
use crate::jobfile::{self, Form, JobFileLimits, LineError, Problem};
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
    errors: Vec<Problem>,
}

/// `check`
pub(crate) fn check(context: &Context, files: &[PathBuf]) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Offline)?;
    let limits = JobFileLimits {
        max_bytes: settings.inbox.max_bytes,
        max_jobs: settings.inbox.max_jobs.into(),
        ..JobFileLimits::default()
    };
    let mut document = CheckDocument { files: Vec::new() };
    for file in files {
        let report = FileReport::new(file, check_file(file, &limits));
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
    fn new(file: &Path, result: Result<usize, Vec<Problem>>) -> Self {
        let (ok, file) = (result.is_ok(), file.display().to_string());
        match result {
            Ok(jobs) => Self { file, ok, jobs, errors: Vec::new() },
            Err(errors) => Self { file, ok, jobs: 0, errors },
        }
    }

    fn print(&self) -> Result<(), CliError> {
        if self.ok {
            return print_line(&format!("{}: {}", printable(&self.file), count(self.jobs as u64, "job")));
        }
        self.errors.iter().try_for_each(|problem| {
            let pointer =
                if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
            let place = format!("{}:{}:{}", self.file, problem.line, problem.column);
            print_line(&printable(&format!("{place}: {pointer}{}", problem.message)))
        })
    }
}

/// The number of jobs in a file, or everything wrong with it.
fn check_file(path: &Path, limits: &JobFileLimits) -> Result<usize, Vec<Problem>> {
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
        Form::Document => check_document(file, jobfile::stem(&name), limits),
        Form::Lines => check_lines(file, jobfile::stem(&name), limits),
    }
}

fn check_document(file: File, stem: &str, limits: &JobFileLimits) -> Result<usize, Vec<Problem>> {
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to reject the file.
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    let drafts = jobfile::read_document(&bytes, stem, limits).map_err(|refusal| refusal.problems)?;
    Ok(drafts.len())
}

fn check_lines(file: File, stem: &str, limits: &JobFileLimits) -> Result<usize, Vec<Problem>> {
    let (mut jobs, mut problems) = (0, Vec::new());
    for line in jobfile::read_lines(BufReader::new(file), stem, limits) {
        match line {
            Ok(_) => jobs += 1,
            Err(LineError::Refused(refusal)) => problems.extend(refusal.problems),
            Err(LineError::Unreadable(error)) => return Err(unreadable(error)),
        }
    }
    match (jobs, problems.is_empty()) {
        (0, true) => Err(whole_file("the file contains no job")),
        (_, true) => Ok(jobs),
        (_, false) => Err(problems),
    }
}

fn unreadable(error: std::io::Error) -> Vec<Problem> {
    whole_file(&format!("cannot read the file: {error}"))
}

/// A problem with the file as a whole.
fn whole_file(message: &str) -> Vec<Problem> {
    vec![Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 }]
}
