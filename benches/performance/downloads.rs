//! Finished videos fetched: by curl, by aria2c, and by dropreel, which also hashes, checks, flushes and names them. All
//! from nginx, which shares the processors and needs little of them.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Wanted;
use crate::bed::{self, Running};
use crate::clips::ClipServer;
use crate::figures::{Series, Table};

pub struct Case {
    pub name: &'static str,
    pub files: u64,
    pub mib: u64,
    /// How many MiB per second the host gives to each connection; 0: as many as it can.
    pub line: u32,
}

const CASES: [Case; 2] = [
    Case { name: "200 × 5 MiB", files: 200, mib: 5, line: 0 },
    Case { name: "8 × 64 MiB", files: 8, mib: 64, line: 0 },
];
const AT_ONCE: &str = "8";

#[derive(Default)]
struct Got {
    mib_per_second: Series,
    cpu_per_gib: Series,
}

impl Got {
    fn take(&mut self, case: &Case, work: impl FnOnce() -> f64) {
        let began = Instant::now();
        let cpu_ms = work();
        let mib = (case.files * case.mib) as f64;
        self.mib_per_second.push(mib / began.elapsed().as_secs_f64());
        self.cpu_per_gib.push(cpu_ms / 1000.0 / (mib / 1024.0));
    }
}

/// Processor time of ended children so far, in milliseconds.
fn children_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) * 10.0
}

fn by_command(command: &mut Command) -> f64 {
    let before = children_ms();
    bed::run(command);
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
    command.args(["-sfS", "-Z", "--parallel-max", AT_ONCE, "-K", "list"]).current_dir(folder);
    command
}

/// Where videos of a case come from: the provider that makes them, and the host that they are fetched from, by all.
pub struct Source<'a> {
    case: &'a Case,
    sandbox: Running,
    clips: Option<ClipServer>,
}

impl<'a> Source<'a> {
    pub fn new(case: &'a Case) -> Self {
        Self { case, sandbox: Running::sandbox(&["--run-time", "1ms"]), clips: None }
    }

    /// A daemon whose tasks are all finished and whose downloads are paused, and the links of the videos.
    pub fn finished(&mut self, data: &Path) -> (Running, &[String]) {
        let case = self.case;
        let settings =
            [("PROVIDER__BASE_URL", self.sandbox.address.as_str()), ("DOWNLOADS__CONCURRENCY", AT_ONCE)];
        let daemon = Running::daemon(data, &settings);
        daemon.post("/api/v1/pause", r#"{"what":"downloads"}"#);
        let size = format!("[sandbox: size={}MiB]", case.mib);
        bed::drop_file(data, "jobs.jsonl", &bed::lines(case.files, &size));
        let database = bed::look(data);
        let waiting = "SELECT count(*) FROM jobs WHERE state = 'downloading'";
        bed::until("the tasks' ends", || bed::count(&database, waiting) == case.files);
        daemon.until_idle();
        daemon.stop();
        let clips = self.clips.get_or_insert_with(|| {
            let mut links = database.prepare("SELECT link FROM outputs").unwrap();
            let links = links.query_map([], |row| row.get(0)).unwrap();
            ClipServer::of(&links.map(Result::unwrap).collect::<Vec<String>>(), case.line)
        });
        clips.take_over(data);
        // Still paused: that is kept.
        (Running::daemon(data, &settings), clips.links())
    }
}

fn measure_case(case: &Case, wanted: &Wanted) -> [Got; 4] {
    let mut got: [Got; 4] = Default::default();
    let mut source = Source::new(case);
    for round in 0..wanted.rounds {
        let folder = bed::folder();
        let data = folder.path().join("data");
        let (daemon, links) = source.finished(&data);
        let database = bed::look(&data);
        let succeeded = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
        for who in bed::shuffled(got.len(), round) {
            let folder = bed::folder();
            let here = folder.path();
            got[who].take(case, || match who {
                0 => {
                    let before = daemon.cpu_ms();
                    daemon.post("/api/v1/resume", "{}");
                    bed::until("the videos", || bed::count(&database, succeeded) == case.files);
                    daemon.cpu_ms() - before
                }
                1 => by_command(&mut curl(here, links)),
                2 => {
                    let fetched = by_command(&mut curl(here, links));
                    let hash = "openssl dgst -sha256 *.mp4 > sums && sync *.mp4 sums .";
                    fetched + by_command(Command::new("sh").args(["-c", hash]).current_dir(here))
                }
                _ => {
                    std::fs::write(
                        here.join("list"),
                        links.iter().enumerate().fold(String::new(), |list, (at, link)| {
                            list + &format!("{link}\n  out={at}.mp4\n")
                        }),
                    )
                    .unwrap();
                    let flags = ["-q", "-j", AT_ONCE, "-x", "1", "--file-allocation=none", "-i", "list"];
                    by_command(Command::new("aria2c").args(flags).current_dir(here))
                }
            });
            // What it left for the disk to do shall not be held against the next.
            bed::run(&mut Command::new("sync"));
        }
        eprintln!("downloads, {}: round {} of {}", case.name, round + 1, wanted.rounds);
    }
    got
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let mut speed = Table::new(
        "Videos fetched, MiB per second, 8 at once",
        &[
            "files",
            "dropreel",
            "curl -Z",
            "curl -Z, openssl, sync",
            "aria2c",
            "of curl -Z",
            "of curl -Z, openssl, sync",
        ],
    );
    let mut cpu = Table::new(
        "Processor seconds per GiB, without the host's",
        &["files", "dropreel", "curl -Z", "curl -Z, openssl, sync", "aria2c", "by curl -Z"],
    );
    for case in &CASES {
        let [ours, curl, whole, aria] = measure_case(case, wanted);
        speed.row(&[
            case.name,
            &ours.mib_per_second.shown(),
            &curl.mib_per_second.shown(),
            &whole.mib_per_second.shown(),
            &aria.mib_per_second.shown(),
            &ours.mib_per_second.by(&curl.mib_per_second).shown(),
            &ours.mib_per_second.by(&whole.mib_per_second).shown(),
        ]);
        cpu.row(&[
            case.name,
            &ours.cpu_per_gib.shown(),
            &curl.cpu_per_gib.shown(),
            &whole.cpu_per_gib.shown(),
            &aria.cpu_per_gib.shown(),
            &ours.cpu_per_gib.by(&curl.cpu_per_gib).shown(),
        ]);
    }
    vec![speed, cpu]
}
