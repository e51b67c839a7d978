//! The same work with the state in a SQLite file and on a PostgreSQL server on this machine, which `ci/engines` starts: jobs
//! ingested, callbacks stored, jobs changed one after the other, and jobs from the dropped file to the stored video.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dropreel::secret::{CallbackSecrets, Secret};

use crate::Options;
use crate::answers::Load;
use crate::harness::{self, Process};
use crate::nodes;
use crate::tables::{Series, Table, number};

pub const PART: &str = "engines";
/// Jobs that are ingested from one file, get callbacks and are cancelled: enough that none gets more callbacks than are stored.
pub const JOBS: u64 = 5_000;
/// Jobs that run.
const VIDEOS: u64 = 2_000;
pub const CONNECTIONS: usize = 64;

/// The private server.
pub struct Server {
    address: String,
    control: String,
    /// Its first process.
    pid: String,
}

impl Server {
    fn started() -> Self {
        let variable = |name: &str| std::env::var(name).expect("run ci/engines");
        let control = variable("DROPREEL_TEST_POSTGRES");
        let pid = harness::run(Command::new(&control).arg("pid")).trim().to_owned();
        Self { address: variable("DROPREEL_TEST_DATABASE"), control, pid }
    }

    /// The setting of a new database.
    pub fn new_database(&self, name: &str) -> (&'static str, String) {
        harness::run(Command::new(&self.control).args(["database", name]));
        ("STORAGE__DATABASE", format!("{}/{name}", self.address))
    }

    /// Processor time of all its processes so far, in milliseconds; of those that have ended, too.
    fn cpu_ms(&self) -> f64 {
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("stat"));
        let ticks = processes.filter_map(|path| {
            let stat = std::fs::read_to_string(&path).ok()?;
            let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
            let is_first = path.parent()?.ends_with(&self.pid);
            let counted = if is_first { 11..15 } else { 11..13 };
            (is_first || fields[1] == self.pid)
                .then(|| fields[counted].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>())
        });
        ticks.sum::<f64>() * 10.0
    }
}

/// The sum of a metric over its labels; 0 before it is first counted.
fn metric(daemon: &Process, name: &str) -> f64 {
    let text = daemon.get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

pub fn until(what: &str, daemon: &Process, name: &str, wanted: u64) {
    harness::until(what, || {
        std::thread::sleep(Duration::from_millis(50));
        metric(daemon, name) >= wanted as f64
    });
}

/// Writes the callback path of each job, one per line.
pub fn write_paths(daemon: &Process, secret: &str, to: &Path) {
    let secrets = CallbackSecrets::new(Secret::new(secret.trim()), Vec::new());
    let (mut paths, mut cursor) = (String::new(), String::new());
    loop {
        let page: serde_json::Value =
            serde_json::from_str(&daemon.get(&format!("/api/v1/jobs?limit=500{cursor}"))).unwrap();
        for job in page["jobs"].as_array().unwrap() {
            let id = job["id"].as_str().unwrap();
            paths.push_str(&format!("/callbacks/{id}/{}\n", secrets.token(id).expose()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    std::fs::write(to, paths).unwrap();
}

/// What one kind of work took with one engine.
#[derive(Default)]
struct Cost {
    per_second: Series,
    own_us: Series,
    server_us: Series,
}

impl Cost {
    /// Measures the work, which returns how often it was done, and in how many seconds.
    fn measure(&mut self, daemon: &Process, server: Option<&Server>, work: impl FnOnce() -> (f64, f64)) {
        daemon.until_idle();
        let cpu = || (daemon.cpu_ms(), server.map_or(0.0, Server::cpu_ms));
        let before = cpu();
        let (units, seconds) = work();
        // Also what is done behind it.
        daemon.until_idle();
        let after = cpu();
        self.per_second.push(units / seconds);
        self.own_us.push((after.0 - before.0) * 1000.0 / units);
        self.server_us.push((after.1 - before.1) * 1000.0 / units);
    }
}

const WORK: [&str; 4] = [
    "jobs ingested from one file",
    "callbacks stored and processed, at 64 connections",
    "jobs cancelled, one commit after the other",
    "jobs from the file to the video, of 100 submitted per second",
];

fn measure_round(costs: &mut [Cost; WORK.len()], server: Option<&Server>, name: &str) {
    let timed = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    let database = |part: &str| server.map(|server| server.new_database(&format!("{name}_{part}")));
    let folder = harness::folder();
    let data = folder.path().join("data");
    let setting = database("waiting");
    let setting: Vec<(&str, &str)> = setting.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let daemon = Process::daemon(&data, &setting);
    daemon.post("/api/v1/pause", "{}");
    costs[0].measure(&daemon, server, || {
        let seconds = timed(&mut || {
            harness::drop_file(&data, "jobs.jsonl", &harness::job_lines(JOBS, ""));
            until("the jobs", &daemon, "dropreel_jobs_accepted_total", JOBS);
        });
        (JOBS as f64, seconds)
    });
    let paths = folder.path().join("paths");
    let secret = std::fs::read_to_string(data.join("callback.secret")).unwrap();
    write_paths(&daemon, &secret, &paths);
    costs[1].measure(&daemon, server, || {
        let mut load = Load::default();
        load.measure(&daemon.public, &paths, CONNECTIONS);
        (load.requests, load.requests / load.per_second.median())
    });
    costs[2].measure(&daemon, server, || {
        let seconds =
            timed(&mut || daemon.post("/api/v1/jobs/bulk", r#"{"action":"cancel","state":"pending"}"#));
        (JOBS as f64, seconds)
    });
    drop(daemon);

    let data = folder.path().join("running");
    let sandbox = Process::sandbox(&["--run-time", "300ms"]);
    let setting = database("running");
    let mut settings: Vec<(&str, &str)> = setting.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.push(("PROVIDER__BASE_URL", &sandbox.address));
    let daemon = Process::daemon(&data, &settings);
    costs[3].measure(&daemon, server, || {
        let seconds = timed(&mut || {
            harness::drop_file(&data, "jobs.jsonl", &harness::job_lines(VIDEOS, ""));
            until("the videos", &daemon, "dropreel_jobs_finished_total", VIDEOS);
        });
        (VIDEOS as f64, seconds)
    });
}

pub fn measure(options: &Options) -> Vec<Table> {
    let server = Server::started();
    let mut costs: [[Cost; WORK.len()]; 2] = Default::default();
    for round in 0..options.rounds {
        for engine in harness::random_order(2, round) {
            let server = Some(&server).filter(|_| engine == 1);
            measure_round(&mut costs[engine], server, &format!("round_{round}"));
        }
        eprintln!("engines: round {} of {}", round + 1, options.rounds);
    }
    let title = format!(
        "The same work with both engines, {} jobs or {} videos",
        number(JOBS as f64),
        number(VIDEOS as f64)
    );
    let mut table = Table::new(
        title,
        &[
            "what",
            "SQLite, per second",
            "PostgreSQL, per second",
            "SQLite, µs of processor time each",
            "PostgreSQL, µs of dropreel",
            "PostgreSQL, µs of the server",
        ],
    );
    let [file, shared] = &costs;
    for ((what, file), server) in WORK.iter().zip(file).zip(shared) {
        table.row(&[
            what,
            &file.per_second.to_text(),
            &server.per_second.to_text(),
            &file.own_us.to_text(),
            &server.own_us.to_text(),
            &server.server_us.to_text(),
        ]);
    }
    vec![table, nodes::measure(options, &server)]
}
