//! `demo`: a simulated provider, a daemon and sample jobs in one process, in under a minute.

mod samples;

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::job::JobView;
use crate::api::list::{JobFilter, JobOrder};
use crate::cli::args::DemoArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{Column, bytes, printable, table, usd};
use crate::cli::list::fetch_jobs;
use crate::cli::received::ReceivedJob;
use crate::cli::terminal::{eprint_line, print_json, print_line, width};
use crate::cli::wait::wait_until_settled;
use crate::clock::{Clock, Tick};
use crate::daemon::Daemon;
use crate::job::label::Label;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::rng::Rng;
use crate::sandbox::{Options, Sandbox, start};
use crate::settings::{Environment, Purpose, load};
use crate::store::leadership::Role;

/// A demo that takes longer has gone wrong.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The settings of the demo's daemon. The file also marks the folder as a demo's.
const SETTINGS_FILE: &str = "demo.toml";
const SETTINGS: &str = r#"# Made by `dropreel demo`.
[provider]
submit_per_second = 20.0

[inbox]
settle = "200ms"

[callbacks]
listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:0"

# Polled often, so that the bars move.
[polling]
callback_grace = "400ms"
interval = "400ms"
max_interval = "600ms"

[downloads]
allow_private_addresses = true

[admin]
listen = "127.0.0.1:0"
"#;

#[derive(Serialize)]
struct DemoDocument<'a> {
    jobs: &'a [ReceivedJob],
    seconds: f64,
    /// The sum of what the jobs cost.
    cost_quota: i64,
    cost_usd: f64,
    folder: &'a Path,
    kept: bool,
}

/// `demo`
pub(crate) async fn demo(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let rng = Rng::from_system();
    // Tells the jobs of this demo from those of an earlier one in the same folder.
    let run = data_encoding::HEXLOWER.encode(&rng.id_bytes());
    let (folder, kept) = match &args.dir {
        Some(folder) => (demo_folder(folder)?, true),
        None => (temporary_folder(&run)?, args.keep),
    };
    let result = run_demo(context, args, &folder, &run, rng).await;
    if !kept {
        // What cannot be removed is left in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&folder);
    }
    let (jobs, took) = result?;
    let cost = jobs.iter().filter_map(|job| job.cost_quota).map(Quota::new).fold(Quota::ZERO, Quota::plus);
    let document = DemoDocument {
        jobs: &jobs,
        seconds: took.as_secs_f64(),
        cost_quota: cost.get(),
        cost_usd: cost.usd(),
        folder: &folder,
        kept,
    };
    print_result(context, &document)
}

/// A new or empty folder, or one of an earlier demo. In a real daemon's folder, its jobs would be submitted to the
/// simulated provider.
fn demo_folder(folder: &Path) -> Result<PathBuf, CliError> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let empty = std::fs::read_dir(&folder)?.next().is_none();
    if empty || folder.join(SETTINGS_FILE).is_file() {
        return Ok(folder);
    }
    let shown = printable(&folder.display().to_string());
    Err(CliError::usage(format!("{shown} is not empty; name a new folder (--dir), or leave it out")))
}

/// A new folder for this user alone. Its name is random, so that nobody can create it first.
fn temporary_folder(run: &str) -> Result<PathBuf, CliError> {
    let folder = std::env::temp_dir().join(format!("dropreel-demo-{run}"));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder.canonicalize()?)
}

/// Starts provider and daemon, runs the jobs, and stops both, also when interrupted.
async fn run_demo(
    context: &Context,
    args: &DemoArgs,
    folder: &Path,
    run: &str,
    rng: Rng,
) -> Result<(Vec<ReceivedJob>, Duration), CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let sandbox = start_provider(&context.clock).await?;
    let daemon = start_daemon(folder, &sandbox, &context.clock, rng).await?;
    if !context.json {
        let inbox = printable(&folder.join("inbox").display().to_string());
        eprint_line(&format!("simulated provider at {}; dropreel watches {inbox}", sandbox.base_url()));
    }
    let interrupted = || CliError::failed("the demo was interrupted");
    let result = tokio::select! {
        result = run_jobs(context, args, folder, run, &daemon) => result,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    };
    daemon.stop().await;
    sandbox.stop().await;
    result
}

async fn start_provider(clock: &Clock) -> Result<Sandbox, CliError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let options = Options {
        queue_time: (Duration::from_millis(500), Duration::from_secs(2)),
        run_time: (Duration::from_secs(3), Duration::from_secs(8)),
        ..Options::default()
    };
    Ok(start(listener, options, clock.clone()).await?)
}

