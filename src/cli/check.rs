//! `check`: the inbox's checks, and what the jobs would cost. It needs no daemon, but asks one that runs for its quotes and
//! its history.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::estimate::{CostEstimate, EstimateView, FileEstimate};
use crate::api::problem::JobFileProblem;
use crate::cli::args::CheckArgs;
use crate::cli::client::{ApiClient, DefaultsArg, JobFile, PictureNames};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::pictures::{FilePictures, HandOver, folder_of};
use crate::cli::submit::unused_defaults;
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::jobfile::{
    self, Defaults, DefaultsFile, Draft, Form, Inspection, JobFileReader, MAX_PROBLEMS, Problem,
    bad_defaults, is_defaults_name,
};
use crate::pricing::PricedRequest;
use crate::pricing::estimate::{KnownPrice, estimate};
use crate::pricing::price_book::PriceBook;
use crate::pricing::total::EstimateTotal;
use crate::settings::Purpose;

/// The name of jobs from standard input.
const STDIN_STEM: &str = "job";

/// `check`
pub(crate) async fn check(context: &Context, args: &CheckArgs) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Offline)?;
    let book = PriceBook { operator: settings.budget.prices.clone(), ..PriceBook::default() };
    let mut hand_over = HandOver::new(&settings);
    let defaults = args.defaults.as_deref().map(|file| hand_over.read_defaults(file)).transpose()?;
    let checker = Checker {
        reader: hand_over.reader.clone(),
        lines: args.lines,
        defaults,
        inbox: settings.inbox.dir.clone(),
        book,
    };
    // Without its token, the daemon's history and quotes are out of reach.
    let mut client = if args.offline { None } else { context.client().ok() };
    let mut document = EstimateView::default();
    for file in &args.files {
        let (mut report, pictures) = checker.check(file, &mut hand_over)?;
        // The daemon estimates what is posted to it, without the defaults of the inbox.
        let is_as_posted = checker.defaults.is_some() || report.defaults.is_empty();
        if report.ok
            && is_as_posted
            && let Some(daemon) = &client
        {
            match daemons_estimate(daemon, file, &pictures, &checker).await {
                Some(found) => {
                    let FileEstimate { file, warnings, defaults, .. } = report;
                    report = FileEstimate { file, warnings, defaults, ..found };
                }
                None => client = None,
            }
        }
        if !context.json {
            print(&report)?;
            if let Some(hint) = unused_defaults(file)
                .filter(|_| !report.ok && checker.defaults.is_none() && report.defaults.is_empty())
            {
                eprint_line(&hint);
            }
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
async fn daemons_estimate(
    client: &ApiClient,
    file: &Path,
    pictures: &PictureNames,
    checker: &Checker,
) -> Option<FileEstimate> {
    // Standard input has been read to its end.
    let name = file.file_name().filter(|_| file != Path::new("-"))?.to_string_lossy().into_owned();
    let form = if checker.lines { Form::Lines } else { Form::of_name(&name)? };
    let (bytes, defaults) = (std::fs::read(file).ok()?, checker.defaults.as_ref());
    let file = JobFile { title: &name, name: Some(&name), form, bytes: &bytes, pictures, defaults };
    client.estimate(&file).await.ok()?.files.into_iter().next()
}

fn print(report: &FileEstimate) -> Result<(), CliError> {
    let print = |problem: &JobFileProblem, kind: &str| {
        print_line(&printable(&format!("{}:{}", report.file, problem.describe(kind))))
    };
    report.errors.iter().try_for_each(|error| print(error, ""))?;
    report.warnings.iter().try_for_each(|warning| print(warning, "warning: "))?;
    for note in daemons_notes(report) {
        print_line(&printable(&format!("{}: {note}", report.file)))?;
    }
    for default in &report.defaults {
        print_line(&printable(&format!("{}: {default}", report.file)))?;
    }
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

/// What only the daemon knows about a file that it would accept.
fn daemons_notes(report: &FileEstimate) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(before) = &report.accepted_before {
        notes.push(format!(
            "the same file was accepted at {} (job {}) and is refused again; with `\"again\": true` it is run again",
            before.at, before.first_job
        ));
    }
    for model in &report.unlisted_models {
        notes.push(format!("the provider does not list the model `{model}`: its jobs would be held"));
    }
    if report.over_max_cost_jobs > 0 {
        let jobs = count(report.over_max_cost_jobs, "job");
        notes.push(format!("{jobs} would be held: above the `max_cost_usd` of the file"));
    }
    notes
}

struct Checker {
    reader: JobFileReader,
    /// Standard input has one object per line.
    lines: bool,
    /// Those of the command line, else those of the inbox apply to the files in it.
    defaults: Option<DefaultsArg>,
    inbox: PathBuf,
    book: PriceBook,
}

impl Checker {
    fn check(&self, file: &Path, hand_over: &mut HandOver) -> Result<(FileEstimate, PictureNames), CliError> {
        let mut total = EstimateTotal::default();
        let mut pictures = match below_inbox(&self.inbox, file) {
            Some(folder) if self.defaults.is_none() => hand_over.of_file(self.inbox.clone(), folder),
            _ => hand_over.of_file(folder_of(file), String::new()),
        };
        let found = if file == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            let form = if self.lines { Form::Lines } else { Form::Document };
            self.reader(None).map_or_else(
                |problems| Ok(Inspection::of_problems(problems)),
                |reader| self.inspect(&reader, &bytes[..], form, STDIN_STEM, &mut total, &mut pictures),
            )
        } else {
            self.inspect_file(file, &mut total, &mut pictures)
        };
        let found = found.unwrap_or_else(|why| Inspection::rejected(&why));
        let ok = found.errors.is_empty();
        let known = |number: usize| if ok { number as u64 } else { 0 };
        let report = FileEstimate {
            file: file.display().to_string(),
            ok,
            jobs: known(found.jobs),
            objects: known(found.objects),
            cost: if ok { CostEstimate::from(&total) } else { CostEstimate::default() },
            errors: found.errors.iter().map(shown).collect(),
            warnings: found.warnings().iter().map(shown).collect(),
            defaults: found.defaults,
            ..FileEstimate::default()
        };
        Ok((report, pictures.names()))
    }

    /// What the inbox would find in a file; the error says what is wrong with the file as a whole.
    fn inspect_file(
        &self,
        path: &Path,
        total: &mut EstimateTotal,
        pictures: &mut FilePictures<'_>,
    ) -> Result<Inspection, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let form = Form::of_name(&name)
            .ok_or("the inbox accepts only files named .json, .jsonl, .ndjson, .csv or .prompts.txt")?;
        if jobfile::is_unfinished(&name) {
            return Err("the inbox ignores files with this name, as unfinished writing".to_owned());
        }
        if is_defaults_name(&name) {
            return Err("these are defaults for other files, and no job; check one of those".to_owned());
        }
        if let Some(why) = jobfile::refused_name(&name) {
            return Err(why.to_owned());
        }
        // Opening a pipe would wait for a writer; the inbox opens none either.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err("the inbox accepts only regular files".to_owned());
        }
        let file = File::open(path).map_err(unreadable)?;
        match self.reader(Some(path)) {
            Ok(reader) => self.inspect(&reader, file, form, jobfile::stem(&name), total, pictures),
            Err(problems) => Ok(Inspection::of_problems(problems)),
        }
    }

    /// A reader with the defaults that apply to a file, or what is wrong with them.
    fn reader(&self, file: Option<&Path>) -> Result<JobFileReader, Vec<Problem>> {
        let folder = file.and_then(|file| below_inbox(&self.inbox, file));
        let found = match (&self.defaults, &folder) {
            (Some(defaults), _) => vec![(defaults.name.clone(), defaults.bytes.clone())],
            (None, Some(folder)) => defaults_above(&self.inbox, folder),
            (None, None) => Vec::new(),
        };
        let read = |(name, bytes): &(String, Vec<u8>)| {
            DefaultsFile::read(name, bytes).map_err(|refusal| bad_defaults(name, &refusal))
        };
        let files: Vec<_> = found.iter().map(read).collect::<Result<_, _>>()?;
        let folder = folder.unwrap_or_default();
        Ok(self.reader.with_defaults(Arc::new(Defaults::new(&folder, &files))))
    }

    fn inspect(
        &self,
        reader: &JobFileReader,
        file: impl Read,
        form: Form,
        stem: &str,
        total: &mut EstimateTotal,
        pictures: &mut FilePictures<'_>,
    ) -> Result<Inspection, String> {
        let mut missing = Vec::new();
        let add = |draft: &mut Draft| {
            if missing.len() < MAX_PROBLEMS {
                missing.extend(pictures.examine(draft));
            }
            let request = PricedRequest::of(&draft.body);
            total.add(estimate(request.as_ref(), &self.book, KnownPrice::default()), None);
        };
        let mut found = match form {
            Form::Document => {
                let mut bytes = Vec::new();
                // One byte more than allowed is enough to reject the file.
                let mut file = file.take(reader.limits.max_bytes.saturating_add(1));
                file.read_to_end(&mut bytes).map_err(unreadable)?;
                Inspection::of_document(reader, &bytes, stem, add)
            }
            form => {
                Inspection::of_lines(reader, form, BufReader::new(file), stem, add).map_err(unreadable)?
            }
        };
        found.errors.append(&mut missing);
        Ok(found)
    }
}

/// The path below the inbox of the folder that a file is in; `None` if it is not in the inbox.
fn below_inbox(inbox: &Path, file: &Path) -> Option<String> {
    let folder = std::path::absolute(file).ok()?.parent()?.canonicalize().ok()?;
    let below = folder.strip_prefix(inbox.canonicalize().ok()?).ok()?;
    Some(below.to_str()?.to_owned())
}

/// The `defaults.json` of a folder of the inbox and of those above it, the nearest first, each with its path.
fn defaults_above(inbox: &Path, folder: &str) -> Vec<(String, Vec<u8>)> {
    let folders = Path::new(folder).ancestors().filter_map(|folder| {
        let entries = std::fs::read_dir(inbox.join(folder)).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let path = folder.join(names.into_iter().find(|name| is_defaults_name(name))?);
        Some((path.display().to_string(), std::fs::read(inbox.join(&path)).ok()?))
    });
    folders.collect()
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot read the file: {error}")
}

fn shown(problem: &Problem) -> JobFileProblem {
    let Problem { pointer, message, line, column } = problem.clone();
    JobFileProblem { pointer, message, line, column }
}
