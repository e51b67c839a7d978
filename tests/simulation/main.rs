//! The simulation: the daemon's own stages and the real store, with a simulated provider, network, clock and operator. A
//! seed decides everything, and repeats it exactly.
//!
//! `cargo test --test simulation -- --seeds 10000` runs many seeds, `--seed 17` one and prints its trace; `--from N` starts
//! at another seed. `--require-all-faults` fails if a kind of fault never happened. `--callbacks N` compares the outcomes
//! of N seeds under each behaviour of callbacks. `--mutants N`, which `ci/mutants` runs, fails unless each mutant that the
//! simulation must catch is caught within N seeds.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness"
)]

mod call_limits;
#[path = "../support/checker/mod.rs"]
#[allow(dead_code, reason = "each harness uses its own part of the checker")]
mod checker;
mod days;
mod folders;
mod hooks;
mod isolation;
#[path = "../support/mutants.rs"]
mod mutants;
mod network;
mod polls;
mod process;
mod run;
mod scenario;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use dropreel::clock::Timestamp;
use dropreel::settings::{Environment, Purpose, Settings};

use mutants::Mutant;
use run::{Outcome, Run};
use scenario::Scenario;

/// The command line of a run of many seeds.
struct Arguments {
    from: u64,
    seeds: u64,
    /// Run only this seed, with its trace.
    only: Option<u64>,
    require_all_faults: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("seeds: test");
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let options = Arguments {
        from: number("--from").unwrap_or(1),
        seeds: number("--seeds").unwrap_or(100),
        only: number("--seed"),
        require_all_faults: arguments.iter().any(|argument| argument == "--require-all-faults"),
    };
    std::panic::set_hook(Box::new(|_| {}));
    let disks = Disks::mount();
    let ok = match (options.only, number("--callbacks")) {
        (Some(seed), _) => run_with_trace(seed, &disks),
        (None, Some(seeds)) => callbacks_change_nothing(seeds, &disks),
        _ if number("--mutants").is_some() => catches_mutants(number("--mutants").unwrap_or_default()),
        _ => {
            run_seeds(&options, &disks)
                && callbacks_change_nothing((options.seeds / 200).max(1), &disks)
                && polls::watchers_alone_cost_more_polls(&disks)
                && days::rest_continues_on_the_next_days(&disks)
        }
    };
    drop(disks);
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let variables = [
            ("DROPREEL_CONFIG", "/dev/null"),
            ("DROPREEL_DATA_DIR", "/nowhere"),
            ("DROPREEL_PROVIDER__BASE_URL", run::BASE),
            ("DROPREEL_PROVIDER__API_KEY", "sk-simulated-canary"),
            ("DROPREEL_CALLBACKS__PUBLIC_URL", "http://127.0.0.1:1"),
            ("DROPREEL_POLLING__GIVE_UP", "30m"),
            ("DROPREEL_INBOX__RESCAN", "30s"),
            ("DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES", "true"),
        ];
        let environment: Environment = variables.into_iter().collect();
        dropreel::settings::load(None, &environment, Purpose::Daemon)
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

fn run_seed(seed: u64, place: &Path) -> Outcome {
    run_scenario(seed, place, Scenario::from_seed(seed), "")
}

fn run_scenario(seed: u64, place: &Path, scenario: Scenario, plan: &str) -> Outcome {
    let folder = tempfile::tempdir_in(place).unwrap();
    free(folder.path());
    let run = AssertUnwindSafe(|| Run::new(seed, scenario, folder.path(), settings(), plan).run());
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            violations: vec![format!("a panic: {}", text.unwrap_or_default())],
            trace: Vec::new(),
            fired: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            simulated: Duration::ZERO,
            submitted: Vec::new(),
        }
    })
}

/// I7: every job ends the same with callbacks lost, repeated, early, late, shuffled, forged, or without any.
fn callbacks_change_nothing(seeds: u64, disks: &Disks) -> bool {
    let began = Instant::now();
    for seed in 1..=seeds {
        let mut first: Option<BTreeMap<String, String>> = None;
        for callbacks in scenario::CALLBACKS {
            let scenario = Scenario::without_faults(seed, callbacks.is_some());
            let outcome = run_scenario(seed, &disks.places[0], scenario, callbacks.unwrap_or_default());
            let same = first.get_or_insert_with(|| outcome.outcomes.clone()) == &outcome.outcomes;
            if !outcome.violations.is_empty() || !same {
                println!("seed {seed} with {callbacks:?}: {:?}", outcome.violations);
                println!("I7: the outcomes are {:#?}, with other callbacks {first:#?}", outcome.outcomes);
                return false;
            }
        }
    }
    let behaviours = scenario::CALLBACKS.len();
    let took = began.elapsed().as_secs_f64();
    println!("{seeds} seeds ended the same with {behaviours} behaviours of callbacks, in {took:.1} s");
    true
}

