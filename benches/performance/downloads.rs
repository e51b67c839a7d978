//! Videos downloaded by curl, by aria2c, and by dropreel, which also hashes, checks, flushes and publishes them. All from
//! nginx, which shares the processors and needs little of them. The floor does without what makes dropreel more than a
//! downloader.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Options;
use crate::bare_downloads;
use crate::clips::ClipServer;
use crate::harness::{self, Process};
use crate::tables::{Series, Table};

pub struct Case {
    pub name: &'static str,
    pub files: u64,
    pub mib: u64,
    /// The host's limit for each connection, in MiB per second; 0: none.
    pub mib_per_second: u32,
}

const CASES: [Case; 2] = [
    Case { name: "200 × 5 MiB", files: 200, mib: 5, mib_per_second: 0 },
    Case { name: "8 × 64 MiB", files: 8, mib: 64, mib_per_second: 0 },
];
const CONCURRENCY: usize = 8;

#[derive(Default)]
struct Measured {
    mib_per_second: Series,
    cpu_per_gib: Series,
}

impl Measured {
    fn measure(&mut self, case: &Case, work: impl FnOnce() -> f64) {
        let began = Instant::now();
        let cpu_ms = work();
        let mib = (case.files * case.mib) as f64;
        self.mib_per_second.push(mib / began.elapsed().as_secs_f64());
        self.cpu_per_gib.push(cpu_ms / 1000.0 / (mib / 1024.0));
    }
}

/// Processor time of the children that have ended, in milliseconds.
fn children_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) * 10.0
}

fn by_command(command: &mut Command) -> f64 {
    let before = children_ms();
    harness::run(command);
    children_ms() - before
}

pub fn curl(folder: &Path, links: &[String]) -> Command {
    let list: String = links
        .iter()
        .enumerate()
        .map(|(at, link)| format!("url = \"{link}\"\noutput = \"{at}.mp4\"\n"))
        .collect();
    std::fs::write(folder.join("list"), list).unwrap();
    let mut command = Command::new("curl");
    command
        .args(["-sfS", "-Z", "--parallel-max", &CONCURRENCY.to_string(), "-K", "list"])
        .current_dir(folder);
    command
}

/// Where the videos of a case come from: the sandbox creates the tasks, and nginx serves the clips.
pub struct Source<'a> {
    case: &'a Case,
    sandbox: Process,
    clips: Option<ClipServer>,
}

impl<'a> Source<'a> {
    pub fn new(case: &'a Case) -> Self {
        Self { case, sandbox: Process::sandbox(&["--run-time", "1ms"]), clips: None }
    }

