//! `submit`: hands job files to the daemon.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::api::estimate::CostEstimate;
use crate::api::job::JobView;
use crate::cli::args::SubmitArgs;
use crate::cli::client::{ApiClient, DefaultsArg, JobFile, PictureNames, SubmitOptions};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::list::fetch_jobs_of_file;
use crate::cli::pictures::{HandOver, folder_of};
use crate::cli::received::ReceivedJob;
use crate::cli::summary::{about_cost, are_many, group, sum_up};
use crate::cli::terminal::{eprint_line, print_json, print_line, stderr_is_terminal, stdout_is_terminal};
use crate::cli::wait::{exit_of, print_outcomes, wait_until_settled};
use crate::jobfile::{DEFAULTS_NAME, Form, Problem};
use crate::money::Quota;
use crate::rng::Rng;
use crate::settings::Purpose;

/// Waits before a submit without an answer is repeated: a daemon that restarts answers within seconds.
const REPEAT_DELAYS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

#[derive(Serialize)]
struct SubmitDocument<'a> {
    jobs: &'a [ReceivedJob],
    errors: &'a [FileError],
}

/// A file that was not accepted.
#[derive(Serialize)]
struct FileError {
    file: String,
    message: String,
}

/// `submit`
pub(crate) async fn submit(context: &Context, args: &SubmitArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let mut jobs: Vec<ReceivedJob> = Vec::new();
    let mut errors: Vec<FileError> = Vec::new();
    let key = args.idempotency_key.clone().unwrap_or_else(|| HEXLOWER.encode(&Rng::from_system().id_bytes()));
    let mut hand_over = HandOver::new(&context.settings(Purpose::Client)?);
    let defaults = args.defaults.as_deref().map(|file| hand_over.read_defaults(file)).transpose()?;
    let shares = match args.max_cost {
        Some(max_cost) if args.files.len() > 1 => {
            split_max_cost(&client, args, &mut hand_over, defaults.as_ref(), max_cost).await?
        }
        _ => Vec::new(),
    };
    let mut shares = shares.into_iter();
    let mut failure = None;
    for (number, file) in args.files.iter().enumerate() {
        // One key for each file, which the key of the command decides.
        let file_key = if number == 0 { key.clone() } else { format!("{key}.{}", number + 1) };
        let loaded = match shares.next() {
            Some((file, share)) => Ok((file, Some(share))),
            None => LoadedFile::read(file, args, &mut hand_over, defaults.as_ref())
                .map(|file| (file, args.max_cost)),
        };
        let submitted = match loaded {
            Ok((loaded, max_cost)) => {
                let options = SubmitOptions { idempotency_key: file_key, max_cost };
                match hand_over.upload(&client, &loaded.pictures).await {
                    Ok(()) => {
                        submit_file(context, &client, &loaded.job_file(defaults.as_ref()), &options).await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        match submitted {
            Ok(created) => {
                if !context.json {
                    eprint_accepted(&created);
                }
                jobs.extend(created);
            }
            Err(error) if error.exit == Exit::Failed => {
                for line in error.message.lines() {
                    eprint_line(&printable(line));
                }
                if let Some(hint) = unused_defaults(file).filter(|_| defaults.is_none()) {
                    eprint_line(&hint);
                }
                errors.push(FileError { file: file.display().to_string(), message: error.message });
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if let Some(error) = failure {
        if context.json {
            print_json(&SubmitDocument { jobs: &jobs, errors: &errors })?;
        }
        if !error.answer_lost {
            return Err(error);
        }
        let repeat = format!(
            "run the same command with `--idempotency-key {key}` to submit what is missing, and nothing twice"
        );
        return Err(CliError::new(error.exit, format!("{}\n{repeat}", error.message)));
    }
    let exit = if args.wait && !jobs.is_empty() {
        jobs = wait_until_settled(&client, &context.clock, jobs).await?;
        exit_of(&jobs)
    } else {
        Exit::Done
    };
    if context.json {
        print_json(&SubmitDocument { jobs: &jobs, errors: &errors })?;
    } else if args.wait {
        print_outcomes(&jobs)?;
    } else {
        print_ids(&jobs)?;
    }
    if errors.is_empty() {
        return Ok(exit);
    }
    Err(CliError::failed(format!("{} of {} files not accepted", errors.len(), args.files.len())))
}

/// Prints new jobs: for people, and their ids for scripts.
pub(crate) fn print_accepted(jobs: &[ReceivedJob]) -> Result<(), CliError> {
    eprint_accepted(jobs);
    print_ids(jobs)
}

fn eprint_accepted(jobs: &[ReceivedJob]) {
    if !are_many(jobs) {
        for job in jobs {
            eprint_line(&format!("accepted {}  {}", printable(&job.name), job.id));
            for warning in &job.warnings {
                eprint_line(&format!("  warning: {}", printable(warning)));
            }
        }
        return;
    }
    let views: Vec<&JobView> = jobs.iter().map(|job| &**job).collect();
    eprint_line(&sum_up(&format!(" added{}", about_cost(views.iter().copied())), &views));
    let warnings = jobs.iter().flat_map(|job| job.warnings.iter().map(|warning| (warning.clone(), &**job)));
    for (warning, jobs) in group(warnings) {
        let jobs = count(jobs.len() as u64, "job");
        eprint_line(&format!("  warning for {jobs}: {}", printable(&warning)));
    }
}

/// For scripts; a person has just read the ids on standard error.
fn print_ids(jobs: &[ReceivedJob]) -> Result<(), CliError> {
    if stdout_is_terminal() && stderr_is_terminal() {
        return Ok(());
    }
    jobs.iter().try_for_each(|job| print_line(&job.id.to_string()))
}

/// A job file in memory.
struct LoadedFile {
    title: String,
    name: Option<String>,
    form: Form,
    bytes: Vec<u8>,
    pictures: PictureNames,
}

impl LoadedFile {
    fn read(
        file: &Path,
        args: &SubmitArgs,
        hand_over: &mut HandOver,
        defaults: Option<&DefaultsArg>,
    ) -> Result<Self, CliError> {
        let title = printable(&file.display().to_string());
        let (name, bytes) = if file == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            (args.name.clone(), bytes)
        } else {
            let bytes = std::fs::read(file)
                .map_err(|error| CliError::failed(format!("{title}: cannot read the file: {error}")))?;
            (file.file_name().map(|name| name.to_string_lossy().into_owned()), bytes)
        };
        let form = name.as_deref().and_then(Form::of_name).unwrap_or(Form::Document);
        let form = if args.lines { Form::Lines } else { form };
        let pictures = hand_over.names_in(&bytes, form, folder_of(file), defaults).map_err(|problems| {
            let lines = problems.iter().map(|problem| {
                let Problem { pointer, message, line, column } = problem;
                let pointer = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
                printable(&format!("{title}:{line}:{column}: {pointer}{message}"))
            });
            CliError::failed(lines.collect::<Vec<_>>().join("\n"))
        })?;
        Ok(Self { title, name, form, bytes, pictures })
    }

    fn job_file<'a>(&'a self, defaults: Option<&'a DefaultsArg>) -> JobFile<'a> {
        let Self { title, name, form, bytes, pictures } = self;
        JobFile { title, name: name.as_deref(), form: *form, bytes, pictures, defaults }
    }
}

impl DefaultsArg {
    pub(crate) fn read(file: &Path) -> Result<Self, CliError> {
        let name = printable(&file.display().to_string());
        let bytes = std::fs::read(file)
            .map_err(|error| CliError::usage(format!("{name}: cannot read the defaults: {error}")))?;
        Ok(Self { name, bytes })
    }
}

/// Says how to use a `defaults.json` beside a file: only the inbox does so by itself.
pub(crate) fn unused_defaults(file: &Path) -> Option<String> {
    let beside = file.with_file_name(DEFAULTS_NAME);
    let exists = file != Path::new("-") && beside.is_file();
    let shown = printable(&beside.display().to_string());
    exists.then(|| format!("{shown} counts for files in the inbox; to use it here, add --defaults {shown}"))
}

/// Of several files that may cost `max_cost` together, what each may cost beside the others. The daemon checks each once more
/// when it accepts it.
async fn split_max_cost(
    client: &ApiClient,
    args: &SubmitArgs,
    hand_over: &mut HandOver,
    defaults: Option<&DefaultsArg>,
    max_cost: Quota,
) -> Result<Vec<(LoadedFile, Quota)>, CliError> {
    let (mut files, mut total) = (Vec::new(), CostEstimate::default());
    for file in &args.files {
        let file = LoadedFile::read(file, args, hand_over, defaults)?;
        let estimate = client.estimate(&file.job_file(defaults)).await?;
        total.add(&estimate.cost);
        files.push((file, quota_of(&estimate.cost)));
    }
    let sum = quota_of(&total);
    if sum > max_cost {
        let cost = total.describe();
        return Err(CliError::failed(format!(
            "{cost}: more than the limit of {max_cost}; nothing was submitted"
        )));
    }
    let of_others = |own: Quota| max_cost.minus(sum.minus(own));
    Ok(files.into_iter().map(|(file, own)| (file, of_others(own))).collect())
}

fn quota_of(cost: &CostEstimate) -> Quota {
    Quota::from_usd(cost.estimate_usd).unwrap_or_default()
}

/// Submits one file and returns all its jobs.
async fn submit_file(
    context: &Context,
    client: &ApiClient,
    file: &JobFile<'_>,
    options: &SubmitOptions,
) -> Result<Vec<ReceivedJob>, CliError> {
    let created = repeat_until_answered(context, file.title, || client.submit(file, options)).await?;
    if created.jobs.len() < created.count {
        fetch_jobs_of_file(client, created.jobs, created.count).await
    } else {
        Ok(created.jobs)
    }
}

/// Repeats a request whose answer was lost: with the same key, the daemon makes no further job. `title` is what it is about.
pub(crate) async fn repeat_until_answered<T, F: Future<Output = Result<T, CliError>>>(
    context: &Context,
    title: &str,
    send: impl Fn() -> F,
) -> Result<T, CliError> {
    let mut was_lost = false;
    for delay in REPEAT_DELAYS {
        match send().await {
            Err(error) if error.answer_lost || was_lost && error.exit == Exit::Unreachable => {
                was_lost = true;
                eprint_line(&format!("{title}: no answer; sending it again"));
                context.clock.sleep(delay).await;
            }
            answered => return answered,
        }
    }
    send().await.map_err(|error| CliError { answer_lost: true, ..error })
}
