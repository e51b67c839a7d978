//! What one unit of work costs, counted, so that it is the same on every host: `valgrind` counts instructions, SQL
//! statements and allocations, `strace` pages and flushes, the daemon its commits. The counts are compared with the table
//! in docs/performance.md.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::Options;
use crate::answers::write_paths;
use crate::harness::{self, Process};
use crate::ingest::{Layout, is_ingested, write_files};
use crate::pipeline::metric;
use crate::tables::{self, Series, Table};

/// The part's name, and its markers' in docs/performance.md.
pub const PART: &str = "costs";

const COUNTERS: [&str; 6] =
    ["instructions", "SQL statements", "allocations", "commits", "pages of the log", "flushes"];
/// The most that a count may be above the table: this share.
const TOLERANCE: f64 = 0.05;
/// The same of instructions: threads that wait for each other spend 4 % more or less of them on a busy machine, and other
/// kernels wake them otherwise.
const TOLERATED_INSTRUCTIONS: f64 = 0.10;
/// What is counted in whole steps may differ by no more of them for each unit, so that one statement more shows among
/// thirty; all but these.
const TOLERATED_STEPS: f64 = 0.5;
const NO_STEPS: [&str; 2] = ["instructions", "allocations"];
/// Where many units share a commit, this much of a step is how full the batches were by chance.
const NEGLIGIBLE_STEPS: f64 = 0.01;
/// Chance moves as many of each counter in a whole run: stages look for work from time to time, and a batch may end a
/// file earlier. With few units that is more than the share: of a video, statements and allocations are shown, and its
/// instructions, commits, pages and flushes are checked.
const TOLERATED_IN_A_RUN: [f64; COUNTERS.len()] = [4_000_000.0, 300.0, 6_000.0, 3.0, 3.0, 3.0];

/// Follows the differences.
pub const ADVICE: &str = "The profiles are in target/costs: see callgrind_annotate. If the change is meant to cost this \
    much, write the table again: ci/costs --write";

const CALLBACKS: u64 = 600;
const FILES: u64 = 1_500;
const LINES: u64 = 4_000;
const VIDEOS: u64 = 6;
const UNITS: [(&str, u64); 4] = [
    ("callback answered and processed", CALLBACKS),
    ("job file ingested", FILES),
    ("line of a long job file", LINES),
    ("video of 5 MiB downloaded", VIDEOS),
];

/// One kind of work: on a copy of which data folder it is done, and how.
struct Unit<'a> {
    template: &'a Path,
    settings: &'a [(&'a str, &'a str)],
    /// What is there before the daemon starts.
    prepare: fn(&Path),
    /// Ends when the daemon has done all of it.
    work: fn(&Path, &Process),
}

/// Sends one callback after the other, each when the one before has been processed: how many share a commit would
/// otherwise be a matter of chance.
fn callbacks(data: &Path, daemon: &Process) {
    let list = data.join("paths");
    write_paths(data, &list);
    let database = harness::open_database(data);
    let mut socket = TcpStream::connect(daemon.public.trim_start_matches("http://")).unwrap();
    let body = r#"{"id":"task-1","status":"processing","created_at":"2026-01-01T00:00:00Z"}"#;
    for path in fs::read_to_string(&list).unwrap().lines().cycle().take(CALLBACKS as usize) {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let read = socket.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer[..read]));
        harness::until("the callback's end", || {
            harness::count(&database, "SELECT count(*) FROM deliveries WHERE processed = 0") == 0
        });
    }
}