/// Runs this program again with each mutant that the simulation must catch. Each run must fail.
fn catches_mutants(seeds: u64) -> bool {
    let mut all = true;
    for mutant in Mutant::all().iter().filter(|mutant| mutant.is_caught_by("simulation")) {
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.args(["--seeds", &seeds.to_string()]).env(mutants::VARIABLE, &mutant.name);
        let ran = command.output().unwrap();
        let output = String::from_utf8_lossy(&ran.stdout).into_owned();
        let violation = output.lines().find(|line| line.starts_with("seed ")).map(str::to_owned);
        let took = began.elapsed().as_secs_f64();
        match violation.filter(|_| !ran.status.success()) {
            Some(line) => println!("{}: caught in {took:.1} s: {line}", mutant.name),
            None => {
                println!("{}: NOT CAUGHT in {seeds} seeds", mutant.name);
                all = false;
            }
        }
    }
    all
}

fn run_with_trace(seed: u64, disks: &Disks) -> bool {
    let outcome = run_seed(seed, &disks.places[0]);
    for line in &outcome.trace {
        println!("{line}");
    }
    let again = run_seed(seed, &disks.places[0]);
    if again.trace != outcome.trace {
        println!("the same seed had another trace the second time");
        return false;
    }
    for (name, result) in &outcome.outcomes {
        println!("{name}: {result}");
    }
    report(seed, &outcome)
}

fn report(seed: u64, outcome: &Outcome) -> bool {
    for violation in &outcome.violations {
        println!("seed {seed}: {violation}");
    }
    if !outcome.violations.is_empty() {
        println!("to repeat: cargo test --release --test simulation -- --seed {seed}");
    }
    outcome.violations.is_empty()
}

fn run_seeds(options: &Arguments, disks: &Disks) -> bool {
    let (next, failed) = (AtomicU64::new(options.from), AtomicBool::new(false));
    let (fired, simulated) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(Duration::ZERO));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for place in &disks.places {
            let (next, failed, fired, simulated) = (&next, &failed, &fired, &simulated);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.from + options.seeds || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run_seed(seed, place);
                    if !report(seed, &outcome) {
                        failed.store(true, Ordering::Relaxed);
                    }
                    if seed % 50 == 0 && run_seed(seed, place).trace != outcome.trace {
                        println!("seed {seed} had another trace the second time");
                        failed.store(true, Ordering::Relaxed);
                    }
                    *simulated.lock().unwrap() += outcome.simulated;
                    let mut fired = fired.lock().unwrap();
                    for (fault, times) in outcome.fired {
                        *fired.entry(fault).or_default() += times;
                    }
                }
            });
        }
    });
    let (fired, simulated) = (fired.into_inner().unwrap(), simulated.into_inner().unwrap());
    let seeds = next.into_inner().min(options.from + options.seeds) - options.from;
    println!(
        "{seeds} seeds, {} simulated hours, in {:.1} s; faults:",
        simulated.as_secs() / 3600,
        began.elapsed().as_secs_f64()
    );
    for (fault, times) in &fired {
        println!("{times:>9} {fault}");
    }
    let missing: Vec<&&str> = REQUIRED_FAULTS.iter().filter(|fault| !fired.contains_key(**fault)).collect();
    if options.require_all_faults && !missing.is_empty() {
        println!("these faults never happened: {missing:?}");
        return false;
    }
    !failed.into_inner()
}

/// Faults that a long run must contain.
const REQUIRED_FAULTS: &[&str] = &[
    "Crash",
    "Stop",
    "Jump",
    "LoseClock",
    "Cancel",
    "Retry",
    "Release",
    "Pause",
    "FillDisk",
    "disk full",
    "job over budget",
    "Restore",
    "ChangeDefaults",
    "folder moved in",
    "file dropped in a folder",
    "request lost",
    "request doubled",
    "answer lost",
    "callback lost",
    "Plan",
    "retry during a call",
    "output stored beside a lasting fault",
    "hook failing",
    "hook answer lost",
    "hook answer slow",
    "hook receiver down",
    "provider submit=html403",
    "provider submit=no-model",
    "provider submit=401",
    "provider submit=402",
];

