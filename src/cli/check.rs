//! `check`: the inbox's checks, and what the jobs would cost. It needs no daemon, but asks one that runs for its quotes and
//! its history.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::api::estimate::{CostEstimate, EstimateView, FileEstimate};
use crate::api::problem::JobFileProblem;
use crate::cli::args::CheckArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{print_json, print_line};
use crate::daemon::pipeline::file_limits;
use crate::jobfile::{self, Draft, Form, Inspection, JobFileLimits, Problem};
use crate::pricing::PricedRequest;
use crate::pricing::estimate::{KnownPrice, estimate};
use crate::pricing::price_book::PriceBook;
use crate::pricing::total::EstimateTotal;
use crate::rng::Rng;
use crate::settings::Purpose;

/// The name of jobs from standard input.
const STDIN_STEM: &str = "job";

/// `check`
pub(crate) async fn check(context: &Context, args: &CheckArgs) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Offline)?;
    let book = PriceBook { operator: settings.budget.prices.clone(), ..PriceBook::default() };
    let checker =
        Checker { limits: file_limits(&settings), rng: Rng::from_system(), lines: args.lines, book };
    // Without its token, the daemon's history and quotes are out of reach.
    let mut client = if args.offline { None } else { context.client().ok() };
    let mut document = EstimateView::default();
    for file in &args.files {
        let mut report = checker.check(file)?;
        if report.ok
            && let Some(daemon) = &client
        {
            match daemons_estimate(daemon, file, args.lines).await {
                Some(found) => report = FileEstimate { file: report.file, ..found },
                None => client = None,
            }
        }
        if !context.json {
            print(&report)?;
        }
        document.jobs += report.jobs;
        document.cost.add(&report.cost);
        document.files.push(report);
    }
    if context.json {
        print_json(&document)?;
    } else if document.files.len() > 1 {
        let (files, jobs) = (document.files.len() as u64, count(document.jobs, "job"));
        print_line(&format!("{}: {jobs}, {}", count(files, "file"), document.cost.describe()))?;
    }
    let all_ok = document.files.iter().all(|report| report.ok);
    Ok(if all_ok { Exit::Done } else { Exit::Failed })
}

/// `None` if the daemon does not answer, or has no answer to it.
async fn daemons_estimate(client: &ApiClient, file: &Path, lines: bool) -> Option<FileEstimate> {
    // Standard input has been read to its end.
    let name = file.file_name().filter(|_| file != Path::new("-"))?.to_string_lossy().into_owned();
    let lines = lines || Form::of_name(&name) == Some(Form::Lines);
    let bytes = std::fs::read(file).ok()?;
    let estimate = client.estimate(Some(&name), lines, bytes).await.ok()?;
    estimate.files.into_iter().next().filter(|report| report.ok)
}

fn print(report: &FileEstimate) -> Result<(), CliError> {
    let print = |problem: &JobFileProblem, kind: &str| {
        let pointer =
            if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
        let place = format!("{}:{}:{}", report.file, problem.line, problem.column);
        print_line(&printable(&format!("{place}: {kind}{pointer}{}", problem.message)))
    };
    report.errors.iter().try_for_each(|error| print(error, ""))?;
    report.warnings.iter().try_for_each(|warning| print(warning, "warning: "))?;
    if report.ok {
        let jobs = count(report.jobs, "job");
        let objects = match report.objects {
            objects if objects == report.jobs => String::new(),
            objects => format!(" from {}", count(objects, "object")),
        };
        print_line(&format!("{}: {jobs}{objects}, {}", printable(&report.file), report.cost.describe()))?;
    }
    Ok(())
}

struct Checker {
    limits: JobFileLimits,
    rng: Rng,
    /// Standard input has one object per line.
    lines: bool,
    book: PriceBook,
}

impl Checker {
    fn check(&self, file: &Path) -> Result<FileEstimate, CliError> {
        let mut total = EstimateTotal::default();
        let found = if file == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            let form = if self.lines { Form::Lines } else { Form::Document };
            self.inspect(&bytes[..], form, STDIN_STEM, &mut total)
        } else {
            self.inspect_file(file, &mut total)
        };
        let found = found.unwrap_or_else(|why| Inspection::rejected(&why));
        let ok = found.errors.is_empty();
        let known = |number: usize| if ok { number as u64 } else { 0 };
        Ok(FileEstimate {
            file: file.display().to_string(),
            ok,
            jobs: known(found.jobs),
            objects: known(found.objects),
            cost: if ok { CostEstimate::from(&total) } else { CostEstimate::default() },
            errors: found.errors.iter().map(shown).collect(),
            warnings: found.warnings().iter().map(shown).collect(),
            ..FileEstimate::default()
        })
    }

    /// What the inbox would find in a file; the error says what is wrong with the file as a whole.
    fn inspect_file(&self, path: &Path, total: &mut EstimateTotal) -> Result<Inspection, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let form =
            Form::of_name(&name).ok_or("the inbox accepts only files named .json, .jsonl or .ndjson")?;
        if jobfile::is_unfinished(&name) {
            return Err("the inbox ignores files with this name, as unfinished writing".to_owned());
        }
        if jobfile::is_conflict_copy(&name) {
            return Err(
                "a sync tool made this copy in a conflict, so the inbox rejects it; rename it to submit it"
                    .to_owned(),
            );
        }
        // Opening a pipe would wait for a writer; the inbox opens none either.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err("the inbox accepts only regular files".to_owned());
        }
        let file = File::open(path).map_err(unreadable)?;
        self.inspect(file, form, jobfile::stem(&name), total)
    }

    fn inspect(
        &self,
        file: impl Read,
        form: Form,
        stem: &str,
        total: &mut EstimateTotal,
    ) -> Result<Inspection, String> {
        let add = |draft: &Draft| {
            let request = PricedRequest::of(&draft.body);
            total.add(estimate(request.as_ref(), &self.book, KnownPrice::default()), None);
        };
        let (limits, rng) = (&self.limits, &self.rng);
        match form {
            Form::Document => {
                let mut bytes = Vec::new();
                // One byte more than allowed is enough to reject the file.
                let mut file = file.take(limits.max_bytes.saturating_add(1));
                file.read_to_end(&mut bytes).map_err(unreadable)?;
                Ok(Inspection::of_document(&bytes, stem, limits, rng, add))
            }
            Form::Lines => {
                Inspection::of_lines(BufReader::new(file), stem, limits, rng, add).map_err(unreadable)
            }
        }
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot read the file: {error}")
}

fn shown(problem: &Problem) -> JobFileProblem {
    let Problem { pointer, message, line, column } = problem.clone();
    JobFileProblem { pointer, message, line, column }
}