async fn start_daemon(folder: &Path, sandbox: &Sandbox, clock: &Clock, rng: Rng) -> Result<Daemon, CliError> {
    let file = folder.join(SETTINGS_FILE);
    std::fs::write(&file, SETTINGS)?;
    // The user's own environment must not change the demo.
    let environment: Environment = [
        ("DROPREEL_DATA_DIR", folder.as_os_str().to_owned()),
        ("DROPREEL_PROVIDER__BASE_URL", sandbox.base_url().into()),
        ("DROPREEL_PROVIDER__API_KEY", "sk-demo".into()),
    ]
    .into_iter()
    .collect();
    let settings = load(Some(&file), &environment, Purpose::Daemon)?;
    let daemon = Daemon::start(settings, Role::Leader, clock.clone(), rng).await;
    daemon.map_err(|error| CliError::failed(error.to_string()))
}

/// Drops the sample jobs and waits until they are settled.
async fn run_jobs(
    context: &Context,
    args: &DemoArgs,
    folder: &Path,
    run: &str,
    daemon: &Daemon,
) -> Result<(Vec<ReceivedJob>, Duration), CliError> {
    let clock = &context.clock;
    let began = clock.tick();
    let client = ApiClient::new(daemon.admin_address(), None, folder)?;
    for number in 0..args.jobs as usize {
        drop_sample(&folder.join("inbox"), number, run)?;
    }
    let jobs = wait_until_accepted(&client, clock, args.jobs, run, began).await?;
    let settled = clock.within(TIMEOUT, wait_until_settled(&client, clock, jobs)).await;
    let jobs = settled.ok_or_else(|| CliError::failed("the demo timed out"))??;
    Ok((jobs, clock.tick().since(began)))
}

/// Writes a sample under another name and renames it, as a careful writer does.
#[expect(clippy::disallowed_methods, reason = "shows how other programs drop files")]
fn drop_sample(inbox: &Path, number: usize, run: &str) -> Result<(), CliError> {
    let (name, job) = samples::sample(number, run);
    let unfinished = inbox.join(format!("{name}.json.part"));
    std::fs::write(&unfinished, format!("{job:#}"))?;
    Ok(std::fs::rename(&unfinished, inbox.join(format!("{name}.json")))?)
}

/// Waits until all sample files have become jobs.
async fn wait_until_accepted(
    client: &ApiClient,
    clock: &Clock,
    count: u32,
    run: &str,
    began: Tick,
) -> Result<Vec<ReceivedJob>, CliError> {
    let label = Label { key: "run".to_owned(), value: run.to_owned() };
    let filter = JobFilter { labels: vec![label], ..JobFilter::default() };
    loop {
        let mut jobs = fetch_jobs(client, &filter, JobOrder::Created, count).await?.jobs;
        if jobs.len() >= count as usize {
            jobs.reverse();
            return Ok(jobs);
        }
        if clock.tick().since(began) > TIMEOUT {
            return Err(CliError::failed("the daemon did not accept the sample files in time"));
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

fn print_result(context: &Context, document: &DemoDocument<'_>) -> Result<Exit, CliError> {
    let DemoDocument { jobs, seconds, cost_usd, folder, kept, .. } = document;
    let succeeded = jobs.iter().filter(|job| job.state == StateName::Succeeded).count();
    let exit = if succeeded == jobs.len() { Exit::Done } else { Exit::Failed };
    if context.json {
        print_json(document)?;
        return Ok(exit);
    }
    let library = folder.join("videos");
    let rows = jobs.iter().map(|job| row(job, &library)).collect();
    let columns = [
        Column::cut("NAME"),
        Column::whole("MODEL"),
        Column::number("TIME"),
        Column::number("SIZE"),
        Column::number("COST"),
        Column::whole("FILE"),
    ];
    print_line(&format!("\n{}\n", table(&columns, rows, width())))?;
    print_line(&format!(
        "{succeeded} of {} videos stored in {seconds:.1} s for {} of simulated money. Nothing real was spent.",
        jobs.len(),
        usd(*cost_usd)
    ))?;
    if *kept {
        print_line(&format!("The videos are in {}.", printable(&library.display().to_string())))?;
    } else {
        print_line("The videos were removed again; `dropreel demo --keep` keeps them.")?;
    }
    print_line("Next: `dropreel init`, set DROPREEL_PROVIDER__API_KEY to your key, and `dropreel serve`.")?;
    Ok(exit)
}

fn row(job: &JobView, library: &Path) -> Vec<String> {
    let took = job.finished_at.map(|finished| finished.since(job.created_at).as_secs_f64());
    let file = job.files.first();
    let path = file.map(|file| Path::new(&file.path));
    let stored = match path.filter(|_| job.state == StateName::Succeeded) {
        Some(path) => path.strip_prefix(library).unwrap_or(path).display().to_string(),
        None => job.state.to_string(),
    };
    vec![
        job.name.clone(),
        job.model.clone(),
        took.map_or_else(String::new, |seconds| format!("{seconds:.1}s")),
        file.map_or_else(String::new, |file| bytes(file.bytes)),
        job.cost_usd.map(usd).unwrap_or_default(),
        stored,
    ]
}