    /// A daemon whose tasks are all completed and whose downloads are paused, and the links of the videos.
    pub fn completed(&mut self, data: &Path) -> (Process, &[String]) {
        let case = self.case;
        let concurrency = CONCURRENCY.to_string();
        let settings = [
            ("PROVIDER__BASE_URL", self.sandbox.address.as_str()),
            ("DOWNLOADS__CONCURRENCY", concurrency.as_str()),
        ];
        let daemon = Process::daemon(data, &settings);
        daemon.post("/api/v1/pause", r#"{"what":"downloads"}"#);
        let size = format!("[sandbox: size={}MiB]", case.mib);
        harness::drop_file(data, "jobs.jsonl", &harness::job_lines(case.files, &size));
        let database = harness::open_database(data);
        let waiting = "SELECT count(*) FROM jobs WHERE state = 'downloading'";
        harness::until("the tasks' ends", || harness::count(&database, waiting) == case.files);
        daemon.until_idle();
        daemon.stop();
        let clips = self.clips.get_or_insert_with(|| {
            let mut links = database.prepare("SELECT link FROM outputs").unwrap();
            let links = links.query_map([], |row| row.get(0)).unwrap();
            ClipServer::of(&links.map(Result::unwrap).collect::<Vec<String>>(), case.mib_per_second)
        });
        clips.redirect_outputs(data);
        // Downloads are still paused: a pause survives the restart.
        (Process::daemon(data, &settings), clips.links())
    }
}

fn measure_case(case: &Case, options: &Options) -> [Measured; 5] {
    let mut measured: [Measured; 5] = Default::default();
    let mut source = Source::new(case);
    for round in 0..options.rounds {
        let folder = harness::folder();
        let data = folder.path().join("data");
        let (daemon, links) = source.completed(&data);
        let database = harness::open_database(&data);
        let succeeded = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
        for who in harness::random_order(measured.len(), round) {
            let folder = harness::folder();
            let here = folder.path();
            measured[who].measure(case, || match who {
                0 => {
                    let before = daemon.cpu_ms();
                    daemon.post("/api/v1/resume", "{}");
                    harness::until("the videos", || harness::count(&database, succeeded) == case.files);
                    daemon.cpu_ms() - before
                }
                1 => by_command(&mut curl(here, links)),
                2 => {
                    let fetched = by_command(&mut curl(here, links));
                    let hash = "openssl dgst -sha256 *.mp4 > sums && sync *.mp4 sums .";
                    fetched + by_command(Command::new("sh").args(["-c", hash]).current_dir(here))
                }
                3 => bare_downloads::download(here, links, CONCURRENCY),
                _ => {
                    std::fs::write(
                        here.join("list"),
                        links.iter().enumerate().fold(String::new(), |list, (at, link)| {
                            list + &format!("{link}\n  out={at}.mp4\n")
                        }),
                    )
                    .unwrap();
                    let concurrency = CONCURRENCY.to_string();
                    let flags = ["-q", "-j", &concurrency, "-x", "1", "--file-allocation=none", "-i", "list"];
                    by_command(Command::new("aria2c").args(flags).current_dir(here))
                }
            });
            // Write out what is left in the cache, so that it does not slow down the next program.
            harness::run(&mut Command::new("sync"));
        }
        eprintln!("downloads, {}: round {} of {}", case.name, round + 1, options.rounds);
    }
    measured
}

pub fn measure(options: &Options) -> Vec<Table> {
    let mut speed = Table::new(
        "Videos downloaded, MiB per second, 8 at once",
        &[
            "files",
            "dropreel",
            "floor",
            "curl -Z",
            "curl -Z, openssl, sync",
            "aria2c",
            "of the floor (same work)",
            "of curl -Z (moves with the host)",
            "of curl -Z, openssl, sync (same work)",
        ],
    );
    let mut cpu = Table::new(
        "Processor seconds per GiB, without the media host's",
        &[
            "files",
            "dropreel",
            "floor",
            "curl -Z",
            "curl -Z, openssl, sync",
            "aria2c",
            "by the floor (same work)",
            "by curl -Z (moves with the host)",
        ],
    );
    for case in &CASES {
        let [dropreel, curl, whole, floor, aria] = measure_case(case, options);
        speed.row(&[
            case.name,
            &dropreel.mib_per_second.to_text(),
            &floor.mib_per_second.to_text(),
            &curl.mib_per_second.to_text(),
            &whole.mib_per_second.to_text(),
            &aria.mib_per_second.to_text(),
            &dropreel.mib_per_second.ratio_to(&floor.mib_per_second).to_text(),
            &dropreel.mib_per_second.ratio_to(&curl.mib_per_second).to_text(),
            &dropreel.mib_per_second.ratio_to(&whole.mib_per_second).to_text(),
        ]);
        cpu.row(&[
            case.name,
            &dropreel.cpu_per_gib.to_text(),
            &floor.cpu_per_gib.to_text(),
            &curl.cpu_per_gib.to_text(),
            &whole.cpu_per_gib.to_text(),
            &aria.cpu_per_gib.to_text(),
            &dropreel.cpu_per_gib.ratio_to(&floor.cpu_per_gib).to_text(),
            &dropreel.cpu_per_gib.ratio_to(&curl.cpu_per_gib).to_text(),
        ]);
    }
    vec![speed, cpu]
}