/// A folder in memory for each worker, on a small file system of its own if one can be mounted.
struct Disks {
    places: Vec<PathBuf>,
    root: PathBuf,
    mounted: bool,
}

/// Space for the database, the videos, and what the daemon leaves free.
const DISK_BYTES: u64 = 100 << 20;
static OWN_DISKS: AtomicBool = AtomicBool::new(false);

impl Disks {
    fn mount() -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let root = base.join(format!("dropreel-simulation-{}", std::process::id()));
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let places: Vec<PathBuf> = (0..workers).map(|worker| root.join(worker.to_string())).collect();
        let mut mounted = true;
        for place in &places {
            std::fs::create_dir_all(place).unwrap();
            let size = format!("size={DISK_BYTES}");
            let made = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
            mounted &= made.is_ok_and(|made| made.status.success());
        }
        if !mounted {
            println!("cannot mount a disk (that needs root): no disk gets full in this run");
        }
        OWN_DISKS.store(mounted, Ordering::Relaxed);
        Self { places, root, mounted }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for place in &self.places {
            if self.mounted {
                let _ = Command::new("umount").arg("-l").arg(place).output();
            }
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn has_own_disk() -> bool {
    OWN_DISKS.load(Ordering::Relaxed)
}

/// The file that fills the disk, beside the seed's folder.
fn filler(folder: &Path) -> PathBuf {
    folder.parent().unwrap().join("filler")
}

fn fill(folder: &Path, left: u64) {
    let room = rustix::fs::statvfs(folder).unwrap();
    let free = room.f_bavail * room.f_frsize;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(filler(folder)).unwrap();
    let length = file.metadata().unwrap().len();
    let _ = rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        length,
        free.saturating_sub(left).max(1),
    );
}

fn free(folder: &Path) {
    let _ = std::fs::remove_file(filler(folder));
}

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

/// How many messages of hooks are still to be delivered.
fn due_hook_calls(data_dir: &Path) -> u64 {
    let connection = rusqlite::Connection::open(data_dir.join("dropreel.db")).unwrap();
    let due = "SELECT count(*) FROM hook_calls WHERE due_at IS NOT NULL";
    connection.query_row(due, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// The states of all jobs, read from the database file.
fn states(data_dir: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(data_dir.join("dropreel.db")).unwrap();
    let mut statement = connection.prepare("SELECT state FROM jobs").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The names and prompts of the jobs that have neither ended nor wait for the operator.
fn unsettled(data_dir: &Path) -> Vec<(String, String)> {
    let connection = rusqlite::Connection::open(data_dir.join("dropreel.db")).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT name, coalesce(prompt, '') FROM jobs JOIN requests ON requests.job = jobs.nr
             WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'held')",
        )
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// How often a job did not fit into the budget of a day.
fn times_over_budget(data_dir: &Path) -> u64 {
    let Ok(snapshot) = checker::Snapshot::take(data_dir) else { return 0 };
    snapshot.history.iter().filter(|row| row.text("event") == "over_budget").count() as u64
}

/// All attempts, the first one first.
fn submitted(data_dir: &Path) -> Vec<days::Submitted> {
    let Ok(snapshot) = checker::Snapshot::take(data_dir) else { return Vec::new() };
    let attempt = |row: &checker::Row| {
        let name = snapshot.job(row.count("job")).map(|job| job.text("name").to_owned()).unwrap_or_default();
        (Timestamp::from_millis(row.count("created_at")), name, row.count("counted_quota"))
    };
    let mut submitted: Vec<_> = snapshot.attempts.iter().map(attempt).collect();
    submitted.sort();
    submitted
}

/// The outcome of each job by name: state, cost, and the hashes of its files.
fn outcomes(data_dir: &Path) -> BTreeMap<String, String> {
    let Ok(snapshot) = checker::Snapshot::take(data_dir) else { return BTreeMap::new() };
    let outcome = |job: &checker::Row| {
        let files = snapshot.outputs.iter().filter(|row| row.number("job") == job.number("nr"));
        let mut hashes: Vec<&str> = files.map(|row| row.text("sha256")).collect();
        hashes.sort_unstable();
        format!("{} {:?} {hashes:?} {}", job.text("state"), job.number("cost_quota"), job.text("reason"))
    };
    snapshot.jobs.iter().map(|job| (job.text("name").to_owned(), outcome(job))).collect()
}
