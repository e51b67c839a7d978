//! `check`: the inbox's checks, offline.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::term::{plain, say, say_json};
use crate::cli::{Context, Exit, Failure};
use crate::jobfile::{self, Form, Limits, LineError, Problem};
use crate::settings::Purpose;

/// `check`
pub(super) fn check(context: &Context, files: &[std::path::PathBuf]) -> Result<Exit, Failure> {
    let settings = context.settings(Purpose::Offline)?;
    let limits = Limits { max_bytes: settings.inbox.max_bytes, ..Limits::default() };
    let mut all_good = true;
    let mut documents = Vec::new();
    for file in files {
        let judged = judge(file, &limits);
        all_good &= judged.is_ok();
        if context.json {
            documents.push(document(file, judged));
            continue;
        }
        match judged {
            Ok(jobs) => {
                let name = file.display().to_string();
                say(&format!("{}: {jobs} job{}", plain(&name), if jobs == 1 { "" } else { "s" }))?;
            }
            Err(problems) => {
                for problem in problems {
                    say(&told(file, &problem))?;
                }
            }
        }
    }
    if context.json {
        say_json(&json!({"files": documents}))?;
    }
    Ok(if all_good { Exit::Done } else { Exit::Failed })
}

fn told(file: &Path, problem: &Problem) -> String {
    let pointer = if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
    plain(&format!("{}:{}:{}: {pointer}{}", file.display(), problem.line, problem.column, problem.message))
}

fn document(file: &Path, judged: Result<usize, Vec<Problem>>) -> Value {
    let name = file.display().to_string();
    match judged {
        Ok(jobs) => json!({"file": name, "ok": true, "jobs": jobs, "errors": []}),
        Err(problems) => json!({"file": name, "ok": false, "jobs": 0, "errors": problems}),
    }
}

fn judge(path: &Path, limits: &Limits) -> Result<usize, Vec<Problem>> {
    let whole = |message: String| vec![Problem { pointer: String::new(), message, line: 1, column: 1 }];
    let unreadable = |error: std::io::Error| whole(format!("it cannot be read: {error}"));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = jobfile::stem(&name);
    match Form::of_name(&name) {
        None => Err(whole("the inbox takes only files named .json, .jsonl or .ndjson".into())),
        Some(_) if jobfile::leave_alone(&name) => {
            Err(whole("the inbox leaves files of this name alone, as somebody's unfinished writing".into()))
        }
        Some(_) if jobfile::conflict_copy(&name) => Err(whole(
            "a copy made by a sync tool in a conflict is never bought; if it is wanted, rename it".into(),
        )),
        // A pipe would be waited for, and the inbox opens none.
        Some(_) if !std::fs::metadata(path).map_err(unreadable)?.is_file() => {
            Err(whole("the inbox takes only regular files".into()))
        }
        Some(Form::Document) => {
            let mut bytes = Vec::new();
            // One byte too many is enough to know that it is too long.
            let file = File::open(path).map_err(unreadable)?;
            file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
            let drafts = jobfile::read_document(&bytes, stem, limits).map_err(|refusal| refusal.problems)?;
            Ok(drafts.len())
        }
        Some(Form::Lines) => {
            let file = File::open(path).map_err(unreadable)?;
            let (mut jobs, mut problems) = (0, Vec::new());
            for line in jobfile::read_lines(BufReader::new(file), stem, limits) {
                match line {
                    Ok(_) => jobs += 1,
                    Err(LineError::Refused(refusal)) => problems.extend(refusal.problems),
                    Err(LineError::Unreadable(error)) => return Err(unreadable(error)),
                }
            }
            match (jobs, problems.is_empty()) {
                (0, true) => Err(whole("there is no job in it".into())),
                (_, true) => Ok(jobs),
                (_, false) => Err(problems),
            }
        }
    }
}