fn videos(data: &Path, daemon: &Process) {
    daemon.post("/api/v1/resume", r#"{"what":"downloads"}"#);
    let database = harness::open_database(data);
    harness::until("the videos", || {
        harness::count(&database, "SELECT count(*) FROM jobs WHERE state = 'succeeded'") == VIDEOS
    });
}

/// A data folder whose tasks are all completed and whose downloads are paused.
fn completed(sandbox: &Process) -> (tempfile::TempDir, PathBuf) {
    let folder = harness::folder();
    let data = folder.path().join("data");
    let daemon = Process::daemon(&data, &[("PROVIDER__BASE_URL", &sandbox.address)]);
    daemon.post("/api/v1/pause", r#"{"what":"downloads"}"#);
    harness::drop_file(&data, "jobs.jsonl", &harness::job_lines(VIDEOS, "[sandbox: size=5MiB]"));
    let database = harness::open_database(&data);
    harness::until("the tasks' ends", || {
        harness::count(&database, "SELECT count(*) FROM jobs WHERE state = 'downloading'") == VIDEOS
    });
    daemon.until_idle();
    daemon.stop();
    (folder, data)
}

/// The release binary with the names of its functions, which `ci/costs` builds.
fn binary_with_names() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let binary = target.join("costs/dropreel");
    assert!(binary.exists(), "there is no {}: run ci/costs, which builds it", binary.display());
    binary
}

/// The sums that a run has counted, in the order of `COUNTERS`.
type Counts = [f64; COUNTERS.len()];

impl Unit<'_> {
    /// Counts what a run costs, with the work or without.
    fn count(&self, name: &str, binary: &Path, with_work: bool) -> Counts {
        let [instructions, statements, allocations] = self.under_callgrind(name, binary, with_work);
        let [commits, pages, flushes] = self.under_strace(binary, with_work);
        [instructions, statements, allocations, commits, pages, flushes]
    }

    /// Runs the daemon under a program that counts. Returns its commits.
    fn run(&self, counting: &[&str], binary: &Path, with_work: bool) -> f64 {
        let (_folder, data) = harness::copy_of(self.template);
        if with_work {
            (self.prepare)(&data);
        }
        let daemon = Process::daemon_under(counting, binary, &data, self.settings);
        if with_work {
            (self.work)(&data, &daemon);
        }
        // The start is part of both runs: its last steps, too.
        daemon.until_idle();
        let commits = metric(&daemon.get("/metrics"), "commit_duration_seconds_count");
        daemon.stop();
        commits
    }

    fn under_callgrind(&self, name: &str, binary: &Path, with_work: bool) -> [f64; 3] {
        let kind = if with_work { "callgrind" } else { "without.callgrind" };
        let profile = binary.with_file_name(format!("{}.{kind}", name.replace(' ', "-")));
        let out = format!("--callgrind-out-file={}", profile.display());
        let valgrind = harness::find("valgrind").unwrap();
        let valgrind = valgrind.to_string_lossy();
        let flags = [&*valgrind, "-q", "--tool=callgrind", "--compress-strings=no", &out];
        self.run(&flags, binary, with_work);
        let text = String::from_utf8_lossy(&fs::read(&profile).unwrap()).into_owned();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        let calls = |names: &[&str]| calls(&text, names) as f64;
        [
            total.parse().unwrap(),
            calls(&["sqlite3_step"]),
            calls(&["malloc", "calloc", "realloc", "posix_memalign"]),
        ]
    }

    fn under_strace(&self, binary: &Path, with_work: bool) -> [f64; 3] {
        let trace = binary.with_file_name("strace");
        let strace = harness::find("strace").unwrap();
        let calls = "trace=fsync,fdatasync,sync_file_range,syncfs,pwrite64";
        // `-D`: signals reach the daemon.
        let (strace, out) = (strace.to_string_lossy(), trace.to_string_lossy());
        let counting = [&*strace, "-D", "-f", "-q", "-y", "-s", "0", "-e", calls, "-o", &out];
        let commits = self.run(&counting, binary, with_work);
        let mut text = String::new();
        harness::until("the trace's end", || {
            text = fs::read_to_string(&trace).unwrap();
            text.trim_end().ends_with("+++ exited with 0 +++")
        });
        let begun = text.lines().filter(|line| !line.contains(" resumed>"));
        let (writes, flushes): (Vec<&str>, Vec<&str>) =
            begun.filter(|line| line.contains('(')).partition(|line| line.contains("pwrite64("));
        // A page follows a header of 24 bytes.
        let pages =
            writes.iter().filter(|line| line.contains("dropreel.db-wal>") && line.contains(", 4096, "));
        [commits, pages.count() as f64, flushes.len() as f64]
    }
}

/// How often functions of these names were called, by a profile of callgrind.
fn calls(profile: &str, names: &[&str]) -> u64 {
    let mut is_counted = false;
    let mut sum = 0;
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            // Callgrind numbers the depths of a recursion: `malloc'2`.
            is_counted = names.contains(&name.split('\'').next().unwrap_or(name));
        } else if let Some(rest) = line.strip_prefix("calls=")
            && is_counted
        {
            sum += rest.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    sum
}

pub fn measure(options: &Options) -> Vec<Table> {
    let binary = binary_with_names();
    let (_empty, empty) = harness::data_with_waiting_jobs(0);
    let (_waiting, waiting) = harness::data_with_waiting_jobs(50);
    let sandbox = Process::sandbox(&["--run-time", "1ms"]);
    let (_completed, completed) = completed(&sandbox);
    let one_at_a_time = [("PROVIDER__BASE_URL", sandbox.address.as_str()), ("DOWNLOADS__CONCURRENCY", "1")];
    let nothing: fn(&Path) = |_| ();
    let units = [
        Unit { template: &waiting, settings: &[], prepare: nothing, work: callbacks },
        Unit {
            template: &empty,
            settings: &[],
            prepare: |data| write_files(&data.join("inbox"), FILES, Layout::Flat),
            work: |data, _| harness::until("the files", is_ingested(data, FILES)),
        },
        Unit {
            template: &empty,
            settings: &[],
            prepare: |data| harness::drop_file(data, "jobs.jsonl", &harness::job_lines(LINES, "")),
            work: |data, _| harness::until("the lines", is_ingested(data, LINES)),
        },
        Unit { template: &completed, settings: &one_at_a_time, prepare: nothing, work: videos },
    ];
    let mut table = Table::new("Counted, per unit", &[&["unit"], &COUNTERS[..]].concat());
    for ((name, count), unit) in UNITS.iter().zip(&units) {
        let mut counted: [Series; COUNTERS.len()] = Default::default();
        for _ in 0..options.rounds {
            let (with, without) = (unit.count(name, &binary, true), unit.count(name, &binary, false));
            for ((series, with), without) in counted.iter_mut().zip(with).zip(without) {
                series.push(((with - without) / *count as f64).max(0.0));
            }
        }
        let cells = counted.map(|series| series.to_text());
        let mut row = vec![*name];
        row.extend(cells.iter().map(String::as_str));
        table.row(&row);
        eprintln!("costs: {}", row.join(" | "));
    }
    vec![table]
}

/// Compares counts with those in docs/performance.md. Returns what differs.
pub fn check(counted: &Table) -> Vec<String> {
    let expected = tables::read(PART);
    let mut differences = Vec::new();
    for (row, (_, units)) in counted.rows.iter().zip(UNITS) {
        let Some(limits) = expected.iter().find(|expected| expected.first() == row.first()) else {
            differences.push(format!("{}: not in the table yet", row[0]));
            continue;
        };
        for (at, (cell, limit)) in row[1..].iter().zip(&limits[1..]).enumerate() {
            let counter = COUNTERS[at];
            let (count, expected) = (tables::value(cell).unwrap(), tables::value(limit).unwrap());
            let share = expected * if counter == "instructions" { TOLERATED_INSTRUCTIONS } else { TOLERANCE };
            let steps = match NO_STEPS.contains(&counter) {
                true => share,
                false => share.clamp(NEGLIGIBLE_STEPS, TOLERATED_STEPS),
            };
            if count - expected > steps.max(TOLERATED_IN_A_RUN[at] / units as f64) {
                differences.push(format!("{}: {cell} {counter} instead of {limit}", row[0]));
            }
        }
    }
    differences
}
